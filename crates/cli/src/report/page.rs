//! The report's page: frame, headline, and the order of its sections.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{DemoResult, ReportError, attendance, context, decimal, epsilon, learning, percent};

const STYLE: &str = include_str!("style.css");

/// Forbids the page to load anything: it is complete as it stands.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The whole page.
///
/// # Errors
/// A plot could not be drawn.
pub(super) fn render(result: &DemoResult) -> Result<String, ReportError> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { "Undertone: demo report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (headline(result))
                    (learning::glimpse(result)?)
                    (learning::over_rounds(result)?)
                    (learning::comparison(result))
                    (attendance::roll_call(result))
                    (attendance::rounds(result))
                    (attendance::phases(result))
                    (context::clients(result))
                    (context::notes(result))
                    (context::settings(result))
                }
                footer { "Made by " code { "undertone demo" } ". Nothing here is loaded from elsewhere." }
            }
        }
    };
    Ok(page.into_string())
}

fn headline(result: &DemoResult) -> Markup {
    let rounds = result.rounds.len();
    let exact = result.rounds.iter().filter(|round| round.exact).count();
    let dropouts: usize = result.rounds.iter().map(|round| round.dropped.len()).sum();
    let mails: usize = result.clients.iter().map(|client| client.examples).sum();
    let accuracy = |name: &str| result.accuracy.get(name).copied().unwrap_or(f64::NAN);
    let private = accuracy("federated_private");
    html! {
        header {
            p.kicker { "Undertone demo" }
            h1 { (result.clients.len()) " clients trained one spam filter. The service saw only sums." }
            p.lead {
                "They hold " (mails) " mails between them. "
                (rounds) " rounds, " (dropouts) " dropouts, "
                @if exact == rounds {
                    "and in every round the unmasked sum equals the plain sum of the survivors in "
                    "each element. "
                } @else {
                    strong { "but only " (exact) " rounds gave the exact sum. " }
                }
                (verdict(result))
            }
            dl.figures {
                (figure("Accuracy", &percent(private), "private, together"))
                (figure("Alone", &percent(accuracy("alone_mean")), "private, mean of the clients"))
                (figure("Private head", &percent(accuracy("head_only_private")), "without adapters"))
                (figure("Epsilon", &epsilon(result.epsilon),
                    &format!("at delta {:e}, each {}", result.delta, result.unit)))
                (figure("Exact sums", &format!("{exact} of {rounds}"), &format!("with {dropouts} dropouts")))
                (figure("Time", &duration(result.seconds), "for everything"))
            }
        }
    }
}

fn figure(name: &str, value: &str, context: &str) -> Markup {
    html! {
        div {
            dt { (name) }
            dd { b { (value) } span { (context) } }
        }
    }
}

/// What the comparison says, whichever way it went.
fn verdict(result: &DemoResult) -> String {
    let accuracy = |name: &str| result.accuracy.get(name).copied().filter(|a| a.is_finite());
    let Some(together) = accuracy("federated_private") else {
        return "The private model was not measured.".to_owned();
    };
    let against = |name: &str, words: &str| {
        accuracy(name).map(|other| {
            let points = 100.0 * (together - other);
            // What prints as 0.0 is no difference.
            let relation = if points >= 0.05 {
                format!("{points:.1} points above")
            } else if points <= -0.05 {
                format!("{:.1} points below", -points)
            } else {
                "level with".to_owned()
            };
            format!("{relation} {words}")
        })
    };
    let comparisons: Vec<String> = [
        against("alone_mean", "the average client alone"),
        against("head_only_private", "a private head without adapters"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut text = format!(
        "On {} held-out mails the private model is right in {}",
        result.held_out_examples,
        percent(together)
    );
    if !comparisons.is_empty() {
        text.push_str(": ");
        text.push_str(&comparisons.join(", "));
    }
    text.push('.');
    text
}

fn duration(seconds: f64) -> String {
    if seconds >= 90.0 {
        format!("{} min", decimal(seconds / 60.0, 1))
    } else {
        format!("{} s", decimal(seconds, 1))
    }
}
