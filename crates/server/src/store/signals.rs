//! What processes tell each other through the database: that there is something to look at.
//!
//! A signal may be lost, with the connection it would have come by. Nothing depends on one: whoever
//! listens also looks by itself, only later.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use undertone_protocol::id::TaskId;

use super::session::Pools;
use super::{ReplicaId, Result};

/// The channel of all signals.
pub(super) const CHANNEL: &str = "undertone";

/// How long to try to connect before a failure is told.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Something to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// A task, or a round of it, is in another state.
    Changed(TaskId),
    /// Messages of the task's open round came: a phase may have all that it waits for.
    Message(TaskId),
    /// Leases were given up.
    Leases,
    /// Signals may have been lost: anything may have changed.
    Missed,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(task) => write!(f, "changed {task}"),
            Self::Message(task) => write!(f, "message {task}"),
            Self::Leases => f.write_str("leases"),
            Self::Missed => f.write_str("missed"),
        }
    }
}

impl FromStr for Signal {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        if text == "leases" {
            return Ok(Self::Leases);
        }
        let (word, task) = text.split_once(' ').ok_or(())?;
        let task = task.parse().map_err(|_| ())?;
        match word {
            "changed" => Ok(Self::Changed(task)),
            "message" => Ok(Self::Message(task)),
            _ => Err(()),
        }
    }
}

/// Hears the signals of all processes, on a connection of its own.
///
/// While it is there the connection holds an advisory lock named by the process: others see by it
/// that the process lives, and as soon as it is killed, that it does not.
#[derive(Debug)]
pub struct Listener(Option<(PgListener, PgPool)>);

impl Listener {
    pub(super) async fn open(pools: &Pools, owner: ReplicaId) -> Result<Self> {
        let Pools::Postgres(pool) = pools else {
            return Ok(Self(None));
        };
        let own = own_connection(pool.connect_options().as_ref().clone(), owner);
        let mut listener = PgListener::connect_with(&own).await?;
        listener.listen(CHANNEL).await?;
        Ok(Self(Some((listener, own))))
    }

    /// The next signal; [`Signal::Missed`] where the connection was lost and made anew. On SQLite,
    /// which one process serves, none ever comes.
    ///
    /// # Errors
    /// If the connection is lost: this listener hears nothing any more.
    pub async fn next(&mut self) -> Result<Signal> {
        let Some((listener, _)) = &mut self.0 else {
            return std::future::pending().await;
        };
        loop {
            match listener.try_recv().await? {
                None => return Ok(Signal::Missed),
                // A later version may say what this one does not understand.
                Some(said) => {
                    if let Ok(signal) = said.payload().parse() {
                        return Ok(signal);
                    }
                }
            }
        }
    }
}

impl Listener {
    /// Closes the connection: from then on others take the process for gone.
    pub async fn close(self) {
        if let Some((listener, own)) = self.0 {
            drop(listener);
            own.close().await;
        }
    }
}

/// A pool of one connection, which shows that `owner` lives.
fn own_connection(options: PgConnectOptions, owner: ReplicaId) -> PgPool {
    PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(CONNECT_TIMEOUT)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                // Not free only while the server has not noticed that the last connection broke.
                sqlx::query("SELECT pg_advisory_lock($1)")
                    .bind(owner.number())
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .connect_lazy_with(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_understood() {
        let task = TaskId::from([7; 16]);
        for signal in [Signal::Changed(task), Signal::Message(task), Signal::Leases] {
            assert_eq!(signal.to_string().parse(), Ok(signal));
        }
        for text in ["", "missed", "changed", "changed 12", "other 07"] {
            assert_eq!(text.parse::<Signal>(), Err(()), "{text}");
        }
    }
}
