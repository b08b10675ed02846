//! Attacks on the ring: survivors chosen to cut it, halves that are told different things, a
//! client that is told something of its own.

use std::collections::BTreeSet;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::Rng;
use undertone_protocol::ProtocolError;
use undertone_protocol::message::SecretKind;
use undertone_protocol::threshold::Rule;

use crate::lab::loot::{Loot, plain_sum};
use crate::lab::stage::Stage;
use crate::lab::{Accept, Lab, Plan, Sets, ring};

fn everyone(lab: &Lab) -> BTreeSet<u32> {
    (0..lab.cohort()).collect()
}

fn stage(lab: &mut Lab, corrupt: u32) -> Stage {
    let all = everyone(lab);
    Stage::new(lab, corrupt, &[all])
}

/// An honest round on a ring, as a check of the bench itself: the attacker learns the sum over all
/// honest survivors, exactly, and nothing else.
///
/// Spec.
#[test]
fn a_ring_round_yields_the_one_whole_sum() {
    let mut lab = Lab::of_rule(31, 20, ring(20, 8, 2));
    let plan = Plan::of(vec![Sets::all(0..20).without([7])]);
    let loot = lab.play(2, &plan);
    let whole: BTreeSet<u32> = (2..20).filter(|c| *c != 7).collect();
    let sums = loot.sums(&lab);
    assert_eq!(sums.keys().collect::<Vec<_>>(), [&whole]);
    assert_eq!(sums[&whole], plain_sum(&lab, &whole));
}

/// Two windows of k/2 places, two corrupt clients in each, that leave arcs of 8 or more.
fn two_windows(seats: &[u32], corrupt: u32) -> Option<[Vec<u32>; 3]> {
    let n = seats.len();
    let at = |place: usize| seats[place % n];
    let window = |from: usize| (from..from + 4).map(at);
    let full = |from: usize| window(from).filter(|c| *c < corrupt).count() == 2;
    (0..n).find_map(|a| {
        let b = (a + 12..=a + n - 12).find(|b| full(a) && full(*b))?;
        let honest = |places: std::ops::Range<usize>| -> Vec<u32> {
            places.map(at).filter(|c| *c >= corrupt).collect()
        };
        let dropped = window(a).chain(window(b)).filter(|c| *c >= corrupt);
        Some([dropped.collect(), honest(a + 4..b), honest(b + 4..a + n)])
    })
}

/// The aggregator presents the honest clients of two windows of k/2 as dropped, to everyone alike.
/// With e corrupt clients in each window and t = k/2 + e + 1 the clients beside them refuse, and no
/// secret of theirs comes out. With t one lower each arc's sum is learned.
///
/// Spec.
#[test]
fn survivors_chosen_to_cut_the_ring_yield_no_partial_sum() {
    for (e, cut) in [(2, false), (1, true)] {
        let mut lab = Lab::of_rule(32, 28, ring(28, 8, e));
        let mut stage = stage(&mut lab, 4);
        let [dropped, one, other] = stage.grind(&mut lab, 0, |seats| two_windows(seats, 4));
        let plan = Plan::of(vec![Sets::all(0..28).without(dropped.iter().copied())]);
        let loot = stage.play(&mut lab, &plan);
        let sums = loot.sums(&lab);
        if cut {
            for arc in [one, other].map(BTreeSet::from_iter) {
                assert_eq!(sums.get(&arc), Some(&plain_sum(&lab, &arc)), "{arc:?}");
            }
        } else {
            assert!(sums.is_empty(), "{:?}", sums.keys());
            for edge in [one[0], one[one.len() - 1], other[0], other[other.len() - 1]] {
                let few = ProtocolError::TooFew {
                    what: "holders of this client's shares",
                    needed: 7,
                    found: 6,
                };
                assert_eq!(loot.refused[&edge], few);
                let seed = loot.secret(&lab, edge, SecretKind::SelfMask);
                assert!(seed.is_none(), "of client {edge}");
            }
        }
    }
}

/// A cut has two ends: with t = k/2 + e, and e corrupt clients in one window only, the clients
/// beside the other window have k/2 holders left and no more.
///
/// Spec.
#[test]
fn a_cut_needs_corrupt_clients_in_both_windows() {
    let mut lab = Lab::of_rule(38, 28, ring(28, 8, 1));
    let mut stage = stage(&mut lab, 2);
    let seats = stage.grind(&mut lab, 0, |seats| {
        let full = |s: &[u32]| s[..4].iter().filter(|c| **c < 2).count() == 2;
        let turned = |by| [&seats[by..], &seats[..by]].concat();
        (0..28).map(turned).find(|s| full(s))
    });
    let windows = seats[..4].iter().chain(&seats[14..18]).copied();
    let dropped = windows.filter(|c| *c >= 2);
    let plan = Plan::of(vec![Sets::all(0..28).without(dropped)]);
    let loot = stage.play(&mut lab, &plan);
    assert!(loot.sums(&lab).is_empty());
    for edge in [4, 13, 18, 27].map(|place| seats[place]) {
        let refused = matches!(
            loot.refused.get(&edge),
            Some(ProtocolError::TooFew { found: 4, .. })
        );
        let by_the_full_window = [seats[4], seats[27]].contains(&edge);
        assert_eq!(refused, !by_the_full_window, "client {edge}");
        let seed = loot.secret(&lab, edge, SecretKind::SelfMask);
        assert_eq!(seed.is_some(), by_the_full_window, "client {edge}");
    }
}

/// The two halves of a ring, and one client deep inside each that the half is told has dropped.
fn halves(stage: &mut Stage, lab: &mut Lab, deep: usize) -> (Plan, [u32; 2]) {
    let (n, corrupt) = (lab.cohort(), stage.corrupt);
    let (seats, victims) = stage.grind(lab, 0, |seats| {
        let half = seats.len() / 2;
        let victims = [seats[deep], seats[half + deep]];
        let honest = |side: &[u32]| side.iter().filter(|c| **c >= corrupt).count();
        let even = honest(&seats[..half]).abs_diff(honest(&seats[half..])) <= 1;
        (even && victims.iter().all(|c| *c >= corrupt)).then(|| (seats.to_vec(), victims))
    });
    let views = victims.map(|victim| Sets::all(0..n).without([victim]));
    let second = seats[seats.len() / 2..].iter().copied();
    let plan = Plan::of(views.to_vec()).show(second.filter(|c| *c >= corrupt), 1);
    (plan, victims)
}

/// What the halves' attack is after: the sum without both victims, which nobody agreed to.
fn mixture(lab: &Lab, loot: &Loot, victims: [u32; 2]) -> bool {
    let rest: BTreeSet<u32> = (loot.corrupt..lab.cohort())
        .filter(|c| !victims.contains(c))
        .collect();
    loot.sums(lab).get(&rest) == Some(&plain_sum(lab, &rest))
}

/// With the statements of its own neighbours alone a client deep inside either half is content,
/// and a sum below `min_survivors` comes out. Fixed witnesses exclude it.
///
/// Spec.
#[test]
fn two_halves_of_the_ring_shown_different_survivors_get_nothing() {
    for accept in [Accept::Witnesses, Accept::Neighbours(4)] {
        let rule = Rule {
            min_survivors: 27,
            ..ring(28, 6, 0)
        };
        let mut lab = Lab::of_rule(33, 28, rule);
        let mut stage = stage(&mut lab, 0);
        let (mut plan, victims) = halves(&mut stage, &mut lab, 6);
        plan.accept = accept;
        let loot = stage.play(&mut lab, &plan);
        let learned = mixture(&lab, &loot, victims);
        assert_eq!(learned, accept != Accept::Witnesses);
        if accept == Accept::Witnesses {
            assert!(loot.revealed.is_empty());
        } else {
            assert_eq!(loot.answered().len(), 2);
        }
    }
}

/// The same attack with corrupt witnesses, who sign both views: 2 `t_w` > m + c excludes it, and a
/// smaller `t_w` does not.
///
/// Spec.
#[test]
fn two_halves_need_corrupt_witnesses_beyond_the_bound() {
    for (witness_threshold, learned) in [(15, true), (17, false)] {
        let rule = Rule {
            witness_threshold,
            min_survivors: 17,
            ..ring(28, 8, 1)
        };
        let mut lab = Lab::of_rule(34, 28, rule);
        let mut stage = stage(&mut lab, 4);
        let (plan, victims) = halves(&mut stage, &mut lab, 6);
        let loot = stage.play(&mut lab, &plan);
        assert_eq!(mixture(&lab, &loot, victims), learned);
        assert_eq!(loot.answered().len(), if learned { 2 } else { 0 });
    }
}

/// One statement a round, ever: honest witnesses that were restarted, forgot, and sign a second
/// view are as good as corrupt ones.
///
/// Spec.
#[test]
fn a_second_view_needs_witnesses_that_sign_twice() {
    for forget in [false, true] {
        let mut lab = Lab::of_rule(35, 28, ring(28, 8, 1));
        let mut stage = stage(&mut lab, 1);
        let (mut plan, victims) = halves(&mut stage, &mut lab, 6);
        if forget {
            plan.forgetful = (1..16).collect();
        }
        let loot = stage.play(&mut lab, &plan);
        assert_eq!(mixture(&lab, &loot, victims), forget);
    }
}

/// A client w that is shown a U2 of its own does not reveal; the attacker wants its b from the
/// holders that it does not see, and the mask keys of those that it sees.
///
/// Spec.
#[test]
fn a_u2_shown_to_one_client_alone_does_not_isolate_it() {
    let beside = |seats: &[u32]| {
        // One corrupt client on either side of an honest one, whatever the distance.
        (0..seats.len()).find_map(|at| {
            let side = |from: usize| (from..from + 4).map(|p| seats[p % seats.len()]);
            let [before, after] = [side(at + seats.len() - 4), side(at + 1)];
            let one = |mut side: std::iter::Map<_, _>| side.any(|c: u32| c < 2);
            let w = seats[at];
            let all: Vec<u32> = before.clone().chain(after.clone()).collect();
            (w >= 2 && one(before) && one(after)).then_some((w, all))
        })
    };
    for (e, threshold) in [(0, 5), (1, 6)] {
        for unseen in 0..=6_usize {
            let rule = Rule {
                min_survivors: 13,
                ..ring(20, 8, e)
            };
            let mut lab = Lab::of_rule(36, 20, rule);
            let mut stage = stage(&mut lab, 2);
            let (w, around) = stage.grind(&mut lab, 0, beside);
            let honest: Vec<u32> = around.into_iter().filter(|c| *c >= 2).collect();
            let (unseen_ones, seen) = honest.split_at(unseen);
            let view = Sets::all(0..20).without(seen.iter().copied());
            let own = (0..20).filter(|c| !unseen_ones.contains(c));
            let plan = Plan::of(vec![view, Sets::all(own)]).show([w], 1);
            let loot = stage.play(&mut lab, &plan);
            let isolated = loot.input_of(&lab, w);
            let works = e == 0 && unseen == 3;
            assert_eq!(
                isolated,
                works.then(|| Lab::input(w)),
                "e = {e}, {unseen} unseen"
            );
            let few = matches!(loot.refused[&w], ProtocolError::TooFew { needed, .. }
                if needed == threshold);
            assert_eq!(
                few && !loot.uploads.contains_key(&w),
                8 - unseen < threshold
            );
        }
    }
}

/// Spec.
#[test]
fn a_survivor_presented_as_dropped_to_some_neighbours_keeps_its_secrets() {
    for told in 0..=18_usize {
        let mut lab = Lab::of_rule(37, 20, ring(20, 8, 2));
        let mut stage = stage(&mut lab, 2);
        // A victim with both corrupt clients around it; the next `told` clients see it dropped.
        let seats = stage.grind(&mut lab, 0, |seats| {
            let mut seats = seats.to_vec();
            (0..20).find_map(|_| {
                seats.rotate_left(1);
                let around = seats[1..5].iter().chain(&seats[16..]);
                let close = around.filter(|c| **c < 2).count() == 2;
                (close && seats[0] >= 2).then(|| seats.clone())
            })
        });
        let victim = seats[0];
        let honest = seats[1..].iter().copied().filter(|c| *c >= 2);
        let views = vec![Sets::all(0..20), Sets::all(0..20).without([victim])];
        let plan = Plan::of(views).show(honest.take(told), 1);
        let loot = stage.play(&mut lab, &plan);
        let both = [SecretKind::SelfMask, SecretKind::MaskKey]
            .map(|kind| loot.secret(&lab, victim, kind).is_some());
        assert_ne!(both, [true, true], "{told} are told");
        assert!(loot.answered().len() <= 1);
        loot.assert_whole_sums_only(&lab, &format!("{told} are told"));
    }
}

/// A liar without a plan: a view of which a few clients are missing, and others like it, shown to
/// whom it likes.
fn any_plan(rng: &mut ChaCha20Rng, n: u32) -> Plan {
    let mut below = |bound: u32| rng.next_u32() % bound;
    let mut base = Sets::all(0..n);
    (0..below(2)).for_each(|_| base.leave_out(below(n)));
    let dropped = [below(n), below(n)];
    base = base.without(dropped.into_iter().take(below(3) as usize));
    let mut plan = Plan::of(vec![base.clone()]);
    plan.shown = (0..n).map(|client| (client, 0)).collect();
    for view in 1..=below(3) as usize {
        let mut other = base.clone();
        other.directory = usize::from(below(8) == 0);
        for _ in 0..=below(3) {
            let client = below(n);
            match below(3) {
                0 => other.leave_out(client),
                1 => other = other.without([client]),
                _ => other.survivors.extend([client]),
            }
        }
        plan.views.push(other);
        let some = if below(4) == 0 { n / 2 } else { 1 + below(4) };
        for _ in 0..some {
            plan.shown.insert(below(n), view);
        }
    }
    plan
}

/// Theorem 3, whatever the aggregator does within the bound.
///
/// Spec.
#[test]
fn whatever_is_shown_to_whom_only_whole_sums_come_out() {
    let rules = [
        Rule::complete(14, 2),
        ring(14, 8, 0),
        ring(14, 8, 1),
        ring(14, 8, 2),
    ];
    let mut with_a_sum = 0;
    for seed in 0..80 {
        let rule = rules[seed as usize % rules.len()];
        let mut lab = Lab::of_rule(seed, 14, rule);
        let plan = any_plan(&mut lab.rng, 14);
        let loot = lab.play(rule.corrupt, &plan);
        let sums = loot.assert_whole_sums_only(&lab, &format!("seed {seed}"));
        with_a_sum += usize::from(sums > 0);
    }
    // Plans that every client refuses would show nothing.
    assert!((20..75).contains(&with_a_sum), "{with_a_sum} of 80");
}
