//! Digests of sets, payloads and transcripts.

use serde::{Deserialize, Serialize};
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::masked_input::payload_digest;
use undertone_protocol::id::{DirectoryDigest, Position, RoundId};
use undertone_protocol::transcript::View;
use undertone_protocol::vector::{Ring, RingVector};

use super::json::Hex;
use super::random::secret;
use super::wire;
use super::wire::ToJson;

/// One case.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Case {
    /// The digest of a set.
    Set {
        /// The round.
        round_id: Hex,
        /// The directory digest.
        directory: Hex,
        /// The set.
        set: wire::Bitmap,
        /// Its set digest.
        digest: Hex,
    },
    /// The digest of a packed vector.
    Payload {
        /// The packed vector.
        packed: Hex,
        /// Its payload digest.
        digest: Hex,
    },
    /// The digest of a result.
    Transcript {
        /// The round.
        round_id: Hex,
        /// The directory digest.
        directory: Hex,
        /// The set digest of U2.
        sharers: Hex,
        /// The set digest of U3.
        survivors: Hex,
        /// The packed sum.
        sum: Hex,
        /// The transcript.
        transcript: Hex,
    },
}

/// b of the sums.
pub(crate) const BITS: u8 = 12;

pub(crate) fn cases() -> Vec<Case> {
    let round = RoundId::from(secret("transcript, round"));
    let directory = DirectoryDigest::from(secret("transcript, directory"));
    let digest = |set: &Bitmap| set.digest(round, directory);
    let sets = [
        Bitmap::new(8, (0..8).map(Position)),
        Bitmap::new(9, [0, 3, 8].map(Position)),
        Bitmap::new(10, [0, 3, 8].map(Position)),
        Bitmap::new(600, (0..600).step_by(3).map(Position)),
    ];
    let view = View {
        directory,
        sharers: digest(&sets[0]),
        survivors: digest(&sets[1]),
    };
    let sum = RingVector::from_elements(Ring::new(BITS).unwrap(), &[0xabc, 0x123, 0xfff]);
    let set_cases = sets.iter().map(|set| Case::Set {
        round_id: Hex::new(round.as_bytes()),
        directory: Hex::new(directory.as_bytes()),
        set: set.to_json(),
        digest: Hex::new(digest(set).as_bytes()),
    });
    let payload = Case::Payload {
        packed: Hex(sum.pack()),
        digest: Hex::new(payload_digest(&sum.pack()).as_bytes()),
    };
    let transcript = Case::Transcript {
        round_id: Hex::new(round.as_bytes()),
        directory: Hex::new(directory.as_bytes()),
        sharers: Hex::new(view.sharers.as_bytes()),
        survivors: Hex::new(view.survivors.as_bytes()),
        sum: Hex(sum.pack()),
        transcript: Hex::new(view.digest(round, &sum).as_bytes()),
    };
    set_cases.chain([payload, transcript]).collect()
}
