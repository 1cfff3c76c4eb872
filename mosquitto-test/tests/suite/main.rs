//! The plugin in real brokers: one behaviour per file, each on every supported broker.

mod access;
mod cache;
mod configuration;
mod failover;
mod failures;
mod fields;
mod headers;
mod https;
mod instances;
mod keep_alive;
mod lifecycle;
mod large_answers;
mod local_users;
mod login;
mod names;
mod on_error;
mod passwords;
mod secrets;
mod statuses;
mod superuser;
mod support;
