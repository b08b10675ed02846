//! Ring vectors: masks, packing, encoding.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use undertone_protocol::encoding::FixedPoint;
use undertone_protocol::keys::Secret32;
use undertone_protocol::vector::{Ring, RingVector, Sign};

use crate::files::json::{Hex, elements, numbers};
use crate::files::random::Coins;
use crate::files::{encoding, masks, packing};
use crate::read;

/// Section 3.8.
#[test]
fn keys_expand_to_masks() {
    for case in read::<masks::Case>("masks.json") {
        let ring = Ring::new(case.bits).unwrap();
        let length = case.elements.iter().map(|e| e.index).max().unwrap() + 1;
        let key = Secret32::from(case.key.array());
        let mut mask = RingVector::zeros(ring, length);
        mask.mask(&[(key.clone(), Sign::Plus)]);
        let found: Vec<u64> = mask.elements().collect();
        let mut stream = vec![0; length * case.lane_bytes];
        ChaCha20::new(&case.key.array().into(), &[0; 12].into()).apply_keystream(&mut stream);
        for element in &case.elements {
            assert_eq!(found[element.index], element.value.0, "b = {}", case.bits);
            let lane = stream.chunks(case.lane_bytes).nth(element.index).unwrap();
            let lane = lane
                .iter()
                .rev()
                .fold(0, |lane, byte| lane << 8 | u64::from(*byte));
            assert_eq!(lane & ring.mask(), element.value.0, "b = {}", case.bits);
        }
        mask.mask(&[(key.clone(), Sign::Minus)]);
        assert_eq!(mask, RingVector::zeros(ring, length));
    }
}

/// Spec.
#[test]
fn vectors_pack() {
    for case in read::<packing::Case>("packing.json") {
        match case {
            packing::Case::Packed {
                bits,
                elements: values,
                packed,
            } => {
                let ring = Ring::new(bits).unwrap();
                let vector = RingVector::from_elements(ring, &numbers(&values));
                assert_eq!(Hex(vector.pack()), packed);
                let read = RingVector::unpack(ring, values.len(), &packed.0).unwrap();
                assert_eq!(elements(read.elements()), values);
            }
            packing::Case::Refused {
                bits,
                length,
                packed,
                reason,
            } => {
                let ring = Ring::new(bits).unwrap();
                let read = RingVector::unpack(ring, length, &packed.0);
                assert!(read.is_err(), "{reason}");
            }
        }
    }
}

/// Spec.
#[test]
fn updates_are_encoded_and_sums_decoded() {
    use encoding::Case;
    for case in read::<Case>("encoding.json") {
        match case {
            Case::Encode {
                bits,
                update_clip,
                scale,
                update,
                coins,
                elements: expected,
            } => {
                let ring = Ring::new(bits).unwrap();
                let encoding = FixedPoint::new(ring, update_clip, scale, 1).unwrap();
                let mut coins = Coins(numbers(&coins));
                let found = encoding.encode(&update, &mut coins).unwrap();
                assert_eq!(elements(found.elements()), expected);
            }
            Case::Mean {
                bits,
                scale,
                clients,
                sum,
                mean,
            } => {
                let ring = Ring::new(bits).unwrap();
                let encoding = FixedPoint::new(ring, 1.0, scale, clients).unwrap();
                let sum = RingVector::from_elements(ring, &numbers(&sum));
                assert_eq!(encoding.decode_mean(&sum, clients), mean);
            }
            Case::Fits {
                bits,
                update_clip,
                scale,
                max_clients,
                fits,
            } => {
                let ring = Ring::new(bits).unwrap();
                let encoding = FixedPoint::new(ring, update_clip, scale, max_clients);
                assert_eq!(encoding.is_ok(), fits);
            }
        }
    }
}
