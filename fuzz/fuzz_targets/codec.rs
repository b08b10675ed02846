//! See `undertone_fuzz::codec`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: undertone_fuzz::seeds::write("codec").expect("seeds"),
    |data: &[u8]| undertone_fuzz::codec::run(data)
);
