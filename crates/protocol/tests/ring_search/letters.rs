//! The ring with one accepted view, as words of letters for `walks`, and the rules about t.
//!
//! A letter says what becomes of one place. What the adversary could do besides is no better for it,
//! so leaving it out loses no attack (`exhaustive` checks this on small rings, without letters):
//! - A corrupt client is always in the view: it costs nothing, and helps others to their t holders.
//! - Whoever is able to reveal does: more shares only split what is learned into finer sums.
//! - A sharer that drops out, and whose mask secret is not recovered, might as well not have shared.
//! - What clients outside the survivors sent is of no use: nobody reveals their `B_u`.
//! - A client apart (that was shown other sharers, or nothing) never reveals. If it is in the sum,
//!   the best sharers to show it are all whose masks are known or are in the sum with it; if it is
//!   not, whatever it was shown changes nothing.

use super::model::{Acceptance, Graph, Play, Set, View, has};
use super::walks::{Goal, Walks};

pub(crate) const CORRUPT: u8 = 0;
/// Not among the sharers of the view.
pub(crate) const ABSENT: u8 = 1;
/// A sharer, not a survivor, and its mask secret is recovered.
pub(crate) const DROPPED: u8 = 2;
/// A survivor that is told the view and reveals; in the sum.
pub(crate) const TOLD_IN: u8 = 3;
/// The same, not in the sum.
pub(crate) const TOLD_OUT: u8 = 4;
/// A survivor that was shown something else, and never reveals; in the sum.
pub(crate) const APART_IN: u8 = 5;
/// The same, not in the sum.
pub(crate) const APART_OUT: u8 = 6;
/// Claimed to be a survivor, but an honest client of another directory that never shared keys under
/// this one; its mask secret was revealed there.
pub(crate) const PHANTOM: u8 = 7;

/// A survivor that is told the view and reveals; in a second sum, learned besides the first.
pub(crate) const TOLD_SECOND: u8 = 8;

const PICTURE: [char; 9] = ['#', '.', 'd', '+', 'o', 'a', 'x', '?', '*'];

/// Where the corrupt clients may stand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Corrupt {
    /// At most so many in any k / 2 consecutive places (e).
    HalfWindow(usize),
    /// At most so many among the neighbours of any place (kappa).
    Neighbours(usize),
    /// Anywhere, at most so many in all (c).
    InAll(usize),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub k: usize,
    pub t: usize,
    pub corrupt: Corrupt,
    /// Whether a client also holds a share of its own secrets.
    pub own_share: bool,
    pub phantoms: Phantoms,
    /// With how few sharers among its holders a client sends its masked input: t by the rules.
    pub min_holders: usize,
    /// Whether a second sum is looked for, and not merely a first that lacks a survivor.
    pub two_sums: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phantoms {
    /// There is only one directory.
    None,
    /// Clients take the aggregator's word for who shared keys.
    Believed,
    /// Clients check the signed headers of their neighbours.
    Checked,
}

impl Rules {
    pub(crate) fn new(k: usize, t: usize, corrupt: Corrupt) -> Self {
        Self {
            k,
            t,
            corrupt,
            own_share: false,
            phantoms: Phantoms::None,
            min_holders: t,
            two_sums: false,
        }
    }

    /// Whether the corrupt clients may stand so.
    fn placed(&self, window: &[u8]) -> bool {
        let corrupt = |part: &[u8]| {
            part.iter()
                .map(|&letter| usize::from(letter == CORRUPT))
                .sum::<usize>()
        };
        let half = self.k / 2;
        match self.corrupt {
            Corrupt::HalfWindow(e) => window.windows(half).all(|part| corrupt(part) <= e),
            Corrupt::Neighbours(kappa) => {
                corrupt(&window[..half]) + corrupt(&window[half + 1..]) <= kappa
            }
            Corrupt::InAll(c) => corrupt(window) <= c,
        }
    }

    /// Whether the letter in the middle of k + 1 can stand between the others.
    pub(crate) fn allowed(&self, window: &[u8]) -> bool {
        let letter = window[self.k / 2];
        let mut tally = [0_usize; 9];
        for &letter in window {
            tally[letter as usize] += 1;
        }
        tally[letter as usize] -= 1;
        self.placed(window) && self.possible(letter, |letter| tally[letter as usize])
    }

    /// Whether a place can be what its letter says, given how often each letter is among its
    /// neighbours.
    fn possible(&self, letter: u8, count: impl Fn(u8) -> usize) -> bool {
        let corrupt = count(CORRUPT);
        let own = usize::from(self.own_share);
        // With t corrupt neighbours both secrets are known from the start: not the attack in question.
        if letter != CORRUPT && corrupt >= self.t {
            return false;
        }
        let told = count(TOLD_IN) + count(TOLD_OUT) + count(TOLD_SECOND);
        let in_sum = count(TOLD_IN) + count(APART_IN);
        let in_none = count(TOLD_OUT) + count(APART_OUT);
        let apart = count(APART_IN) + count(APART_OUT);
        let checked = self.phantoms == Phantoms::Checked;
        let may_reveal = corrupt + told + apart + count(PHANTOM) + own >= self.t
            && !(checked && count(PHANTOM) > 0);
        match letter {
            DROPPED => corrupt + told >= self.t,
            TOLD_OUT => may_reveal,
            // It added the masks of all sharers of the view: each is known, or cancels in the sum.
            TOLD_IN | TOLD_SECOND => {
                let in_other = if letter == TOLD_IN {
                    count(TOLD_SECOND)
                } else {
                    in_sum
                };
                may_reveal && corrupt + told + own >= self.t && in_none + in_other == 0
            }
            // It is shown whichever neighbours' masks are known or cancel, if they are t.
            APART_IN => {
                let phantoms = if checked { 0 } else { count(PHANTOM) };
                let shown = corrupt + count(DROPPED) + phantoms + in_sum + own;
                corrupt + told >= self.t && shown >= self.min_holders && count(TOLD_SECOND) == 0
            }
            _ => true,
        }
    }

    pub(crate) fn walks(&self) -> Walks {
        let (phantoms, two_sums) = (self.phantoms != Phantoms::None, self.two_sums);
        let letters = if two_sums {
            9
        } else {
            7 + usize::from(phantoms)
        };
        Walks::new(letters, self.k, |window| {
            (phantoms || !window.contains(&PHANTOM)) && self.allowed(window)
        })
    }

    /// A ring in which a sum is learned that lacks an honest survivor (or two sums are).
    pub(crate) fn partial_sum(&self) -> Goal<impl Fn(u8) -> u8> {
        let two_sums = self.two_sums;
        let marks = move |letter| match letter {
            TOLD_IN | APART_IN => 1,
            TOLD_OUT | APART_OUT | PHANTOM if !two_sums => 2,
            TOLD_SECOND => 2,
            _ => 0,
        };
        let counted = match self.corrupt {
            Corrupt::InAll(c) => Some((CORRUPT, c as u8)),
            _ => None,
        };
        Goal {
            marks,
            all: 3,
            counted,
        }
    }

    /// The smallest attack, as a word.
    pub(crate) fn attack(&self, walks: &Walks) -> Option<Vec<u8>> {
        walks.closed(&self.partial_sum(), self.k + 2, usize::MAX)
    }

    /// Whether a partial sum can be learned on one ring with these corrupt places: every word tried.
    pub(crate) fn attackable(&self, n: usize, corrupt: Set) -> bool {
        fn fill(rules: &Rules, word: &mut Vec<u8>, n: usize, corrupt: Set) -> bool {
            if word.len() == n {
                let marks = word
                    .iter()
                    .fold(0, |m, &l| m | (rules.partial_sum().marks)(l));
                let half = rules.k / 2;
                return marks & 3 == 3
                    && (0..n).all(|p| {
                        let window: Vec<u8> = (0..=rules.k)
                            .map(|j| word[(p + n - half + j) % n])
                            .collect();
                        rules.allowed(&window)
                    });
            }
            let choices = if has(corrupt, word.len()) {
                CORRUPT..=CORRUPT
            } else {
                1..=6
            };
            choices.into_iter().any(|letter| {
                word.push(letter);
                // Windows that are already complete are checked at once.
                let complete = word.len() > rules.k;
                let fine = !complete || rules.allowed(&word[word.len() - rules.k - 1..]);
                let found = fine && fill(rules, word, n, corrupt);
                word.pop();
                found
            })
        }
        fill(self, &mut Vec::new(), n, corrupt)
    }

    /// The course of the round that a word stands for.
    pub(crate) fn play(&self, word: &[u8]) -> Play {
        let n = word.len();
        let set = |letters: &[u8]| {
            (0..n)
                .filter(|&p| letters.contains(&word[p]))
                .fold(0, |set: Set, p| set | 1 << p)
        };
        let graph = Graph::ring(n, self.k, self.own_share);
        let corrupt = set(&[CORRUPT]);
        let phantoms = set(&[PHANTOM]);
        let survivors = Self::claimed(word);
        let dropped = set(&[DROPPED]);
        let in_sum = set(&[TOLD_IN, APART_IN]);
        let views = word.iter().enumerate().map(|(p, letter)| match *letter {
            TOLD_IN | TOLD_OUT | TOLD_SECOND => View {
                sharers: Some(survivors | dropped),
                survivors: Some(survivors),
            },
            APART_IN => View {
                sharers: Some(1 << p | corrupt | dropped | phantoms | in_sum),
                survivors: None,
            },
            _ => View::default(),
        });
        Play {
            views: views.collect(),
            graph,
            threshold: self.t as u32,
            min_holders: self.min_holders as u32,
            min_survivors: 0,
            corrupt,
            acceptance: Acceptance::Witnesses {
                witnesses: 0,
                threshold: 0,
            },
            revealed_elsewhere: phantoms,
            headers: (self.phantoms == Phantoms::Checked)
                .then(|| ((1 << n) - 1) & !corrupt & !phantoms),
        }
    }

    /// The survivors that a word claims.
    pub(crate) fn claimed(word: &[u8]) -> Set {
        let claimed = |l: u8| l != ABSENT && l != DROPPED;
        (0..word.len())
            .filter(|&p| claimed(word[p]))
            .fold(0, |set, p| set | 1 << p)
    }
}

/// One character a place: `#` corrupt, `.` absent, `d` dropped, `+` in the sum, `o` not in it,
/// `a` and `x` the same for clients apart, `?` phantom, `*` in the second sum.
pub(crate) fn picture(word: &[u8]) -> String {
    word.iter()
        .map(|&letter| PICTURE[letter as usize])
        .collect()
}
