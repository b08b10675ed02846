//! Attacks on the directory: two of them in one round, clients borrowed from another one, and
//! views whose proof, members or entries are not what they should be.

use std::collections::BTreeSet;

use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::codec;
use undertone_protocol::directory::{Directory, LocalDirectory};
use undertone_protocol::id::{Digest, Position, RosterIndex};
use undertone_protocol::message::{AdvertiseKeys, SecretKind, ShareKeysBody, Signed};
use undertone_protocol::shamir::SystemSplitter;
use undertone_protocol::threshold::Rule;
use undertone_protocol::{ProtocolError, RoundFailure};

use crate::lab::loot::{Loot, plain_sum};
use crate::lab::stage::Stage;
use crate::lab::view::{self, DirectoryView};
use crate::lab::{Lab, Plan, Sets, ring};

/// Two directories, complete graphs of up to ten clients with one corrupt client in both. Client
/// 9 is in both too; it takes part in the first, where it is said to have dropped, so that its
/// mask key comes out. In the second it is said to be there, which makes U3 as large as it has to
/// be.
fn borrow_a_client(unchecked: bool) -> (Lab, Loot) {
    let rule = Rule {
        min_clients: 9,
        min_survivors: 9,
        ..Rule::complete(10, 1)
    };
    let mut lab = Lab::of_rule(41, 17, rule);
    let members = [(0..10).collect(), [0].into_iter().chain(9..17).collect()];
    let stage = Stage::new(&mut lab, 1, &members);
    let mut second = Sets::all(members[1].iter().copied());
    second.directory = 1;
    let mut plan = Plan::of(vec![Sets::all(0..10).without([9]), second]).show(10..17, 1);
    plan.unchecked = BTreeSet::from_iter(unchecked.then_some(9));
    let loot = stage.play(&mut lab, &plan);
    (lab, loot)
}

/// Spec.
#[test]
fn a_client_borrowed_from_another_directory_is_refused() {
    let (lab, loot) = borrow_a_client(false);
    assert!(loot.secret(&lab, 9, SecretKind::MaskKey).is_some());
    for client in 10..17 {
        let refused = &loot.refused[&client];
        assert!(
            matches!(refused, ProtocolError::ViewMismatch { .. }),
            "{refused}"
        );
        assert!(!loot.uploads.contains_key(&client));
    }
    loot.assert_whole_sums_only(&lab, "with the header checked");

    // Without the check: a sum over eight clients, of whom the attacker knows one, in a round that
    // promises nine.
    let (lab, loot) = borrow_a_client(true);
    let real: BTreeSet<u32> = (10..17).collect();
    assert_eq!(loot.sums(&lab).get(&real), Some(&plain_sum(&lab, &real)));
    assert!(real.len() + 1 < lab.params.min_survivors());
}

/// A header with another sender, of another signer, or of another round proves nothing.
///
/// Spec.
#[test]
fn a_header_that_proves_nothing_is_refused() {
    use crate::lab::session::Session;
    use undertone_protocol::client::masked_input::DealtToClient;
    for rule in [Rule::complete(14, 2), ring(14, 8, 2)] {
        let other = {
            let mut lab = Lab::of_rule(43, 14, rule);
            lab.params = lab.other_round(|f| f.nonce = [1; 32]);
            Session::open(&mut lab, |_| ()).messages
        };
        let cases: [fn(&mut DealtToClient, &[ShareKeysBody]); 8] = [
            |d, _| d.deliveries[2].header.signature = d.deliveries[3].header.signature,
            |d, _| d.deliveries[2].header.message.sender.0 += 1,
            |d, _| d.deliveries[2].header.message.dealing = Digest::from([0; 32]),
            |d, _| d.deliveries[2].header = d.deliveries[3].header.clone(),
            |d, _| d.deliveries.truncate(d.deliveries.len() - 1),
            |d, _| d.deliveries.push(d.deliveries[0].clone()),
            |d, _| d.deliveries.swap(0, 1),
            |d, other| {
                let sender = d.deliveries[2].header.message.sender;
                d.deliveries[2].header = other[sender.0 as usize].header.clone();
            },
        ];
        for (case, change) in cases.into_iter().enumerate() {
            let mut lab = Lab::of_rule(42, 14, rule);
            let session = Session::open(&mut lab, |_| ());
            let dealt = session.masked.dealt_to(RosterIndex(5)).unwrap();
            let state = session.states.into_iter().nth(5).unwrap();
            let mut dealt: DealtToClient = codec::decode("dealt", &dealt).unwrap();
            change(&mut dealt, &other);
            let dealt = codec::encode("dealt", &dealt).unwrap();
            let refused = state.masked_input(&dealt, Lab::input(5)).unwrap_err();
            let named = matches!(
                refused,
                ProtocolError::ViewMismatch { .. } | ProtocolError::BadSignature { .. }
            );
            assert!(named, "case {case}: {refused}");
        }
    }
}

/// What is promised is one sum for each honest client, not one a round: both directories finish,
/// each sum has at least `min_survivors` members, no client is in both.
///
/// Spec.
#[test]
fn two_directories_in_one_round_give_each_client_one_whole_sum() {
    let rule = Rule {
        min_clients: 9,
        min_survivors: 9,
        ..Rule::complete(10, 1)
    };
    let mut lab = Lab::of_rule(44, 18, rule);
    let members = [(0..10).collect(), [0].into_iter().chain(10..18).collect()];
    let stage = Stage::new(&mut lab, 1, &members);
    let mut second = Sets::all(members[1].iter().copied());
    second.directory = 1;
    let plan = Plan::of(vec![Sets::all(0..10), second]).show(10..18, 1);
    let loot = stage.play(&mut lab, &plan);
    loot.assert_whole_sums_only(&lab, "two directories");
    let sums: Vec<BTreeSet<u32>> = loot.sums(&lab).into_keys().collect();
    assert_eq!(sums, [(1..10).collect(), (10..18).collect::<BTreeSet<_>>()]);
}

/// What a client says to a view of the directory; `None` if it takes it.
fn refusal(lab: &Lab, own: &Signed<AdvertiseKeys>, view: &DirectoryView) -> Option<ProtocolError> {
    let bytes = view.encode();
    LocalDirectory::decode(&lab.params, &lab.roster, &own.message, &bytes).err()
}

/// The library's view of a directory is the specification's; whatever is changed in it is refused.
///
/// Spec.
#[test]
fn a_changed_view_of_the_directory_is_refused() {
    let rule = Rule {
        min_clients: 10,
        max_clients: 24,
        ..ring(24, 8, 0)
    };
    let rule = Rule {
        witnesses: 10,
        witness_threshold: 6,
        min_survivors: 10,
        ..rule
    };
    let mut lab = Lab::of_rule(45, 30, rule);
    let entries: Vec<_> = (0..20).map(|c| lab.advertise(c).1).collect();
    let strangers: Vec<_> = (20..30).map(|c| lab.advertise(c).1).collect();
    let directory = Directory::new(&lab.params, &lab.roster, entries.clone()).unwrap();
    assert_eq!(directory.digest(), view::digest(&lab, &entries));
    for (at, own) in entries.iter().enumerate() {
        let view = DirectoryView::forge(&lab, &entries, at);
        assert_eq!(
            view.encode(),
            directory.encode_for(own.message.sender).unwrap()
        );
        assert_eq!(refusal(&lab, own, &view), None);
        let refused = |what: &str, change: &dyn Fn(&mut DirectoryView)| {
            let mut changed = view.clone();
            change(&mut changed);
            assert!(
                refusal(&lab, own, &changed).is_some(),
                "client {at}: {what}"
            );
        };
        for node in 0..view.nodes.len() {
            refused("a wrong node", &|v| {
                v.nodes[node] = Digest::from([node as u8; 32]);
            });
            refused("a missing node", &|v| {
                v.nodes.remove(node);
            });
            refused("a node too many", &|v| v.nodes.insert(node, v.nodes[node]));
        }
        refused("a last node too many", &|v| {
            v.nodes.push(Digest::from([0; 32]));
        });
        refused("no proof", &|v| v.nodes.clear());
        for entry in 0..view.entries.len() {
            refused("a missing entry", &|v| {
                v.entries.remove(entry);
            });
            refused("an entry twice", &|v| {
                v.entries.insert(entry, v.entries[entry].clone());
            });
            refused("a stranger's entry", &|v| {
                v.entries[entry] = strangers[0].clone();
            });
            refused("a signature of another", &|v| {
                v.entries[entry].signature = strangers[1].signature;
            });
            refused("a key changed", &|v| {
                v.entries[entry].message.mask_key = strangers[2].message.mask_key;
            });
        }
        refused("order", &|v| v.entries.swap(0, 1));
        let absent = entries.iter().find(|e| !view.entries.contains(e)).unwrap();
        refused("an entry of no neighbour", &|v| {
            v.entries.push(absent.clone());
            v.entries.sort_by_key(|e| e.message.sender);
        });
        let members = |range: std::ops::Range<u32>, but: u32| {
            Bitmap::new(30, range.filter(|c| *c != but).map(Position))
        };
        let own = own.message.sender.0;
        refused("a member less", &|v| {
            v.members = members(0..20, absent.message.sender.0);
        });
        refused("itself no member", &|v| v.members = members(0..21, own));
        refused("another roster", &|v| {
            v.members = Bitmap::new(20, (0..20).map(Position));
        });
        refused("too many members", &|v| v.members = members(0..30, 30));
        refused("too few members", &|v| {
            v.members = Bitmap::new(30, [Position(own)]);
        });
    }
}

/// A proof may be right, and of neighbours that the client does not have.
///
/// Spec.
#[test]
fn an_aggregator_does_not_pick_neighbours() {
    let mut lab = Lab::of_rule(46, 20, ring(20, 8, 0));
    let entries: Vec<_> = (0..20).map(|c| lab.advertise(c).1).collect();
    let all: BTreeSet<usize> = (0..20).collect();
    let view = DirectoryView::forge(&lab, &entries, 3);
    let own = entries.iter().position(|e| *e == entries[3]).unwrap();
    let here = |at: &usize| view.entries.contains(&entries[*at]);
    let (mut near, far): (BTreeSet<usize>, BTreeSet<usize>) = all.into_iter().partition(here);
    assert_eq!(
        refusal(
            &lab,
            &entries[3],
            &DirectoryView::prove(&lab, &entries, &near)
        ),
        None
    );
    let full = near.clone();
    let gone = near.iter().copied().find(|at| *at != own).unwrap();
    near.remove(&gone);
    // One instead of a neighbour; one beside them; a neighbour less.
    let others = far.iter().flat_map(|picked| {
        [&near, &full].map(|some| some.iter().chain([picked]).copied().collect())
    });
    for wanted in others.chain([near.clone()]) {
        let forged = DirectoryView::prove(&lab, &entries, &wanted);
        let what = "the list of this client's neighbours";
        let refused = refusal(&lab, &entries[3], &forged);
        assert_eq!(refused, Some(ProtocolError::ViewMismatch { what }));
    }
}

/// Two clients that are shown one tree with other members would have other witnesses. The members
/// are in the digest: another set of them is another directory, under which nothing is shared with
/// the first. Here it happens that the client's neighbours are the same under both, so that it
/// cannot tell; its header can.
///
/// Spec.
#[test]
fn other_members_under_one_root_are_another_directory() {
    let mut lab = Lab::of_rule(47, 7, ring(6, 4, 0));
    let (state, own) = lab.advertise(0);
    let (view, other) = loop {
        let mut entries: Vec<_> = (1..6).map(|c| lab.advertise(c).1).collect();
        entries.insert(0, own.clone());
        let view = DirectoryView::forge(&lab, &entries, 0);
        // The last client is no neighbour; the seventh of the roster takes its place.
        let mut other = view.clone();
        other.members = Bitmap::new(7, [0, 1, 2, 3, 4, 6].map(Position));
        if refusal(&lab, &own, &view).is_none() && refusal(&lab, &own, &other).is_none() {
            break (view, other);
        }
    };
    assert_eq!((&view.entries, &view.nodes), (&other.entries, &other.nodes));
    let [first, second] = [&view, &other].map(|v| {
        LocalDirectory::decode(&lab.params, &lab.roster, &own.message, &v.encode()).unwrap()
    });
    assert_ne!(first.digest(), second.digest());
    assert_ne!(first.witnesses(), second.witnesses());
    let (_, bytes) = state
        .share_keys(&other.encode(), &mut SystemSplitter, &mut lab.rng)
        .unwrap();
    let body: ShareKeysBody = codec::decode("ShareKeys", &bytes).unwrap();
    assert_eq!(body.header.message.directory, second.digest());
}

/// Spec.
#[test]
fn a_directory_of_too_few_is_never_made() {
    use undertone_protocol::aggregator::{AdvertiseKeysPhase, RoundContext};
    let rule = Rule {
        min_clients: 8,
        min_survivors: 8,
        ..Rule::complete(9, 2)
    };
    let mut lab = Lab::of_rule(48, 12, rule);
    let context = RoundContext::new(lab.params.clone(), lab.roster.clone()).unwrap();
    let phase = AdvertiseKeysPhase::new(context);
    let mut entries: Vec<_> = (0..12).rev().map(|c| lab.advertise(c).1).collect();
    let sharing = phase.clone().close(entries.clone()).unwrap();
    let kept: Vec<u32> = crate::lab::stage::clients(sharing.directory()).collect();
    assert_eq!(
        kept,
        (0..9).collect::<Vec<_>>(),
        "the lowest roster indices"
    );
    entries.truncate(7);
    let few = phase.close(entries.clone()).unwrap_err();
    assert!(matches!(
        few,
        RoundFailure::TooFewClients {
            needed: 8,
            found: 7,
            ..
        }
    ));
    entries.sort_by_key(|e| e.message.sender);
    let view = DirectoryView::forge(&lab, &entries, 0);
    let refused = refusal(&lab, &entries[0], &view);
    assert!(matches!(
        refused,
        Some(ProtocolError::TooFew {
            needed: 8,
            found: 7,
            ..
        })
    ));
}
