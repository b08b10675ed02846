//! Bit packing against a naive oracle over bit strings.

use undertone_protocol::ProtocolError;
use undertone_protocol::vector::{Ring, RingVector};

/// The input: a width, a length, then bytes that serve as elements and as a packed vector.
pub fn run(data: &[u8]) {
    let [width, length, rest @ ..] = data else {
        return;
    };
    let bits = 8 + width % 57;
    let ring = Ring::new(bits).expect("8 to 64 bits");
    let elements: Vec<u64> = rest
        .chunks(8)
        .map(|chunk| {
            chunk
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u64::from(*byte))
        })
        .collect();
    packs(ring, &elements);
    // The length that fits the bytes if there is one, else any.
    let fitting = rest.len() * 8 / usize::from(bits);
    for length in [fitting, usize::from(*length), fitting.saturating_sub(1)] {
        unpacks(ring, length, rest);
    }
}

fn packs(ring: Ring, elements: &[u64]) {
    let vector = RingVector::from_elements(ring, elements);
    let packed = vector.pack();
    assert_eq!(packed, naive_pack(ring.bits(), elements));
    assert_eq!(packed.len(), ring.packed_length(elements.len()));
    let again = RingVector::unpack(ring, elements.len(), &packed).expect("its own packing");
    assert!(again == vector);
    let mut twice = again;
    twice.add(&vector).expect("of one length");
    for (sum, element) in twice.elements().zip(elements) {
        let exact = (u128::from(*element) * 2) & u128::from(ring.mask());
        assert_eq!(u128::from(sum), exact);
        let centred = i128::from(ring.centred(sum));
        let half = 1_i128 << (ring.bits() - 1);
        assert!((-half..half).contains(&centred));
        assert_eq!(centred.rem_euclid(2 * half), i128::from(sum));
        assert_eq!(ring.element(ring.centred(sum)), sum);
    }
}

fn unpacks(ring: Ring, length: usize, bytes: &[u8]) {
    let used = length * usize::from(ring.bits());
    let fits = bytes.len() == used.div_ceil(8);
    let spare = fits && (used..bytes.len() * 8).any(|at| bit(bytes, at));
    match RingVector::unpack(ring, length, bytes) {
        Ok(vector) => {
            assert!(
                fits && !spare,
                "accepted {} bytes for {length} elements",
                bytes.len()
            );
            assert_eq!(vector.len(), length);
            for (i, element) in vector.elements().enumerate() {
                let first = i * usize::from(ring.bits());
                let naive = (0..usize::from(ring.bits()))
                    .fold(0, |word, j| word | u64::from(bit(bytes, first + j)) << j);
                assert_eq!(element, naive, "element {i}");
            }
            assert_eq!(vector.pack(), bytes);
        }
        Err(ProtocolError::WrongLength { .. }) => assert!(!fits),
        Err(ProtocolError::Malformed { .. }) => assert!(spare),
        Err(other) => panic!("{other}"),
    }
}

fn bit(bytes: &[u8], at: usize) -> bool {
    bytes[at / 8] >> (at % 8) & 1 == 1
}

fn naive_pack(bits: u8, elements: &[u64]) -> Vec<u8> {
    let string: Vec<bool> = elements
        .iter()
        .flat_map(|element| (0..bits).map(move |j| element >> j & 1 == 1))
        .collect();
    string
        .chunks(8)
        .map(|byte| {
            (0..)
                .zip(byte)
                .fold(0, |out, (j, bit)| out | u8::from(*bit) << j)
        })
        .collect()
}
