//! Searches over a combinatorial model of the protocol: which sums can a lying aggregator learn, with
//! corrupt clients, by choosing who drops out and who is shown what? `model` says what a round is and
//! what SECURE means. Each test either tries every case and finds no attack, or finds the smallest
//! attack and plays it. (The real protocol, with its cryptography, is attacked in `attacks.rs`.)

#![allow(
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "sets and letters are small; a search says how much it tried and what it found"
)]

#[path = "ring_search/complete.rs"]
mod complete;
#[path = "ring_search/directories.rs"]
mod directories;
#[path = "ring_search/exhaustive.rs"]
mod exhaustive;
#[path = "ring_search/letters.rs"]
mod letters;
#[path = "ring_search/model.rs"]
mod model;
#[path = "ring_search/split.rs"]
mod split;
#[path = "ring_search/walks.rs"]
mod walks;

use complete::Complete;
use exhaustive::{Case, Symmetries};
use letters::{Corrupt, Rules, picture};
use model::{Acceptance, Graph, Play, Set, View, has};
use split::NeighboursOnly;

/// All (k, e) of the half-window rule, t = k/2 + e + 1 <= k, that the walks can try.
const HALF_WINDOWS: [(usize, usize); 6] = [(2, 0), (4, 0), (4, 1), (6, 0), (6, 1), (6, 2)];

/// Searches all rings; plays the attack, if there is one, and checks that it is one.
fn smallest_attack(rules: &Rules) -> Option<Vec<u8>> {
    let walks = rules.walks();
    let word = rules.attack(&walks);
    let shown = word
        .as_ref()
        .map_or("none".to_owned(), |word| picture(word));
    println!(
        "{rules:?}: {} windows allowed, attack: {shown}",
        walks.windows
    );
    if let Some(word) = &word {
        let play = rules.play(word);
        assert!(
            !play.secure(Rules::claimed(word)),
            "{shown}: {:?}",
            play.learn()
        );
    }
    word
}

/// The most corrupt clients in `length` consecutive places.
fn most_in_a_row(n: usize, corrupt: Set, length: usize) -> usize {
    let row = |first: usize| {
        (0..length)
            .filter(|j| has(corrupt, (first + j) % n))
            .count()
    };
    (0..n).map(row).max().unwrap_or(0)
}

#[test]
fn half_window_rule_leaves_one_whole_sum_on_rings_of_every_size() {
    for (k, e) in HALF_WINDOWS {
        let rules = Rules::new(k, k / 2 + e + 1, Corrupt::HalfWindow(e));
        assert_eq!(smallest_attack(&rules), None);
    }
}

#[test]
fn half_window_rule_is_tight() {
    for (k, e) in [
        (2, 1),
        (4, 0),
        (4, 1),
        (4, 2),
        (6, 0),
        (6, 1),
        (6, 2),
        (6, 3),
    ] {
        let rules = Rules::new(k, k / 2 + e, Corrupt::HalfWindow(e));
        assert!(smallest_attack(&rules).is_some());
    }
}

#[test]
fn thresholds_below_the_half_window_rule_let_the_ring_be_cut_in_two() {
    // From one more than the corrupt neighbours that a client may have (what suffices against an
    // honest aggregator) up to k/2 + e: two disjoint sums.
    for (t, e, kappa) in [
        (2, 0, 0),
        (2, 1, 1),
        (3, 1, 1),
        (3, 1, 2),
        (3, 2, 2),
        (4, 2, 3),
    ] {
        for corrupt in [Corrupt::HalfWindow(e), Corrupt::Neighbours(kappa)] {
            let rules = Rules {
                two_sums: true,
                ..Rules::new(4, t, corrupt)
            };
            let word = smallest_attack(&rules).unwrap();
            assert_eq!(rules.play(&word).learn().sums.len(), 2);
        }
    }
}

#[test]
fn client_that_is_shown_fewer_than_t_sharers_must_not_send_its_input() {
    // Its neighbours hold the common view and reveal its self mask. It is shown only a neighbour that
    // they take for a drop-out, whose mask is recovered: its input is learned alone.
    let rules = Rules {
        min_holders: 1,
        ..Rules::new(4, 3, Corrupt::HalfWindow(0))
    };
    let word = smallest_attack(&rules).unwrap();
    let sums = rules.play(&word).learn().sums;
    assert_eq!((sums.len(), sums[0].count_ones()), (1, 1));
}

#[test]
fn small_rings_agree_with_every_round_played_out() {
    let (mut rounds, mut placements) = (0, 0);
    for (n, k, t, own_share, outsiders) in [
        (4, 2, 2, false, true),
        (5, 2, 2, false, true),
        (6, 2, 2, false, true),
        (7, 2, 2, false, false),
        (5, 2, 2, true, true),
        (6, 2, 3, true, true),
        (6, 4, 2, false, false),
        (6, 4, 3, false, false),
        (6, 4, 4, false, true),
        (7, 4, 3, false, false),
        (7, 4, 4, false, false),
        (8, 4, 4, false, false),
        (6, 4, 4, true, false),
        (8, 6, 6, false, false),
    ] {
        let case = Case {
            n,
            k,
            t,
            own_share,
            outsiders,
        };
        let rules = Rules {
            own_share,
            ..Rules::new(k, t, Corrupt::Neighbours(k))
        };
        let symmetries = Symmetries::of_ring(n);
        let graph = Graph::ring(n, k, own_share);
        for corrupt in (0..1 << n).filter(|&set| symmetries.first([set, 0, 0])) {
            let owned = |p: &usize| (graph.neighbours[*p] & corrupt).count_ones() as usize;
            if (0..n).filter(|&p| !has(corrupt, p)).any(|p| owned(&p) >= t) {
                continue;
            }
            let (insecure, played) = case.insecure(&symmetries, corrupt);
            assert_eq!(
                insecure,
                rules.attackable(n, corrupt),
                "{case:?}, corrupt {corrupt:b}"
            );
            let e = most_in_a_row(n, corrupt, k / 2);
            assert!(!insecure || t <= k / 2 + e + usize::from(own_share));
            rounds += played;
            placements += 1;
        }
    }
    println!("{placements} placements of corrupt clients, {rounds} rounds played");
    assert!(rounds > 1_000_000);
}

#[test]
fn twice_t_above_k_plus_corrupt_neighbours_lets_the_ring_be_cut_in_two() {
    // One corrupt client among anyone's neighbours, 2t > k + 1; yet each gap contains one, which
    // holds shares of the clients on both of its edges.
    let rules = Rules {
        two_sums: true,
        ..Rules::new(4, 3, Corrupt::Neighbours(1))
    };
    let word = smallest_attack(&rules).unwrap();
    let sums = rules.play(&word).learn().sums;
    assert_eq!((sums.len(), sums[0] & sums[1]), (2, 0));
    assert!(smallest_attack(&Rules::new(6, 4, Corrupt::Neighbours(1))).is_some());
}

#[test]
fn twice_t_above_k_plus_all_corrupt_clients_leaves_one_whole_sum() {
    // Sound, as the two gaps of a cut do not overlap and share the corrupt clients between them; but
    // with more corrupt clients than k, as on any large ring, there is no such t.
    for (k, all) in [(2, 0..2), (4, 0..4), (6, 0..6)] {
        for c in all {
            let rules = Rules::new(k, usize::midpoint(k, c) + 1, Corrupt::InAll(c));
            assert_eq!(smallest_attack(&rules), None);
        }
    }
}

#[test]
fn dealer_as_holder_of_its_own_shares_costs_one_more_in_t() {
    for (k, e) in HALF_WINDOWS {
        let rules = |t| Rules {
            own_share: true,
            ..Rules::new(k, t, Corrupt::HalfWindow(e))
        };
        assert!(smallest_attack(&rules(k / 2 + e + 1)).is_some());
        assert_eq!(smallest_attack(&rules(k / 2 + e + 2)), None);
    }
    let cut = Rules {
        own_share: true,
        two_sums: true,
        ..Rules::new(4, 3, Corrupt::HalfWindow(0))
    };
    let word = smallest_attack(&cut).unwrap();
    assert_eq!(cut.play(&word).learn().sums.len(), 2);
}

/// Whether every sum learned has all honest survivors of one of these views in it.
fn each_sum_covers_a_view(play: &Play, views: &[Set]) -> bool {
    let whole = |sum: &Set| views.iter().any(|view| view & play.honest() & !sum == 0);
    let learned = play.learn();
    learned.exposed == 0 && learned.sums.iter().all(whole)
}

#[test]
fn statements_of_neighbours_only_let_two_views_be_mixed() {
    // No corrupt client at all, t = k/2 + 1 as the half-window rule asks.
    let rules = NeighboursOnly {
        k: 6,
        t: 4,
        e: 0,
        letters: split::plain_letters(),
    };
    let walks = rules.walks();
    let word = rules.attack(&walks, 30).unwrap();
    println!(
        "{} windows allowed, attack: {}",
        walks.windows,
        split::picture(&word)
    );
    let views = [split::survivors(&word, 0), split::survivors(&word, 1)];
    let mut play = rules.play(&word);
    let sums = play.learn().sums;
    // What is learned is smaller than either set of survivors that anyone was shown.
    assert_eq!(sums, [views[0] & views[1]]);
    assert!(
        views
            .iter()
            .all(|view| view.count_ones() > sums[0].count_ones())
    );

    // With witnesses, whichever they are, one of the views at most is accepted.
    let n = word.len();
    let mut tried = 0;
    for (a, b) in (0..n).flat_map(|a| (0..a).map(move |b| (a, b))) {
        for c in 0..b {
            let witnesses = 1 << a | 1 << b | 1 << c;
            play.acceptance = Acceptance::Witnesses {
                witnesses,
                threshold: 2,
            };
            assert!(
                each_sum_covers_a_view(&play, &views),
                "witnesses {witnesses:b}"
            );
            tried += 1;
        }
    }
    let witnesses = (1 << n) - 1;
    play.acceptance = Acceptance::Witnesses {
        witnesses,
        threshold: n as u32 / 2 + 1,
    };
    assert_eq!(play.learn().revealing, 0);
    println!("{tried} sets of three witnesses tried");
}

#[test]
fn statements_of_neighbours_only_suffice_where_the_border_is_too_wide_for_the_ring() {
    // No corrupt clients, the same sharers for all, t = k/2 + j. A client with i others of its own
    // group between itself and the border has k/2 + i neighbours in its group, so 2 j clients at the
    // border reveal nothing; those beside them are unmasked only if k - 2 j >= t, that is k/2 >= 3 j.
    // At k = 4 that is so for no j >= 1. (At t = 3k/4, as for a thousand clients and more, neither; but
    // corrupt clients at the border, which agree with both groups, make it narrower.)
    for (k, t) in [(2, 2), (4, 3)] {
        let letters = split::all_letters()
            .into_iter()
            .filter(|&l| l != split::Place::Corrupt);
        let rules = NeighboursOnly {
            k,
            t,
            e: 0,
            letters: letters.collect(),
        };
        let walks = rules.walks();
        println!("k = {k}: {} windows allowed", walks.windows);
        assert!(rules.attack(&walks, usize::MAX).is_none());
    }
}

#[test]
fn two_statements_reach_t_w_only_if_twice_t_w_is_within_m_plus_corrupt_witnesses() {
    // Every honest witness signs one of three statements or none, corrupt ones sign all.
    let mut tried = 0_u64;
    for m in 1..=7_u32 {
        for corrupt in 0..=m {
            for threshold in 1..=m {
                let mut most = 0;
                for choices in 0..4_u32.pow(m - corrupt) {
                    let mut signatures = [corrupt; 4];
                    for witness in 0..m - corrupt {
                        signatures[(choices >> (2 * witness) & 3) as usize] += 1;
                    }
                    let reached = signatures[..3].iter().filter(|&&s| s >= threshold);
                    most = most.max(reached.count());
                    tried += 1;
                }
                assert_eq!(
                    most > 1,
                    2 * threshold <= m + corrupt,
                    "{m} {corrupt} {threshold}"
                );
            }
        }
    }
    println!("{tried} distributions of signatures tried");
}

#[test]
fn complete_graph_holds_with_twice_t_above_n_plus_corrupt_and_not_at_equality() {
    let mut all = 0;
    for n in 2..=7 {
        for c in 0..n - 1 {
            let t = usize::midpoint(n, c) + 1;
            let (found, tried) = Complete { n, c, t }.search();
            assert!(found.is_none(), "n {n}, c {c}: {found:?}");
            all += tried;
            if (n + c) % 2 == 0 && t > 2 {
                let weak = Complete { n, c, t: t - 1 };
                let clients = weak.search().0.unwrap();
                let play = weak.play(&clients);
                let views = [0, 1].map(|view| weak.survivors(&clients, view));
                let accepted = weak.accepted(&clients);
                let accepted: Vec<Set> = (0..2)
                    .filter(|&view| accepted[view])
                    .map(|view| views[view])
                    .collect();
                assert!(!each_sum_covers_a_view(&play, &accepted), "{clients:?}");
            }
        }
    }
    println!("{all} rounds tried at the smallest t allowed");
}

#[test]
fn complete_graph_at_equality_exposes_both_secrets() {
    // n = 4, nobody corrupt, t = t_w = 2: two clients are told that they survive and the other two
    // dropped, and the other two the reverse.
    let view = |survivors| View {
        sharers: Some(0b1111),
        survivors: Some(survivors),
    };
    let mut play = Play {
        graph: Graph::complete(4),
        threshold: 2,
        min_holders: 2,
        min_survivors: 2,
        corrupt: 0,
        acceptance: Acceptance::Witnesses {
            witnesses: 0b1111,
            threshold: 2,
        },
        views: vec![view(0b0011), view(0b0011), view(0b1100), view(0b1100)],
        revealed_elsewhere: 0,
        headers: None,
    };
    assert_eq!(play.learn().exposed, 0b1111);
    assert_eq!(play.learn().sums, [0b0001, 0b0010, 0b0100, 0b1000]);
    play.acceptance = Acceptance::Witnesses {
        witnesses: 0b1111,
        threshold: 3,
    };
    assert_eq!(play.learn().revealing, 0);
}
