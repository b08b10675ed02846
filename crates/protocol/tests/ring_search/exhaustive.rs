//! Small rings with one accepted view, without any of the short cuts of `letters`: every set of
//! corrupt places, every sharers, every survivors, and for every honest client every set of sharers
//! that it could be shown. Only turned and mirrored copies are left out.

use super::model::{Acceptance, Graph, Play, Set, View, has};

/// The 2 n ways to lay a ring on itself, as maps of sets.
pub(crate) struct Symmetries(Vec<Vec<Set>>);

impl Symmetries {
    pub(crate) fn of_ring(n: usize) -> Self {
        let image = |turn: usize, mirrored: bool, set: Set| {
            (0..n).filter(|&p| has(set, p)).fold(0, |image: Set, p| {
                let p = if mirrored { n - 1 - p } else { p };
                image | 1 << ((p + turn) % n)
            })
        };
        let map = |turn, mirrored| (0..1 << n).map(|set| image(turn, mirrored, set)).collect();
        Self(
            (0..n)
                .flat_map(|turn| [map(turn, false), map(turn, true)])
                .collect(),
        )
    }

    /// Whether no copy of these sets comes before them.
    pub(crate) fn first(&self, sets: [Set; 3]) -> bool {
        self.0
            .iter()
            .all(|map| sets <= sets.map(|set| map[set as usize]))
    }
}

/// Every round on one ring with threshold t.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub n: usize,
    pub k: usize,
    pub t: usize,
    pub own_share: bool,
    /// Whether clients outside the survivors are shown sharers too.
    pub outsiders: bool,
}

impl Case {
    /// Tries all rounds with these corrupt places, until a partial sum or an exposed client is found.
    /// Returns whether one was, and the rounds played.
    pub(crate) fn insecure(&self, symmetries: &Symmetries, corrupt: Set) -> (bool, u64) {
        let all: Set = (1 << self.n) - 1;
        let mut played = 0;
        let mut play = Play {
            graph: Graph::ring(self.n, self.k, self.own_share),
            threshold: self.t as u32,
            min_holders: self.t as u32,
            min_survivors: 0,
            corrupt,
            acceptance: Acceptance::Witnesses {
                witnesses: 0,
                threshold: 0,
            },
            views: vec![View::default(); self.n],
            revealed_elsewhere: 0,
            headers: None,
        };
        for sharers in 0..=all {
            for survivors in (0..=sharers).filter(|s| s & !sharers == 0) {
                if !symmetries.first([corrupt, sharers, survivors]) {
                    continue;
                }
                let told = View {
                    sharers: Some(sharers),
                    survivors: Some(survivors),
                };
                if self.choose(&mut play, 0, told, &mut played) {
                    return (true, played);
                }
            }
        }
        (false, played)
    }

    /// Chooses what the places from `place` on are shown.
    fn choose(&self, play: &mut Play, place: usize, told: View, played: &mut u64) -> bool {
        let survivors = told.survivors.unwrap_or(0);
        if place == self.n {
            *played += 1;
            return !play.secure(survivors);
        }
        play.views[place] = View::default();
        if self.choose(play, place + 1, told, played) {
            return true;
        }
        if has(play.corrupt, place) || !(self.outsiders || has(survivors, place)) {
            return false;
        }
        let neighbours = play.graph.neighbours[place];
        let own = usize::from(self.own_share);
        // All subsets of the neighbours, from the largest down.
        let mut shown = neighbours;
        loop {
            if shown.count_ones() as usize + own >= self.t {
                let apart = View {
                    sharers: Some(shown | 1 << place),
                    survivors: None,
                };
                play.views[place] = apart;
                if self.choose(play, place + 1, told, played) {
                    return true;
                }
            }
            if shown == 0 {
                break;
            }
            shown = (shown - 1) & neighbours;
        }
        play.views[place] = told;
        has(survivors, place) && self.choose(play, place + 1, told, played)
    }
}
