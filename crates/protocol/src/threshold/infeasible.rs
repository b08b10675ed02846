//! Why no numbers fit, and which one input to change: found by trying.

use std::fmt;

use super::choose::{Aggregator, Request, fits_complete};
use super::search::search;
use super::{MAX_COMPLETE, Shape};

/// The grid on which fractions are tried.
const STEPS: u32 = 1000;

/// The fewest bits of correctness that are proposed: one round in a thousand fails.
const LEAST_CORRECTNESS: u32 = 10;

/// No numbers fit. Displays as one line: what does not fit, then the changes that help, each
/// alone, with every other input as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Infeasible {
    /// What does not fit, with its numbers.
    pub reason: String,
    /// Changes, each of which was tried and alone makes the rest fit.
    pub remedies: Vec<String>,
}

impl fmt::Display for Infeasible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        match self.remedies.as_slice() {
            [] => Ok(()),
            [one] => write!(f, "; what would fit: {one}"),
            more => write!(f, "; what would fit, each alone: {}", more.join("; or ")),
        }
    }
}

impl Infeasible {
    /// An input that means nothing.
    pub(super) fn input(reason: String) -> Self {
        let remedies = Vec::new();
        Self { reason, remedies }
    }
}

/// Tries which change of one input would make the request fit.
pub(super) fn explain(request: &Request, reason: String) -> Infeasible {
    let mut remedies: Vec<String> = [
        other_shape(request),
        fraction(request, "corrupt", |r| &mut r.corrupt),
        fraction(request, "dropout", |r| &mut r.dropout),
    ]
    .into_iter()
    .flatten()
    .collect();
    remedies.extend(clients(request));
    remedies.extend(bits(request));
    if remedies.is_empty() {
        remedies.extend(both_fractions(request));
    }
    Infeasible { reason, remedies }
}

fn fits(request: &Request) -> bool {
    request.case().is_ok_and(|case| search(&case).is_ok())
}

/// The largest value from `low` to below `high` that fits if smaller ones do; what it returns
/// has been tried.
fn largest(low: u32, high: u32, fits: impl Fn(u32) -> bool) -> Option<u32> {
    if low >= high || !fits(low) {
        return None;
    }
    let (mut good, mut bad) = (low, high);
    while bad.abs_diff(good) > 1 {
        let middle = good.midpoint(bad);
        if fits(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Some(good)
}

fn other_shape(request: &Request) -> Option<String> {
    let (shape, say) = match request.shape() {
        Shape::Ring if fits_complete(request.most()) => (Shape::Complete, "the complete graph"),
        Shape::Ring => return None,
        Shape::Complete => (Shape::Ring, "the ring"),
    };
    let changed = Request {
        shape: Some(shape),
        ..*request
    };
    fits(&changed).then(|| say.to_owned())
}

/// Steps below a fraction of the grid's unit.
fn steps_below(fraction: f64) -> u32 {
    super::corruptions(fraction, STEPS).saturating_add(1)
}

fn on_grid(step: u32) -> f64 {
    f64::from(step) / f64::from(STEPS)
}

fn fraction(
    request: &Request,
    name: &str,
    field: impl Fn(&mut Request) -> &mut f64,
) -> Option<String> {
    let now = *field(&mut { *request });
    let with = |step| {
        let mut changed = *request;
        *field(&mut changed) = on_grid(step).min(now);
        changed
    };
    let step = largest(0, steps_below(now), |step| fits(&with(step)))?;
    let mut changed = with(step);
    Some(format!(
        "a {name} fraction of at most {}",
        field(&mut changed)
    ))
}

fn both_fractions(request: &Request) -> Option<String> {
    let with = |step| Request {
        corrupt: (request.corrupt * on_grid(step) * 1000.0).floor() / 1000.0,
        dropout: (request.dropout * on_grid(step) * 1000.0).floor() / 1000.0,
        ..*request
    };
    let changed = with(largest(0, STEPS, |step| fits(&with(step)))?);
    Some(format!(
        "both a corrupt fraction of {} and a dropout fraction of {}",
        changed.corrupt, changed.dropout
    ))
}

/// More clients, or fewer. Where the roster is given, only it bounds them.
fn clients(request: &Request) -> Option<String> {
    if request.max_clients.is_some() {
        return None;
    }
    let with = |clients| Request {
        clients,
        ..*request
    };
    let now = request.clients;
    let mut tried = now;
    for _ in 0..12 {
        let next = tried
            .saturating_mul(2)
            .min(request.roster.unwrap_or(u32::MAX));
        if next <= tried {
            break;
        }
        if fits(&with(next)) {
            // Turned round, so that `largest` finds the fewest: `next` minus as many as possible.
            let span = next.abs_diff(tried);
            let less = largest(0, span, |less| fits(&with(next.saturating_sub(less))))?;
            return Some(format!("at least {} clients", next.saturating_sub(less)));
        }
        tried = next;
    }
    let fewest = match request.shape() {
        Shape::Ring => MAX_COMPLETE.saturating_add(1),
        Shape::Complete => 2,
    };
    let most = largest(fewest, now, |clients| fits(&with(clients)))?;
    Some(format!("at most {most} clients"))
}

/// Fewer bits, but no fewer than clients accept and a service can bear.
fn bits(request: &Request) -> Option<String> {
    let floor = match (request.shape(), request.aggregator) {
        (Shape::Complete, _) => return None,
        (Shape::Ring, Aggregator::Lying) => 80,
        (Shape::Ring, Aggregator::SemiHonest) => 40,
    };
    let security = |bits| Request {
        security_bits: Some(bits),
        ..*request
    };
    let now = request.security_bits.unwrap_or(floor);
    if let Some(bits) = largest(floor, now, |bits| fits(&security(bits))) {
        return Some(format!("{bits} bits of security"));
    }
    let correctness = |correctness_bits| Request {
        correctness_bits,
        ..*request
    };
    let now = request.correctness_bits;
    largest(LEAST_CORRECTNESS, now, |bits| fits(&correctness(bits)))
        .map(|bits| format!("{bits} bits of correctness"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threshold::choose;

    fn refusal(request: Request) -> Infeasible {
        let error = choose(&request).unwrap_err();
        assert_eq!(error.to_string().lines().count(), 1);
        error
    }

    /// Applies what the text says, and one step more of it.
    #[test]
    fn a_remedy_fits_and_is_the_largest() {
        let request = Request::new(1000, 0.3, 0.2);
        let error = refusal(request);
        println!("{error}");
        let corrupt = |corrupt| Request { corrupt, ..request };
        let found: f64 = number(&error, "a corrupt fraction of at most ");
        choose(&corrupt(found)).unwrap();
        choose(&corrupt(found + 0.001)).unwrap_err();
        let dropout = |dropout| Request { dropout, ..request };
        let found: f64 = number(&error, "a dropout fraction of at most ");
        choose(&dropout(found)).unwrap();
        choose(&dropout(found + 0.001)).unwrap_err();
    }

    fn number<T: std::str::FromStr>(error: &Infeasible, before: &str) -> T {
        let text = error
            .remedies
            .iter()
            .find_map(|remedy| remedy.strip_prefix(before))
            .unwrap_or_else(|| panic!("{error}"));
        let word = text.split_whitespace().next().unwrap();
        word.parse().ok().unwrap()
    }

    #[test]
    fn clients_that_are_too_few_or_too_many() {
        let few = Request {
            shape: Some(Shape::Ring),
            roster: Some(1000),
            ..Request::new(200, 0.08, 0.1)
        };
        let error = refusal(few);
        println!("{error}");
        let clients: u32 = number(&error, "at least ");
        choose(&Request { clients, ..few }).unwrap();
        choose(&Request {
            clients: clients - 1,
            ..few
        })
        .unwrap_err();

        let many = Request::new(100_000_000, 0.14, 0.1);
        let error = refusal(many);
        println!("{error}");
        let clients: u32 = number(&error, "at most ");
        choose(&Request { clients, ..many }).unwrap();
        choose(&Request {
            clients: clients + 1,
            ..many
        })
        .unwrap_err();
    }

    #[test]
    fn another_shape() {
        let ring = Request {
            shape: Some(Shape::Ring),
            roster: Some(1000),
            ..Request::new(200, 0.06, 0.2)
        };
        let error = refusal(ring);
        assert_eq!(error.remedies[0], "the complete graph", "{error}");
        let complete = Request {
            shape: Some(Shape::Complete),
            ..Request::new(256, 0.1, 0.1)
        };
        let error = refusal(complete);
        assert!(error.reason.contains("at most 255"), "{error}");
        assert_eq!(error.remedies, ["the ring", "at most 255 clients"]);
    }

    #[test]
    fn a_roster_that_outnumbers_the_round() {
        let request = Request {
            roster: Some(1000),
            ..Request::new(50, 0.1, 0.0)
        };
        let error = refusal(request);
        assert!(error.reason.contains("roster of 1000"), "{error}");
        let clients: u32 = number(&error, "at least ");
        choose(&Request { clients, ..request }).unwrap();
    }

    #[test]
    fn more_bits_than_there_are() {
        let request = Request {
            security_bits: Some(400),
            ..Request::new(100_000, 0.1, 0.1)
        };
        let error = refusal(request);
        let remedy = error
            .remedies
            .iter()
            .find_map(|r| r.strip_suffix(" bits of security"));
        let security_bits = remedy.unwrap().parse().unwrap();
        assert!(security_bits >= 80, "{error}");
        choose(&Request {
            security_bits: Some(security_bits),
            ..request
        })
        .unwrap();
    }

    #[test]
    fn both_fractions_where_neither_alone_helps() {
        let error = refusal(Request::new(100_000, 0.99, 0.99));
        println!("{error}");
        assert!(
            error.to_string().contains("both a corrupt fraction"),
            "{error}"
        );
    }

    #[test]
    fn inputs_that_mean_nothing() {
        let usual = Request::new(100, 0.1, 0.1);
        for (request, names) in [
            (
                Request {
                    corrupt: 1.5,
                    ..usual
                },
                "corrupt fraction is 1.5",
            ),
            (
                Request {
                    corrupt: f64::NAN,
                    ..usual
                },
                "corrupt fraction is NaN",
            ),
            (
                Request {
                    dropout: -0.1,
                    ..usual
                },
                "dropout fraction is -0.1",
            ),
            (
                Request {
                    dropout: 1.0,
                    ..usual
                },
                "below 1",
            ),
            (
                Request {
                    clients: 0,
                    ..usual
                },
                "0 clients",
            ),
            (
                Request {
                    clients: 1,
                    ..usual
                },
                "1 clients",
            ),
            (
                Request {
                    roster: Some(99),
                    ..usual
                },
                "roster of 99",
            ),
            (
                Request {
                    max_clients: Some(99),
                    ..usual
                },
                "up to 99",
            ),
        ] {
            let error = refusal(request);
            assert!(error.reason.contains(names), "{error}");
            assert!(error.remedies.is_empty(), "{error}");
        }
    }
}
