//! `cargo +nightly fuzz run passwords fuzz/corpus/passwords fuzz/seeds/passwords`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosquitto_http_auth::fuzzing::passwords(data));
