//! The server's optimiser: its setting as it is read, and what it keeps between rounds.
//!
//! The state belongs to the adapter that a round left behind, and is written in the transaction
//! that ends the round: a process that dies leaves both as they were, or both moved on.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use undertone_federated::ServerOptimizer;
use undertone_protocol::id::TaskId;

use super::Result;
use super::session::{Pools, Session};

/// Reads an optimiser, or a bare rate of federated averaging.
pub(super) fn read<'de, D: Deserializer<'de>>(
    from: D,
) -> std::result::Result<ServerOptimizer, D::Error> {
    struct Either;

    impl<'de> Visitor<'de> for Either {
        type Value = ServerOptimizer;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(
                "a rate, or an optimiser like { kind = \"fed-adam\", learning_rate = 0.01 }",
            )
        }

        fn visit_f64<E>(self, learning_rate: f64) -> std::result::Result<ServerOptimizer, E> {
            Ok(ServerOptimizer::FedAvg { learning_rate })
        }

        fn visit_u64<E>(self, rate: u64) -> std::result::Result<ServerOptimizer, E> {
            let learning_rate = f64::from(u32::try_from(rate).unwrap_or(u32::MAX));
            Ok(ServerOptimizer::FedAvg { learning_rate })
        }

        fn visit_i64<E>(self, rate: i64) -> std::result::Result<ServerOptimizer, E> {
            // What is not positive is refused by the check of the task.
            let learning_rate = f64::from(i32::try_from(rate).unwrap_or(0));
            Ok(ServerOptimizer::FedAvg { learning_rate })
        }

        fn visit_map<A: MapAccess<'de>>(
            self,
            map: A,
        ) -> std::result::Result<ServerOptimizer, A::Error> {
            ServerOptimizer::deserialize(MapAccessDeserializer::new(map))
        }
    }

    from.deserialize_any(Either)
}

/// What the optimiser of a task kept; nothing before the first round that finished.
pub(super) async fn state(pools: &Pools, task: TaskId) -> Result<Option<Vec<u8>>> {
    let mut session = pools.read().await?;
    let row = session
        .query("SELECT state FROM server_optimizers WHERE task = $1")
        .bind(task.as_bytes().as_slice())
        .row()
        .await?;
    row.map(|row| row.get("state")).transpose()
}

/// Keeps the state for the next round; the last round leaves none.
pub(super) async fn keep(
    session: &mut Session,
    task: TaskId,
    state: &[u8],
    last: bool,
) -> Result<()> {
    if last || state.is_empty() {
        session
            .query("DELETE FROM server_optimizers WHERE task = $1")
            .bind(task.as_bytes().as_slice())
            .execute()
            .await?;
        return Ok(());
    }
    session
        .query(
            "INSERT INTO server_optimizers (task, state) VALUES ($1, $2) \
             ON CONFLICT (task) DO UPDATE SET state = excluded.state",
        )
        .bind(task.as_bytes().as_slice())
        .bind(state)
        .execute()
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::store::TaskSettings;
    use undertone_federated::ServerOptimizer;

    fn settings(optimizer: &str) -> Result<TaskSettings, serde_json::Error> {
        let rest = r#""rounds": 1, "cohort": 4, "min_survivors": 3, "bits": 24,
            "deadlines_ms": [1, 1, 1, 1, 1]"#;
        serde_json::from_str(&format!("{{ {optimizer} {rest} }}"))
    }

    #[test]
    fn old_and_new_settings_are_read() {
        let rate = |learning_rate| ServerOptimizer::FedAvg { learning_rate };
        for (text, expected) in [
            ("", rate(1.0)),
            (r#""server_learning_rate": 0.5,"#, rate(0.5)),
            (r#""server_learning_rate": 2,"#, rate(2.0)),
            (r#""server_optimizer": 2,"#, rate(2.0)),
            (
                r#""server_optimizer": {"kind": "fed-avg", "learning_rate": 4.0},"#,
                rate(4.0),
            ),
        ] {
            let read = settings(text).unwrap();
            assert_eq!(read.server_optimizer, expected, "{text}");
            // What is written is read again.
            let json = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<TaskSettings>(&json).unwrap(), read);
        }
        let adam = r#""server_optimizer": {"kind": "fed-adam", "learning_rate": 0.01},"#;
        let read = settings(adam).unwrap();
        assert!(matches!(read.server_optimizer, ServerOptimizer::FedAdam(_)));
        for (wrong, names) in [
            (r#""server_optimizer": "adam","#, "a rate, or an optimiser"),
            (
                r#""server_optimizer": {"kind": "adam", "learning_rate": 1.0},"#,
                "fed-yogi",
            ),
            (
                r#""server_optimizer": 1.0, "server_learning_rate": 1.0,"#,
                "duplicate field",
            ),
        ] {
            let refused = settings(wrong).unwrap_err().to_string();
            assert!(refused.contains(names), "{refused}");
        }
    }
}
