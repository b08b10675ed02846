//! Reading a body within its limit.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;

use crate::problem::{Problem, ProblemKind};

/// A sender that is silent for so long is cut off.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads a body of at most `limit` bytes. A longer one is refused before it is read where its
/// length is announced, and as soon as it passes the limit where not.
pub(super) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
) -> Result<Vec<u8>, Problem> {
    let too_large = || {
        let detail = format!("the body is longer than {limit} bytes, the most that fits here");
        Problem::new(ProblemKind::BodyTooLarge, detail)
    };
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| usize::try_from(length).map_or(true, |l| l > limit)) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    loop {
        let frame = tokio::time::timeout(PATIENCE, body.frame())
            .await
            .map_err(|_| {
                let detail = format!("nothing came for {} s", PATIENCE.as_secs());
                Problem::new(ProblemKind::TruncatedBody, detail)
            })?;
        let Some(frame) = frame else { return Ok(bytes) };
        let frame = frame.map_err(|_| {
            let detail = format!("the body ended after {} bytes; send it again", bytes.len());
            Problem::new(ProblemKind::TruncatedBody, detail)
        })?;
        if let Ok(data) = frame.into_data() {
            if bytes.len().saturating_add(data.len()) > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
        }
    }
}
