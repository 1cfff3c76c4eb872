//! `cargo +nightly fuzz run rules fuzz/corpus/rules fuzz/seeds/rules`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosquitto_http_auth::fuzzing::rules(data));
