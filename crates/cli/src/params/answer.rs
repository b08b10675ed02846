//! The JSON form of a choice.

use std::collections::BTreeMap;

use serde::Serialize;
use undertone_protocol::threshold::{Aggregator, Choice, Shape};

/// The JSON form.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    shape: &'static str,
    clients: u32,
    max_clients: u32,
    roster: u32,
    corrupt_clients: u32,
    dropped_clients: u32,
    k: u16,
    t: u16,
    witnesses: Option<u16>,
    witness_threshold: Option<u16>,
    min_survivors: u32,
    security_bits: u32,
    correctness_bits: u32,
    /// By event; null: it cannot happen.
    failure_log2: BTreeMap<&'static str, Option<f64>>,
    length: u32,
    bits: u8,
    client: ClientLoad,
    aggregator: AggregatorLoad,
}

#[derive(Debug, Serialize)]
struct ClientLoad {
    upload_bytes: u64,
    download_bytes: u64,
    prg_expansions: u64,
}

#[derive(Debug, Serialize)]
struct AggregatorLoad {
    assumed: &'static str,
    received_bytes: u64,
    sent_bytes: u64,
    prg_expansions: u64,
}

impl Answer {
    pub(super) fn new(choice: &Choice, length: u32, bits: u8) -> Self {
        let case = &choice.case;
        let cost = choice.cost(length, bits);
        Self {
            shape: match case.shape {
                Shape::Complete => "complete",
                Shape::Ring => "ring",
            },
            clients: case.clients,
            max_clients: case.max_clients,
            roster: case.roster,
            corrupt_clients: case.corrupt,
            dropped_clients: case.dropped,
            k: choice.neighbours,
            t: choice.threshold,
            witnesses: choice.witnesses.map(|witnesses| witnesses.count),
            witness_threshold: choice.witnesses.map(|witnesses| witnesses.threshold),
            min_survivors: choice.min_survivors,
            security_bits: case.security_bits,
            correctness_bits: case.correctness_bits,
            failure_log2: choice
                .failures
                .iter()
                .map(|failure| (failure.event.name(), failure.log2))
                .collect(),
            length,
            bits,
            client: ClientLoad {
                upload_bytes: cost.client.sent,
                download_bytes: cost.client.received,
                prg_expansions: cost.client.expansions,
            },
            aggregator: AggregatorLoad {
                assumed: match case.aggregator {
                    Aggregator::Lying => "lying",
                    Aggregator::SemiHonest => "semi-honest",
                },
                received_bytes: cost.aggregator.received,
                sent_bytes: cost.aggregator.sent,
                prg_expansions: cost.aggregator.expansions,
            },
        }
    }
}
