//! Which numbers make a round safe: neighbours k, threshold t, witnesses m and `t_w`, and the
//! fewest survivors.
//!
//! | idea | module |
//! |---|---|
//! | what every party recomputes | [`Rule::check`] |
//! | the smallest numbers that do | [`choose`] |
//! | why there are none, and what to change | [`Infeasible`] |
//! | what can go wrong, how likely | [`Failure`] |
//! | what a round costs | [`Choice::cost`] |
//! | the one distribution behind it all | [`hypergeometric`] |
//!
//! On the complete graph nothing is left to chance: the rules hold whoever the c corrupt clients
//! are. The ring is laid out by a permutation that a lying aggregator can draw again and again, so
//! its rules hold but for a probability of 2^-80.
//!
//! Specification: chapter 13, "Choosing parameters".

pub mod hypergeometric;

mod choose;
#[expect(
    clippy::arithmetic_side_effects,
    reason = "of planned rounds, never of what a peer sent"
)]
mod cost;
mod infeasible;
mod probability;
#[cfg(test)]
mod reference;
mod rules;
#[expect(
    clippy::arithmetic_side_effects,
    reason = "of planned rounds, never of what a peer sent"
)]
mod search;

pub use choose::{Aggregator, Choice, Request, Witnesses, choose};
pub use cost::{Cost, Load};
pub use infeasible::Infeasible;
pub use probability::{Event, Failure};
pub use rules::Rule;

/// The most clients that a complete graph can have: Shamir over GF(256) has 255 places.
pub const MAX_COMPLETE: u32 = 255;

/// The most neighbours that a client can have: one fewer than [`MAX_COMPLETE`].
pub const MAX_NEIGHBOURS: u16 = 254;

/// The most clients for which the complete graph is taken where nobody asks for a shape.
pub const AUTO_COMPLETE: u32 = 100;

/// The shape of the masking graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Everyone is everyone's neighbour.
    Complete,
    /// A permuted ring: each client's neighbours are the k/2 places on either side.
    Ring,
}

/// The most corrupt clients among `members` if at most this fraction of them is: floor(gamma N),
/// with 1e-9 on top so that 0.1 of 1000 is 100 however 0.1 is rounded.
///
/// Never more than `members`. A fraction that is not a number counts as 1: whoever cannot say
/// what to assume must not end up assuming nothing.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the members"
)]
pub fn corruptions(fraction: f64, members: u32) -> u32 {
    if fraction.is_nan() {
        return members;
    }
    let most = f64::from(members);
    (fraction * most + 1e-9).clamp(0.0, most) as u32
}

/// The most corrupt clients that a party assumes among the `members` of a roster if nothing else
/// is set: floor((N - 1) / 3) of at most 255 members, for whom the complete graph is always
/// possible, else floor(N / 10).
///
/// It follows from the roster, which the task authority signs, and not from the shape of the
/// graph, which the aggregator chooses.
pub const fn default_corruptions(members: u32) -> u32 {
    if members <= MAX_COMPLETE {
        members.saturating_sub(1) / 3
    } else {
        members / 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_become_whole_clients() {
        for (fraction, members, expected) in [
            (0.1, 1000, 100),
            (0.3, 10, 3),
            (0.29, 100, 29),
            (0.05, 39, 1),
            (0.0, 5, 0),
            (-1.0, 5, 0),
            (7.0, 5, 5),
            (1.0, u32::MAX, u32::MAX),
            (f64::INFINITY, 5, 5),
            (f64::NAN, 5, 5),
        ] {
            assert_eq!(corruptions(fraction, members), expected, "{fraction}");
        }
    }

    #[test]
    fn defaults() {
        for (n, expected) in [(0, 0), (1, 0), (4, 1), (100, 33), (255, 84), (256, 25)] {
            assert_eq!(default_corruptions(n), expected);
        }
    }

    #[test]
    fn reference_values() {
        for (n, t) in [(10, 7), (50, 34), (100, 67), (255, 170)] {
            let corrupt = default_corruptions(n);
            assert_eq!(Rule::complete(n, corrupt).threshold, t, "n = {n}");
        }
    }
}
