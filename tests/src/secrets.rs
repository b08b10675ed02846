//! Secrets that a test keeps a record of, and the search for them in logs.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use aho_corasick::AhoCorasick;
use chacha20::ChaCha20Rng;
use rand_core::{Rng, TryCryptoRng, TryRng};
use tracing_subscriber::fmt::MakeWriter;
use undertone_protocol::ProtocolError;
use undertone_protocol::keys::Secret32;
use undertone_protocol::message::Share;
use undertone_protocol::shamir::{SplitShares, SystemSplitter};

/// A generator that records every 32-byte secret that is drawn from it.
#[derive(Debug)]
pub struct RecordingRng {
    rng: ChaCha20Rng,
    /// What was drawn.
    pub drawn: Vec<[u8; 32]>,
}

impl RecordingRng {
    /// Records what `rng` gives.
    pub fn new(rng: ChaCha20Rng) -> Self {
        let drawn = Vec::new();
        Self { rng, drawn }
    }
}

impl TryRng for RecordingRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.rng.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.rng.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.rng.fill_bytes(bytes);
        self.drawn.extend(<[u8; 32]>::try_from(&*bytes));
        Ok(())
    }
}

impl TryCryptoRng for RecordingRng {}

/// The system's splitter, and the shares that it made.
#[derive(Debug, Default)]
pub struct RecordingSplitter(pub Vec<[u8; 32]>);

impl SplitShares for RecordingSplitter {
    fn split(
        &mut self,
        secret: &Secret32,
        holders: usize,
        threshold: usize,
    ) -> Result<Vec<Share>, ProtocolError> {
        let shares = SystemSplitter.split(secret, holders, threshold)?;
        self.0.extend(shares.iter().map(|share| *share.expose()));
        Ok(shares)
    }
}

/// Everything that is logged, in memory.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What was logged so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Which of the secrets stands in a text, if one does, and in which form: as it is, in hexadecimal,
/// or as a list of numbers. Half a secret counts.
pub fn found(text: &[u8], secrets: &[Vec<u8>]) -> Option<(usize, &'static str)> {
    let (mut patterns, mut meanings) = (Vec::new(), Vec::new());
    for (number, secret) in secrets.iter().enumerate() {
        for half in secret.chunks_exact(16) {
            let numbers: Vec<String> = half.iter().map(u8::to_string).collect();
            patterns.push(half.to_vec());
            patterns.push(hex::encode(half).into_bytes());
            patterns.push(hex::encode_upper(half).into_bytes());
            patterns.push(numbers.join(", ").into_bytes());
            let forms = ["raw", "hexadecimal", "hexadecimal", "numbers"];
            meanings.extend(forms.map(|form| (number, form)));
        }
    }
    let search = AhoCorasick::new(patterns).unwrap();
    search
        .find(text)
        .map(|hit| meanings[hit.pattern().as_usize()])
}
