//! `cargo +nightly fuzz run model fuzz/corpus/model fuzz/seeds/model`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosquitto_http_auth::fuzzing::model(data));
