//! The test vectors, one module for each file: what its cases hold, and how they are made.

pub(crate) mod codec;
pub(crate) mod directory;
pub(crate) mod encoding;
pub(crate) mod graph;
pub(crate) mod json;
pub(crate) mod key_schedule;
pub(crate) mod labels;
pub(crate) mod masks;
pub(crate) mod packing;
pub(crate) mod parameters;
pub(crate) mod play;
pub(crate) mod random;
pub(crate) mod round;
pub(crate) mod shares;
pub(crate) mod signatures;
pub(crate) mod transcript;
pub(crate) mod wire;

use json::file;

/// Every file: its name and its text.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    vec![
        file(
            "codec.json",
            "Encodings of messages, lengths and bitmaps; byte strings that must be refused.",
            "3.1, 4.2, 5.1, 5.3, 6.1, 7.1, 8.1, 8.4, 9.2, 10.2",
            &codec::cases(),
        ),
        file(
            "labels.json",
            "Prefixes of all labels, labelled hashes, key derivations.",
            "3.2, 3.4, 17.1",
            &labels::cases(),
        ),
        file(
            "signatures.json",
            "Signatures with their inputs; signatures that must be refused.",
            "3.3",
            &signatures::cases(),
        ),
        file(
            "parameters.json",
            "Rosters, round parameters, the rules of Section 4.5 and the tails in them.",
            "4.2, 4.3, 4.5, 13.1",
            &parameters::cases(),
        ),
        file(
            "directory.json",
            "Merkle trees, proofs for several leaves, directory digests.",
            "5.2, 5.3",
            &directory::cases(),
        ),
        file(
            "graph.json",
            "Permutations of the ring; neighbours in slot order and witnesses, both shapes.",
            "5.4, 5.5, 5.6",
            &graph::cases(),
        ),
        file(
            "key_schedule.json",
            "From seeds to keys: agreement, sealing, masks, commitments; keys to be refused.",
            "3.4, 3.5, 7.2, 7.3, 8.3",
            &key_schedule::cases(),
        ),
        file(
            "shares.json",
            "Shamir shares of fixed secrets, and what sets of shares recombine to.",
            "3.6",
            &shares::cases(),
        ),
        file(
            "masks.json",
            "Mask expansion for every lane width.",
            "3.8",
            &masks::cases(),
        ),
        file(
            "packing.json",
            "Bit packing; packed vectors that must be refused.",
            "3.7",
            &packing::cases(),
        ),
        file(
            "encoding.json",
            "From updates to ring elements and from sums to means, with the coins given.",
            "12.2, 12.3",
            &encoding::cases(),
        ),
        file(
            "transcript.json",
            "Digests of sets, payloads and transcripts.",
            "8.4, 9.2, 11.2",
            &transcript::cases(),
        ),
        file(
            "round_complete.json",
            "A whole round on the complete graph, with a dropout, byte by byte.",
            "4 to 11",
            &[play::record(&round::COMPLETE)],
        ),
        file(
            "round_ring.json",
            "A whole round on the ring, with a dropout in each phase, byte by byte.",
            "4 to 11",
            &[play::record(&round::RING)],
        ),
    ]
}
