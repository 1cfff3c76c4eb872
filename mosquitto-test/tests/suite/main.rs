//! The plugin in real brokers: one behaviour per file, each on every supported broker.

#![allow(clippy::disallowed_methods, reason = "tests have real time and real threads")]

mod access;
mod answers;
mod bounded_waits;
mod brute_force;
mod cache;
mod clients;
mod clients_mosquitto;
mod clients_mqttjs;
mod clients_paho;
mod clients_sinetstream;
mod configuration;
mod control;
mod delayed_login;
mod drop_in;
mod entrances;
mod example_apis;
mod failover;
mod failures;
mod fan_out;
mod fields;
mod headers;
mod https;
mod instances;
mod keep_alive;
mod kept_sessions;
mod large_answers;
mod lifecycle;
mod lifetimes;
mod local_users;
mod login;
mod material;
mod mount_point;
mod names;
mod on_error;
mod outages;
mod passwords;
mod revocation;
mod rules;
mod secrets;
mod sighup;
mod statuses;
mod superuser;
mod support;
mod wills;
