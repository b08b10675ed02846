//! More comes in than there is room for: the answer is `overloaded` with `Retry-After`, clients of
//! the SDK obey, and in the end everyone's input is in the sum.
//!
//! A transaction of the test locks the round's row, so that no input can be stored until it ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use undertone_protocol::aggregator::PhaseName;
use undertone_server::Settings;
use undertone_server::store::Store;
use undertone_server::upload::UploadSettings;
use undertone_tests::client::{Hold, Inputs, Moment, spawn};
use undertone_tests::database::Database;
use undertone_tests::raw::{Clients, Reply};
use undertone_tests::task::{LENGTH, Task, sum_of};

const CLIENTS: u16 = 6;
const LONG: [u32; 5] = [120_000; 5];

/// A masked vector of the test's task: 24 bits an element.
const VECTOR: usize = LENGTH * 3;

fn settings(upload: UploadSettings) -> Settings {
    Settings {
        upload,
        ..Settings::default()
    }
}

/// The round's row, locked as by whoever closes its phase.
async fn lock(database: &str, task: &Task) -> PgConnection {
    let round = task.store.open_round_of(task.id).await.unwrap().unwrap();
    let mut connection = PgConnection::connect(database).await.unwrap();
    sqlx::query("BEGIN").execute(&mut connection).await.unwrap();
    sqlx::query("SELECT id FROM rounds WHERE id = $1 FOR UPDATE")
        .bind(round.id.as_bytes().as_slice())
        .fetch_one(&mut connection)
        .await
        .unwrap();
    connection
}

/// Brings a round of raw clients to MaskedInput; returns their inputs as they go over the wire.
async fn inputs(clients: &mut Clients) -> Vec<Vec<u8>> {
    let all = 0..usize::from(CLIENTS);
    for phase in [PhaseName::AdvertiseKeys, PhaseName::ShareKeys] {
        clients.all(phase, all.clone()).await;
        clients.left(phase).await;
    }
    let mut inputs = Vec::new();
    for client in all {
        inputs.push(clients.message(client).await);
    }
    inputs
}

async fn finish(task: &Task, clients: &mut Clients) {
    let all = 0..usize::from(CLIENTS);
    clients.left(PhaseName::MaskedInput).await;
    for phase in [PhaseName::ConsistencyCheck, PhaseName::Unmask] {
        clients.all(phase, all.clone()).await;
        clients.left(phase).await;
    }
    let (sum, survivors) = sum_of(&task.rounds().await[0]);
    assert_eq!(survivors.len(), usize::from(CLIENTS));
    assert!(sum == clients.plain_sum(all));
}

/// What the service answers to bytes of a request, head and all.
async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    String::from_utf8(answer[..read].to_vec()).unwrap()
}

fn head(round: &str, client: usize, length: usize) -> String {
    format!(
        "PUT /v1/rounds/{round}/masked-input/{client} HTTP/1.1\r\nhost: test\r\n\
         content-length: {length}\r\n\r\n"
    )
}

/// An upload that has begun fills the memory; others are turned away until it is through.
#[tokio::test]
async fn uploads_beyond_the_memory_come_again() {
    let database = Database::postgres().await;
    let task = Task::create(database.url(), CLIENTS, 1, LONG).await;
    let server = task
        .serve_with(settings(UploadSettings {
            memory_bytes: VECTOR + VECTOR / 2,
            room_wait_ms: 50,
            ..UploadSettings::default()
        }))
        .await;
    let mut clients = Clients::join(&task, &server).await;
    let inputs = inputs(&mut clients).await;

    let address = server.strip_prefix("http://").unwrap();
    let mut slow = TcpStream::connect(address).await.unwrap();
    let (first, rest) = inputs[0].split_at(inputs[0].len() / 2);
    let begin = head(&clients.round, 0, inputs[0].len());
    slow.write_all(begin.as_bytes()).await.unwrap();
    slow.write_all(first).await.unwrap();
    // It has its room as soon as its header has been read: then the next one finds none.
    let turned_away = Reply::new(503, "overloaded");
    for _ in 0..100 {
        let reply = clients
            .put(PhaseName::MaskedInput, 1, inputs[1].clone())
            .await;
        if reply == turned_away {
            break;
        }
        // Before that it goes in, and again without effect.
        assert_eq!(reply.status, 200, "{reply:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut other = TcpStream::connect(address).await.unwrap();
    let whole = [
        head(&clients.round, 2, inputs[2].len()).as_bytes(),
        &inputs[2],
    ]
    .concat();
    other.write_all(&whole).await.unwrap();
    let refused = answer(&mut other).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    let seconds = refused
        .lines()
        .find_map(|line| line.strip_prefix("retry-after: "));
    assert!(
        seconds.unwrap().trim().parse::<u32>().unwrap() > 0,
        "{refused}"
    );

    slow.write_all(rest).await.unwrap();
    let taken = answer(&mut slow).await;
    assert!(taken.starts_with("HTTP/1.1 200"), "{taken}");
    for (client, input) in inputs.into_iter().enumerate().skip(1) {
        let reply = clients.put(PhaseName::MaskedInput, client, input).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    finish(&task, &mut clients).await;
}

/// One input is being stored, one waits: a third is turned away.
#[tokio::test(flavor = "multi_thread")]
async fn uploads_beyond_the_queue_come_again() {
    let database = Database::postgres().await;
    let task = Task::create(database.url(), CLIENTS, 1, LONG).await;
    let server = task
        .serve_with(settings(UploadSettings {
            max_batch: 1,
            queue: 1,
            ..UploadSettings::default()
        }))
        .await;
    let mut clients = Clients::join(&task, &server).await;
    let inputs = inputs(&mut clients).await;
    let mut locked = lock(database.url(), &task).await;

    let mut waiting = tokio::task::JoinSet::new();
    let (http, round) = (clients.http.clone(), clients.round.clone());
    for (client, input) in inputs.iter().take(3).cloned().enumerate() {
        let (http, round) = (http.clone(), round.clone());
        let client = u32::try_from(client).unwrap();
        waiting.spawn(async move {
            http.put(&round, PhaseName::MaskedInput, client, input)
                .await
        });
    }
    // Of three at once, one is with the database and one in the queue.
    let refused = waiting.join_next().await.unwrap().unwrap();
    assert_eq!(refused, Reply::new(503, "overloaded"));
    let more = tokio::time::timeout(Duration::from_millis(300), waiting.join_next()).await;
    assert!(more.is_err(), "two wait for the database: {more:?}");
    sqlx::query("COMMIT").execute(&mut locked).await.unwrap();
    while let Some(reply) = waiting.join_next().await {
        assert_eq!(reply.unwrap(), Reply::new(200, "accepted"));
    }
    // Whoever was turned away comes again; for the others it is a repetition.
    for (client, input) in inputs.into_iter().enumerate() {
        let reply = clients.put(PhaseName::MaskedInput, client, input).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    finish(&task, &mut clients).await;
}

/// Clients of the SDK that all send at once to a service that has room for one of them.
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_the_sdk_obey_and_all_get_in() {
    let database = Database::postgres().await;
    let task = Task::create(database.url(), CLIENTS, 1, LONG).await;
    let server = task
        .serve_with(settings(UploadSettings {
            memory_bytes: VECTOR,
            room_wait_ms: 0,
            max_batch: 1,
            queue: 1,
            ..UploadSettings::default()
        }))
        .await;
    let (state, inputs) = (tempfile::tempdir().unwrap(), Inputs::default());
    let mut turned_away = inputs.turned_away();
    let (release, released) = watch::channel(false);
    let hold = Hold {
        round: 1,
        phase: PhaseName::MaskedInput,
        at: Moment::Sending,
        released,
    };
    let clients: Vec<_> = (0..usize::from(CLIENTS))
        .map(|index| {
            let hold = Some(hold.clone());
            spawn(&task, index, &server, state.path(), &inputs, hold)
        })
        .collect();
    task.leaves(PhaseName::ShareKeys).await;
    let mut locked = lock(database.url(), &task).await;
    release.send(true).unwrap();
    let others = usize::from(CLIENTS) - 1;
    let all_but_one = |seen: &Vec<(u32, Duration)>| {
        let clients: BTreeSet<u32> = seen.iter().map(|(client, _)| *client).collect();
        clients.len() >= others
    };
    let waited = turned_away.wait_for(all_but_one);
    let waited = tokio::time::timeout(Duration::from_secs(30), waited).await;
    for (client, delay) in waited.expect("nobody is turned away").unwrap().iter() {
        assert!(
            *delay >= Duration::from_secs(1),
            "client {client} comes again after {delay:?}"
        );
    }
    sqlx::query("COMMIT").execute(&mut locked).await.unwrap();
    for client in clients {
        let done = tokio::time::timeout(Duration::from_secs(90), client).await;
        let summary = done.expect("a client hangs").unwrap().unwrap();
        assert_eq!(summary.rounds_finished, 1, "{summary:?}");
    }
    let (sum, survivors) = sum_of(&task.rounds().await[0]);
    assert_eq!(survivors.len(), usize::from(CLIENTS));
    assert!(sum == inputs.sum(1, &survivors));
}
