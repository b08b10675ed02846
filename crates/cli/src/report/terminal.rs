//! The tables on the terminal: rounds, then the comparison. At most 100 columns wide.

use std::fmt::Write;

use super::{DemoResult, RoundResult, decimal, epsilon, models, percent};

/// Widest line, in characters.
const WIDTH: usize = 100;

/// The rounds and the comparison as text, ending with a line break.
pub(crate) fn terminal_table(result: &DemoResult) -> String {
    let mut text = table(
        &[
            ("Round", true),
            ("Survivors", true),
            ("Exact", false),
            ("Seconds", true),
            ("Accuracy", true),
            ("AUC", true),
            ("Epsilon", true),
            ("Vanished (phase)", false),
        ],
        &result
            .rounds
            .iter()
            .flat_map(round_rows)
            .collect::<Vec<_>>(),
    );
    text.push('\n');
    text.push_str(&table(
        &[
            ("Model", false),
            ("Accuracy", true),
            ("AUC", true),
            ("Name in result.json", false),
        ],
        &models(result)
            .into_iter()
            .map(|(name, words, accuracy, auc)| {
                vec![
                    words.to_owned(),
                    percent(accuracy.unwrap_or(f64::NAN)),
                    decimal(auc.unwrap_or(f64::NAN), 4),
                    name.to_owned(),
                ]
            })
            .collect::<Vec<_>>(),
    ));
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\nEpsilon {} at delta {:e}, each {}, {} adjacency. {} held-out mails. {} s.\n",
        epsilon(result.epsilon),
        result.delta,
        result.unit,
        result.adjacency,
        result.held_out_examples,
        decimal(result.seconds, 1)
    );
    text
}

/// One row for the round, with the first client that vanished; one more for each further one.
fn round_rows(round: &RoundResult) -> Vec<Vec<String>> {
    let mut dropped = round
        .dropped
        .iter()
        .map(|d| format!("{} ({})", d.client, d.phase));
    let first = vec![
        round.round.to_string(),
        round.survivors.to_string(),
        if round.exact { "yes" } else { "NO" }.to_owned(),
        decimal(round.seconds, 1),
        percent(round.accuracy),
        decimal(round.auc, 4),
        epsilon(round.epsilon),
        dropped.next().unwrap_or_default(),
    ];
    let blank = vec![String::new(); first.len() - 1];
    let further = dropped.map(|text| {
        let mut row = blank.clone();
        row.push(text);
        row
    });
    std::iter::once(first)
        .chain(further.collect::<Vec<_>>())
        .collect()
}

/// Columns as wide as their widest cell, numbers to the right, the last one cut off at [`WIDTH`].
fn table(head: &[(&str, bool)], rows: &[Vec<String>]) -> String {
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
        shorten(line.trim_end())
    };
    let mut text = line(&mut head.iter().map(|(name, _)| *name));
    text.push('\n');
    text.push_str(&"─".repeat(WIDTH.min(widths.iter().sum::<usize>() + 2 * (head.len() - 1))));
    text.push('\n');
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
        text.push('\n');
    }
    text
}

/// At most [`WIDTH`] characters, the last one an ellipsis if something is missing. Control
/// characters, which a client's name could smuggle to the terminal, become question marks.
fn shorten(line: &str) -> String {
    let mut text: String = line
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(WIDTH)
        .collect();
    if line.chars().count() > WIDTH {
        text.pop();
        text.push('…');
    }
    text
}
