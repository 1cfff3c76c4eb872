//! `cargo +nightly fuzz run fleet fuzz/corpus/fleet fuzz/seeds/fleet`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosquitto_http_auth::fuzzing::fleet(data));
