//! What a study returns, on the terminal, as Markdown, as JSON and as files.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::Serialize;
use undertone_plot::Chart;

use crate::error::StudyError;
use crate::table::Table;

/// What made a report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The command line.
    pub command: String,
    /// The commit that the program was built from, where that can be found out.
    pub commit: Option<String>,
    /// Processors that it could use.
    pub cores: usize,
}

/// Tables and plots of one study.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The study's name.
    pub name: String,
    /// What made it.
    pub origin: Origin,
    /// How long it took.
    pub seconds: f64,
    /// The tables.
    pub tables: Vec<Table>,
    /// The plots: a file name without ending, and what is drawn.
    #[serde(skip)]
    pub plots: Vec<(String, Chart)>,
}

impl Report {
    /// For a terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            text += &table.text();
            text.push('\n');
        }
        text + &self.made_by() + "\n"
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            text += &table.markdown();
            text.push('\n');
        }
        for (name, chart) in &self.plots {
            // Writing to a string cannot fail.
            let _ = write!(text, "![{}]({name}.svg)\n\n", chart.title);
        }
        text + &self.made_by() + "\n"
    }

    /// As JSON; a number that is not finite becomes null.
    ///
    /// # Errors
    /// [`StudyError::Json`].
    pub fn json(&self) -> Result<String, StudyError> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Writes NAME.md, NAME.json and an SVG for each plot into a folder, which is made as needed.
    ///
    /// # Errors
    /// [`StudyError::Write`], [`StudyError::Plot`], [`StudyError::Json`].
    pub fn write(&self, folder: &Path) -> Result<(), StudyError> {
        let write = |name: String, bytes: String| {
            let path = folder.join(name);
            let failed = |source| StudyError::Write {
                path: path.clone(),
                source,
            };
            fs::create_dir_all(folder).map_err(failed)?;
            fs::write(&path, bytes).map_err(failed)
        };
        write(format!("{}.md", self.name), self.markdown())?;
        write(format!("{}.json", self.name), self.json()? + "\n")?;
        for (name, chart) in &self.plots {
            write(format!("{name}.svg"), chart.svg()?)?;
        }
        Ok(())
    }

    fn made_by(&self) -> String {
        let Origin {
            command,
            commit,
            cores,
        } = &self.origin;
        let commit = commit.as_deref().unwrap_or("an unknown commit");
        format!(
            "Made by `{command}` at {commit}, {:.0} s on {cores} cores.",
            self.seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Cell, Column, Form};

    #[test]
    fn a_report_is_written_with_its_command_and_figures() {
        let report = Report {
            name: "sample".into(),
            origin: Origin {
                command: "undertone study sample".into(),
                commit: Some("abc".into()),
                cores: 2,
            },
            seconds: 61.2,
            tables: vec![Table {
                title: "T".into(),
                settings: Vec::new(),
                columns: vec![Column::new("x", Form::Number(1))],
                rows: vec![vec![Cell::over(&[1.0, f64::NAN])], vec![Cell::EMPTY]],
                notes: Vec::new(),
            }],
            plots: Vec::new(),
        };
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new");
        report.write(&folder).unwrap();
        let markdown = fs::read_to_string(folder.join("sample.md")).unwrap();
        let made = "Made by `undertone study sample` at abc, 61 s on 2 cores.";
        assert!(
            markdown.contains("| x |") && markdown.contains(made),
            "{markdown}"
        );
        let json = fs::read_to_string(folder.join("sample.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["origin"]["command"], "undertone study sample");
        assert!(json["tables"][0]["rows"][0][0]["mean"].is_null());
        assert!(json["tables"][0]["rows"][1][0].is_null());
    }
}
