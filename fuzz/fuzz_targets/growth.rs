//! `cargo +nightly fuzz run growth fuzz/corpus/growth fuzz/seeds/growth`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosquitto_http_auth::fuzzing::growth(data));
