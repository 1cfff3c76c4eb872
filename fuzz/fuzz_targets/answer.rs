//! `cargo +nightly fuzz run answer fuzz/corpus/answer fuzz/seeds/answer`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosquitto_http_auth::fuzzing::answer(data));
