//! The rules that every party recomputes before it takes part; none is taken on trust.
//!
//! Specification: chapter 4, "Roster and round parameters", section 4.5.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use super::hypergeometric::Population;
use super::probability::{partial_sum_log2, two_views_log2, within};
use super::{MAX_NEIGHBOURS, Shape};

/// The numbers of a round that decide whether it is safe against a lying aggregator, as they stand
/// in the round parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Rule {
    /// The fewest clients that a directory may hold.
    pub min_clients: u32,
    /// The most clients that a directory may hold.
    pub max_clients: u32,
    /// Masking neighbours k, 1 to 254.
    pub neighbours: u16,
    /// Shamir threshold t, at least 2.
    pub threshold: u16,
    /// Witnesses m.
    pub witnesses: u16,
    /// Statements `t_w` that a client waits for before it unmasks.
    pub witness_threshold: u16,
    /// The most corrupt clients c among those of a directory.
    pub corrupt: u32,
    /// The fewest clients whose sum may be unmasked.
    pub min_survivors: u32,
}

impl Rule {
    /// The complete graph of at most `clients`, made for `corrupt` of them: the smallest t with
    /// 2t > n + c. Two sets of t clients then share an honest one, who signs one statement and
    /// answers one Unmask.
    ///
    /// The fewest survivors are t and c + 2 at least, since a sum over one honest client is its
    /// input; the fewest clients of a directory are as many. Beyond [`super::MAX_COMPLETE`]
    /// clients the rule that comes out does not pass [`Rule::check`].
    pub fn complete(clients: u32, corrupt: u32) -> Self {
        let narrow = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        let threshold = narrow(clients.saturating_add(corrupt) / 2).saturating_add(1);
        let fewest = u32::from(threshold).max(corrupt.saturating_add(2));
        Self {
            min_clients: fewest,
            max_clients: clients,
            neighbours: narrow(clients.saturating_sub(1)),
            threshold,
            witnesses: narrow(clients),
            witness_threshold: threshold,
            corrupt,
            min_survivors: fewest,
        }
    }

    /// The honest clients that are sure to be in a sum: its fewest survivors less the most that may
    /// be corrupt.
    pub const fn honest_survivors(&self) -> u32 {
        self.min_survivors.saturating_sub(self.corrupt)
    }

    /// The shape of the masking graph: complete if `max_clients` <= k + 1, else the ring.
    pub fn shape(&self) -> Shape {
        if self.max_clients <= u32::from(self.neighbours).saturating_add(1) {
            Shape::Complete
        } else {
            Shape::Ring
        }
    }

    /// How many holders of one dealer's shares can be corrupt: c, and on the ring at most e in the
    /// window on each side, e = t - k/2 - 1.
    pub fn corrupt_holders(&self) -> u32 {
        let per_side = self.threshold.saturating_sub(self.neighbours / 2);
        let around = u32::from(per_side.saturating_sub(1)).saturating_mul(2);
        match self.shape() {
            Shape::Complete => self.corrupt,
            Shape::Ring => self.corrupt.min(around),
        }
    }

    /// Checks every rule. On the ring each of the two that hold by chance may fail with probability
    /// 2^-`security_bits`; on the complete graph nothing is left to chance and the bits are unused.
    ///
    /// Takes well under a millisecond for numbers in use, some twenty for the largest m there is.
    ///
    /// # Errors
    /// Names the rule that is broken and its numbers.
    pub fn check(&self, security_bits: u32) -> Result<(), String> {
        self.check_sizes()?;
        match self.shape() {
            Shape::Complete => self.check_complete(),
            Shape::Ring => self.check_ring(security_bits),
        }
    }

    fn check_sizes(&self) -> Result<(), String> {
        let Self {
            neighbours: k,
            threshold: t,
            witnesses: m,
            witness_threshold: t_w,
            corrupt: c,
            min_survivors,
            min_clients,
            max_clients,
        } = *self;
        holds(min_clients <= max_clients, || {
            format!("min_clients = {min_clients} is above max_clients = {max_clients}")
        })?;
        holds((1..=MAX_NEIGHBOURS).contains(&k), || {
            format!("k = {k} neighbours; 1 to {MAX_NEIGHBOURS} are possible")
        })?;
        holds(t >= 2, || {
            format!("t = {t}; below 2, one holder alone has the secrets")
        })?;
        holds(t_w <= m, || {
            format!("t_w = {t_w} is above the number of witnesses, m = {m}")
        })?;
        let fewest = u32::from(t.max(t_w)).max(c.saturating_add(2));
        holds(min_survivors >= fewest, || {
            format!(
                "min_survivors = {min_survivors}; t = {t}, t_w = {t_w} and c = {c} corrupt clients \
                 need min_survivors >= max(t, t_w, c + 2) = {fewest}"
            )
        })?;
        holds(min_survivors <= min_clients, || {
            format!("min_survivors = {min_survivors} is above min_clients = {min_clients}")
        })
    }

    /// Two sets of more than (n + c) / 2 clients share an honest one: it signs one statement and
    /// answers one Unmask.
    fn check_complete(&self) -> Result<(), String> {
        let (n, c, m) = (self.max_clients, self.corrupt, self.witnesses);
        holds(u32::from(m) >= n, || {
            format!(
                "m = {m} witnesses; on the complete graph all of up to {n} clients are witnesses"
            )
        })?;
        for (name, value) in [("t", self.threshold), ("t_w", self.witness_threshold)] {
            let twice = u64::from(value).saturating_mul(2);
            holds(twice > u64::from(n).saturating_add(u64::from(c)), || {
                format!("{name} = {value}; 2 {name} must be above n + c = {n} + {c}")
            })?;
        }
        Ok(())
    }

    fn check_ring(&self, bits: u32) -> Result<(), String> {
        let (k, t, c, n) = (
            self.neighbours,
            self.threshold,
            self.corrupt,
            self.min_clients,
        );
        let (m, t_w) = (self.witnesses, self.witness_threshold);
        holds(k.is_multiple_of(2), || {
            format!("k = {k} is odd; on the ring half of them stand on either side")
        })?;
        holds(n >= u32::from(k).saturating_add(2), || {
            format!("a ring with k = {k} neighbours needs min_clients >= k + 2; it is {n}")
        })?;
        holds(t <= k, || {
            format!("t = {t} is above the number of holders, k = {k}")
        })?;
        let e = t.checked_sub(k / 2).and_then(|over| over.checked_sub(1));
        let e = e.ok_or_else(|| {
            format!("t = {t}; the half-window rule needs t >= k/2 + 1 with k = {k}")
        })?;
        let failure = self.partial_sum_log2();
        holds(within(failure, bits), || {
            format!(
                "t = {t} with k = {k}: more than t - k/2 - 1 = {e} of {} consecutive places are \
                 corrupt with probability 2^{failure:.1} (c = {c}, {n} to {} clients); the \
                 half-window rule allows 2^-{bits}",
                k / 2,
                self.max_clients
            )
        })?;
        holds(u32::from(m) <= n, || {
            format!("m = {m} witnesses are more than min_clients = {n}")
        })?;
        let c_w = u32::from(t_w)
            .saturating_mul(2)
            .checked_sub(u32::from(m).saturating_add(1));
        let c_w = c_w.ok_or_else(|| format!("t_w = {t_w}; 2 t_w must be above m = {m}"))?;
        let failure = self.two_views_log2();
        holds(within(failure, bits), || {
            format!(
                "t_w = {t_w} of m = {m} witnesses: more than 2 t_w - m - 1 = {c_w} are corrupt with \
                 probability 2^{failure:.1} (c = {c} of {n} clients); 2^-{bits} is allowed"
            )
        })
    }

    /// log2 of the probability that some k/2 consecutive places of the ring hold more than
    /// e = t - k/2 - 1 corrupt clients; by the union bound over all places. Then an aggregator that
    /// chooses who drops could cut the ring and unmask less than the whole sum.
    ///
    /// The smallest directory is the worst for each window, the largest has the most windows.
    pub(super) fn partial_sum_log2(&self) -> f64 {
        let half = u32::from(self.neighbours / 2);
        let window = Population::new(self.min_clients, self.corrupt, half);
        partial_sum_log2(&window, self.max_clients, half, u32::from(self.threshold))
    }

    /// log2 of the probability that more than 2 `t_w` - m - 1 of the m witnesses are corrupt. Then
    /// two statements could both be signed by `t_w` of them.
    pub(super) fn two_views_log2(&self) -> f64 {
        let m = u32::from(self.witnesses);
        let witnesses = Population::new(self.min_clients, self.corrupt, m);
        two_views_log2(&witnesses, m, u32::from(self.witness_threshold))
    }
}

fn holds(rule: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if rule { Ok(()) } else { Err(broken()) }
}

impl Shape {
    /// The shape in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete graph",
            Self::Ring => "ring",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threshold::{corruptions, default_corruptions};
    use proptest::prelude::*;

    fn ring() -> Rule {
        Rule {
            min_clients: 1000,
            max_clients: 1000,
            neighbours: 178,
            threshold: 136,
            witnesses: 600,
            witness_threshold: 390,
            corrupt: 100,
            min_survivors: 800,
        }
    }

    /// Spec.
    #[test]
    fn complete_graphs_hold_and_are_tight() {
        for n in 4..=255 {
            let corrupt = default_corruptions(n.into());
            let rule = Rule::complete(n.into(), corrupt);
            assert!(
                n - u16::try_from(corrupt).unwrap() >= rule.threshold,
                "honest clients reach t"
            );
            rule.check(80).unwrap();
            for (i, broken) in [
                Rule {
                    threshold: rule.threshold - 1,
                    ..rule
                },
                Rule {
                    witness_threshold: rule.witness_threshold - 1,
                    ..rule
                },
                Rule {
                    witnesses: n - 1,
                    ..rule
                },
                Rule {
                    corrupt: rule.corrupt + 2,
                    ..rule
                },
                Rule {
                    min_survivors: rule.min_survivors - 1,
                    ..rule
                },
                Rule {
                    min_clients: rule.min_clients - 1,
                    ..rule
                },
                Rule {
                    max_clients: rule.max_clients + 1,
                    ..rule
                },
            ]
            .iter()
            .enumerate()
            {
                broken.check(80).expect_err(&format!("n = {n}, case {i}"));
            }
        }
    }

    type Change = fn(&mut Rule);

    /// Spec.
    #[test]
    fn every_rule_of_the_ring_is_named() {
        ring().check(80).unwrap();
        let cases: [(Change, &str); 16] = [
            (|r| r.threshold = 135, "half-window"),
            (|r| r.threshold = 89, "t >= k/2 + 1"),
            (|r| r.threshold = 179, "holders"),
            (|r| r.threshold = 1, "below 2"),
            (|r| r.neighbours = 177, "odd"),
            (|r| r.neighbours = 256, "254"),
            (|r| r.neighbours = 0, "neighbours"),
            (|r| r.corrupt = 130, "half-window"),
            (|r| r.max_clients = 200_000, "half-window"),
            (|r| r.max_clients = 999, "above max_clients"),
            (|r| r.witness_threshold = 300, "2 t_w must be above"),
            (
                |r| r.witness_threshold = 340,
                "are corrupt with probability",
            ),
            (
                |r| r.witness_threshold = 601,
                "above the number of witnesses",
            ),
            (|r| r.witnesses = 1001, "more than"),
            (|r| r.min_survivors = 389, "max(t, t_w, c + 2) = 390"),
            (|r| r.min_survivors = 1001, "above min_clients"),
        ];
        for (i, (change, names)) in cases.iter().enumerate() {
            let mut rule = ring();
            change(&mut rule);
            if rule.witnesses == 1001 {
                rule.witness_threshold = 560;
            }
            let error = rule.check(80).expect_err(&format!("case {i}"));
            assert!(error.contains(names), "case {i}: {error}");
        }
    }

    #[test]
    fn corrupt_holders_are_those_of_two_windows() {
        assert_eq!(Rule::complete(10, 3).corrupt_holders(), 3);
        // e = 136 - 89 - 1 = 46 on each side; 92 of the 100 corrupt clients.
        assert_eq!(ring().corrupt_holders(), 92);
        assert_eq!(
            Rule {
                corrupt: 20,
                ..ring()
            }
            .corrupt_holders(),
            20
        );
    }

    /// A ring of five places: nobody corrupt, or anybody.
    /// Spec.
    #[test]
    fn a_small_ring() {
        let rule = Rule {
            min_clients: 6,
            max_clients: 6,
            neighbours: 4,
            threshold: 3,
            witnesses: 6,
            witness_threshold: 4,
            corrupt: 0,
            min_survivors: 4,
        };
        rule.check(80).unwrap();
        // One corrupt client stands in some window of two for certain; e = 1 bears it.
        assert!(Rule { corrupt: 1, ..rule }.check(80).is_err());
        Rule {
            corrupt: 1,
            threshold: 4,
            ..rule
        }
        .check(80)
        .unwrap();
        assert!(
            Rule {
                min_clients: 5,
                ..rule
            }
            .check(80)
            .is_err()
        );
    }

    proptest! {
        #[test]
        fn never_panics(
            sizes in any::<[u32; 4]>(),
            small in any::<[u16; 4]>(),
            bits in any::<u32>(),
        ) {
            let rule = Rule {
                min_clients: sizes[0],
                max_clients: sizes[1],
                neighbours: small[0],
                threshold: small[1],
                witnesses: small[2],
                witness_threshold: small[3],
                corrupt: sizes[2],
                min_survivors: sizes[3],
            };
            let _ = rule.check(bits);
            let _ = (rule.partial_sum_log2(), rule.two_views_log2());
            // Plausible ones get past the first checks.
            let n = sizes[1] % 100_000 + 300;
            let plausible = Rule {
                min_clients: n, max_clients: n, min_survivors: n,
                neighbours: small[0] % 256, threshold: small[1] % 256,
                witnesses: small[2] % 300, witness_threshold: small[3] % 300,
                corrupt: corruptions(0.2, sizes[2] % 100_000),
            };
            let _ = plausible.check(bits % 200);
        }
    }
}
