//! Signatures, good and bad.

use serde::{Deserialize, Serialize};
use undertone_protocol::codec::{Label, encode};
use undertone_protocol::id::RoundId;

use super::json::Hex;
use super::labels;
use super::random::{identity, secret};

/// One case.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// The private key; absent where there is none.
    pub(crate) seed: Option<Hex>,
    /// The public key.
    pub(crate) public_key: Hex,
    /// The label's name.
    pub(crate) name: String,
    /// The context.
    pub(crate) context: Hex,
    /// The encoding of the message; here any bytes.
    pub(crate) encoding: Hex,
    /// What is signed.
    pub(crate) input: Hex,
    /// The signature.
    pub(crate) signature: Hex,
    /// Whether it verifies.
    pub(crate) valid: bool,
    /// What the case is about.
    pub(crate) reason: String,
}

/// R is the neutral element, S fits: the equation holds. Made outside of this crate.
const SMALL_ORDER_R: &str = "0100000000000000000000000000000000000000000000000000000000000000\
    f36c93ec366b36d5efc1f7ab12548790eb8bcb826806e8708783bf31c9d1bd0b";

/// R has a part of order 8, S fits: the equation holds only with the cofactor.
const MIXED_ORDER_R: &str = "5bec06d82704f3c5ad3bf2acf4e705d35a8ad591a99c13832d65b1bd218533b9\
    17364e6eb70d5af8a8fa76e38cde03fb72a88215a80025c40205ce5471ba1f04";

/// R is the base point, S is 1: the equation holds for any message if the key is neutral.
const OF_NEUTRAL_KEY: &str = "5866666666666666666666666666666666666666666666666666666666666666\
    0100000000000000000000000000000000000000000000000000000000000000";

/// The order of the group, little-endian.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

pub(crate) fn cases() -> Vec<Case> {
    let round = secret("signatures, round");
    let context = RoundId::from(round);
    let context = context.as_bytes().as_slice();
    let good = case(Label::AdvertiseKeys, context);
    let changed = |reason: &str, change: &dyn Fn(&mut Case)| {
        let mut case = good.clone();
        change(&mut case);
        case.valid = false;
        case.reason = reason.into();
        case
    };
    vec![
        good.clone(),
        case(Label::Unmask, context),
        case(Label::RosterSignature, &[]),
        changed("another label", &|c| c.name = labels::name(Label::Unmask)),
        changed("another context", &|c| c.context.0[31] ^= 1),
        changed("another message", &|c| c.encoding.0[0] ^= 1),
        changed("a changed R", &|c| c.signature.0[0] ^= 1),
        changed("a changed S", &|c| c.signature.0[32] ^= 1),
        changed("R-3.3: S is L too large", &|c| {
            add_order(&mut c.signature.0[32..]);
        }),
        changed("R-3.4: R has small order", &|c| {
            c.signature = hex(SMALL_ORDER_R);
        }),
        changed("R-3.4: the public key has small order", &|c| {
            c.seed = None;
            c.public_key = Hex([&[1_u8][..], &[0; 31]].concat());
            c.signature = hex(OF_NEUTRAL_KEY);
        }),
        changed("R-3.5: the equation holds only with the cofactor", &|c| {
            c.signature = hex(MIXED_ORDER_R);
        }),
    ]
    .into_iter()
    .map(with_input)
    .collect()
}

fn case(label: Label, context: &[u8]) -> Case {
    let key = identity("signatures, identity");
    let encoding = secret("signatures, encoding");
    let signature = key.sign(label, context, &encoding);
    Case {
        seed: Some(Hex::new(key.seed().expose())),
        public_key: Hex::new(key.public().as_bytes()),
        name: labels::name(label),
        context: Hex::new(context),
        encoding: Hex::new(encoding),
        input: Hex(Vec::new()),
        signature: Hex(encode("signature", &signature).unwrap()),
        valid: true,
        reason: "as it should be".to_owned(),
    }
}

/// Section 3.3: prefix, context, encoding.
fn with_input(mut case: Case) -> Case {
    let mut found = Label::ALL
        .iter()
        .filter(|label| labels::name(**label) == case.name);
    let prefix = found.next().unwrap().prefix();
    case.input = Hex([prefix.as_slice(), &case.context.0, &case.encoding.0].concat());
    case
}

fn add_order(scalar: &mut [u8]) {
    let mut carry = 0;
    for (byte, order) in scalar.iter_mut().zip(hex(ORDER).0) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
}

fn hex(text: &str) -> Hex {
    Hex(hex::decode(text).unwrap())
}
