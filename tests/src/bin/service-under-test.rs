//! The service on an SQLite file of its own, with a task whose first round stays open, and an admin
//! token with every right. Prints their names as shell variables, then serves until it is killed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "this is test code"
)]

use std::io::Write;

use undertone_protocol::id::RoundNumber;
use undertone_server::auth::{Scope, Token, TokenKind};
use undertone_server::driver::now_ms;
use undertone_server::store::{Actor, NewToken, Store};
use undertone_tests::database::Database;
use undertone_tests::task::Task;

const HOUR_MS: u32 = 3_600_000;

#[tokio::main]
async fn main() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), 5, 3, [HOUR_MS; 5]).await;
    let token = Token::draw(TokenKind::Admin).unwrap();
    let new = NewToken {
        id: token.id(),
        hash: token.hash(),
        name: "test".to_owned(),
        scopes: Scope::ALL.into_iter().collect(),
        created_at: now_ms(),
        expires_at: now_ms() + u64::from(HOUR_MS),
    };
    task.store
        .create_token(&new, Actor::Database)
        .await
        .unwrap();
    let server = task.serve().await;
    let round = loop {
        let open = task.store.open_round_of(task.id).await.unwrap();
        if let Some(round) = open.filter(|round| round.number == RoundNumber(1)) {
            break round.id;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    println!("server={server}");
    println!("task={}", task.id);
    println!("round={round}");
    println!("token={}", token.reveal().as_str());
    std::io::stdout().flush().unwrap();
    std::future::pending::<()>().await;
}
