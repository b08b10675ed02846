//! The ring with two views of the survivors, when clients ask only their neighbours. All clients are
//! shown the same sharers (everyone), so nothing but the survivors differs.

use super::model::{Acceptance, Graph, Play, Set, View};
use super::walks::{Goal, Walks};

/// What becomes of one place, with two sets of survivors P and Q.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Corrupt,
    Honest {
        /// Whether it is in P, in Q.
        survives: [bool; 2],
        /// Which of the two it is shown and signs, if either; only one that it is in.
        signs: Option<usize>,
        /// Whether its own neighbours' statements suffice for it to reveal.
        reveals: bool,
        fate: Fate,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// In the sum learned.
    In,
    /// Its mask secret is recovered.
    Unmasked,
    /// Neither.
    Left,
}

/// Clients reveal when t of their neighbours signed their own view.
#[derive(Clone, Debug)]
pub(crate) struct NeighboursOnly {
    pub k: usize,
    pub t: usize,
    /// At most so many corrupt clients in any k / 2 consecutive places.
    pub e: u64,
    /// The letters of the words: what can become of a place.
    pub letters: Vec<Place>,
}

/// Every letter there is for an honest place, and that of a corrupt one.
pub(crate) fn all_letters() -> Vec<Place> {
    let mut letters = vec![Place::Corrupt];
    for survives in [[true, true], [true, false], [false, true], [false, false]] {
        for fate in [Fate::In, Fate::Unmasked, Fate::Left] {
            letters.push(Place::Honest {
                survives,
                signs: None,
                reveals: false,
                fate,
            });
            for view in [0, 1].into_iter().filter(|&view| survives[view]) {
                for reveals in [false, true] {
                    letters.push(Place::Honest {
                        survives,
                        signs: Some(view),
                        reveals,
                        fate,
                    });
                }
            }
        }
    }
    letters
}

/// The letters of the plainest attack: whoever survives in both views signs one of them and is in
/// the sum; whoever survives in one only signs nothing and is unmasked.
pub(crate) fn plain_letters() -> Vec<Place> {
    let plain = |place: &Place| match *place {
        Place::Corrupt => false,
        Place::Honest {
            survives: [true, true],
            signs,
            fate,
            ..
        } => signs.is_some() && fate == Fate::In,
        Place::Honest {
            survives,
            signs,
            fate,
            ..
        } => survives != [false, false] && signs.is_none() && fate == Fate::Unmasked,
    };
    all_letters().into_iter().filter(plain).collect()
}

/// Counts of places, one to a byte of a word, so that one addition counts all kinds.
#[derive(Clone, Copy)]
enum Kind {
    Corrupt,
    Alive0,
    Alive1,
    Signs0,
    Signs1,
    Reveals0,
    Reveals1,
    Left,
}

impl Place {
    fn survives(self, view: usize) -> bool {
        match self {
            Self::Corrupt => true,
            Self::Honest { survives, .. } => survives[view],
        }
    }

    /// One in the byte of each kind that the place belongs to.
    fn counts(self) -> u64 {
        let one = |kind: Kind| 1_u64 << (8 * kind as u32);
        let Self::Honest {
            survives,
            signs,
            reveals,
            fate,
        } = self
        else {
            return one(Kind::Corrupt);
        };
        let mut counts = 0;
        for view in [0, 1] {
            let (signs, reveals) = (signs == Some(view), reveals && signs == Some(view));
            for (belongs, kinds) in [
                (survives[view], [Kind::Alive0, Kind::Alive1]),
                (signs, [Kind::Signs0, Kind::Signs1]),
                (reveals, [Kind::Reveals0, Kind::Reveals1]),
            ] {
                counts += if belongs { one(kinds[view]) } else { 0 };
            }
        }
        counts
            + if fate == Fate::Left {
                one(Kind::Left)
            } else {
                0
            }
    }

    /// One character: `#` corrupt; `p`, `q` survives in both and signs P, Q; `<`, `>` survives in P
    /// only, Q only; `-` in neither; `0` survives in both and signs nothing.
    fn picture(self) -> char {
        match self {
            Self::Corrupt => '#',
            Self::Honest {
                survives: [true, true],
                signs,
                ..
            } => match signs {
                Some(0) => 'p',
                Some(_) => 'q',
                None => '0',
            },
            Self::Honest {
                survives: [true, false],
                ..
            } => '<',
            Self::Honest {
                survives: [false, true],
                ..
            } => '>',
            Self::Honest { .. } => '-',
        }
    }
}

impl NeighboursOnly {
    /// Whether a place can be what it is, given the counts of its neighbours.
    fn allowed(&self, place: Place, neighbours: u64) -> bool {
        let Place::Honest {
            survives,
            signs,
            reveals,
            fate,
        } = place
        else {
            return true;
        };
        let count = |kind: Kind| (neighbours >> (8 * kind as u32) & 0xff) as usize;
        let owned = count(Kind::Corrupt);
        if let Some(view) = signs {
            let alive = owned + count([Kind::Alive0, Kind::Alive1][view]);
            let agreeing = owned + count([Kind::Signs0, Kind::Signs1][view]);
            if alive < self.t || reveals && agreeing < self.t {
                return false;
            }
        }
        let shares = |survivor: bool| {
            let from = |view: usize, kind: Kind| {
                if survives[view] == survivor {
                    count(kind)
                } else {
                    0
                }
            };
            owned + from(0, Kind::Reveals0) + from(1, Kind::Reveals1)
        };
        match fate {
            Fate::In => shares(true) >= self.t && count(Kind::Left) == 0,
            Fate::Unmasked => shares(false) >= self.t,
            Fate::Left => true,
        }
    }

    pub(crate) fn walks(&self) -> Walks {
        let counts: Vec<u64> = self.letters.iter().map(|place| place.counts()).collect();
        let middle = self.k / 2;
        Walks::new(self.letters.len(), self.k, |window| {
            let corrupt = |part: &[u8]| -> u64 {
                part.iter()
                    .map(|&letter| counts[letter as usize] & 0xff)
                    .sum()
            };
            if window.windows(middle).any(|part| corrupt(part) > self.e) {
                return false;
            }
            let all: u64 = window.iter().map(|&letter| counts[letter as usize]).sum();
            let letter = window[middle] as usize;
            self.allowed(self.letters[letter], all - counts[letter])
        })
    }

    /// The smallest ring on which the sum learned lacks a survivor of P and lacks one of Q.
    pub(crate) fn attack(&self, walks: &Walks, longest: usize) -> Option<Vec<Place>> {
        let letters = &self.letters;
        let marks = |letter: u8| match letters[letter as usize] {
            Place::Corrupt => 0,
            Place::Honest { fate: Fate::In, .. } => 1,
            Place::Honest { survives, .. } => u8::from(survives[0]) * 2 + u8::from(survives[1]) * 4,
        };
        let goal = Goal {
            marks,
            all: 7,
            counted: None,
        };
        let word = walks.closed(&goal, self.k + 2, longest)?;
        Some(
            word.into_iter()
                .map(|letter| letters[letter as usize])
                .collect(),
        )
    }

    /// The course of the round that a word stands for.
    pub(crate) fn play(&self, word: &[Place]) -> Play {
        let all: Set = (1 << word.len()) - 1;
        let views = word.iter().map(|place| match *place {
            Place::Corrupt => View::default(),
            Place::Honest { signs, .. } => View {
                sharers: Some(all),
                survivors: signs.map(|view| survivors(word, view)),
            },
        });
        Play {
            graph: Graph::ring(word.len(), self.k, false),
            threshold: self.t as u32,
            min_holders: self.t as u32,
            min_survivors: 0,
            corrupt: members(word, |place| place == Place::Corrupt),
            acceptance: Acceptance::Neighbours {
                threshold: self.t as u32,
            },
            views: views.collect(),
            revealed_elsewhere: 0,
            headers: None,
        }
    }
}

fn members(word: &[Place], test: impl Fn(Place) -> bool) -> Set {
    word.iter()
        .enumerate()
        .fold(0, |set, (p, &place)| set | Set::from(test(place)) << p)
}

/// P (0) or Q (1).
pub(crate) fn survivors(word: &[Place], view: usize) -> Set {
    members(word, |place| place.survives(view))
}

pub(crate) fn picture(word: &[Place]) -> String {
    word.iter().map(|place| place.picture()).collect()
}
