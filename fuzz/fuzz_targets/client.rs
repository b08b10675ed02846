//! See `undertone_fuzz::client`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: undertone_fuzz::seeds::write("client").expect("seeds"),
    |data: &[u8]| undertone_fuzz::client::run(data)
);
