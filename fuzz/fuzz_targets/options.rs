//! `cargo +nightly fuzz run options fuzz/corpus/options fuzz/seeds/options`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosquitto_http_auth::fuzzing::options(data));
