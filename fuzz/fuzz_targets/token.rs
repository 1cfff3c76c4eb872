//! `cargo +nightly fuzz run token fuzz/corpus/token fuzz/seeds/token`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosquitto_http_auth::fuzzing::token(data));
