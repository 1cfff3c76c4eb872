//! A Mosquitto plugin that asks an HTTP API who may connect, and who may publish, receive and
//! subscribe to what.
//!
//! # The path of a question
//!
//! The broker calls the plugin on its one thread. `ffi` turns the C event into borrowed Rust
//! values and hands them to [`plugin`], which decides nothing itself: it passes a login on to
//! `authenticator`, and everything about a topic to `authorizer`. Both ask [`decide`], pure functions
//! that decide what needs no asking: names, rules, local users. Everything else is a [`question`] for
//! the [`engine`]: it looks into the [`cache`], and on a miss hands the question to the [`pool`],
//! where one worker sends one request through [`api`], however many ask the same. The asker gets a
//! `Pending`. A [`login`] on Mosquitto 2.1 leaves it there and is finished by a later tick, and a
//! delivery is held until its answer comes; everything else waits for as long as the `block_budget`
//! permits. What comes back is an [`answer::Answer`] or an [`answer::Failure`]; [`policy`] alone turns
//! either into a decision, and `ffi` turns the decision into the broker's return code.
//!
//! # Layers
//!
//! Data and imports flow one way: `ffi` → `plugin` → `authenticator` → `authorizer` → `decide` →
//! `engine` and its neighbours → `fleet`, `tokens`, `files` → `cache`, `pool`, `api` → the vocabulary.
//! `docs/architecture.md` lists all layers. Only `ffi` holds unsafe code and the broker's names;
//! everything below it compiles and is tested without a broker. `tests/architecture.rs` enforces this.
//!
//! The command `mosquitto-http-auth` (`cli`) is a crate of its own, which asks by these modules what
//! the plugin asks.
//!
//! Begin with [`plugin`], then [`decide`] and [`engine`].

#[allow(unsafe_code, reason = "the border to C; every other module forbids it")]
mod ffi;

pub mod plugin;

mod authenticator;
mod authorizer;

pub mod decide;

mod block_budget;
pub mod broker;
pub mod engine;
mod events;
mod files;
mod held_deliveries;
mod last_asked;
mod local_users;
mod lockout;
pub mod login;
pub mod metrics;
mod retry_answers;
mod services;
pub mod sessions;
pub mod subscriptions;
mod tick_monitor;
mod tokens;
mod waiter;

pub mod fleet;

pub mod api;
pub mod cache;
pub mod pool;
pub mod sealed;

pub mod config;
pub mod policy;

pub mod answer;
pub mod api_format;
pub mod field;
mod jose;
pub mod question;
pub mod rules;

pub mod clock;
mod failpoint;
pub mod form;
mod json;
pub mod log_queue;
mod mailbox;
pub mod memory;
pub mod random;
pub mod secret;
pub mod stats;
mod store;
mod sync;
pub mod trace;

#[cfg(test)]
mod fake;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
