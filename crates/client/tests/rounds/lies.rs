//! An aggregator that lies: the round is lost or declined, and nothing further is sent in it.

use std::time::Duration;

use tempfile::TempDir;
use undertone_client::{Client, ClientError, DeclineReason, LostReason, Privacy};
use undertone_privacy::Mechanism;
use undertone_protocol::aggregator::PhaseName;

use crate::aggregator::{Lie, World};
use crate::{Constant, Watch, config, everyone, live, mechanism};

const SHORT: Duration = Duration::from_millis(300);

/// What a lone client of five does when the aggregator lies before AdvertiseKeys: it sends nothing.
///
/// Spec.
#[tokio::test]
async fn a_lie_about_the_round_gets_no_message() {
    let lies = [
        (Lie::Params, "the round's id"),
        (Lie::Announcement, "was announced as number 2"),
        (Lie::Task, "its parameters say number 1 of task 0808"),
        (Lie::Roster, "the digest or the task of the roster"),
        (Lie::Adapter, "the adapter's digest"),
        (Lie::Mechanism, "the mechanism's digest"),
        (Lie::Training, "the training settings' digest"),
    ];
    for (lie, said) in lies {
        let world = World::start(3, 5, 1, SHORT, &mechanism(), lie).await;
        let watch = Watch::new(0);
        let summary = live(world.clone(), watch.clone()).await.unwrap();
        assert_eq!(
            (summary.rounds_lost, summary.rounds_finished),
            (1, 0),
            "{lie:?}"
        );
        assert_eq!(summary.privacy, Privacy::NothingReleased);
        let lost = watch.lost.lock().unwrap();
        assert!(lost[0].to_string().contains(said), "{lie:?}: {lost:?}");
        assert!(world.lock().log.is_empty(), "{lie:?}");
    }
}

/// Documents that are what the parameters bind, and of no use: the round is declined.
///
/// Spec.
#[tokio::test]
async fn documents_that_cannot_be_used_are_declined() {
    let coarse = mechanism();
    // Five clients of norm 8 at this scale need more than 32 bits.
    let wrapping = Mechanism {
        scale: 2_f64.powi(26),
        ..coarse
    };
    let cases = [
        (Lie::AdapterLength, coarse, "the adapter has 13 values"),
        (Lie::AdapterValue, coarse, "a value that is not finite"),
        (Lie::AdapterType, coarse, "adapters hold F32 only"),
        (Lie::MechanismField, coarse, "unknown field `free`"),
        (Lie::Nothing, wrapping, "can wrap in 32 bits"),
    ];
    for (lie, mechanism, said) in cases {
        let world = World::start(9, 5, 1, SHORT, &mechanism, lie).await;
        let watch = Watch::new(0);
        let summary = live(world.clone(), watch.clone()).await.unwrap();
        assert_eq!(summary.rounds_declined, 1, "{lie:?}");
        let declined = watch.declined.lock().unwrap();
        let reason = declined[0].to_string();
        assert!(reason.contains(said), "{lie:?}: {reason}");
        assert!(world.lock().log.is_empty(), "{lie:?}");
    }
}

/// Spec.
#[tokio::test]
async fn a_roster_of_another_task_is_refused() {
    let lie = Lie::RosterOfAnotherTask;
    let world = World::start(10, 5, 1, SHORT, &mechanism(), lie).await;
    let dir = TempDir::new().unwrap();
    let refused = Client::join(config(&world, 0, dir.path()), Constant(0.0), ()).await;
    let Err(ClientError::Misbehaving(said)) = refused else {
        panic!("{refused:?}");
    };
    assert!(said.contains("is one of task 0808"), "{said}");
}

/// Lies told to all in a later phase: nobody sends anything further, so nobody reveals a share.
///
/// Spec.
#[tokio::test]
async fn a_lie_within_the_round_ends_it() {
    for (lie, last) in [
        (Lie::Directory, PhaseName::AdvertiseKeys),
        (Lie::SharersSize, PhaseName::ShareKeys),
        // Four of five can still agree on it; the aggregator's own view is another.
        (Lie::Survivors, PhaseName::ConsistencyCheck),
        (Lie::SurvivorsSize, PhaseName::MaskedInput),
        (Lie::Statements, PhaseName::ConsistencyCheck),
    ] {
        let deadline = Duration::from_millis(500);
        let world = World::start(4, 5, 1, deadline, &mechanism(), lie).await;
        let watches: Vec<Watch> = (0..5).map(Watch::new).collect();
        let summaries = everyone(&world, &watches).await;
        assert!(summaries.iter().all(|s| s.rounds_finished == 0), "{lie:?}");
        for watch in &watches {
            let lost = watch.lost.lock().unwrap();
            assert_eq!(lost.len(), 1, "{lie:?}");
        }
        let log = world.lock().log.clone();
        let latest = log.iter().map(|message| message.1).max();
        assert_eq!(latest, Some(last), "{lie:?}");
    }
}

/// Spec.
#[tokio::test]
async fn a_result_of_another_round_or_without_this_client_is_no_result() {
    for lie in [Lie::ResultOfAnother, Lie::ResultWithoutAnyone] {
        let deadline = Duration::from_millis(1500);
        let world = World::start(11, 5, 1, deadline, &mechanism(), lie).await;
        let watches: Vec<Watch> = (0..5).map(Watch::new).collect();
        for (summary, watch) in everyone(&world, &watches).await.iter().zip(&watches) {
            let counts = (summary.rounds_finished, summary.rounds_lost);
            assert_eq!(counts, (0, 1), "{lie:?}");
            let lost = watch.lost.lock().unwrap();
            assert!(matches!(lost[0], LostReason::Misbehaving(_)), "{lost:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_counts_backwards_is_left() {
    let world = World::start(7, 5, 2, SHORT, &mechanism(), Lie::Number).await;
    let error = live(world, Watch::new(0)).await.unwrap_err();
    assert!(matches!(error, ClientError::Misbehaving(_)), "{error}");
}

/// A record that was cut off may have said that the round on offer was begun.
///
/// Spec.
#[tokio::test]
async fn a_client_whose_record_was_cut_off_abstains() {
    let deadline = Duration::from_millis(1500);
    let world = World::start(12, 5, 1, deadline, &mechanism(), Lie::Nothing).await;
    let mut watch = Watch::new(0);
    watch.vanish = Some((1, PhaseName::AdvertiseKeys));
    let trainer = Constant(0.0);
    let dir = watch.dir.path();
    let first = Client::join(config(&world, 0, dir), trainer, watch.clone());
    let first = first.await.unwrap();
    tokio::select! {
        ended = first.run() => panic!("{ended:?}"),
        () = watch.gone.notified() => {}
    }
    let journal = dir.join("journal.jsonl");
    let mut text = std::fs::read(&journal).unwrap();
    text.truncate(text.len() - 9);
    std::fs::write(&journal, text).unwrap();

    let again = Client::join(config(&world, 0, dir), Constant(0.0), watch.clone());
    let summary = again.await.unwrap().run().await.unwrap();
    assert_eq!((summary.rounds_declined, summary.rounds_finished), (1, 0));
    let declined = watch.declined.lock().unwrap();
    assert_eq!(*declined, [DeclineReason::TornJournal]);
    assert!(world.lock().log.is_empty());
}
