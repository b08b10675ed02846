//! The settings for people and programs: what is in force, and the table of all.

use std::fmt::Write;

use serde_json::Value;

use super::load::at;
use super::{Loaded, Section, Settings};

/// The longest line of a comment.
const WIDTH: usize = 96;

impl Loaded {
    /// What is in force, as a settings file with every setting's meaning; passwords are hidden.
    pub fn toml(&self) -> String {
        let mut values = json(&self.settings);
        let mut text = String::new();
        let mut section = "";
        let rows = Settings::rows();
        for row in &rows {
            let (of, field) = row.name.rsplit_once('.').unwrap_or(("", &row.name));
            if of != section {
                section = of;
                let _ = write!(text, "\n[{section}]");
            }
            if !text.is_empty() {
                text.push('\n');
            }
            comment(&mut text, row.meaning);
            if let Some(origin) = self.origins.get(&row.name) {
                comment(&mut text, &format!("Set by {origin}."));
            }
            // Writing to a string does not fail.
            let _ = match literal(at(&mut values, &row.name)) {
                Some(value) => writeln!(text, "{field} = {value}"),
                None => writeln!(text, "# {field} ="),
            };
        }
        text
    }

    /// What is in force, as JSON; passwords are hidden.
    pub fn json(&self) -> Value {
        json(&self.settings)
    }
}

/// The table of all settings, in Markdown.
pub fn markdown() -> String {
    let mut values = json(&Settings::default());
    let mut text = "| setting | default | meaning |\n|---|---|---|\n".to_owned();
    for row in Settings::rows() {
        let default = match literal(at(&mut values, &row.name)) {
            Some(value) => format!("`{value}`"),
            None => "none".to_owned(),
        };
        let _ = writeln!(text, "| `{}` | {default} | {} |", row.name, row.meaning);
    }
    text
}

fn json(settings: &Settings) -> Value {
    // Serialising plain data into memory does not fail.
    serde_json::to_value(settings).unwrap_or_default()
}

/// A value as TOML writes it; nothing for one that is not set.
fn literal(value: &Value) -> Option<String> {
    let value: toml::Value = match value {
        Value::Null => return None,
        other => toml::Value::try_from(other).ok()?,
    };
    Some(value.to_string())
}

/// Words in lines of comment.
fn comment(text: &mut String, words: &str) {
    let mut column = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count() + 1;
        if column == 0 || column + length > WIDTH {
            if column > 0 {
                text.push('\n');
            }
            text.push('#');
            column = 1;
        }
        text.push(' ');
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}
