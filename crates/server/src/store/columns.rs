//! How records lie in columns.

use std::str::FromStr;

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::error::ProtocolError;
use undertone_protocol::id::RosterIndex;

use super::session::Row;
use super::{Result, StoreError};

/// A time or a count as a signed column. 2^63 ms is 292 million years: whatever lies beyond means
/// "never", and so does 2^63 - 1.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number from a signed column.
pub(super) fn number<T: TryFrom<i64>>(row: &Row, column: &str) -> Result<T> {
    let value: i64 = row.get(column)?;
    T::try_from(value).map_err(|_| StoreError::Corrupt(format!("{column} = {value}")))
}

/// A fixed number of bytes: an id or a digest.
pub(super) fn digest<T>(row: &Row, column: &str) -> Result<T>
where
    T: for<'b> TryFrom<&'b [u8], Error = ProtocolError>,
{
    let bytes: Vec<u8> = row.get(column)?;
    T::try_from(bytes.as_slice()).map_err(corrupt)
}

/// A phase by its name.
pub(super) fn phase(row: &Row, column: &str) -> Result<PhaseName> {
    let text: String = row.get(column)?;
    PhaseName::from_str(&text).map_err(corrupt)
}

/// JSON text.
pub(super) fn json<T: serde::de::DeserializeOwned>(row: &Row, column: &str) -> Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(corrupt)
}

/// A value as JSON text.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(corrupt)
}

/// Roster indices as JSON: `[3,5]`.
pub(super) fn indices_to_json(indices: &[RosterIndex]) -> Result<String> {
    to_json(&indices.iter().map(|index| index.0).collect::<Vec<_>>())
}

/// Pairs of roster indices as JSON: `[[3,5]]`.
pub(super) fn pairs_to_json(pairs: &[(RosterIndex, RosterIndex)]) -> Result<String> {
    to_json(&pairs.iter().map(|(a, b)| (a.0, b.0)).collect::<Vec<_>>())
}

/// Roster indices from JSON.
pub(super) fn indices(row: &Row, column: &str) -> Result<Vec<RosterIndex>> {
    let indices: Vec<u32> = json(row, column)?;
    Ok(indices.into_iter().map(RosterIndex).collect())
}

/// Pairs of roster indices from JSON.
pub(super) fn pairs(row: &Row, column: &str) -> Result<Vec<(RosterIndex, RosterIndex)>> {
    let pairs: Vec<(u32, u32)> = json(row, column)?;
    let pair = |(a, b)| (RosterIndex(a), RosterIndex(b));
    Ok(pairs.into_iter().map(pair).collect())
}

/// What does not decode.
pub(super) fn corrupt(error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(error.to_string())
}
