//! The search for the smallest numbers, over exact tails.
//!
//! Specification: chapter 13, "Choosing parameters".

use super::choose::{Aggregator, Choice, Witnesses, fits_complete};
use super::hypergeometric::Population;
use super::probability::{
    Event, Failure, corrupt_neighbours_log2, disconnected_log2, partial_sum_log2,
    too_few_shares_log2, too_few_witnesses_log2, two_views_log2, within,
};
use super::{MAX_COMPLETE, MAX_NEIGHBOURS, Shape};

/// The most witnesses that are searched for: each client fetches and verifies a statement of each.
const MAX_WITNESSES: u32 = 4096;

/// A request in whole clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// The shape of the graph.
    pub shape: Shape,
    /// Whom the numbers are to withstand.
    pub aggregator: Aggregator,
    /// The fewest clients n of a directory.
    pub clients: u32,
    /// The most clients of a directory.
    pub max_clients: u32,
    /// Members of the roster.
    pub roster: u32,
    /// Corrupt clients c.
    pub corrupt: u32,
    /// Clients that drop out of n.
    pub dropped: u32,
    /// Security in bits.
    pub security_bits: u32,
    /// Correctness in bits.
    pub correctness_bits: u32,
}

impl Case {
    /// Clients that are left when all that may drop out have.
    pub const fn survivors(&self) -> u32 {
        self.clients.saturating_sub(self.dropped)
    }

    /// Honest clients that are left at the worst; none if corrupt and dropped ones can be all.
    fn absent(&self) -> u32 {
        self.corrupt.saturating_add(self.dropped).min(self.clients)
    }

    /// Finishes a choice: `min_survivors`, and whether as many are left.
    fn finish(
        &self,
        (neighbours, threshold): (u32, u32),
        witnesses: Option<(u32, u32)>,
        failures: Vec<Failure>,
    ) -> Result<Choice, String> {
        let t_w = witnesses.map_or(0, |(_, t_w)| t_w);
        let min_survivors = threshold.max(t_w).max(self.corrupt.saturating_add(2));
        if self.survivors() < min_survivors {
            return Err(format!(
                "of {} clients {} are left when {} drop out, and the sum must be over at least \
                 max(t, t_w, c + 2) = {min_survivors}, with c = {} corrupt in a roster of {}",
                self.clients,
                self.survivors(),
                self.dropped,
                self.corrupt,
                self.roster
            ));
        }
        Ok(Choice {
            case: *self,
            neighbours: narrow(neighbours),
            threshold: narrow(threshold),
            witnesses: witnesses.map(|(count, threshold)| Witnesses {
                count: narrow(count),
                threshold: narrow(threshold),
            }),
            min_survivors,
            failures,
        })
    }
}

/// Every number that comes here is at most [`MAX_WITNESSES`].
fn narrow(value: u32) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

/// Finds the smallest numbers, or says in a sentence what does not fit.
pub(super) fn search(case: &Case) -> Result<Choice, String> {
    match (case.shape, case.aggregator) {
        (Shape::Complete, _) if !fits_complete(case.max_clients) => Err(format!(
            "{} clients; a complete graph has at most {MAX_COMPLETE}",
            case.max_clients
        )),
        (Shape::Complete, Aggregator::Lying) => complete_lying(case),
        (Shape::Complete, Aggregator::SemiHonest) => complete_semi_honest(case),
        (Shape::Ring, Aggregator::Lying) => ring_lying(case),
        (Shape::Ring, Aggregator::SemiHonest) => ring_semi_honest(case),
    }
}

fn complete_lying(case: &Case) -> Result<Choice, String> {
    let (n, c) = (case.max_clients, case.corrupt);
    let t = n.saturating_add(c) / 2 + 1;
    let honest = case.clients.saturating_sub(c);
    if honest < t {
        return Err(format!(
            "2t > n + c with n = {n} and c = {c} corrupt in a roster of {} needs t = {t}, and only \
             {honest} honest clients are sure",
            case.roster
        ));
    }
    let never = |event, bits| Failure::new(event, f64::NEG_INFINITY, bits);
    case.finish(
        (n.saturating_sub(1), t),
        Some((n, t)),
        vec![
            never(Event::PartialSum, case.security_bits),
            never(Event::TwoViews, case.security_bits),
            never(Event::CorruptNeighbours, case.security_bits),
            never(Event::TooFewShares, case.correctness_bits),
            never(Event::TooFewWitnesses, case.correctness_bits),
        ],
    )
}

fn complete_semi_honest(case: &Case) -> Result<Choice, String> {
    let t = case.corrupt.saturating_add(1).max(2);
    let never = |event, bits| Failure::new(event, f64::NEG_INFINITY, bits);
    case.finish(
        (case.max_clients.saturating_sub(1), t),
        None,
        vec![
            never(Event::CorruptNeighbours, case.security_bits),
            never(Event::Disconnected, case.security_bits),
            never(Event::TooFewShares, case.correctness_bits),
        ],
    )
}

/// The most neighbours that a ring of the fewest clients has room for, in pairs.
fn degrees(case: &Case) -> impl Iterator<Item = u32> + use<> {
    let most = case.clients.saturating_sub(2).min(MAX_NEIGHBOURS.into());
    (2..=most).step_by(2)
}

fn no_degree(case: &Case, rule: &str) -> String {
    let most = degrees(case).last().unwrap_or(0);
    format!(
        "no k up to {most} satisfies both {rule} (2^-{}) and enough shares (2^-{}), with n = {}, \
         c = {} corrupt in a roster of {} and {} dropping out",
        case.security_bits,
        case.correctness_bits,
        case.clients,
        case.corrupt,
        case.roster,
        case.dropped
    )
}

fn ring_lying(case: &Case) -> Result<Choice, String> {
    let (n, places) = (case.clients, case.max_clients);
    let corrupt = Population::new(n, case.corrupt, u32::from(MAX_NEIGHBOURS) / 2);
    let lost = Population::new(n, case.dropped, MAX_NEIGHBOURS.into());
    // A wider window never holds fewer corrupt clients, so e never falls.
    let mut e = 0_u32;
    for k in degrees(case) {
        let half = k / 2;
        let threshold = |e: u32| half.saturating_add(e).saturating_add(1);
        while !within(
            partial_sum_log2(&corrupt, places, half, threshold(e)),
            case.security_bits,
        ) {
            e = e.saturating_add(1);
        }
        let t = threshold(e);
        if t > k {
            continue;
        }
        let shares = Failure::new(
            Event::TooFewShares,
            too_few_shares_log2(&lost, places, k, t),
            case.correctness_bits,
        );
        if shares.is_within() {
            let (witnesses, [views, few]) = witnesses(case)?;
            let cut = partial_sum_log2(&corrupt, places, half, t);
            let cut = Failure::new(Event::PartialSum, cut, case.security_bits);
            return case.finish((k, t), Some(witnesses), vec![cut, views, shares, few]);
        }
    }
    Err(no_degree(case, "the half-window rule"))
}

/// The fewest witnesses and their threshold, with what can go wrong with them.
fn witnesses(case: &Case) -> Result<((u32, u32), [Failure; 2]), String> {
    let n = case.clients;
    let most = n.min(MAX_WITNESSES);
    let corrupt = Population::new(n, case.corrupt, most);
    let absent = Population::new(n, case.absent(), most);
    let everyone = (n <= MAX_WITNESSES && !n.is_multiple_of(8)).then_some(n);
    // More witnesses never hold fewer corrupt ones.
    let mut corrupt_witnesses = 0_u32;
    for m in (16..=most).step_by(8).chain(everyone) {
        while !within(corrupt.log2_tail(m, corrupt_witnesses), case.security_bits) {
            corrupt_witnesses = corrupt_witnesses.saturating_add(1);
        }
        let t_w = m.saturating_add(corrupt_witnesses) / 2 + 1;
        if t_w > m {
            continue;
        }
        let few = too_few_witnesses_log2(&absent, m, t_w);
        let few = Failure::new(Event::TooFewWitnesses, few, case.correctness_bits);
        if few.is_within() {
            let views = two_views_log2(&corrupt, m, t_w);
            let views = Failure::new(Event::TwoViews, views, case.security_bits);
            return Ok(((m, t_w), [views, few]));
        }
    }
    Err(format!(
        "no number of witnesses up to {most} leaves enough honest ones (2^-{}) beside a majority \
         of them (2^-{}), with n = {n}, c = {} corrupt in a roster of {} and {} dropping out",
        case.correctness_bits, case.security_bits, case.corrupt, case.roster, case.dropped
    ))
}

fn ring_semi_honest(case: &Case) -> Result<Choice, String> {
    let (n, places) = (case.clients, case.max_clients);
    let most = u32::from(MAX_NEIGHBOURS);
    let others = Population::new(n.saturating_sub(1), case.corrupt, most);
    let lost = Population::new(n, case.dropped, most);
    let absent = Population::new(n, case.absent(), most);
    let half_each = case.security_bits.saturating_add(1);
    let mut t = 2_u32;
    for k in degrees(case) {
        let leak = |t| corrupt_neighbours_log2(&others, places, k, t);
        while !within(leak(t), half_each) {
            t = t.saturating_add(1);
        }
        if t > k {
            continue;
        }
        let failures = vec![
            Failure::new(Event::CorruptNeighbours, leak(t), half_each),
            Failure::new(
                Event::Disconnected,
                disconnected_log2(&absent, places, k),
                half_each,
            ),
            Failure::new(
                Event::TooFewShares,
                too_few_shares_log2(&lost, places, k, t),
                case.correctness_bits,
            ),
        ];
        if failures.iter().all(Failure::is_within) {
            return case.finish((k, t), None, failures);
        }
    }
    Err(no_degree(case, "both rules of security"))
}
