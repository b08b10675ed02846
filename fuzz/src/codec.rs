//! Every decoder: whatever is accepted encodes back to the same bytes.

use undertone_protocol::adapter::Adapter;
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::masked_input::DealtToClient;
use undertone_protocol::codec::{self, Encodable};
use undertone_protocol::message::{
    AdvertiseKeys, ConsistencyCheck, MaskedInput, Message, ShareKeys, ShareKeysBody, Signed, Unmask,
};
use undertone_protocol::params::{ParamsFields, RoundParams};
use undertone_protocol::roster::Roster;
use undertone_protocol::vector::{Ring, RingVector};

use crate::hostile::DirectoryView;

/// Feeds the bytes to every decoder there is.
pub fn run(bytes: &[u8]) {
    message::<AdvertiseKeys>(bytes);
    message::<ShareKeys>(bytes);
    message::<MaskedInput>(bytes);
    message::<ConsistencyCheck>(bytes);
    message::<Unmask>(bytes);
    value::<ShareKeysBody>(bytes);
    value::<DealtToClient>(bytes);
    value::<DirectoryView>(bytes);
    value::<Vec<Signed<ConsistencyCheck>>>(bytes);
    value::<Bitmap>(bytes);
    value::<ParamsFields>(bytes);
    if let Ok(params) = RoundParams::decode(bytes) {
        assert_eq!(params.encoding(), bytes);
        assert!(RoundParams::new((*params).clone()).is_ok_and(|again| again == params));
    }
    if let Ok(roster) = Roster::decode_own(bytes) {
        assert_eq!(roster.encode().expect("it was decoded"), bytes);
        assert!(Roster::decode(bytes, roster.authority()).is_ok());
    }
    for size in [0, 1, 7, 8, 9, 200] {
        if let Ok(set) = Bitmap::decode("set", bytes, size) {
            assert_eq!((set.size(), set.iter().count()), (size, set.count()));
            assert_eq!(set.encode("set").expect("it was decoded"), bytes);
        }
    }
    for bits in [8, 13, 32, 64] {
        let ring = Ring::new(bits).expect("a width in range");
        if let Ok(vector) = RingVector::unpack(ring, bytes.len() * 8 / usize::from(bits), bytes) {
            assert_eq!(vector.pack(), bytes);
        }
    }
    // An adapter has one byte form too, but its container may be read in several.
    if let Ok(adapter) = Adapter::from_bytes(bytes) {
        let canonical = adapter.to_bytes().expect("it was decoded");
        let again = Adapter::from_bytes(&canonical).expect("its own encoding");
        assert_eq!(again.to_bytes().expect("as before"), canonical);
    }
}

fn message<M: Message>(bytes: &[u8]) {
    if let Ok(signed) = Signed::<M>::decode(bytes) {
        assert_eq!(signed.encode().expect("it was decoded"), bytes);
    }
}

fn value<T: Encodable>(bytes: &[u8]) {
    if let Ok(value) = codec::decode::<T>("value", bytes) {
        assert_eq!(
            codec::encode("value", &value).expect("it was decoded"),
            bytes
        );
    }
    if let Ok((value, rest)) = codec::decode_prefix::<T>("value", bytes) {
        let head = codec::encode("value", &value).expect("it was decoded");
        assert_eq!([&head, rest].concat(), bytes);
    }
}
