//! From what a task expects to the numbers of its rounds.
//!
//! Specification: chapter 13, "Choosing parameters".

use super::infeasible::{self, Infeasible};
use super::probability::Failure;
use super::rules::Rule;
use super::search::{self, Case};
use super::{AUTO_COMPLETE, MAX_COMPLETE, Shape, corruptions};

/// Whom the numbers are to withstand, beside the corrupt clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aggregator {
    /// It may say anything to anyone. What rounds are run with.
    #[default]
    Lying,
    /// It follows the protocol and is merely curious. For comparison only: clients refuse such
    /// rounds.
    SemiHonest,
}

/// What a task expects of its rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Request {
    /// Clients n in a round: the fewest that a directory may hold, at least 2.
    pub clients: u32,
    /// The most clients that a directory may hold; `None`: as many as `clients`.
    pub max_clients: Option<u32>,
    /// Members of the roster; `None`: the most clients of a round. The aggregator decides who of
    /// the roster is in a round, so corrupt clients are counted in the roster.
    pub roster: Option<u32>,
    /// The fraction gamma of the roster that may be corrupt, at least 0 and below 1.
    pub corrupt: f64,
    /// The fraction delta of a round's clients that may drop out, at least 0 and below 1; of the
    /// most clients, since a round can have as many.
    pub dropout: f64,
    /// Whom the numbers are to withstand.
    pub aggregator: Aggregator,
    /// The shape of the graph; `None`: complete up to 100 clients, then the ring.
    pub shape: Option<Shape>,
    /// Security: what happens by chance leaks with probability at most 2^-this. `None`: 80 on the
    /// ring, whose permutation a lying aggregator can draw again; 40 elsewhere.
    pub security_bits: Option<u32>,
    /// Correctness: by chance a round fails with probability at most 2^-this.
    pub correctness_bits: u32,
}

impl Request {
    /// A request with everything else as usual: a lying aggregator, a roster of just these
    /// clients, 80 or 40 bits of security, 20 of correctness.
    pub const fn new(clients: u32, corrupt: f64, dropout: f64) -> Self {
        Self {
            clients,
            max_clients: None,
            roster: None,
            corrupt,
            dropout,
            aggregator: Aggregator::Lying,
            shape: None,
            security_bits: None,
            correctness_bits: 20,
        }
    }

    /// The most clients of a directory.
    pub(super) fn most(&self) -> u32 {
        self.max_clients.unwrap_or(self.clients)
    }

    /// The shape, asked for or usual.
    pub(super) fn shape(&self) -> Shape {
        self.shape.unwrap_or(if self.most() <= AUTO_COMPLETE {
            Shape::Complete
        } else {
            Shape::Ring
        })
    }

    /// Whole numbers of clients, from fractions that were checked.
    pub(super) fn case(&self) -> Result<Case, String> {
        for (name, fraction) in [("corrupt", self.corrupt), ("dropout", self.dropout)] {
            if !(0.0..1.0).contains(&fraction) {
                return Err(format!(
                    "the {name} fraction is {fraction}; it must be at least 0 and below 1"
                ));
            }
        }
        let (n, most) = (self.clients, self.most());
        let roster = self.roster.unwrap_or(most);
        if n < 2 {
            return Err(format!("{n} clients; a sum hides nothing below 2 of them"));
        }
        if n > most || most > roster {
            return Err(format!(
                "{n} clients of up to {most} in a round of a roster of {roster}; the roster must \
                 hold the most, and the most the fewest"
            ));
        }
        let shape = self.shape();
        let usual = match (shape, self.aggregator) {
            (Shape::Ring, Aggregator::Lying) => 80,
            _ => 40,
        };
        Ok(Case {
            shape,
            aggregator: self.aggregator,
            clients: n,
            max_clients: most,
            roster,
            corrupt: corruptions(self.corrupt, roster),
            // Of the most clients, out of the fewest: the worst of all directories between them.
            dropped: corruptions(self.dropout, most).min(n),
            security_bits: self.security_bits.unwrap_or(usual),
            correctness_bits: self.correctness_bits,
        })
    }
}

/// Who signs the consistency check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witnesses {
    /// Witnesses m.
    pub count: u16,
    /// Statements `t_w` that a client waits for.
    pub threshold: u16,
}

/// The numbers of a round, and what they guarantee.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// What was asked for, in whole clients.
    pub case: Case,
    /// Masking neighbours k.
    pub neighbours: u16,
    /// Shamir threshold t.
    pub threshold: u16,
    /// The witnesses; `None` against a semi-honest aggregator, who shows everyone the same.
    pub witnesses: Option<Witnesses>,
    /// The fewest survivors whose sum may be unmasked.
    pub min_survivors: u32,
    /// What can go wrong, and how likely.
    pub failures: Vec<Failure>,
}

impl Choice {
    /// The numbers as parties check them; `None` against a semi-honest aggregator, since clients
    /// refuse such rounds.
    pub fn rule(&self) -> Option<Rule> {
        let witnesses = self.witnesses?;
        Some(Rule {
            min_clients: self.case.clients,
            max_clients: self.case.max_clients,
            neighbours: self.neighbours,
            threshold: self.threshold,
            witnesses: witnesses.count,
            witness_threshold: witnesses.threshold,
            corrupt: self.case.corrupt,
            min_survivors: self.min_survivors,
        })
    }
}

/// The smallest numbers that do: fewest neighbours first, then the lowest threshold, then the
/// fewest witnesses.
///
/// On the complete graph nothing is left to chance, so there is nothing to choose: k = n - 1, the
/// smallest t with 2t > n + c, everyone a witness, `t_w` = t. On the ring, against a lying
/// aggregator:
/// - k is the smallest even number for which the smallest t of the half-window rule leaves enough
///   shares: `n P[Hyp(n, c, k/2) > e] <= 2^-security` with e = t - k/2 - 1, and
///   `n P[Hyp(n, dropped, k) > k - t] <= 2^-correctness`.
/// - m is the smallest multiple of 8 from 16 up (or n itself) for which the smallest `t_w` with
///   `P[Hyp(n, c, m) > 2 t_w - m - 1] <= 2^-security` leaves enough honest witnesses:
///   `P[Hyp(n, c + dropped, m) > m - t_w] <= 2^-correctness`.
///
/// Against a semi-honest one (Bell et al., CCS 2020, section 3): the smallest even k with a t for
/// which each of two leaks has half the probability, 2^-(security + 1): some client has t corrupt
/// neighbours; the honest survivors' graph falls apart.
///
/// # Errors
/// [`Infeasible`] says what does not fit and which one input to change.
pub fn choose(request: &Request) -> Result<Choice, Infeasible> {
    let case = request.case().map_err(Infeasible::input)?;
    search::search(&case).map_err(|reason| infeasible::explain(request, reason))
}

/// Whether a complete graph can hold this many clients.
pub(super) const fn fits_complete(clients: u32) -> bool {
    clients <= MAX_COMPLETE
}
