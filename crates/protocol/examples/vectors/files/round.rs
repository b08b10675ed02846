//! Whole rounds: every secret, every message, every answer of the aggregator, and the result.

use serde::{Deserialize, Serialize};
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::threshold::Rule;

use super::json::{Big, Hex};
use super::parameters::Fields;
use super::wire;

/// A whole round.
#[allow(
    clippy::struct_field_names,
    reason = "`round_id` is the specification's name"
)]
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Round {
    /// What every secret in it is made of; nothing needs to draw it again.
    pub(crate) randomness: String,
    /// The authority's public key, which clients have pinned.
    pub(crate) authority: Hex,
    /// The encoded roster.
    pub(crate) roster: Hex,
    /// The fraction of the roster that clients assume to be corrupt; absent: the default.
    pub(crate) assumed_corrupt: Option<f64>,
    /// The encoded round parameters.
    pub(crate) params: Hex,
    /// Their fields.
    pub(crate) fields: Fields,
    /// Their id.
    pub(crate) round_id: Hex,
    /// The directory digest.
    pub(crate) directory: Hex,
    /// On the ring: which position sits at each place.
    pub(crate) order: Option<Vec<u32>>,
    /// The witnesses by position.
    pub(crate) witnesses: Vec<u32>,
    /// U2.
    pub(crate) sharers: wire::Bitmap,
    /// Its set digest.
    pub(crate) sharers_digest: Hex,
    /// U3.
    pub(crate) survivors: wire::Bitmap,
    /// Its set digest.
    pub(crate) survivors_digest: Hex,
    /// The clients in order of roster index: they are the directory.
    pub(crate) clients: Vec<Client>,
    /// What every client fetches in ConsistencyCheck: encoded U3.
    pub(crate) survivors_answer: Hex,
    /// What every client fetches in Unmask: the statements.
    pub(crate) statements_answer: Hex,
    /// The roster indices of U3.
    pub(crate) result_clients: Vec<u32>,
    /// The sum over U3.
    pub(crate) sum: Vec<Big>,
    /// The sum, packed.
    pub(crate) packed_sum: Hex,
    /// The transcript.
    pub(crate) transcript: Hex,
}

/// One client of the directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Client {
    /// Its roster index.
    pub(crate) index: u32,
    /// Its position.
    pub(crate) position: u32,
    /// A(u), by position, in slot order.
    pub(crate) neighbours: Vec<u32>,
    /// The phase whose message it no longer sends; absent: it stays to the end.
    pub(crate) stops_before: Option<String>,
    /// Its private identity key.
    pub(crate) identity_seed: Hex,
    /// Its input vector x.
    pub(crate) input: Vec<Big>,
    /// Seed of its cipher key c.
    pub(crate) cipher_seed: Hex,
    /// Seed of its mask key s.
    pub(crate) mask_seed: Hex,
    /// Its message of phase 1.
    pub(crate) advertise_keys: Hex,
    /// What it fetches in phase 2: its directory view.
    pub(crate) directory_view: Option<Hex>,
    /// Its self-mask seed b.
    pub(crate) self_mask_seed: Option<Hex>,
    /// The shares of b by slot.
    pub(crate) self_mask_shares: Option<Vec<Hex>>,
    /// The shares of s by slot.
    pub(crate) mask_key_shares: Option<Vec<Hex>>,
    /// Its message of phase 2.
    pub(crate) share_keys: Option<Hex>,
    /// What it fetches in phase 3: U2 and deliveries.
    pub(crate) dealt: Option<Hex>,
    /// The masks that it adds: first its self mask, then those with neighbours in U2.
    pub(crate) masks: Option<Vec<Mask>>,
    /// Its message of phase 3.
    pub(crate) masked_input: Option<Hex>,
    /// Its message of phase 4, if it is a witness.
    pub(crate) consistency_check: Option<Hex>,
    /// Its message of phase 5.
    pub(crate) unmask: Option<Hex>,
}

/// A mask that a client adds or subtracts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mask {
    /// The neighbour's position; absent: the self mask.
    pub(crate) peer: Option<u32>,
    /// 1 or -1.
    pub(crate) sign: i8,
    /// The mask's key.
    pub(crate) key: Hex,
}

/// How a round is set up.
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    /// Members of the roster; those that do not take part.
    pub(crate) roster: u32,
    pub(crate) absent: &'static [u32],
    pub(crate) rule: Rule,
    pub(crate) bits: u8,
    pub(crate) assumed_corrupt: Option<f64>,
    /// Who stops before which phase: by place on the ring, by position on the complete graph.
    pub(crate) stops: &'static [(u32, PhaseName)],
}

/// Five clients of a roster of six; one stops between ShareKeys and MaskedInput.
pub(crate) const COMPLETE: Setup = Setup {
    name: "complete round",
    roster: 6,
    absent: &[2],
    rule: Rule {
        min_clients: 4,
        max_clients: 5,
        neighbours: 4,
        threshold: 4,
        witnesses: 5,
        witness_threshold: 4,
        corrupt: 1,
        min_survivors: 4,
    },
    bits: 20,
    assumed_corrupt: None,
    stops: &[(3, PhaseName::MaskedInput)],
};

/// Fourteen clients of a roster of sixteen with eight neighbours each; one stops before each phase
/// from ShareKeys on, but before ConsistencyCheck none: who leaves later misses Unmask, too.
pub(crate) const RING: Setup = Setup {
    name: "ring round",
    roster: 16,
    absent: &[3, 10],
    rule: Rule {
        min_clients: 12,
        max_clients: 15,
        neighbours: 8,
        threshold: 6,
        witnesses: 5,
        witness_threshold: 4,
        corrupt: 1,
        min_survivors: 10,
    },
    bits: 33,
    assumed_corrupt: Some(0.1),
    stops: &[
        (2, PhaseName::ShareKeys),
        (7, PhaseName::MaskedInput),
        (12, PhaseName::Unmask),
    ],
};
