//! Sections on what was seen and learnt: both sides of the masks, the curves, the comparison.

use maud::{Markup, PreEscaped, html};
use undertone_plot::{Colour, OverRounds, Series};

use super::plots::Coordinates;
use super::{DemoResult, ReportError, RoundResult, decimal, models, percent};

/// One client's vector, its masked upload, and the mean, side by side.
pub(super) fn glimpse(result: &DemoResult) -> Result<Markup, ReportError> {
    let glimpse = &result.glimpse;
    if glimpse.plain.is_empty() {
        return Ok(html! {});
    }
    let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|&v| f64::from(v)).collect() };
    let (plain, mean) = (wide(&glimpse.plain), wide(&glimpse.mean));
    // One scale for both, so that they can be compared.
    let largest = plain
        .iter()
        .chain(&mean)
        .map(|v| v.abs())
        .filter(|v| v.is_finite());
    let largest = largest.fold(f64::MIN_POSITIVE, f64::max) * 1.05;
    let decimals = if largest < 0.01 {
        4
    } else if largest < 0.1 {
        3
    } else {
        2
    };
    let panels = [
        (
            "Inside one client",
            "its update, before masking",
            Coordinates {
                title: "One client's update before masking",
                description: "The values lie close to zero.",
                values: &plain,
                range: -largest..largest,
                decimals,
                colour: Colour::First,
            },
        ),
        (
            "At the service",
            "what that client uploaded",
            Coordinates {
                title: "The same coordinates as uploaded",
                description: "The values are spread evenly over the whole ring.",
                values: &glimpse.masked,
                range: 0.0..1.0,
                decimals: 2,
                colour: Colour::Muted,
            },
        ),
        (
            "After the sum",
            "the mean over the survivors",
            Coordinates {
                title: "The unmasked mean over the survivors",
                description: "The masks are gone, and so is the single client.",
                values: &mean,
                range: -largest..largest,
                decimals,
                colour: Colour::Second,
            },
        ),
    ];
    let mut figures = Vec::new();
    for (name, caption, plot) in panels {
        figures.push((name, caption, plot.svg()?));
    }
    Ok(html! {
        section {
            h2 { "What the service saw" }
            p {
                (plain.len()) " coordinates of one round. Above, a dot for each coordinate; below, how "
                "often each value occurs. An upload is a number on a ring, shown as a fraction of "
                "one turn. The first panel never leaves its client: the demo runs both sides, so it "
                "can show it."
            }
            div.panels {
                @for (name, caption, svg) in &figures {
                    figure {
                        figcaption { b { (name) } " " (caption) }
                        (PreEscaped(svg))
                    }
                }
            }
        }
    })
}

/// Accuracy and ε, round by round.
pub(super) fn over_rounds(result: &DemoResult) -> Result<Markup, ReportError> {
    let track = |value: fn(&RoundResult) -> f64| -> Vec<(f64, f64)> {
        result
            .rounds
            .iter()
            .map(|round| (f64::from(round.round), value(round)))
            .collect()
    };
    let ends = result.rounds.first().zip(result.rounds.last());
    let level = |name: &str, words: &str, colour| {
        let level = *result.accuracy.get(name)?;
        let (first, last) = ends?;
        Some(Series {
            name: format!("{words} ({})", percent(level)),
            colour,
            dashed: true,
            points: vec![
                (f64::from(first.round), level),
                (f64::from(last.round), level),
            ],
        })
    };
    let mut quality = vec![Series {
        name: "Federated, private".to_owned(),
        colour: Colour::First,
        dashed: false,
        points: track(|round| round.accuracy),
    }];
    quality.extend(level(
        "head_only_private",
        "Private head only, at the end",
        Colour::Second,
    ));
    quality.extend(level(
        "alone_mean",
        "Each client alone, mean",
        Colour::Muted,
    ));
    let lowest = quality
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.1)
        .filter(|y| y.is_finite())
        .fold(1.0, f64::min);
    // Down to the next tenth below the data; the axis says where it starts.
    let lowest = ((lowest * 10.0 - 0.2).floor() / 10.0).max(0.0);
    let accuracy = OverRounds {
        title: "Accuracy on held-out mail over the rounds",
        description: "The table of rounds below holds the same numbers.",
        range: lowest..1.0,
        label: |y| format!("{:.0} %", 100.0 * y),
        series: &quality,
    };
    let spent = [Series {
        name: format!("Epsilon at delta {:e}", result.delta),
        colour: Colour::First,
        dashed: false,
        points: track(|round| round.epsilon),
    }];
    let most = spent[0]
        .points
        .iter()
        .map(|p| p.1)
        .filter(|y| y.is_finite())
        .fold(0.1, f64::max);
    let privacy = OverRounds {
        title: "Epsilon spent over the rounds",
        description: "The table of rounds below holds the same numbers.",
        range: 0.0..most * 1.1,
        label: |y| format!("{y:.1}"),
        series: &spent,
    };
    Ok(html! {
        section {
            h2 { "Round by round" }
            div.pair {
                (plot("Accuracy on held-out mail", &accuracy.svg()?, &quality))
                (plot("Privacy spent", &privacy.svg()?, &spent))
            }
        }
    })
}

fn plot(caption: &str, svg: &str, series: &[Series]) -> Markup {
    html! {
        figure {
            figcaption { b { (caption) } }
            (PreEscaped(svg))
            ul.legend {
                @for line in series {
                    @let colour = match line.colour {
                        Colour::First => "first",
                        Colour::Second => "second",
                        _ => "muted",
                    };
                    li class=(if line.dashed { format!("{colour} dashed") } else { colour.to_owned() }) {
                        (line.name)
                    }
                }
            }
        }
    }
}

/// All models on the same held-out mail.
pub(super) fn comparison(result: &DemoResult) -> Markup {
    html! {
        section {
            h2 { "The same mail, other ways to train" }
            p {
                "All on the same " (result.held_out_examples) " held-out mails. The private head is "
                "the baseline that adapters have to beat. The models without noise, and the one "
                "trained in one place, protect nobody: they show what privacy costs."
            }
            div.scroll {
                table.bars {
                    thead {
                        tr { th scope="col" { "Model" } th scope="col" { "Accuracy" } th.n scope="col" { "AUC" } }
                    }
                    tbody {
                        @for (name, words, accuracy, auc) in models(result) {
                            tr.lead[name == "federated_private"] {
                                th scope="row" { (words) br; code { (name) } }
                                td { (bar(accuracy.unwrap_or(f64::NAN))) }
                                td.n { (decimal(auc.unwrap_or(f64::NAN), 4)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A fraction as a bar from 0 to 1 with its number.
pub(super) fn bar(fraction: f64) -> Markup {
    let width = if fraction.is_finite() {
        100.0 * fraction.clamp(0.0, 1.0)
    } else {
        0.0
    };
    html! {
        span.bar aria-hidden="true" { span style=(format!("width:{width:.2}%")) {} }
        span.value { (percent(fraction)) }
    }
}
