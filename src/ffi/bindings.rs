//! The broker's types and functions, as bindgen reads them from its headers.

#![allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    clippy::all,
    reason = "generated"
)]

include!(concat!(env!("OUT_DIR"), "/mosquitto.rs"));
