//! One round as sets of places: who was shown what, who therefore reveals which shares, and which
//! sums the aggregator can then compute. No cryptography: a secret is known or not.
//!
//! What the aggregator holds of an honest client u is
//! `y_u = x_u + B_u + sum of the +-M_uv of the neighbours v in the sharers that u was shown`.
//! A mask that it does not know is uniform over `Z_2^b` and independent of all else, so a linear
//! combination `sum of a_u y_u` says something about the inputs only if all unknown masks vanish
//! from it: `a_u = 0` where `B_u` is unknown, or where u alone added an unknown `M_uv`, and
//! `a_u = a_v` where both added an unknown `M_uv`. The solutions are exactly the combinations of the
//! indicators of the components (by the unknown masks that both ends added) without a forced zero.
//! So those components are the sums learned, and there is nothing else to learn.

/// A set of places, bit p for place p; at most 31 places.
pub(crate) type Set = u32;

/// Who stands next to whom.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    /// The neighbours of each place: the holders of its shares.
    pub neighbours: Vec<Set>,
    /// Whether a client also holds a share of its own secrets.
    pub own_share: bool,
}

impl Graph {
    /// n places in a circle, each with the k / 2 nearest on either side.
    pub(crate) fn ring(n: usize, k: usize, own_share: bool) -> Self {
        let reach = |p: usize| (1..=k / 2).flat_map(move |j| [(p + j) % n, (p + n - j) % n]);
        let neighbours = (0..n)
            .map(|p| reach(p).fold(0, |set, v| set | 1 << v))
            .collect();
        Self {
            neighbours,
            own_share,
        }
    }

    /// n places, all neighbours of each other, each the holder of a share of its own secrets.
    pub(crate) fn complete(n: usize) -> Self {
        let all = (1 << n) - 1;
        Self {
            neighbours: (0..n).map(|p| all & !(1 << p)).collect(),
            own_share: true,
        }
    }

    pub(crate) fn holders(&self, place: usize) -> Set {
        self.neighbours[place] | if self.own_share { 1 << place } else { 0 }
    }
}

/// Whose statements a client waits for before it reveals, and how many must equal its own view.
/// Corrupt clients sign every view.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Acceptance {
    /// One set of witnesses for all.
    Witnesses { witnesses: Set, threshold: u32 },
    /// The client's own neighbours, as in `SecAgg+`.
    Neighbours { threshold: u32 },
}

/// What the aggregator shows one honest client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct View {
    /// Who shared keys (U2); `None` if the client is never asked for its masked input.
    pub sharers: Option<Set>,
    /// Who sent a masked input (U3); `None` if it never hears of that.
    pub survivors: Option<Set>,
}

/// One course of a round.
#[derive(Clone, Debug)]
pub(crate) struct Play {
    pub graph: Graph,
    /// t: shares that recover a secret.
    pub threshold: u32,
    /// The fewest sharers among its holders with which a client sends its masked input, and the
    /// fewest survivors among them with which it goes on: t by the rules.
    pub min_holders: u32,
    /// The fewest sharers and survivors that a client accepts.
    pub min_survivors: u32,
    pub corrupt: Set,
    pub acceptance: Acceptance,
    /// What each place is shown; read for honest places only.
    pub views: Vec<View>,
    /// Clients whose mask secret was revealed in another directory of the round.
    pub revealed_elsewhere: Set,
    /// Who really shared keys under this directory, if clients check their neighbours' headers.
    pub headers: Option<Set>,
}

/// What the aggregator and the corrupt clients know in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Learned {
    /// Each set of honest clients whose inputs' sum is learned, and no finer one.
    pub sums: Vec<Set>,
    /// Honest clients both of whose secrets are known.
    pub exposed: Set,
    /// Honest clients whose mask secret is known.
    pub mask_secrets: Set,
    /// Honest clients that revealed shares.
    pub revealing: Set,
}

pub(crate) fn has(set: Set, place: usize) -> bool {
    set >> place & 1 == 1
}

impl Play {
    fn places(&self) -> std::ops::Range<usize> {
        0..self.graph.neighbours.len()
    }

    pub(crate) fn honest(&self) -> Set {
        ((1 << self.graph.neighbours.len()) - 1) & !self.corrupt
    }

    fn acceptable(&self, place: usize, set: Set) -> bool {
        has(set, place)
            && (self.graph.holders(place) & set).count_ones() >= self.min_holders
            && set.count_ones() >= self.min_survivors
    }

    /// The sharers that an honest client made its masked input for.
    fn masked_for(&self, place: usize) -> Option<Set> {
        let unfounded = |sharers: Set| {
            self.headers.is_some_and(|dealt| {
                self.graph.neighbours[place] & sharers & !self.corrupt & !dealt != 0
            })
        };
        self.views[place]
            .sharers
            .filter(|&set| self.acceptable(place, set) && !unfounded(set))
    }

    /// The view that an honest client signs.
    fn signed(&self, place: usize) -> Option<(Set, Set)> {
        let sharers = self.masked_for(place)?;
        let survivors = self.views[place].survivors?;
        (survivors & !sharers == 0 && self.acceptable(place, survivors))
            .then_some((sharers, survivors))
    }

    fn reveals(&self, place: usize, signed: &[Option<(Set, Set)>]) -> bool {
        let (asked, threshold) = match self.acceptance {
            Acceptance::Witnesses {
                witnesses,
                threshold,
            } => (witnesses, threshold),
            Acceptance::Neighbours { threshold } => (self.graph.neighbours[place], threshold),
        };
        let agreeing = self
            .places()
            .filter(|&v| has(asked, v) && (has(self.corrupt, v) || signed[v] == signed[place]));
        signed[place].is_some() && agreeing.count() as u32 >= threshold
    }

    /// Plays the round to its end.
    pub(crate) fn learn(&self) -> Learned {
        let honest = self.honest();
        let of_honest = |p: usize| has(honest, p);
        let signed: Vec<_> = self
            .places()
            .map(|p| if of_honest(p) { self.signed(p) } else { None })
            .collect();
        let revealing = self
            .places()
            .filter(|&p| of_honest(p) && self.reveals(p, &signed))
            .fold(0, |set, p| set | 1 << p);
        let (mut self_masks, mut mask_secrets) = (0, self.revealed_elsewhere & honest);
        for dealer in self.places().filter(|&p| of_honest(p)) {
            let holders = self.graph.holders(dealer);
            let owned = (holders & self.corrupt).count_ones();
            let (mut of_self_mask, mut of_mask_secret) = (owned, owned);
            for holder in self.places().filter(|&p| has(holders & revealing, p)) {
                let Some((sharers, survivors)) = signed[holder] else {
                    continue;
                };
                of_self_mask += u32::from(has(survivors, dealer));
                of_mask_secret += u32::from(has(sharers & !survivors, dealer));
            }
            self_masks |= Set::from(of_self_mask >= self.threshold) << dealer;
            mask_secrets |= Set::from(of_mask_secret >= self.threshold) << dealer;
        }
        Learned {
            sums: self.sums(self_masks, mask_secrets),
            exposed: self_masks & mask_secrets,
            mask_secrets,
            revealing,
        }
    }

    /// The components without a forced zero (see the head of this file).
    fn sums(&self, self_masks: Set, mask_secrets: Set) -> Vec<Set> {
        let n = self.graph.neighbours.len();
        let honest = self.honest();
        let mut sent = 0;
        let mut tied = vec![0; n];
        let mut barred = honest & !self_masks;
        let mut added = vec![0; n];
        for u in (0..n).filter(|&u| has(honest, u)) {
            if let Some(sharers) = self.masked_for(u) {
                sent |= 1 << u;
                added[u] = self.graph.neighbours[u] & sharers & honest & !mask_secrets;
                if has(mask_secrets, u) {
                    added[u] = 0;
                }
            }
        }
        barred |= honest & !sent;
        for u in (0..n).filter(|&u| has(sent, u)) {
            for v in (0..n).filter(|&v| has(added[u], v)) {
                if has(added[v], u) {
                    tied[u] |= 1 << v;
                } else {
                    barred |= 1 << u;
                }
            }
        }
        let mut sums = Vec::new();
        let mut left = honest;
        while left != 0 {
            let mut component: Set = left & left.wrapping_neg();
            loop {
                let grown = (0..n)
                    .filter(|&u| has(component, u))
                    .fold(component, |set, u| set | tied[u]);
                if grown == component {
                    break;
                }
                component = grown;
            }
            left &= !component;
            if component & barred == 0 {
                sums.push(component);
            }
        }
        sums
    }

    /// SECURE, for rounds in which clients can accept only the view (`sharers`, `survivors`): no
    /// client has both its secrets known, and what is learned is nothing, or one sum, in which every
    /// honest survivor of that view takes part. (Several sums, or one that lacks a survivor, would be
    /// below what `min_survivors` promises. Inputs of clients outside the view cannot be learned.)
    pub(crate) fn secure(&self, survivors: Set) -> bool {
        let learned = self.learn();
        learned.exposed == 0
            && learned
                .sums
                .iter()
                .all(|sum| survivors & self.honest() & !sum == 0)
    }
}
