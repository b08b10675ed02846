//! See `undertone_fuzz::packing`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: undertone_fuzz::seeds::write("packing").expect("seeds"),
    |data: &[u8]| undertone_fuzz::packing::run(data)
);
