//! Real brokers, a programmable API and MQTT clients to test `mosquitto-http-auth` with.
//!
//! | module | what it plays |
//! | --- | --- |
//! | [`broker`] | a real Mosquitto of each supported version, with a configuration of its own |
//! | [`api`] | the HTTP API: records every request, answers or misbehaves as the test says |
//! | [`mqtt`] | ordinary MQTT 3.1.1 and 5 clients |
//! | [`raw`] | packets that no client library would send |
//! | [`nginx`] | a real TLS server in front of the API |
//! | [`program`] | an example API in another language |
//! | [`command`] | the plugin's command, run to its end |
//! | [`control`] | the topics of the plugin's commands and responses |
//! | [`redis`] | a real Redis or Valkey |
//! | [`relay`] | what stands between the plugin and such an API |
//! | [`soak`] | a crowd of clients for a long time, and a model that judges all they see |
//! | [`tls`] | a private certificate authority |
//! | [`watch`] | waiting for events, never for time |
//!
//! A test starts what it needs, and everything ends when it goes out of scope:
//!
//! ```no_run
//! use mosquitto_test::prelude::*;
//!
//! let api = AuthServer::answering(|request: &Request| {
//!     Reply::status(if request.json()["password"] == "right" { 200 } else { 401 })
//! });
//! let broker = Broker::config(Version::V2_1_2).plugin(api.options([("http_user_route", "/login")])).start();
//!
//! broker.client("one").credentials("ann", "right").connect().expect_accepted();
//! broker.client("two").credentials("ann", "wrong").connect().expect_refused();
//! assert_eq!(api.requests_to("/login").len(), 2);
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "this crate is tests: it fails by panicking, and it has real time and real threads"
)]

mod acceptor;
pub mod api;
pub mod broker;
pub mod command;
pub mod control;
pub mod example_api;
mod log;
pub mod mqtt;
pub mod nginx;
pub mod program;
pub mod raw;
pub mod redis;
pub mod relay;
pub mod soak;
pub mod tls;
pub mod tokens;
pub mod watch;

/// All that a test usually needs.
pub mod prelude {
    pub use crate::api::{AuthServer, Blackhole, Deaf, Gate, Reply, Request, refused_port};
    pub use crate::broker::{Broker, BrokerConfig, Listener, Version, plugin_path};
    pub use crate::mqtt::{Client, Login, Message, Protocol, Subscription};
    pub use crate::nginx::Nginx;
    pub use crate::on_every_broker;
    pub use crate::program::{self, Program};
    pub use crate::raw::{self, RawClient};
    pub use crate::relay::{Notice, Relay};
    pub use crate::tls::{Certs, Identity};
}

/// Turns each behaviour into one `#[test]` for each supported broker:
/// `fn wills_are_checked(version) { … }` becomes `wills_are_checked::on_2_0_11` and so on.
#[macro_export]
macro_rules! on_every_broker {
    ($($(#[$attribute:meta])* fn $name:ident($version:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports, reason = "a behaviour may need nothing of its file")]
            use super::*;

            fn behaviour($version: $crate::broker::Version) $body

            $(#[$attribute])*
            #[test]
            fn on_2_0_11() {
                behaviour($crate::broker::Version::V2_0_11)
            }

            $(#[$attribute])*
            #[test]
            fn on_2_0_21() {
                behaviour($crate::broker::Version::V2_0_21)
            }

            $(#[$attribute])*
            #[test]
            fn on_2_1_2() {
                behaviour($crate::broker::Version::V2_1_2)
            }
        }
    )*};
}
