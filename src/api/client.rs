//! The HTTP client: one request, within its time limits, over kept-alive connections.

#![forbid(unsafe_code)]

use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ureq::http::{HeaderName, HeaderValue, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::{Connector, RustlsConnector};
use ureq::{Agent, Body, Timeout};

use super::dial::{self, Dial, Unresolved};
use crate::answer::Failure;
use crate::clock::Clock;
use crate::config::Config;
use crate::sync::lock;

/// How much of an answer's body is read. An answer is small; a connection whose body is larger is
/// closed rather than read to its end.
const BODY_BYTES: usize = 64 * 1024;

/// Idle connections are dropped after this, so that one to a host that moved away does not stay.
const IDLE: Duration = Duration::from_secs(60);

/// Sends requests.
pub struct Client {
    /// Keeps connections alive; replaced to let go of them. None once the plugin ends.
    agent: Mutex<Option<Agent>>,
    /// Keeps none: every request opens a connection. For the one repeat that is allowed.
    fresh: Agent,
    config: ureq::config::Config,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
    clock: Arc<dyn Clock>,
}

impl Client {
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        let kept_alive = settings(config, config.connections);
        Self {
            agent: Mutex::new(Some(agent(&kept_alive))),
            fresh: agent(&settings(config, 0)),
            config: kept_alive,
            headers: headers(config),
            timeout: config.timeout,
            clock,
        }
    }

    /// Posts a JSON object and returns the answer's status once the answer is complete.
    ///
    /// A request that a kept-alive connection lost is sent once more on a new connection: the
    /// server closed it while nobody looked, and never saw the request. Nothing else is repeated.
    pub fn post(&self, url: &str, body: &[u8]) -> Result<u16, Failure> {
        let started = self.clock.now();
        let dialled = dial::dialled();
        let agent = lock(&self.agent).clone().ok_or(Failure::Stopping)?;
        let response = match self.send(&agent, url, body, self.timeout) {
            Err(Failure::ConnectionLost) if dial::dialled() == dialled => {
                let left = self.timeout.saturating_sub(self.clock.now().duration_since(started));
                if left.is_zero() {
                    return Err(Failure::TimedOut);
                }
                self.send(&self.fresh, url, body, left)
            }
            sent => sent,
        }?;
        let status = response.status().as_u16();
        read_to_end(response.into_body())?;
        Ok(status)
    }

    fn send(
        &self,
        agent: &Agent,
        url: &str,
        body: &[u8],
        timeout: Duration,
    ) -> Result<Response<Body>, Failure> {
        let mut request = agent.post(url).content_type("application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if timeout != self.timeout {
            request = request.config().timeout_global(Some(timeout)).build();
        }
        request.send(body).map_err(failure)
    }

    /// Lets go of idle connections. Requests under way go on.
    pub fn drop_connections(&self) {
        if let Some(current) = lock(&self.agent).as_mut() {
            *current = agent(&self.config);
        }
    }

    /// Ends what is under way; it fails, and so does everything later.
    pub fn interrupt(&self) {
        if let Some(agent) = lock(&self.agent).take() {
            agent.shutdown();
        }
        self.fresh.clone().shutdown();
    }
}

fn agent(config: &ureq::config::Config) -> Agent {
    Agent::with_parts(config.clone(), Dial.chain(RustlsConnector::default()), Unresolved)
}

/// An agent's settings, with every default that matters said out loud.
fn settings(config: &Config, idle_connections: usize) -> ureq::config::Config {
    let roots: Vec<_> =
        config.roots.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&roots)).build();
    Agent::config_builder()
        // The environment is the broker's; a proxy in it was not meant for us.
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_global(Some(config.timeout))
        .timeout_connect(Some(config.connect_timeout))
        .max_idle_connections(idle_connections)
        .max_idle_connections_per_host(idle_connections)
        .max_idle_age(IDLE)
        .no_delay(true)
        .user_agent(concat!("mosquitto-http-auth/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build()
}

/// The configured headers; the options' reader has checked that each is well-formed.
fn headers(config: &Config) -> Vec<(HeaderName, HeaderValue)> {
    let header = |header: &crate::config::Header| {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let mut value = HeaderValue::from_bytes(header.value.expose()).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    };
    config.headers.iter().filter_map(header).collect()
}

/// Reads the body away, so that the connection can be used again and a broken answer is noticed.
/// The rest of one that is too large is left: the connection is closed with it.
fn read_to_end(body: Body) -> Result<(), Failure> {
    if body.content_length().is_some_and(|length| length > BODY_BYTES as u64) {
        return Ok(());
    }
    let mut reader = body.into_reader();
    let mut buffer = [0; 4096];
    let mut total = 0;
    while total <= BODY_BYTES {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => total += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(match failure(error.into()) {
                    Failure::ConnectionLost => {
                        Failure::BrokenAnswer("the body breaks off".to_owned())
                    }
                    failure => failure,
                });
            }
        }
    }
    Ok(())
}

fn failure(error: ureq::Error) -> Failure {
    match error {
        ureq::Error::HostNotFound => Failure::UnknownHost,
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => Failure::Unreachable,
        ureq::Error::Timeout(_) => Failure::TimedOut,
        ureq::Error::Tls(detail) => Failure::Tls(detail.to_owned()),
        ureq::Error::Rustls(error) => Failure::Tls(error.to_string()),
        ureq::Error::Io(error) => io_failure(&error),
        error => Failure::BrokenAnswer(error.to_string()),
    }
}

fn io_failure(error: &io::Error) -> Failure {
    use io::ErrorKind;

    // The TLS layer hides its own errors in those of the socket.
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return Failure::Tls(error.to_string());
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Failure::TimedOut,
        // The agent was shut down.
        ErrorKind::NotConnected => Failure::Stopping,
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => Failure::ConnectionLost,
        _ => Failure::Unreachable,
    }
}
