//! The database's clock: what deadlines and leases are compared with, so that processes whose own
//! clocks differ agree.

use super::Result;
use super::columns::{corrupt, number};
use super::session::Session;

/// Milliseconds since the Unix epoch, by the database's clock. It moves within a transaction too:
/// a step may have waited for a lock.
pub(super) async fn now(session: &mut Session) -> Result<u64> {
    let row = session
        .query_locking(
            "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now",
            "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now",
        )
        .row()
        .await?
        .ok_or_else(|| corrupt("the database does not tell the time"))?;
    number(&row, "now")
}
