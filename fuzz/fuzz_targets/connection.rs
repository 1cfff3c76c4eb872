//! `cargo +nightly fuzz run connection fuzz/corpus/connection fuzz/seeds/connection`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosquitto_http_auth::fuzzing::connection(data));
