//! Two directories in one round, and phantoms: honest clients of one of them that the aggregator
//! claims to have shared keys, and to survive, under the other.

use super::letters::{Corrupt, PHANTOM, Phantoms, Rules};
use super::model::{Acceptance, Graph, Play, Set, View};
use super::{HALF_WINDOWS, smallest_attack};

#[test]
fn checked_headers_keep_clients_of_another_directory_out_of_the_survivors_of_a_ring() {
    for (k, e) in HALF_WINDOWS {
        let rules = |phantoms| Rules {
            phantoms,
            ..Rules::new(k, k / 2 + e + 1, Corrupt::HalfWindow(e))
        };
        assert_eq!(smallest_attack(&rules(Phantoms::Checked)), None);
        // With t = k all neighbours must reveal, and phantoms do not.
        let believed = smallest_attack(&rules(Phantoms::Believed));
        assert_eq!(believed.is_some(), k / 2 + e + 1 < k);
        assert!(believed.is_none_or(|word| word.contains(&PHANTOM)));
    }
}

/// A round under one directory, everyone in it a sharer; the corrupt clients stand at the last c
/// places, and the client at place 0 is not spoken to.
fn without_the_first(graph: Graph, c: usize, t: u32, min_survivors: u32, survivors: Set) -> Play {
    let n = graph.neighbours.len();
    let all: Set = (1 << n) - 1;
    let mut views = vec![
        View {
            sharers: Some(all),
            survivors: Some(survivors)
        };
        n
    ];
    views[0] = View::default();
    Play {
        graph,
        threshold: t,
        min_holders: t,
        min_survivors,
        corrupt: all & !(all >> c),
        acceptance: Acceptance::Witnesses {
            witnesses: all,
            threshold: t,
        },
        views,
        revealed_elsewhere: 0,
        headers: None,
    }
}

#[test]
fn client_of_another_directory_makes_the_sum_smaller_than_min_survivors_promises() {
    // One honest client is in two directories of a round, all other honest clients in one of them. It
    // follows the first, where the others are told that it dropped out: its mask secret is revealed.
    // In the second, where it never shared keys, it is claimed to survive.
    let complete = (Graph::complete(6), Graph::complete(5), 1, 4, 5);
    let ring = (Graph::ring(7, 4, false), Graph::ring(6, 4, false), 0, 3, 6);
    for (first, second, c, t, min_survivors) in [complete, ring] {
        let n = second.neighbours.len();
        let all: Set = (1 << n) - 1;
        let dropped: Set = (1 << first.neighbours.len()) - 2;
        let first = without_the_first(first, c, t, min_survivors, dropped);
        assert_eq!(first.learn().mask_secrets, 1);
        assert_eq!(first.learn().sums, [dropped & first.honest()]);

        let mut second = without_the_first(second, c, t, min_survivors, all);
        assert!(second.learn().sums.is_empty());
        second.revealed_elsewhere = 1;
        let sums = second.learn().sums;
        assert_eq!(sums, [second.honest() & !1]);
        assert!(sums[0].count_ones() + (c as u32) < min_survivors);

        // Clients that check the header of each neighbour refuse the claim; without the claim, there
        // are too few survivors.
        second.headers = Some(all & !1);
        assert!(second.learn().sums.is_empty());
        second.views = vec![
            View {
                sharers: Some(all & !1),
                survivors: Some(all & !1)
            };
            n
        ];
        assert!(second.learn().sums.is_empty());
    }
}

#[test]
fn checked_headers_keep_sums_on_the_complete_graph_as_large_as_min_survivors_promises() {
    let (mut tried, mut below) = (0, 0);
    for n in 3..=7_usize {
        for (c, phantoms) in (0..n).flat_map(|c| (0..n - c).map(move |p| (c, p))) {
            let t = usize::midpoint(n, c) + 1;
            let all: Set = (1 << n) - 1;
            for min_survivors in t.max(c + 2)..=n {
                for survivors in 0..=all {
                    let fewest = min_survivors as u32;
                    let mut play =
                        without_the_first(Graph::complete(n), c, t as u32, fewest, survivors);
                    play.views = vec![
                        View {
                            sharers: Some(all),
                            survivors: Some(survivors)
                        };
                        n
                    ];
                    play.revealed_elsewhere = (1 << phantoms) - 1;
                    for phantom in 0..phantoms {
                        play.views[phantom] = View::default();
                    }
                    let short = |play: &Play| {
                        let sums = play.learn().sums;
                        sums.iter()
                            .any(|sum| sum.count_ones() as usize + c < min_survivors)
                    };
                    below += u32::from(short(&play));
                    play.headers = Some(all & !play.revealed_elsewhere);
                    assert!(!short(&play), "{play:?}");
                    tried += 1;
                }
            }
        }
    }
    println!("{tried} rounds, {below} with a sum that is too small if headers are not checked");
    assert!(below > 0);
}
