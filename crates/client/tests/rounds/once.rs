//! What a client does once: it draws its keys for one round, and sends one message in each phase,
//! whatever becomes of the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::message::{AdvertiseKeys, Signed};

use crate::aggregator::{Lie, World};
use crate::{Watch, everyone, mechanism};

/// Twice two rounds, all of it the same but for what the clients draw.
///
/// Spec.
#[tokio::test]
async fn keys_are_drawn_for_one_round() {
    let deadline = Duration::from_secs(5);
    let (mut keys, mut rounds) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..2 {
        let world = World::start(13, 5, 2, deadline, &mechanism(), Lie::Nothing).await;
        let watches: Vec<Watch> = (0..5).map(Watch::new).collect();
        everyone(&world, &watches).await;
        let inner = world.lock();
        rounds.extend(inner.rounds.iter().map(|round| round.params.id()));
        for (_, phase, _, body) in &inner.bodies {
            if *phase == PhaseName::AdvertiseKeys {
                let message = Signed::<AdvertiseKeys>::decode(body).unwrap().message;
                keys.extend([message.cipher_key, message.mask_key]);
            }
        }
    }
    assert_eq!(rounds.len(), 2, "the two worlds are the same");
    assert_eq!(keys.len(), 2 * 2 * 5 * 2);
}

/// The answer to one client's Unmask comes when the round is over, and asks it to try again. The
/// same bytes are then too late, and yet the round is not lost: the first ones were accepted.
///
/// Spec.
#[tokio::test]
async fn an_unmask_whose_answer_was_lost_is_no_loss() {
    let deadline = Duration::from_secs(10);
    let world = World::start(14, 5, 1, deadline, &mechanism(), Lie::LostAnswer).await;
    let watches: Vec<Watch> = (0..5).map(Watch::new).collect();
    for summary in everyone(&world, &watches).await {
        assert_eq!((summary.rounds_finished, summary.rounds_lost), (1, 0));
    }
    let inner = world.lock();
    let answers = inner
        .log
        .iter()
        .filter(|m| (m.1, m.2) == (PhaseName::Unmask, 0));
    let answers: Vec<u16> = answers.map(|m| m.3).collect();
    assert_eq!(answers, [200, 410]);
    let mut sent = BTreeMap::new();
    for (_, phase, client, body) in &inner.bodies {
        let first = sent.entry((phase, client)).or_insert(body);
        assert_eq!(*first, body, "two messages of client {client} in {phase}");
    }
    assert_eq!(sent.len(), 5 * 5);
}
