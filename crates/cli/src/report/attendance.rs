//! Sections on the rounds themselves: who was there, how each ended, where the time went.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{DemoResult, RoundResult, decimal, epsilon, percent};

/// Who was there: clients down, rounds across.
pub(super) fn roll_call(result: &DemoResult) -> Markup {
    html! {
        section {
            h2 { "Who stayed, who vanished" }
            p {
                "A filled square is a client whose update is in the sum, a cross one that vanished. A "
                "crossed square vanished after its upload, so its update counts: the others rebuilt "
                "what was needed to take its masks off."
            }
            div.scroll tabindex="0" role="region" aria-label="Survivors and dropouts" {
                table.roll {
                    thead {
                        tr {
                            th scope="col" { "Client" }
                            @for round in &result.rounds {
                                th scope="col" { (round.round) }
                            }
                        }
                    }
                    tbody {
                        @for client in &result.clients {
                            tr {
                                th scope="row" { (client.name) }
                                @for round in &result.rounds {
                                    (presence(round, &client.name))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn presence(round: &RoundResult, client: &str) -> Markup {
    let Some(dropped) = round
        .dropped
        .iter()
        .find(|dropped| dropped.client == client)
    else {
        return html! { td.here title="in the sum" { span.hidden { "in the sum" } } };
    };
    let (class, words) = if dropped.is_in_sum() {
        (
            "here gone",
            format!("in the sum, vanished at {}", dropped.phase),
        )
    } else {
        (
            "gone",
            format!("not in the sum, vanished at {}", dropped.phase),
        )
    };
    html! { td class=(class) title=(words) { span aria-hidden="true" { "×" } span.hidden { (words) } } }
}

/// The table of rounds.
pub(super) fn rounds(result: &DemoResult) -> Markup {
    html! {
        section {
            h2 { "The rounds" }
            div.scroll tabindex="0" role="region" aria-label="Table of rounds" {
                table.rounds {
                    thead {
                        tr {
                            @for (name, number) in [
                                ("Round", true), ("Survivors", true), ("Vanished, at phase", false),
                                ("Exact", false), ("Seconds", true), ("Accuracy", true),
                                ("AUC", true), ("Epsilon", true), ("Outcome", false),
                            ] {
                                th.n[number] scope="col" { (name) }
                            }
                        }
                    }
                    tbody {
                        @for round in &result.rounds {
                            tr {
                                th.n scope="row" { (round.round) }
                                td.n { (round.survivors) }
                                td {
                                    @for dropped in &round.dropped {
                                        div { (dropped.client) ", " (dropped.phase) }
                                    }
                                    @if round.dropped.is_empty() { "–" }
                                }
                                td class=(if round.exact { "good" } else { "bad" }) {
                                    (if round.exact { "yes" } else { "no" })
                                }
                                td.n { (decimal(round.seconds, 1)) }
                                td.n { (percent(round.accuracy)) }
                                td.n { (decimal(round.auc, 4)) }
                                td.n { (epsilon(round.epsilon)) }
                                td { (round.outcome) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Mean seconds of each phase.
pub(super) fn phases(result: &DemoResult) -> Markup {
    let mut by_phase: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (phase, &seconds) in result.rounds.iter().flat_map(|round| &round.phase_seconds) {
        by_phase.entry(phase).or_default().push(seconds);
    }
    #[expect(clippy::cast_precision_loss, reason = "a few rounds")]
    let mut means: Vec<(&str, f64)> = by_phase
        .into_iter()
        .map(|(phase, all)| (phase, all.iter().sum::<f64>() / all.len() as f64))
        .collect();
    means.sort_by(|a, b| b.1.total_cmp(&a.1));
    let longest = means.first().map_or(1.0, |mean| mean.1);
    if means.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 { "Where a round's time goes" }
            table.bars {
                thead { tr { th scope="col" { "Phase" } th scope="col" { "Seconds, mean of the rounds" } } }
                tbody {
                    @for (phase, mean) in means {
                        tr {
                            th scope="row" { (phase) }
                            td {
                                span.bar aria-hidden="true" {
                                    span style=(format!("width:{:.2}%", 100.0 * mean / longest)) {}
                                }
                                span.value { (decimal(mean, 2)) " s" }
                            }
                        }
                    }
                }
            }
        }
    }
}
