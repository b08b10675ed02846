//! What this process may see because it holds all clients: their inputs, and who vanished when.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::RosterIndex;
use undertone_protocol::vector::RingVector;

/// One client's input of one round.
#[derive(Debug, Clone)]
pub(super) struct Input {
    /// The update before encoding.
    pub(super) update: Vec<f32>,
    /// The encoded update before masking.
    pub(super) vector: RingVector,
}

#[derive(Debug, Default)]
struct Pages {
    inputs: BTreeMap<(u32, usize), Input>,
    uploads: BTreeMap<(u32, usize), Vec<u8>>,
    vanished: BTreeMap<u32, Vec<(usize, PhaseName)>>,
}

/// Notes of all rounds, written by the clients' observers.
#[derive(Debug, Default)]
pub(super) struct Notebook(Mutex<Pages>);

impl Notebook {
    pub(super) fn input(&self, round: u32, client: usize, input: Input) {
        self.pages().inputs.insert((round, client), input);
    }

    pub(super) fn upload(&self, round: u32, client: usize, bytes: &[u8]) {
        self.pages().uploads.insert((round, client), bytes.to_vec());
    }

    pub(super) fn vanished(&self, round: u32, client: usize, phase: PhaseName) {
        self.pages()
            .vanished
            .entry(round)
            .or_default()
            .push((client, phase));
    }

    pub(super) fn who_vanished(&self, round: u32) -> Vec<(usize, PhaseName)> {
        self.pages()
            .vanished
            .get(&round)
            .cloned()
            .unwrap_or_default()
    }

    /// The plain sum of the survivors' inputs; `None` if one of them was never noted.
    pub(super) fn plain_sum(&self, round: u32, survivors: &[RosterIndex]) -> Option<RingVector> {
        let pages = self.pages();
        let mut inputs = survivors.iter().map(|client| {
            let client = usize::try_from(client.0).ok()?;
            pages
                .inputs
                .get(&(round, client))
                .map(|input| &input.vector)
        });
        let mut sum = inputs.next()??.clone();
        for vector in inputs {
            sum.add(vector?).ok()?;
        }
        Some(sum)
    }

    /// Update and upload of one client that sent both.
    pub(super) fn both_sides(&self, round: u32) -> Option<(Vec<f32>, Vec<u8>)> {
        let pages = self.pages();
        let (key, upload) = pages.uploads.iter().find(|(key, _)| key.0 == round)?;
        Some((pages.inputs.get(key)?.update.clone(), upload.clone()))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
