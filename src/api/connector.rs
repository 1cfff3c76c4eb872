//! Opens connections, and counts them.
//!
//! The HTTP client takes an idle connection from its pool where it has one. Only when it has none
//! does it come here, so this is where a name is resolved: on every new connection, so that a
//! host that moved is found again, and never for a request on a connection that is already open.
//! The lookup happens on the calling worker. (The client's own resolver would start a thread for
//! it that nobody joins, and the broker may unload this library while that thread still runs.)

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::net::ToSocketAddrs;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::Scheme;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout, TcpConnector};

use super::observer::{self, WireEvent};

thread_local! {
    static CONNECTION_ATTEMPTS: Cell<u64> = const { Cell::new(0) };
}

/// How many connections this thread has opened or tried to open. A request during which the count
/// stands still went out on a kept-alive connection.
pub(crate) fn connection_attempts() -> u64 {
    CONNECTION_ATTEMPTS.get()
}

/// A connection is being opened on this thread.
pub(crate) fn count_connection_attempt() {
    CONNECTION_ATTEMPTS.set(CONNECTION_ATTEMPTS.get() + 1);
}

/// Resolves and connects.
#[derive(Debug, Default)]
pub(crate) struct ResolvingConnector;

impl Connector for ResolvingConnector {
    type Out = <TcpConnector as Connector>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        count_connection_attempt();
        observer::note(WireEvent::Connecting);
        let details = ConnectionDetails {
            uri: details.uri,
            addrs: addresses(details.uri, details.resolver.empty())
                .inspect(|addresses| observer::note(WireEvent::Resolved(addresses)))?,
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        TcpConnector::default()
            .connect(&details, chained)
            .inspect(|_| observer::note(WireEvent::Connected))
    }
}

fn addresses(uri: &Uri, mut found: ResolvedSocketAddrs) -> Result<ResolvedSocketAddrs, Error> {
    let host = uri.host().ok_or(Error::HostNotFound)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let default_port = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(default_port);
    let looked_up = (host, port).to_socket_addrs().map_err(|_| Error::HostNotFound)?;
    // The array's bound is the client's own.
    for address in looked_up.take(16) {
        found.push(address);
    }
    if found.is_empty() { Err(Error::HostNotFound) } else { Ok(found) }
}

/// Resolves nothing: the client would ask it before every request. [`ResolvingConnector`] does it instead.
#[derive(Debug)]
pub(crate) struct Unresolved;

impl Resolver for Unresolved {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        Ok(self.empty())
    }
}
