//! Tables as text for a terminal and as Markdown.

use std::fmt::Write;

use crate::table::{Cell, Column, Form, Table};

/// Columns as wide as their widest cell, those marked as numbers to the right, lines cut off at
/// `width` characters. Ends with a line break.
pub fn columns(head: &[(&str, bool)], rows: &[Vec<String>], width: usize) -> String {
    let length = |text: &str| text.chars().count();
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(column, (name, _))| {
            let cells = rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| length(cell));
            cells.chain([length(name)]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for ((cell, (_, number)), width) in cells.zip(head).zip(&widths) {
            let padding = " ".repeat(width.saturating_sub(length(cell)));
            let (before, after) = if *number {
                (padding, String::new())
            } else {
                (String::new(), padding)
            };
            line.push_str(&before);
            line.push_str(cell);
            line.push_str(&after);
            line.push_str("  ");
        }
        shorten(line.trim_end(), width)
    };
    let mut text = line(&mut head.iter().map(|(name, _)| *name));
    text.push('\n');
    let all = widths.iter().sum::<usize>() + 2 * head.len().saturating_sub(1);
    text.push_str(&"─".repeat(width.min(all)));
    text.push('\n');
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
        text.push('\n');
    }
    text
}

/// At most `width` characters, the last one an ellipsis if something is missing. Control
/// characters, which a client's name could smuggle to the terminal, become question marks.
fn shorten(line: &str, width: usize) -> String {
    let mut text: String = line
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(width)
        .collect();
    if line.chars().count() > width {
        text.pop();
        text.push('…');
    }
    text
}

impl Table {
    /// For a terminal.
    pub fn text(&self) -> String {
        let head: Vec<_> = self
            .columns
            .iter()
            .map(|column| (column.name.as_str(), column.form != Form::Text))
            .collect();
        let mut text = format!("{}\n\n{}", self.title, columns(&head, &self.written(), 160));
        for (name, value) in &self.settings {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{name}: {value}");
        }
        for note in &self.notes {
            let _ = write!(text, "\n{note}");
        }
        text.push('\n');
        text
    }

    /// As Markdown, under a heading of the third level.
    pub fn markdown(&self) -> String {
        let escape = |text: &str| text.replace('|', "\\|");
        let line = |cells: &mut dyn Iterator<Item = String>| {
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let mut text = format!("### {}\n\n", self.title);
        text += &line(&mut self.columns.iter().map(|column| escape(&column.name)));
        text += &line(&mut self.columns.iter().map(|column| {
            let rule = if column.form == Form::Text {
                "---"
            } else {
                "---:"
            };
            rule.to_owned()
        }));
        for row in self.written() {
            text += &line(&mut row.iter().map(|cell| escape(cell)));
        }
        if !self.settings.is_empty() {
            text.push('\n');
            for (name, value) in &self.settings {
                let _ = writeln!(text, "- {name}: {value}");
            }
        }
        for note in &self.notes {
            let _ = write!(text, "\n{note}\n");
        }
        text
    }

    /// All cells as they are shown.
    fn written(&self) -> Vec<Vec<String>> {
        let row = |cells: &Vec<Cell>| {
            let cells = cells.iter().zip(&self.columns);
            cells.map(|(cell, column)| written(cell, column)).collect()
        };
        self.rows.iter().map(row).collect()
    }
}

fn written(cell: &Cell, column: &Column) -> String {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Number(number) => figure(*number, column.form),
        Cell::Spread(spread) if spread.runs == 1 => figure(spread.mean, column.form),
        Cell::Spread(spread) => {
            let mean = figure(spread.mean, column.form);
            // A deviation is neither a bound nor in another unit than its mean.
            let form = match column.form {
                Form::UpperBound(decimals) | Form::LowerBound(decimals) => Form::Number(decimals),
                Form::Count => Form::Number(1),
                form => form,
            };
            format!("{mean} ± {}", figure(spread.deviation, form))
        }
        Cell::Empty(()) => "–".to_owned(),
    }
}

fn figure(value: f64, form: Form) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let power = |decimals: usize| 10_f64.powi(i32::try_from(decimals).unwrap_or(i32::MAX));
    match form {
        Form::Percent(decimals) => format!("{:.decimals$}", 100.0 * value),
        Form::Text | Form::Number(3) => format!("{value:.3}"),
        Form::Number(decimals) => format!("{value:.decimals$}"),
        Form::UpperBound(decimals) => {
            format!(
                "{:.decimals$}",
                (value * power(decimals)).ceil() / power(decimals)
            )
        }
        Form::LowerBound(decimals) => {
            format!(
                "{:.decimals$}",
                (value * power(decimals)).floor() / power(decimals)
            )
        }
        Form::Count => format!("{value:.0}"),
        Form::Scientific(decimals) => format!("{value:.decimals$e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            title: "Accuracy".into(),
            settings: vec![("clients".into(), "12".into())],
            columns: vec![
                Column::new("algorithm", Form::Text),
                Column::new("accuracy, %", Form::Percent(1)),
                Column::new("epsilon", Form::UpperBound(2)),
            ],
            rows: vec![
                vec!["FedAvg".into(), Cell::over(&[0.9, 0.92]), 4.981.into()],
                vec!["a|b".into(), Cell::over(&[0.5]), Cell::EMPTY],
            ],
            notes: vec!["A note.".into()],
        }
    }

    #[test]
    fn text_is_aligned_and_markdown_escaped() {
        let text = table().text();
        assert_eq!(
            text,
            "Accuracy\n\nalgorithm  accuracy, %  epsilon\n───────────────────────────────\n\
             FedAvg      91.0 ± 1.4     4.99\na|b               50.0        –\n\n\
             clients: 12\nA note.\n"
        );
        assert_eq!(
            table().markdown(),
            "### Accuracy\n\n| algorithm | accuracy, % | epsilon |\n| --- | ---: | ---: |\n\
             | FedAvg | 91.0 ± 1.4 | 4.99 |\n| a\\|b | 50.0 | – |\n\n- clients: 12\n\nA note.\n"
        );
    }

    #[test]
    fn bounds_are_rounded_to_the_safe_side() {
        assert_eq!(figure(1.001, Form::UpperBound(2)), "1.01");
        assert_eq!(figure(1.009, Form::LowerBound(2)), "1.00");
        assert_eq!(figure(f64::NAN, Form::Count), "–");
        assert_eq!(figure(0.000_12, Form::Scientific(1)), "1.2e-4");
    }

    #[test]
    fn a_line_is_cut_and_cannot_control_the_terminal() {
        let rows = [vec!["ab\u{1b}[2J".to_owned()]];
        let text = columns(&[("name", false)], &rows, 4);
        assert_eq!(text, "name\n────\nab?…\n");
    }
}
