//! `cargo +nightly fuzz run told fuzz/corpus/told fuzz/seeds/told`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosquitto_http_auth::fuzzing::told(data));
