//! What a round should take, from what its single operations take in the same run.

use std::hint::black_box;

use chacha20::ChaCha20Rng;
use serde::Serialize;
use undertone_protocol::ProtocolError;
use undertone_protocol::codec::Label;
use undertone_protocol::id::{RosterIndex, RoundId};
use undertone_protocol::keys::{EphemeralKey, IdentityKey, Secret32};
use undertone_protocol::shamir::{self, SplitShares, SystemSplitter};
use undertone_protocol::threshold::Rule;

use super::clock::thread_seconds;
use super::{Kernel, ProtocolPlan};
use crate::error::BenchError;
use crate::floor::Floor;

/// Seconds of one core that an operation takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Units {
    /// X25519 and HKDF: the key that two parties agree on.
    pub agree: f64,
    /// Strict verification of an Ed25519 signature.
    pub verify: f64,
    /// Splitting a secret for the holders of this graph.
    pub split: f64,
    /// Putting it together again.
    pub combine: f64,
    /// SHA-256 of a byte.
    pub hash_byte: f64,
}

/// What follows from them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Prediction {
    /// Seconds of one client.
    pub client_seconds: f64,
    /// Seconds of the aggregator.
    pub aggregator_seconds: f64,
    /// What the client took, over that.
    pub client_off: f64,
    /// What the aggregator took, over that.
    pub aggregator_off: f64,
}

impl Units {
    /// Measures on this thread.
    pub(super) fn measure(
        rule: &Rule,
        floor: &Floor,
        mut rng: ChaCha20Rng,
    ) -> Result<Self, BenchError> {
        let (own, peer) = (
            EphemeralKey::generate(&mut rng),
            EphemeralKey::generate(&mut rng),
        );
        let (round, peer) = (RoundId::from([0; 32]), (RosterIndex(0), peer.public()));
        let agree = each(|| own.agree(peer, Label::PairwiseMask, round, &[]))?;
        let key = IdentityKey::generate(&mut rng);
        let signature = key.sign(Label::Payload, b"", b"message");
        let public = key.public();
        let signer: (&dyn std::fmt::Display, _) = (&"a client", "message");
        let verify = each(|| {
            let signed = black_box(b"message");
            public.verify(Label::Payload, b"", signed, &signature, signer)
        })?;
        let threshold = usize::from(rule.threshold);
        // On the complete graph a dealer holds shares of its own as well.
        let holders = usize::from(rule.neighbours).saturating_add(1).min(255);
        let secret = Secret32::random(&mut rng);
        let split = each(|| SystemSplitter.split(&secret, holders, threshold))?;
        let shares = SystemSplitter.split(&secret, holders, threshold)?;
        let chosen: Vec<_> = (0..=u8::MAX).zip(&shares).take(threshold).collect();
        let combine = each(|| shamir::combine(&chosen, threshold))?;
        Ok(Self {
            agree,
            verify,
            split,
            combine,
            hash_byte: 1e-9 / floor.sha256_gb_per_second,
        })
    }

    /// What a round of this plan should take a client, and the aggregator.
    pub(super) fn predict(&self, plan: &ProtocolPlan, rule: &Rule, kernel: &Kernel) -> (f64, f64) {
        let (n, gone) = (f64::from(plan.clients), f64::from(plan.dropped));
        let survivors = n - gone;
        let k = f64::from(rule.neighbours).min(n - 1.0);
        let witnesses = f64::from(rule.witnesses).min(survivors);
        let d = f64::from(plan.length);
        let mask = d * kernel.mask_ns_per_element_neighbour * 1e-9;
        let hash = d * f64::from(plan.bits) / 8.0 * self.hash_byte;
        // Of each neighbour: its entry, its header; and the statements that are waited for.
        let client = self.verify * (2.0 * k + f64::from(rule.witness_threshold))
            + self.agree * 2.0 * k
            + self.split * 2.0
            + mask * (k + 1.0)
            + d * kernel.pack_ns_per_element * 1e-9
            + hash;
        // Of each client that vanished, the masks with neighbours that survived.
        let edges = gone * k * survivors / (n - 1.0);
        let aggregator = self.verify * (2.0 * n + 2.0 * survivors + witnesses)
            + self.combine * n
            + self.agree * edges
            + survivors * (hash + d * kernel.add_packed_ns_per_element * 1e-9)
            + mask * (survivors + edges);
        (client, aggregator)
    }
}

/// Seconds of this thread for one call, over a twentieth of a second of them.
fn each<T>(work: impl Fn() -> Result<T, ProtocolError>) -> Result<f64, BenchError> {
    black_box(work()?);
    let (started, mut calls) = (thread_seconds(), 0.0);
    loop {
        black_box(work()?);
        calls += 1.0;
        let taken = thread_seconds() - started;
        if taken > 0.05 {
            return Ok(taken / calls);
        }
    }
}
