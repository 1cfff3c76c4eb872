//! The plugin in real brokers: one behaviour per file, each on every supported broker.

#![allow(clippy::disallowed_methods, reason = "tests have real time and real threads")]

mod access;
mod bounded_waits;
mod cache;
mod configuration;
mod delayed_login;
mod failover;
mod failures;
mod fields;
mod headers;
mod https;
mod instances;
mod keep_alive;
mod large_answers;
mod lifecycle;
mod local_users;
mod login;
mod names;
mod on_error;
mod outages;
mod passwords;
mod secrets;
mod sighup;
mod statuses;
mod superuser;
mod support;
