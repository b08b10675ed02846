//! The invariants can fail: with one client too many, or one check taken away, they do.

use std::collections::{BTreeMap, BTreeSet};

use undertone_protocol::threshold::Rule;

use crate::attacks::cut;
use crate::dice::Dice;
use crate::invariants::{self, Broken};
use crate::liar::{Liar, Shown, Tricks};
use crate::setup::{Setup, complete, ring};
use crate::trace::Trace;

fn open(seed: u64, rule: Rule, corrupt: impl IntoIterator<Item = u32>) -> Liar {
    let setup = Setup::new(seed, rule.max_clients, rule, corrupt.into_iter().collect());
    let groups = [setup.honest()];
    Liar::open(setup, &groups, false, Dice::new(seed, 31), Trace::Silent)
}

/// Everyone is shown that everyone is there.
fn everyone(liar: &Liar) -> BTreeMap<u32, Shown> {
    let all: BTreeSet<u32> = liar.members(0).into_iter().collect();
    let shown = Shown {
        directory: 0,
        sharers: all.clone(),
        survivors: all,
    };
    liar.honest.keys().map(|c| (*c, shown.clone())).collect()
}

/// Plays the round, and says which invariants broke.
fn broken(liar: &mut Liar, shown: &BTreeMap<u32, Shown>, tricks: &Tricks) -> Broken {
    liar.play(shown, tricks);
    invariants::check(&liar.evidence()).1
}

fn any(broken: &[String], what: &str) -> bool {
    broken.iter().any(|b| b.contains(what))
}

/// Seven clients; some see the first honest one dropped.
fn dropped_for_some(corrupt: u32, tricks: &Tricks) -> Broken {
    let mut liar = open(1, complete(7, 2), 0..corrupt);
    let mut shown = everyone(&liar);
    for client in 5..7 {
        shown.get_mut(&client).unwrap().survivors.remove(&corrupt);
    }
    broken(&mut liar, &shown, tricks)
}

#[test]
fn one_corrupt_client_too_many_on_the_complete_graph() {
    assert_eq!(dropped_for_some(2, &Tricks::default()), Broken::new());
    let broken = dropped_for_some(3, &Tricks::default());
    assert!(any(&broken, "both secrets of client 3"), "{broken:?}");
    assert!(any(&broken, "2 views"), "{broken:?}");
    assert!(any(&broken, "the input of {3} is known"), "{broken:?}");
}

/// One U3 for all, that leaves two arcs with a window of k/2 places between them at either end.
fn cut_in_two(seed: u64, corrupt: u32) -> Broken {
    let mut liar = open(seed, ring(14, 4, 0, 7), 0..corrupt);
    let gone = cut(&liar, 0);
    let mut shown = everyone(&liar);
    for view in shown.values_mut() {
        view.survivors.retain(|c| !gone.contains(c));
    }
    broken(&mut liar, &shown, &Tricks::default())
}

#[test]
fn one_corrupt_client_too_many_in_a_window_of_the_ring() {
    let found: Vec<Broken> = (0..20).map(|seed| cut_in_two(seed, 2)).collect();
    // Wherever the two do not sit close together, each serves one of the windows.
    let cuts = found.iter().filter(|b| any(b, "2 sums")).count();
    assert!(cuts > 5, "{cuts} of 20: {found:?}");
    for seed in 0..20 {
        assert_eq!(cut_in_two(seed, 0), Broken::new(), "seed {seed}");
    }
}

fn stolen() -> Tricks {
    Tricks {
        stolen_keys: true,
        ..Tricks::default()
    }
}

#[test]
fn without_the_check_of_statements_on_the_complete_graph() {
    let broken = dropped_for_some(2, &stolen());
    assert!(any(&broken, "2 views"), "{broken:?}");
}

/// Two halves of the ring, each told that the client in the middle of it dropped.
fn halves(tricks: &Tricks) -> Broken {
    let mut liar = open(7, ring(24, 4, 0, 7), []);
    let seats = liar.seats(0);
    let mut shown = everyone(&liar);
    for (place, client) in seats.iter().enumerate() {
        let middle = if place < 12 { 5 } else { 17 };
        let view = shown.get_mut(client).unwrap();
        view.survivors
            .retain(|c| c == client || *c != seats[middle]);
    }
    broken(&mut liar, &shown, tricks)
}

#[test]
fn without_the_check_of_statements_on_the_ring() {
    assert_eq!(halves(&Tricks::default()), Broken::new());
    let broken = halves(&stolen());
    assert!(any(&broken, "views were unmasked"), "{broken:?}");
    assert!(any(&broken, "partial sum"), "{broken:?}");
}

#[test]
fn without_a_journal() {
    let again = |forgetful| {
        let mut liar = open(9, complete(5, 1), [0]);
        let mut shown = everyone(&liar);
        shown.get_mut(&4).unwrap().survivors.remove(&3);
        let tricks = Tricks {
            ask_twice: true,
            forgetful,
            ..Tricks::default()
        };
        broken(&mut liar, &shown, &tricks)
    };
    assert_eq!(again(false), Broken::new());
    let broken = again(true);
    assert!(any(&broken, "signed two statements"), "{broken:?}");
}
