//! The one door every step goes through: named in the log, retried a bounded number of times.

use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};

use super::{Result, StoreError};
use crate::telemetry::name;

/// Waits before the second and later attempts. Together they outlast a database that restarts
/// quickly, and stay below what a client waits for an answer.
const WAITS: [Duration; 3] = [
    Duration::from_millis(20),
    Duration::from_millis(200),
    Duration::from_secs(1),
];

/// Runs a step, again if it failed for a reason that passes.
///
/// A step is one transaction, so a failed attempt left nothing behind, with one exception: if the
/// connection breaks while the commit is under way, the attempt may have been made durable. The
/// next attempt then finds its own work: a message is `Repeated`, and a phase, round or task is
/// there already, as if another process had been first. Nothing is counted twice.
pub(super) async fn step<T, F>(name: &'static str, attempt: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let started = Instant::now();
    let result = attempts(name, attempt).await;
    histogram!(name::STORE_STEP_SECONDS, "step" => name).record(started.elapsed());
    answered(&result);
    if let Err(StoreError::Database(_)) = &result {
        counter!(name::STORE_FAILURES).increment(1);
    }
    result
}

async fn attempts<T, F>(name: &'static str, attempt: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    for wait in WAITS {
        match attempt().await {
            Err(error) if passes(&error) => {
                tracing::warn!(step = name, %error, "the database failed; trying again");
                counter!(name::STORE_RETRIES).increment(1);
                tokio::time::sleep(wait).await;
            }
            result => return result,
        }
    }
    attempt().await
}

/// Notes whether the database answered.
pub(super) fn answered<T>(result: &Result<T>) {
    let up = !matches!(result, Err(StoreError::Database(_)));
    gauge!(name::STORE_UP).set(if up { 1.0 } else { 0.0 });
}

/// Whether the failure is one of the moment: a lost connection, a lock held too long, a deadlock.
/// A pool without a free connection is not: trying again would only lengthen the queue.
fn passes(error: &StoreError) -> bool {
    match error {
        StoreError::Database(sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed) => true,
        StoreError::Database(sqlx::Error::Database(error)) => {
            error.code().is_some_and(|code| code_passes(&code))
        }
        _ => false,
    }
}

fn code_passes(code: &str) -> bool {
    // Postgres, five characters: connection exceptions, serialization failure, deadlock, lock not
    // available, and a server that stops or starts.
    let postgres = code.starts_with("08")
        || matches!(
            code,
            "40001" | "40P01" | "55P03" | "57P01" | "57P02" | "57P03"
        );
    // SQLite, a number whose low byte is the primary code: SQLITE_BUSY and SQLITE_LOCKED.
    let sqlite = code.len() < 5
        && code
            .parse::<u32>()
            .is_ok_and(|code| matches!(code & 0xff, 5 | 6));
    postgres || sqlite
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn lost() -> StoreError {
        sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()).into()
    }

    #[test]
    fn only_failures_of_the_moment_pass() {
        for code in ["40001", "40P01", "08006", "57P01", "5", "517", "261", "6"] {
            assert!(code_passes(code), "{code}");
        }
        // Unique violation, check violation, syntax error; SQLITE_FULL, SQLITE_CONSTRAINT_UNIQUE.
        for code in ["23505", "23514", "42601", "13", "2067"] {
            assert!(!code_passes(code), "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_are_bounded() {
        let attempts = Cell::new(0);
        let result: Result<()> = step("test", || {
            attempts.set(attempts.get() + 1);
            async { Err(lost()) }
        })
        .await;
        assert!(result.is_err());
        assert_eq!(attempts.get(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lasting_failure_is_not_retried() {
        let attempts = Cell::new(0);
        let result: Result<()> = step("test", || {
            attempts.set(attempts.get() + 1);
            async { Err(StoreError::Missing("it".to_owned())) }
        })
        .await;
        assert!(matches!(result, Err(StoreError::Missing(_))));
        assert_eq!(attempts.get(), 1);
    }
}
