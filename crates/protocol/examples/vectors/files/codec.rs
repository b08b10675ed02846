//! Encodings: lengths, sets, messages; and bytes that are none.

use serde::{Deserialize, Serialize};
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::masked_input::DealtToClient;
use undertone_protocol::codec::encode;
use undertone_protocol::id::{Digest, DirectoryDigest, Position, RosterIndex, RoundId, SetDigest};
use undertone_protocol::keys::EphemeralPublicKey;
use undertone_protocol::message::{
    AdvertiseKeys, ConsistencyCheck, Dealing, DealtShare, Delivery, MaskedInput, Message,
    RevealedShare, Revelation, Sealed, Share, ShareCommitments, ShareKeys, ShareKeysBody, Signed,
    Unmask,
};

use super::json::Hex;
use super::random::{identity, secret};
use super::wire::{Object, ToJson, View};

/// One case.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Case {
    /// A length in bytes and the field that states it.
    Length {
        /// The length.
        length: u32,
        /// The field.
        encoding: Hex,
    },
    /// An object and its encoding.
    Object {
        /// Type and fields.
        object: Object,
        /// The encoding.
        encoding: Hex,
    },
    /// Bytes that are not the encoding of an object of a type.
    Refused {
        /// The type, as in the objects; or `opaque<V>`.
        r#type: String,
        /// The bytes.
        bytes: Hex,
        /// Why.
        reason: String,
    },
}

pub(crate) fn cases() -> Vec<Case> {
    let lengths = [
        0,
        1,
        37,
        63,
        64,
        15_293,
        16_383,
        16_384,
        65_536,
        494_878_333,
        (1 << 30) - 1,
    ];
    let mut cases: Vec<_> = lengths
        .map(|length: u32| Case::Length {
            length,
            encoding: Hex(length_field(length)),
        })
        .into();
    cases.extend(refused_lengths());
    let objects = objects();
    for (object, encoding) in &objects {
        cases.push(Case::Object {
            object: object.clone(),
            encoding: Hex(encoding.clone()),
        });
    }
    for (object, encoding) in &objects {
        let short = &encoding[..encoding.len() - 1];
        cases.push(refused(object, short, "the last byte is missing"));
        let long = [encoding.as_slice(), &[0]].concat();
        cases.push(refused(object, &long, "a byte follows"));
    }
    cases.extend(damaged(&objects));
    cases
}

/// Section 3.1's table.
fn length_field(length: u32) -> Vec<u8> {
    match length {
        0..64 => vec![length as u8],
        64..16_384 => (0x4000 | length as u16).to_be_bytes().to_vec(),
        _ => (0x8000_0000 | length).to_be_bytes().to_vec(),
    }
}

fn refused_lengths() -> Vec<Case> {
    let five = [1, 2, 3, 4, 5];
    [
        (vec![0x40, 5], "2 bytes for a length below 64"),
        (vec![0x80, 0, 0, 5], "4 bytes for a length below 64"),
        (vec![0xc5], "the two highest bits are 11"),
        (vec![6], "the length says 6 bytes, 5 follow"),
        (vec![4], "the length says 4 bytes, 5 follow"),
    ]
    .map(|(field, reason)| Case::Refused {
        r#type: "opaque<V>".into(),
        bytes: Hex([field.as_slice(), &five].concat()),
        reason: reason.into(),
    })
    .into()
}

fn refused(object: &Object, bytes: &[u8], reason: &str) -> Case {
    let r#type = type_name(object);
    let (bytes, reason) = (Hex::new(bytes), reason.into());
    Case::Refused {
        r#type,
        bytes,
        reason,
    }
}

/// The name of an object's type.
pub(crate) fn type_name(object: &Object) -> String {
    let value = serde_json::to_value(object).unwrap();
    value["type"].as_str().unwrap().to_owned()
}

/// Single faults, each at a place that the fixed lengths before it determine.
fn damaged(objects: &[(Object, Vec<u8>)]) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut damage = |name: &str, reason: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let found = objects
            .iter()
            .rfind(|(object, _)| type_name(object) == name);
        let (object, encoding) = found.unwrap();
        let mut bytes = encoding.clone();
        change(&mut bytes);
        cases.push(refused(object, &bytes, reason));
    };
    damage("Bitmap", "a spare bit is set", &|b| {
        *b.last_mut().unwrap() |= 0x80;
    });
    damage("Bitmap", "a byte too few for the size", &|b| {
        b.pop();
        b[4] -= 1;
    });
    damage("Bitmap", "a byte too many for the size", &|b| {
        b.push(0);
        b[4] += 1;
    });
    // sender, then the length 74 of two revelations: 4 + 2 bytes; dealer, then the kind.
    damage(
        "Signed<Unmask>",
        "a kind of secret that there is not",
        &|b| b[10] = 3,
    );
    damage(
        "Signed<Unmask>",
        "a kind of secret that there is not",
        &|b| b[10] = 0,
    );
    damage(
        "Signed<Unmask>",
        "the list ends inside a revelation",
        &|b| b[5] -= 1,
    );
    damage(
        "Signed<Unmask>",
        "a length that is not in its shortest form",
        &|b| {
            b.splice(4..6, [0x80, 0, 0, 74]);
        },
    );
    // Two dealt shares, 288 bytes, then the optional.
    damage("Dealing", "an optional that is neither 0 nor 1", &|b| {
        b[290] = 2;
    });
    damage("Dealing", "an optional that says nothing follows", &|b| {
        b[290] = 0;
    });
    damage("Dealing", "the list ends inside a share", &|b| b[1] += 1);
    cases
}

/// An object of each type. Keys and digests are the secrets of names, signatures are real ones.
fn objects() -> Vec<(Object, Vec<u8>)> {
    let digest = |name: &str| Digest::from(secret(&format!("codec, {name}")));
    let key = |name: &str| EphemeralPublicKey::from(secret(&format!("codec, {name}")));
    let directory = DirectoryDigest::from(secret("codec, directory"));
    let set = |name: &str| SetDigest::from(secret(&format!("codec, {name}")));
    let sender = RosterIndex(258);
    let sharers = Bitmap::new(11, [0, 2, 3, 8, 9].map(Position));

    let advertise_keys = sign(AdvertiseKeys {
        sender,
        cipher_key: key("cipher key"),
        mask_key: key("mask key"),
    });
    let commitments = ShareCommitments {
        self_mask: digest("first commitment"),
        mask_key: digest("second commitment"),
    };
    let mut sealed = [0; 80];
    sealed[..32].copy_from_slice(digest("sealed").as_bytes());
    let share = DealtShare {
        sealed: Sealed(sealed),
        commitments,
    };
    let dealing = |count, own| Dealing {
        shares: vec![share; count],
        own,
    };
    let header = sign(ShareKeys {
        sender,
        directory,
        seed_commitment: digest("seed commitment"),
        dealing: dealing(2, Some(commitments)).digest().unwrap(),
    });
    let delivery = Delivery {
        header: header.clone(),
        share,
    };
    let statement = sign(ConsistencyCheck {
        sender,
        directory,
        sharers: set("U2"),
        survivors: set("U3"),
    });
    let revelation = |dealer, share: fn(Share) -> RevealedShare| Revelation {
        dealer: Position(dealer),
        share: share(Share::from(secret(&format!("codec, share {dealer}")))),
    };
    let unmask = |shares| sign(Unmask { sender, shares });
    let two = vec![
        revelation(1, RevealedShare::SelfMask),
        revelation(70_000, RevealedShare::MaskKey),
    ];
    vec![
        object(Object::Bitmap, &Bitmap::new(1, [Position(0)])),
        object(
            Object::Bitmap,
            &Bitmap::new(16, [0, 7, 8, 15].map(Position)),
        ),
        object(Object::Bitmap, &Bitmap::new(600, [0, 599].map(Position))),
        object(Object::Bitmap, &sharers),
        object(Object::AdvertiseKeys, &advertise_keys),
        object(
            Object::DirectoryView,
            &View {
                members: Bitmap::new(300, [2, 258, 299].map(Position)),
                entries: vec![advertise_keys.clone()],
                nodes: vec![digest("node 0"), digest("node 1")],
            },
        ),
        object(Object::Dealing, &dealing(3, None)),
        object(Object::Dealing, &dealing(2, Some(commitments))),
        object(
            Object::ShareKeysBody,
            &ShareKeysBody {
                header,
                dealing: dealing(2, Some(commitments)),
            },
        ),
        object(
            Object::DealtToClient,
            &DealtToClient {
                sharers,
                deliveries: vec![delivery.clone(), delivery],
            },
        ),
        object(
            Object::MaskedInput,
            &sign(MaskedInput {
                sender,
                sharers: set("U2"),
                payload: digest("payload"),
            }),
        ),
        object(Object::ConsistencyCheck, &statement),
        object(Object::Statements, &vec![statement.clone(), statement]),
        object(Object::Unmask, &unmask(Vec::new())),
        object(Object::Unmask, &unmask(two)),
    ]
}

fn object<T>(kind: fn(T::Json) -> Object, value: &T) -> (Object, Vec<u8>)
where
    T: ToJson + tls_codec::Serialize + tls_codec::Size,
{
    (kind(value.to_json()), encode("object", value).unwrap())
}

/// Signed by the identity `codec, identity`, for the round `codec, round`.
fn sign<M: Message>(message: M) -> Signed<M> {
    let round = RoundId::from(secret("codec, round"));
    Signed::sign(message, round, &identity("codec, identity")).unwrap()
}
