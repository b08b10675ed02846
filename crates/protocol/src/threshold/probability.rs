//! What can go wrong in a round, and how likely it is.
//!
//! Specification: chapter 13, "Choosing parameters".

use libm::log2;

use super::hypergeometric::Population;

/// Something that may go wrong by the luck of the permutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A lying aggregator cuts the graph and unmasks a part of the sum.
    PartialSum,
    /// A lying aggregator gets two views of the survivors accepted.
    TwoViews,
    /// The corrupt neighbours of some client hold enough shares to recover both its secrets.
    CorruptNeighbours,
    /// The graph of the honest survivors falls apart, so that the parts' sums show.
    Disconnected,
    /// Too few neighbours of some client are left to recover its secret: the round fails.
    TooFewShares,
    /// Too few honest witnesses are left to sign: the round fails.
    TooFewWitnesses,
}

impl Event {
    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PartialSum => "partial_sum",
            Self::TwoViews => "two_views",
            Self::CorruptNeighbours => "corrupt_neighbours",
            Self::Disconnected => "disconnected",
            Self::TooFewShares => "too_few_shares",
            Self::TooFewWitnesses => "too_few_witnesses",
        }
    }

    /// What happens then, in words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::PartialSum => "an aggregator that chooses who drops unmasks a part of the sum",
            Self::TwoViews => "two different sets of survivors are both signed by enough witnesses",
            Self::CorruptNeighbours => "the corrupt neighbours of one client recover its secrets",
            Self::Disconnected => "the honest survivors' graph falls apart, partial sums show",
            Self::TooFewShares => "too many neighbours of one client drop out, the round fails",
            Self::TooFewWitnesses => "too few honest witnesses are left to sign, the round fails",
        }
    }

    /// Whether inputs are at stake (security), or only the round (correctness).
    pub const fn is_leak(self) -> bool {
        !matches!(self, Self::TooFewShares | Self::TooFewWitnesses)
    }
}

/// An event with the probability that it happens in a round, and the bound that it was kept to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Failure {
    /// What happens.
    pub event: Event,
    /// log2 of an upper bound on its probability; `None`: it cannot happen.
    pub log2: Option<f64>,
    /// The probability is at most 2^-this.
    pub bits: u32,
}

impl Failure {
    pub(super) fn new(event: Event, log2: f64, bits: u32) -> Self {
        let log2 = (log2 > f64::NEG_INFINITY).then_some(log2);
        Self { event, log2, bits }
    }

    pub(super) fn is_within(&self) -> bool {
        self.log2.is_none_or(|log2| within(log2, self.bits))
    }
}

/// log2 of the probability that some `half` = k/2 consecutive places of the ring hold more than
/// t - k/2 - 1 corrupt clients, t = `threshold`; `window` is n with the corrupt marked.
pub(super) fn partial_sum_log2(window: &Population, places: u32, half: u32, threshold: u32) -> f64 {
    let edge = threshold.saturating_sub(half).saturating_sub(1);
    union(places, window.log2_tail(half, edge))
}

/// log2 of the probability that more than 2 `threshold` - `witnesses` - 1 witnesses are corrupt;
/// `population` is n with the corrupt marked.
pub(super) fn two_views_log2(population: &Population, witnesses: u32, threshold: u32) -> f64 {
    let tolerated = threshold.saturating_mul(2).saturating_sub(witnesses);
    population.log2_tail(witnesses, tolerated.saturating_sub(1))
}

/// The union bound over `events` events of the same probability, in log2; at most certain.
pub(super) fn union(events: u32, each: f64) -> f64 {
    if each.is_infinite() {
        return each;
    }
    (log2(f64::from(events)) + each).min(0.0)
}

/// Whether a probability is at most 2^-`bits`.
pub(super) fn within(log2: f64, bits: u32) -> bool {
    log2 <= -f64::from(bits)
}

/// log2 of the probability that some client loses more than k - t of its k neighbours. On the ring
/// the k places beside any place hold hypergeometrically many dropped clients, `lost` among n.
pub(super) fn too_few_shares_log2(lost: &Population, places: u32, k: u32, threshold: u32) -> f64 {
    union(places, lost.log2_tail(k, k.saturating_sub(threshold)))
}

/// log2 of the probability that fewer than `threshold` of the witnesses are neither corrupt nor
/// dropped, `absent` being both together.
pub(super) fn too_few_witnesses_log2(absent: &Population, witnesses: u32, threshold: u32) -> f64 {
    absent.log2_tail(witnesses, witnesses.saturating_sub(threshold))
}

/// log2 of the probability that some client has t or more corrupt neighbours. `others` are the
/// n - 1 clients beside an honest one, with all c corrupt clients among them.
pub(super) fn corrupt_neighbours_log2(others: &Population, n: u32, k: u32, threshold: u32) -> f64 {
    union(n, others.log2_tail(k, threshold.saturating_sub(1)))
}

/// log2 of an upper bound on the probability that the graph of the honest survivors is not
/// connected, `absent` being the corrupt and the dropped clients of the ring of n places.
///
/// Go round the ring from one honest survivor to the next. Two that follow each other are
/// neighbours unless k/2 or more absent clients stand between them. If that happens in at most one
/// gap, the survivors form one path and the graph is connected. So if it is not, there are two
/// disjoint runs of k/2 absent clients. There are fewer than n (n - 1) / 2 pairs of places where
/// they can begin, and the k places of one pair are all absent with probability
/// P[Hyp(n, absent, k) = k].
pub(super) fn disconnected_log2(absent: &Population, n: u32, k: u32) -> f64 {
    let pairs = log2(f64::from(n)) + log2(f64::from(n) - 1.0) - 1.0;
    (pairs + absent.log2_tail(k, k.saturating_sub(1))).min(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the ring of n places on which `absent` (a bit set) are missing is connected, by
    /// search.
    fn connected(n: u32, half: u32, absent: u32) -> bool {
        let present = |place: u32| absent >> place & 1 == 0;
        let Some(start) = (0..n).find(|place| present(*place)) else {
            return true;
        };
        let (mut seen, mut queue) = (1_u32 << start, vec![start]);
        while let Some(place) = queue.pop() {
            for step in (1..=half).flat_map(|j| [j, n - j]) {
                let next = (place + step) % n;
                if present(next) && seen >> next & 1 == 0 {
                    seen |= 1 << next;
                    queue.push(next);
                }
            }
        }
        seen.count_ones() + absent.count_ones() == n
    }

    #[test]
    fn the_bound_on_a_split_holds_on_every_small_ring() {
        let mut splits = 0;
        for n in 4..=14_u32 {
            for k in (2..=n - 2).step_by(2) {
                let mut counted = vec![(0_u32, 0_u32); n as usize + 1];
                for absent in 0..1_u32 << n {
                    let entry = &mut counted[absent.count_ones() as usize];
                    entry.0 += u32::from(!connected(n, k / 2, absent));
                    entry.1 += 1;
                }
                for (missing, (split, all)) in (0..).zip(counted) {
                    let population = Population::new(n, missing, k);
                    let bound = libm::exp2(disconnected_log2(&population, n, k));
                    let exact = f64::from(split) / f64::from(all);
                    assert!(
                        exact <= bound + 1e-12,
                        "n = {n}, k = {k}, {missing} missing"
                    );
                    splits += split;
                }
            }
        }
        assert!(splits > 1000, "{splits} splits were tried");
    }
}
