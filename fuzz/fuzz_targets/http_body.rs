//! See `undertone_fuzz::http_body`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: undertone_fuzz::seeds::write("http_body").expect("seeds"),
    |data: &[u8]| undertone_fuzz::http_body::run(data)
);
