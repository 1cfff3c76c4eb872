//! The border to C: all unsafe code, and the only place that knows the broker's names.
//!
//! `entry` and `callback` hold what the broker calls. Each call passes the `guard`, `event` turns its data
//! into borrowed Rust values, and what the plugin decides goes back as a return code.

mod bindings;
mod broker_waker;
mod callback;
mod certificate;
mod descriptors;
mod entry;
mod event;
mod fetch;
mod guard;
mod host;
mod properties;
mod sighup;
mod symbol;
mod thread;
mod traces;
#[cfg(any(test, fuzzing))]
mod usage;

/// What a fuzzer may reach.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing {
    pub(crate) use super::event::fuzzing::event;
    pub(crate) use super::usage::{most_memory, thread_time};
}
