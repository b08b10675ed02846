//! A round under a lying aggregator, drawn from its seed.

use std::collections::{BTreeMap, BTreeSet};

use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::codec;
use undertone_protocol::id::{Position, RosterIndex};
use undertone_protocol::threshold::Shape;

use crate::answers::DirectoryWire;
use crate::attacks::{Attack, apply};
use crate::client::Client;
use crate::dice::Dice;
use crate::liar::{Liar, Shown, Tricks};
use crate::setup::{Setup, draw_rule};
use crate::trace::Trace;

/// How the honest clients are laid out over directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// One directory; one client is left out of it.
    Misled,
    One,
    /// Two, at random.
    Split,
    /// Two large ones. A member of the first is a phantom in the second, and its mask key is
    /// opened under the first, where it counts as dropped.
    Phantoms,
}

/// One to three attacks, and the round that they are tried on.
pub(crate) struct Plan {
    pub(crate) attacks: BTreeSet<Attack>,
    pub(crate) liar: Liar,
    layout: Layout,
}

impl Plan {
    /// Draws everything from the seed.
    pub(crate) fn draw(seed: u64, trace: Trace) -> Self {
        let mut dice = Dice::new(seed, 20);
        let mut attacks = BTreeSet::new();
        let shape = if dice.percent(6) {
            Shape::Ring
        } else {
            Shape::Complete
        };
        let fitting = Attack::ALL.into_iter();
        let fitting: Vec<Attack> = fitting
            .filter(|a| shape == Shape::Ring || !a.on_ring())
            .collect();
        for _ in 0..dice.between(1, 3) {
            attacks.insert(dice.pick(&fitting));
        }
        if shape == Shape::Ring && dice.percent(50) {
            attacks.insert(dice.pick(&[
                Attack::CutRing,
                Attack::RingHalves,
                Attack::PrivateSharers,
            ]));
        }
        let layout = if attacks.contains(&Attack::Phantoms) && dice.percent(60) {
            Layout::Phantoms
        } else if attacks.contains(&Attack::Phantoms) || attacks.contains(&Attack::SplitDirectory) {
            Layout::Split
        } else if attacks.contains(&Attack::OtherModel) {
            Layout::Misled
        } else {
            Layout::One
        };
        let rule = draw_rule(&mut dice, shape);
        let room = 2 * rule.max_clients - rule.corrupt;
        let members = match layout {
            Layout::Phantoms => room - 1,
            Layout::Split => dice.between(rule.max_clients.into(), room.into()) as u32,
            Layout::One | Layout::Misled => rule.max_clients,
        };
        let members = members.min(48);
        let all: Vec<u32> = (0..members).collect();
        let mut corrupt = BTreeSet::new();
        while corrupt.len() < rule.corrupt as usize {
            corrupt.insert(dice.pick(&all));
        }
        let setup = Setup::new(seed, members, rule, corrupt);
        trace.note(0, || {
            format!(
                "lying aggregator: {attacks:?}, {members} members, {rule:?}, corrupt {:?}",
                setup.corrupt
            )
        });
        let groups = groups(&setup, layout, &mut dice);
        let liar = Liar::open(setup, &groups, dice.percent(50), dice, trace);
        Self {
            attacks,
            liar,
            layout,
        }
    }

    /// Plays the round.
    pub(crate) fn play(&mut self) {
        let mut tricks = Tricks::default();
        let shown = self.show(&mut tricks);
        self.liar.play(&shown, &tricks);
        if self.attacks.contains(&Attack::OtherModel) {
            mislead(&mut self.liar);
        }
    }

    /// What each client is shown.
    fn show(&mut self, tricks: &mut Tricks) -> BTreeMap<u32, Shown> {
        let liar = &mut self.liar;
        let phantoms = self.attacks.contains(&Attack::Phantoms);
        let mut shown = BTreeMap::new();
        for directory in 0..liar.directories.len() {
            let digest_members = liar.members(directory);
            let real = |c: &u32| liar.setup.corrupt.contains(c) || home(liar, *c) == directory;
            let all: Vec<u32> = digest_members
                .iter()
                .copied()
                .filter(|c| phantoms || real(c))
                .collect();
            let mine: Vec<u32> = digest_members
                .iter()
                .copied()
                .filter(|c| !liar.setup.corrupt.contains(c) && home(liar, *c) == directory)
                .collect();
            let aimed = self.layout == Layout::Phantoms;
            let spare = all.len().saturating_sub(liar.setup.params.min_survivors());
            let absent = if aimed || liar.dice.percent(50) {
                0
            } else {
                spare
            };
            let gone = liar.dice.some(&all, absent);
            let sharers: BTreeSet<u32> =
                all.iter().copied().filter(|c| !gone.contains(c)).collect();
            let rest: Vec<u32> = sharers.iter().copied().collect();
            let late = if self.attacks.contains(&Attack::LateInputs) || liar.dice.percent(30) {
                spare.saturating_sub(gone.len())
            } else {
                0
            };
            let mut late = liar.dice.some(&rest, late);
            if aimed {
                let phantoms = liar.members(1).into_iter();
                let phantoms = phantoms.filter(|c| directory == 0 && rest.contains(c));
                late = phantoms
                    .filter(|c| !liar.setup.corrupt.contains(c))
                    .take(spare)
                    .collect();
            }
            let survivors = sharers
                .iter()
                .copied()
                .filter(|c| !late.contains(c))
                .collect();
            let base = Shown {
                directory,
                sharers,
                survivors,
            };
            shown.extend(mine.iter().map(|client| (*client, base.clone())));
        }
        for attack in &self.attacks {
            apply(*attack, liar, &mut shown, tricks);
        }
        shown
    }
}

/// The first directory that lists a client: the one that it is shown.
fn home(liar: &Liar, client: u32) -> usize {
    let index = RosterIndex(client);
    let mut all = liar.directories.iter();
    all.position(|d| d.position(index).is_ok()).unwrap_or(0)
}

/// Splits the honest clients over the directories.
fn groups(setup: &Setup, layout: Layout, dice: &mut Dice) -> Vec<Vec<u32>> {
    let rule = setup.params.rule;
    let most = (rule.max_clients - setup.corrupt.len() as u32) as usize;
    let least = (rule.min_clients as usize).saturating_sub(setup.corrupt.len());
    let mut honest = setup.honest();
    if layout == Layout::Misled && honest.len() > least {
        honest.remove(0);
    }
    if matches!(layout, Layout::One | Layout::Misled) {
        return vec![honest];
    }
    let shuffled: Vec<u32> = {
        let mut rest = honest.clone();
        let mut out = Vec::new();
        while !rest.is_empty() {
            out.push(rest.swap_remove(dice.below(rest.len())));
        }
        out
    };
    let aimed = layout == Layout::Phantoms;
    let border = if aimed {
        most.min(shuffled.len() - 1)
    } else {
        dice.between(1, shuffled.len() as u64 - 1) as usize
    };
    let (mut first, mut second) = (shuffled[..border].to_vec(), shuffled[border..].to_vec());
    // Each is filled up with members of the other until it is large enough, and beyond.
    let fill = |group: &mut Vec<u32>, others: &[u32], dice: &mut Dice| {
        group.truncate(most);
        let upto = if aimed {
            most
        } else {
            dice.between(least as u64, most as u64) as usize
        };
        let missing = upto.saturating_sub(group.len());
        group.extend(others.iter().take(missing));
        group.sort_unstable();
    };
    let (a, b) = (first.clone(), second.clone());
    // A client is in the first group that lists it, so only the second has phantoms.
    fill(&mut second, &a, dice);
    if first.len() < least {
        let missing = least - first.len();
        first.extend(b.iter().take(missing));
    }
    first.truncate(most);
    first.sort_unstable();
    vec![first, second]
}

/// Takes a client through a round with another model, in which it meets the first round's others.
fn mislead(liar: &mut Liar) {
    let other = liar.setup.other_round();
    let listed = liar.members(0);
    let outside = liar
        .setup
        .honest()
        .into_iter()
        .find(|c| !liar.honest.contains_key(c));
    let index = outside.unwrap_or(listed[0]);
    let mut client = Client::with_params(&liar.setup, index, &other, 0);
    client.step(&liar.setup, &[]);
    let own = client.said.advertised.clone().unwrap();
    let somebody = RosterIndex(listed[0]);
    let bytes = liar.directories[0].encode_for(somebody).unwrap();
    let mut wire: DirectoryWire = codec::decode("directory", &bytes).unwrap();
    wire.entries
        .retain(|entry| entry.message.sender != own.message.sender);
    wire.entries.push(own);
    wire.entries.sort_by_key(|entry| entry.message.sender);
    let members = wire.members.iter().chain([Position(index)]);
    wire.members = Bitmap::new(wire.members.size(), members.collect::<Vec<_>>());
    let bytes = codec::encode("directory", &wire).unwrap();
    client.step(&liar.setup, &bytes);
    assert!(
        client.said.shared.is_none(),
        "a client of another model shared its keys"
    );
    liar.misled.push(client);
}
