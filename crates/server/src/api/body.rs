//! Reading a body: within its length, and no slower than the least rate.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::problem::{Problem, ProblemKind};
use crate::upload::UploadSettings;

/// What is read of a refused body before the refusal is sent. A connection that is closed while
/// the client is sending resets, and the client may never see why.
const REST_TIME: Duration = Duration::from_secs(2);

/// How long a body may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// At most so many bytes.
    AtMost(usize),
    /// Exactly so many.
    Exactly(usize),
}

impl Length {
    fn most(self) -> usize {
        match self {
            Self::AtMost(most) | Self::Exactly(most) => most,
        }
    }
}

/// A body that is read piece by piece.
#[derive(Debug)]
pub(crate) struct Reader {
    body: Body,
    /// What the request says.
    announced: Option<u64>,
    settings: UploadSettings,
    length: Length,
    started: Instant,
    received: usize,
    /// What came with the prefix.
    next: Option<Bytes>,
    /// Whether there is nothing more to read, or no use in it.
    over: bool,
}

impl Reader {
    /// A body of a request, of no length yet.
    pub(super) fn new(headers: &HeaderMap, body: Body, settings: &UploadSettings) -> Self {
        let announced = headers.get(CONTENT_LENGTH);
        Self {
            body,
            announced: announced.and_then(|length| length.to_str().ok()?.parse().ok()),
            settings: settings.clone(),
            length: Length::AtMost(0),
            started: Instant::now(),
            received: 0,
            next: None,
            over: false,
        }
    }

    /// Sets how long the body may be, before it is read.
    ///
    /// # Errors
    /// [`ProblemKind::BodyTooLarge`] or [`ProblemKind::WrongLength`] if it says that it is not.
    pub(super) fn expect(&mut self, length: Length) -> Result<(), Problem> {
        self.length = length;
        self.started = Instant::now();
        let Some(announced) = self.announced else {
            return Ok(());
        };
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        if announced > length.most() {
            return Err(self.too_large());
        }
        if matches!(length, Length::Exactly(exactly) if announced < exactly) {
            return Err(self.too_short(announced));
        }
        Ok(())
    }

    /// From now on the sender is waited for: until now it had to wait.
    pub(crate) fn resume(&mut self) {
        self.started = Instant::now();
    }

    /// The next bytes; `None` at the end of the body.
    ///
    /// # Errors
    /// [`ProblemKind::BodyTooLarge`], [`ProblemKind::WrongLength`] for another length than
    /// expected, [`ProblemKind::TruncatedBody`] if the connection breaks or the sender is too slow.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        if let Some(bytes) = self.next.take() {
            return Ok(Some(bytes));
        }
        loop {
            let received = u64::try_from(self.received).unwrap_or(u64::MAX);
            let patience = self.settings.patience(received, self.started.elapsed());
            let frame = tokio::time::timeout(patience, self.body.frame()).await;
            let Ok(frame) = frame else {
                self.over = true;
                return Err(self.too_slow());
            };
            let Some(frame) = frame else {
                self.over = true;
                return match self.length {
                    Length::Exactly(exactly) if self.received < exactly => {
                        Err(self.too_short(self.received))
                    }
                    _ => Ok(None),
                };
            };
            let Ok(frame) = frame else {
                self.over = true;
                let detail = format!(
                    "the body ended after {} bytes; send it again",
                    self.received
                );
                return Err(Problem::new(ProblemKind::TruncatedBody, detail));
            };
            // Trailers are no part of it.
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            self.received = self.received.saturating_add(bytes.len());
            if self.received > self.length.most() {
                return Err(self.too_large());
            }
            return Ok(Some(bytes));
        }
    }

    /// The first `length` bytes; what came with them is next.
    pub(crate) async fn prefix(&mut self, length: usize) -> Result<Vec<u8>, Problem> {
        let mut prefix = Vec::with_capacity(length);
        while prefix.len() < length {
            let Some(mut bytes) = self.next().await? else {
                return Err(self.too_short(self.received));
            };
            let missing = length.saturating_sub(prefix.len()).min(bytes.len());
            prefix.extend_from_slice(&bytes.split_to(missing));
            self.next = (!bytes.is_empty()).then_some(bytes);
        }
        Ok(prefix)
    }

    /// The whole body.
    pub(super) async fn all(&mut self) -> Result<Vec<u8>, Problem> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    /// Reads, for a short while, what the sender of a refused body is still sending; keeps nothing.
    pub(super) async fn discard(&mut self) {
        if self.over {
            return;
        }
        let rest = async { while matches!(self.body.frame().await, Some(Ok(_))) {} };
        let _ = tokio::time::timeout(REST_TIME, rest).await;
        self.over = true;
    }

    fn too_large(&self) -> Problem {
        let most = self.length.most();
        let detail = format!("the body is longer than {most} bytes, the most that fits here");
        Problem::new(ProblemKind::BodyTooLarge, detail)
    }

    fn too_short(&self, found: usize) -> Problem {
        let most = self.length.most();
        let detail = format!("the body has {found} bytes; it takes {most}");
        Problem::new(ProblemKind::WrongLength, detail)
    }

    fn too_slow(&self) -> Problem {
        let UploadSettings {
            silence_ms,
            min_bytes_per_second,
            ..
        } = self.settings;
        let detail = format!(
            "only {} bytes came in {} ms: a sender may be silent for {silence_ms} ms, and sends \
             at least {min_bytes_per_second} bytes a second",
            self.received,
            self.started.elapsed().as_millis(),
        );
        Problem::new(ProblemKind::TruncatedBody, detail)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use tokio::sync::mpsc;
    use tokio_stream::StreamExt;

    use super::*;

    /// A reader of a body that the other end writes to.
    fn reader(announced: Option<&'static str>) -> (mpsc::Sender<Vec<u8>>, Reader) {
        let (send, pieces) = mpsc::channel(1);
        let pieces = tokio_stream::wrappers::ReceiverStream::new(pieces);
        let body = Body::from_stream(pieces.map(Ok::<_, std::io::Error>));
        let mut headers = HeaderMap::new();
        if let Some(length) = announced {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static(length));
        }
        let settings = UploadSettings {
            silence_ms: 5_000,
            min_bytes_per_second: 100,
            grace_ms: 10_000,
            ..UploadSettings::default()
        };
        (send, Reader::new(&headers, body, &settings))
    }

    async fn send_every(send: mpsc::Sender<Vec<u8>>, bytes: usize, wait: Duration) {
        while send.send(vec![7; bytes]).await.is_ok() {
            tokio::time::sleep(wait).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_cut_off_and_a_slow_link_is_not() {
        // A byte every second is never silent for long, and too slow after ten.
        let (send, mut slow) = reader(None);
        slow.expect(Length::Exactly(10_000)).unwrap();
        tokio::spawn(send_every(send, 1, Duration::from_secs(1)));
        let started = Instant::now();
        let problem = slow.all().await.unwrap_err();
        assert_eq!(problem.kind(), ProblemKind::TruncatedBody);
        assert!((10..12).contains(&started.elapsed().as_secs()));
        // As fast as it must be, for a hundred seconds.
        let (send, mut steady) = reader(None);
        steady.expect(Length::Exactly(10_000)).unwrap();
        let sender = tokio::spawn(async move {
            for _ in 0..100 {
                send.send(vec![7; 100]).await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        assert_eq!(steady.all().await.unwrap().len(), 10_000);
        sender.await.unwrap();
        // Far ahead of the rate, then silent.
        let (send, mut silent) = reader(None);
        silent.expect(Length::Exactly(10_000)).unwrap();
        send.send(vec![7; 9_000]).await.unwrap();
        let started = Instant::now();
        let problem = silent.all().await.unwrap_err();
        assert_eq!(problem.kind(), ProblemKind::TruncatedBody);
        assert_eq!(started.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_length_is_kept_whether_or_not_it_is_announced() {
        for (announced, length, kind) in [
            ("11", Length::AtMost(10), ProblemKind::BodyTooLarge),
            ("11", Length::Exactly(10), ProblemKind::BodyTooLarge),
            ("9", Length::Exactly(10), ProblemKind::WrongLength),
            (
                "18446744073709551615",
                Length::AtMost(10),
                ProblemKind::BodyTooLarge,
            ),
        ] {
            let (_send, mut reader) = reader(Some(announced));
            assert_eq!(reader.expect(length).unwrap_err().kind(), kind);
        }
        for (bytes, length, kind) in [
            (11, Length::AtMost(10), Some(ProblemKind::BodyTooLarge)),
            (11, Length::Exactly(10), Some(ProblemKind::BodyTooLarge)),
            (9, Length::Exactly(10), Some(ProblemKind::WrongLength)),
            (9, Length::AtMost(10), None),
            (10, Length::Exactly(10), None),
        ] {
            let (send, mut reader) = reader(None);
            reader.expect(length).unwrap();
            tokio::spawn(async move {
                for _ in 0..bytes {
                    if send.send(vec![7]).await.is_err() {
                        return;
                    }
                }
            });
            let all = reader.all().await;
            assert_eq!(all.err().map(|problem| problem.kind()), kind, "{bytes}");
        }
    }

    #[tokio::test]
    async fn a_prefix_is_cut_wherever_the_pieces_end() {
        for size in [1, 3, 4, 5, 20] {
            let bytes: Vec<u8> = (0..20).collect();
            let (send, mut reader) = reader(None);
            reader.expect(Length::Exactly(20)).unwrap();
            let pieces: Vec<Vec<u8>> = bytes.chunks(size).map(<[u8]>::to_vec).collect();
            tokio::spawn(async move {
                for piece in pieces {
                    send.send(piece).await.unwrap();
                }
            });
            assert_eq!(reader.prefix(4).await.unwrap(), bytes[..4]);
            assert_eq!(reader.all().await.unwrap(), bytes[4..]);
        }
    }
}
