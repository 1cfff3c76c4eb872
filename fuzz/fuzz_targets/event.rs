//! `cargo +nightly fuzz run event fuzz/corpus/event fuzz/seeds/event`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosquitto_http_auth::fuzzing::event(data));
