//! See `undertone_fuzz::shamir`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: undertone_fuzz::seeds::write("shamir").expect("seeds"),
    |data: &[u8]| undertone_fuzz::shamir::run(data)
);
