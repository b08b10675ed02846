//! The list of attacks, and what each does to what the clients are shown.

use std::collections::{BTreeMap, BTreeSet};

use crate::liar::{BadEntry, Liar, Shown, Tricks};

/// What a lying aggregator tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Attack {
    /// Two directories with disjoint honest members.
    SplitDirectory,
    /// Members of each are counted in the other's sets.
    Phantoms,
    /// Two sets U2.
    SharersDiffer,
    /// A U2 of its own for some clients.
    PrivateSharers,
    /// Two sets U3, at random.
    SplitSurvivors,
    /// Two sets U3, one for each half of the ring.
    RingHalves,
    /// One U3 that cuts the ring in two.
    CutRing,
    /// Some see a client survive, others see it dropped.
    SurvivorAsDropped,
    /// The masked input of some comes after they count as dropped.
    LateInputs,
    /// U3 is smaller than allowed.
    FewSurvivors,
    /// U3 is not within U2.
    SurvivorsBeyondSharers,
    /// A second Unmask after a restart.
    AskTwice,
    Replay,
    /// One client is told of another model.
    OtherModel,
    ForgedStatements,
    BadEntry,
    SwappedShares,
    Miscount,
}

impl Attack {
    pub(crate) const ALL: [Self; 18] = [
        Self::SplitDirectory,
        Self::Phantoms,
        Self::SharersDiffer,
        Self::PrivateSharers,
        Self::SplitSurvivors,
        Self::RingHalves,
        Self::CutRing,
        Self::SurvivorAsDropped,
        Self::LateInputs,
        Self::FewSurvivors,
        Self::SurvivorsBeyondSharers,
        Self::AskTwice,
        Self::Replay,
        Self::OtherModel,
        Self::ForgedStatements,
        Self::BadEntry,
        Self::SwappedShares,
        Self::Miscount,
    ];

    /// Whether it makes sense on a ring only.
    pub(crate) fn on_ring(self) -> bool {
        matches!(self, Self::RingHalves | Self::CutRing)
    }
}

/// Changes what clients are shown, or adds a trick.
pub(crate) fn apply(
    attack: Attack,
    liar: &mut Liar,
    shown: &mut BTreeMap<u32, Shown>,
    tricks: &mut Tricks,
) {
    let clients: Vec<u32> = shown.keys().copied().collect();
    let half = liar.dice.some(&clients, clients.len());
    let victim = liar.dice.pick(&clients);
    match attack {
        Attack::SharersDiffer => {
            let gone = liar.dice.some(&clients, clients.len() / 2);
            let corrupt: Vec<u32> = liar.setup.corrupt.iter().copied().collect();
            let gone = if liar.dice.percent(50) { corrupt } else { gone };
            for client in &half {
                drop_from(shown.get_mut(client).unwrap(), &gone, *client, true);
            }
        }
        Attack::PrivateSharers => private(liar, shown, &clients),
        Attack::SplitSurvivors => {
            let gone = liar.dice.some(&clients, clients.len() / 2);
            for client in &half {
                drop_from(shown.get_mut(client).unwrap(), &gone, *client, false);
            }
        }
        Attack::SurvivorAsDropped => {
            for client in half.iter().filter(|c| **c != victim) {
                drop_from(shown.get_mut(client).unwrap(), &[victim], *client, false);
            }
        }
        Attack::RingHalves => halves(liar, shown),
        Attack::CutRing => {
            for directory in 0..liar.directories.len() {
                let gone = cut(liar, directory);
                for view in shown.values_mut().filter(|s| s.directory == directory) {
                    view.survivors.retain(|c| !gone.contains(c));
                }
            }
        }
        Attack::FewSurvivors => {
            // The same for all, and corrupt clients sign for it from outside.
            let few: Vec<u32> = liar.dice.some(&clients, clients.len());
            let few: BTreeSet<u32> = few
                .into_iter()
                .take(liar.setup.params.min_survivors() - 1)
                .collect();
            for view in shown.values_mut() {
                view.survivors.clone_from(&few);
            }
        }
        Attack::SurvivorsBeyondSharers => {
            for view in shown.values_mut() {
                view.sharers.remove(&victim);
                view.survivors.insert(victim);
            }
        }
        _ => trick(attack, liar, tricks),
    }
}

/// An attack that is not about sets.
fn trick(attack: Attack, liar: &mut Liar, tricks: &mut Tricks) {
    match attack {
        Attack::AskTwice => tricks.ask_twice = true,
        Attack::Replay => tricks.replay = true,
        Attack::ForgedStatements => tricks.forge = true,
        Attack::SwappedShares => tricks.swap_shares = liar.dice.pick(&[5, 30]),
        Attack::Miscount => tricks.miscount = true,
        Attack::BadEntry => {
            tricks.bad_entry = Some(liar.dice.pick(&[
                BadEntry::LowOrder,
                BadEntry::Copied,
                BadEntry::Replaced,
                BadEntry::OtherRound,
            ]));
        }
        // The rest is in how the round is laid out.
        _ => {}
    }
}

/// Some clients are shown a U2 of their own: at random, or without the honest neighbours who could
/// answer for them, so that all masks they use are open.
fn private(liar: &mut Liar, shown: &mut BTreeMap<u32, Shown>, clients: &[u32]) {
    for client in liar.dice.some(clients, 2) {
        let view = shown.get_mut(&client).unwrap();
        let others = view.sharers.iter().copied().filter(|c| *c != client);
        let others: Vec<u32> = others.collect();
        let gone = if liar.dice.percent(50) {
            let around = liar.around(view.directory, client);
            let honest = around.iter().filter(|c| !liar.setup.corrupt.contains(c));
            honest
                .copied()
                .filter(|c| view.survivors.contains(c))
                .collect()
        } else {
            let spare = others.len() + 1 - liar.setup.params.min_survivors().min(others.len());
            liar.dice.some(&others, spare)
        };
        drop_from(view, &gone, client, true);
    }
}

/// Each half of the ring sees up to two of its own members dropped.
fn halves(liar: &mut Liar, shown: &mut BTreeMap<u32, Shown>) {
    let mut seats = liar.seats(0);
    let start = liar.dice.below(seats.len());
    seats.rotate_left(start);
    let (arc, other) = seats.split_at(seats.len() / 2);
    let (gone, other_gone) = (liar.dice.some(arc, 2), liar.dice.some(other, 2));
    for (client, view) in shown {
        let gone = if arc.contains(client) {
            &gone
        } else {
            &other_gone
        };
        drop_from(view, gone, *client, false);
    }
}

/// Takes members out of U3, and of U2 too; never the client itself.
fn drop_from(view: &mut Shown, gone: &[u32], client: u32, sharers: bool) {
    let keep = |c: &u32| *c == client || !gone.contains(c);
    view.survivors.retain(keep);
    if sharers {
        view.sharers.retain(keep);
    }
}

/// The honest clients in two windows of k/2 places: with them gone, no pairwise mask crosses. Of
/// all windows it takes those with the most corrupt clients.
pub(crate) fn cut(liar: &Liar, directory: usize) -> Vec<u32> {
    let seats = liar.seats(directory);
    let (n, side) = (
        seats.len(),
        usize::from(liar.setup.params.rule.neighbours / 2),
    );
    let corrupt = |c: &u32| liar.setup.corrupt.contains(c);
    let window = |from: usize| (0..side).map(move |j| (from + j) % n);
    let richness = |from: usize| window(from).filter(|at| corrupt(&seats[*at])).count();
    let first = (0..n).max_by_key(|from| richness(*from)).unwrap_or(0);
    let apart = |from: &usize| {
        let ahead = (from + n - first) % n;
        ahead > side && n - ahead > side
    };
    let opposite = (first + n / 2) % n;
    let second = (0..n)
        .filter(apart)
        .max_by_key(|from| (richness(*from), usize::from(*from == opposite)))
        .unwrap_or(opposite);
    let places: BTreeSet<usize> = window(first).chain(window(second)).collect();
    let gone = places.into_iter().map(|at| seats[at]);
    gone.filter(|c| !corrupt(c)).collect()
}
