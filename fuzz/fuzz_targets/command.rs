//! `cargo +nightly fuzz run command fuzz/corpus/command fuzz/seeds/command`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosquitto_http_auth::fuzzing::command(data));
