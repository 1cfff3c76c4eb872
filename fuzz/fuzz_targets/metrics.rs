//! `cargo +nightly fuzz run metrics fuzz/corpus/metrics fuzz/seeds/metrics`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosquitto_http_auth::fuzzing::metrics(data));
