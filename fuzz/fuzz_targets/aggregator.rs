//! See `undertone_fuzz::aggregator`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: undertone_fuzz::seeds::write("aggregator").expect("seeds"),
    |data: &[u8]| undertone_fuzz::aggregator::run(data)
);
