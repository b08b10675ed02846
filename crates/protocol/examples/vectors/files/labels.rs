//! Labels, labelled hashes and key derivations.

use serde::{Deserialize, Serialize};
use undertone_protocol::codec::{Label, hash};
use undertone_protocol::id::RoundId;
use undertone_protocol::keys::derive;

use super::json::Hex;
use super::random::secret;

/// One case.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Case {
    /// A label.
    Label {
        /// Its name in the registry.
        name: String,
        /// What stands before all that it separates.
        prefix: Hex,
    },
    /// A labelled hash.
    Hash {
        /// The label's name.
        name: String,
        /// p1, p2, and so on.
        parts: Vec<Hex>,
        /// What SHA-256 is applied to.
        input: Hex,
        /// H(name; parts).
        digest: Hex,
    },
    /// A key derivation.
    Derive {
        /// The label's name.
        name: String,
        /// The secret.
        ikm: Hex,
        /// The salt.
        round_id: Hex,
        /// The context, its parts joined.
        context: Hex,
        /// The info of HKDF.
        info: Hex,
        /// The derived key.
        key: Hex,
    },
}

/// The label's name: its text without what all texts begin with.
pub(crate) fn name(label: Label) -> String {
    label.text().strip_prefix("undertone/v1 ").unwrap().into()
}

fn hashed(label: Label, parts: &[&[u8]]) -> Case {
    let mut input = label.prefix();
    for part in parts {
        input.extend((part.len() as u64).to_be_bytes());
        input.extend(*part);
    }
    Case::Hash {
        name: name(label),
        parts: parts.iter().map(Hex::new).collect(),
        input: Hex(input),
        digest: Hex::new(hash(label, parts).as_bytes()),
    }
}

fn derived(label: Label, context: &[u8]) -> Case {
    let (ikm, round) = (secret("labels, ikm"), secret("labels, round"));
    Case::Derive {
        name: name(label),
        ikm: Hex::new(ikm),
        round_id: Hex::new(round),
        context: Hex::new(context),
        info: Hex([label.prefix().as_slice(), context].concat()),
        key: Hex::new(derive(&ikm, label, RoundId::from(round), &[context]).expose()),
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let labels = Label::ALL.iter().map(|label| Case::Label {
        name: name(*label),
        prefix: Hex(label.prefix()),
    });
    let (a, b) = (secret("labels, a"), secret("labels, b"));
    labels
        .chain([
            hashed(Label::Model, &[b""]),
            hashed(Label::Model, &[b"model"]),
            hashed(Label::Training, &[b"model"]),
            hashed(Label::Mechanism, &[br#"{"noise": {"kind": "none"}}"#]),
            hashed(Label::DirectoryNode, &[&a, &b]),
            hashed(Label::DirectoryNode, &[&b, &a]),
            hashed(Label::Graph, &[&a, &b]),
            hashed(Label::Set, &[&a, &b, &9_u64.to_be_bytes(), &[0xff, 1]]),
            hashed(Label::Payload, &[&[7; 300]]),
            derived(Label::SelfMask, b""),
            derived(
                Label::PairwiseMask,
                &[a.as_slice(), &[0; 4], &[0, 0, 1, 0]].concat(),
            ),
            derived(
                Label::Seal,
                &[a.as_slice(), &[0; 4], &[0, 0, 1, 0]].concat(),
            ),
        ])
        .collect()
}
