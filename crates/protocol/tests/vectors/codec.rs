//! Encodings, labels and digests.

use sha2::{Digest as _, Sha256};
use undertone_protocol::ProtocolError;
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::masked_input::{DealtToClient, payload_digest};
use undertone_protocol::codec::{self, Encodable, Label, hash};
use undertone_protocol::id::{DirectoryDigest, Position, RoundId, SetDigest};
use undertone_protocol::keys::derive;
use undertone_protocol::message::{
    AdvertiseKeys, ConsistencyCheck, Dealing, MaskedInput, ShareKeysBody, Signed, Unmask,
};
use undertone_protocol::transcript::View;
use undertone_protocol::vector::{Ring, RingVector};

use crate::files::codec::{Case, type_name};
use crate::files::json::Hex;
use crate::files::wire::{self, Object, Opaque, ToJson};
use crate::files::{labels, transcript as digests};
use crate::read;

/// Decodes and encodes again.
fn both<T: Encodable + ToJson>(
    kind: fn(T::Json) -> Object,
    bytes: &[u8],
) -> Result<(Object, Vec<u8>), ProtocolError> {
    let value: T = codec::decode("a vector", bytes)?;
    Ok((kind(value.to_json()), codec::encode("a vector", &value)?))
}

fn decode(name: &str, bytes: &[u8]) -> Result<(Object, Vec<u8>), ProtocolError> {
    match name {
        "Bitmap" => both::<Bitmap>(Object::Bitmap, bytes),
        "Signed<AdvertiseKeys>" => both::<Signed<AdvertiseKeys>>(Object::AdvertiseKeys, bytes),
        "DirectoryView" => both::<wire::View>(Object::DirectoryView, bytes),
        "Dealing" => both::<Dealing>(Object::Dealing, bytes),
        "ShareKeys body" => both::<ShareKeysBody>(Object::ShareKeysBody, bytes),
        "DealtToClient" => both::<DealtToClient>(Object::DealtToClient, bytes),
        "Signed<MaskedInput>" => both::<Signed<MaskedInput>>(Object::MaskedInput, bytes),
        "Signed<ConsistencyCheck>" => {
            both::<Signed<ConsistencyCheck>>(Object::ConsistencyCheck, bytes)
        }
        "Signed<ConsistencyCheck> statements<V>" => {
            both::<Vec<Signed<ConsistencyCheck>>>(Object::Statements, bytes)
        }
        "Signed<Unmask>" => both::<Signed<Unmask>>(Object::Unmask, bytes),
        _ => panic!("no type {name}"),
    }
}

/// Spec.
#[test]
fn objects_have_one_encoding() {
    for case in read::<Case>("codec.json") {
        match case {
            Case::Length { length, encoding } => length_field(length, &encoding),
            Case::Object { object, encoding } => {
                let (read, again) = decode(&type_name(&object), &encoding.0).unwrap();
                assert_eq!(read, object);
                assert_eq!(Hex(again), encoding);
                for end in 0..encoding.0.len() {
                    assert!(decode(&type_name(&object), &encoding.0[..end]).is_err());
                }
            }
            Case::Refused {
                r#type,
                bytes,
                reason,
            } => {
                let refused = if r#type == "opaque<V>" {
                    codec::decode::<Opaque>("a vector", &bytes.0).is_err()
                } else {
                    decode(&r#type, &bytes.0).is_err()
                };
                assert!(refused, "{type}: {reason}");
            }
        }
    }
}

fn length_field(length: u32, field: &Hex) {
    // Longer ones would only fill memory.
    if length <= 100_000 {
        let bytes = codec::encode("bytes", &vec![7_u8; length as usize]).unwrap();
        assert_eq!(Hex::new(&bytes[..field.0.len()]), *field);
        assert_eq!(bytes.len(), field.0.len() + length as usize);
    }
    let rest = field.0[1..].iter();
    let first = u32::from(field.0[0] & 0x3f);
    let stated = rest.fold(first, |length, byte| length << 8 | u32::from(*byte));
    assert_eq!(stated, length);
    assert_eq!(field.0.len(), 1 << (field.0[0] >> 6));
}

fn label(name: &str) -> Label {
    let mut all = Label::ALL.iter();
    *all.find(|l| labels::name(**l) == name).unwrap()
}

/// Sections 3.2, 3.4 and 17.1.
#[test]
fn labels_separate_hashes_and_keys() {
    let mut names = Vec::new();
    for case in read::<labels::Case>("labels.json") {
        match case {
            labels::Case::Label { name, prefix } => {
                let text = format!("undertone/v1 {name}");
                let expected = [&[text.len() as u8], text.as_bytes()].concat();
                assert_eq!(prefix, Hex(expected));
                assert_eq!(prefix, Hex(label(&name).prefix()));
                names.push(name);
            }
            labels::Case::Hash {
                name,
                parts,
                input,
                digest,
            } => {
                let parts: Vec<&[u8]> = parts.iter().map(|part| part.0.as_slice()).collect();
                assert_eq!(Hex::new(hash(label(&name), &parts).as_bytes()), digest);
                assert_eq!(Hex::new(Sha256::digest(&input.0)), digest);
            }
            labels::Case::Derive {
                name,
                ikm,
                round_id,
                context,
                info,
                key,
            } => {
                let round = RoundId::from(round_id.array());
                let derived = derive(&ikm.array(), label(&name), round, &[&context.0]);
                assert_eq!(Hex::new(derived.expose()), key);
                let mut plain = [0; 32];
                hkdf::Hkdf::<Sha256>::new(Some(&round_id.0), &ikm.0)
                    .expand(&info.0, &mut plain)
                    .unwrap();
                assert_eq!(Hex::new(plain), key);
            }
        }
    }
    let all: Vec<_> = Label::ALL
        .iter()
        .map(|label| labels::name(*label))
        .collect();
    assert_eq!(names, all);
}

/// Sections 8.4, 9.2 and 11.2.
#[test]
fn sets_payloads_and_transcripts_have_their_digests() {
    for case in read::<digests::Case>("transcript.json") {
        match case {
            digests::Case::Set {
                round_id,
                directory,
                set,
                digest,
            } => {
                let set = Bitmap::new(set.size, set.members.into_iter().map(Position));
                let round = RoundId::from(round_id.array());
                let found = set.digest(round, DirectoryDigest::from(directory.array()));
                assert_eq!(Hex::new(found.as_bytes()), digest);
            }
            digests::Case::Payload { packed, digest } => {
                assert_eq!(Hex::new(payload_digest(&packed.0).as_bytes()), digest);
            }
            digests::Case::Transcript {
                round_id,
                directory,
                sharers,
                survivors,
                sum,
                transcript,
            } => {
                let view = View {
                    directory: DirectoryDigest::from(directory.array()),
                    sharers: SetDigest::from(sharers.array()),
                    survivors: SetDigest::from(survivors.array()),
                };
                let ring = Ring::new(digests::BITS).unwrap();
                let sum = RingVector::unpack(ring, 3, &sum.0).unwrap();
                let found = view.digest(RoundId::from(round_id.array()), &sum);
                assert_eq!(Hex::new(found.as_bytes()), transcript);
            }
        }
    }
}
