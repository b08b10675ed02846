//! The tables on the terminal: rounds, then the comparison. At most 100 columns wide.

use std::fmt::Write;

use undertone_study::render::columns;

use super::{DemoResult, RoundResult, decimal, epsilon, models, percent};

/// Widest line, in characters.
const WIDTH: usize = 100;

/// The rounds and the comparison as text, ending with a line break.
pub(crate) fn terminal_table(result: &DemoResult) -> String {
    let mut text = columns(
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
        WIDTH,
    );
    text.push('\n');
    text.push_str(&columns(
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
        WIDTH,
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
