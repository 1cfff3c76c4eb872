//! `cargo +nightly fuzz run claims fuzz/corpus/claims fuzz/seeds/claims`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosquitto_http_auth::fuzzing::claims(data));
