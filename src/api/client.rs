//! The HTTP client: one request, within its time limits, over kept-alive connections.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use ureq::http::response::Parts;
use ureq::http::{self, HeaderName, HeaderValue, StatusCode, header};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::unversioned::transport::{Connector, RustlsConnector};
use ureq::{Agent, Body};

use super::connector::{self, ResolvingConnector, Unresolved};
use super::error_map;
use super::framing;
use super::hardened_transport::{Harden, received};
use super::observer::{self, Observe, WireEvent};
use super::response::Response;
use super::response_body::Declared;
use super::strict_chunks::Strict;
use crate::answer::Failure;
use crate::api_format::{ApiFormat, Compat, Method};
use crate::clock::Clock;
use crate::config::{Config, Credentials, Header};
use crate::sync::lock;
use crate::trace::{TRACEPARENT, TraceId};

mod body;
mod fetch;
#[cfg(any(test, fuzzing))]
mod playing;
mod tell;

use body::{read_away, read_whole};
#[cfg(any(test, fuzzing))]
pub(crate) use playing::PlayedClient;

/// How long a header section may be: a connection's buffers must hold it, and every worker that
/// opens a connection pays for them, so they are far smaller than the library's own.
const HEADER_BYTES: usize = 16 * 1024;
pub(super) const BUFFER_BYTES: usize = 2 * HEADER_BYTES;

/// Idle connections are dropped after this, so that one to a host that moved away does not stay.
const IDLE: Duration = Duration::from_secs(60);

/// A body that may say something, and the beginning of one that says nothing.
type ReadBody = (Option<Vec<u8>>, Vec<u8>);

/// A request that is to be sent.
#[derive(Clone, Copy)]
struct Outgoing<'a> {
    method: Method,
    content_type: &'static str,
    url: &'a str,
    body: &'a [u8],
    trace: Option<TraceId>,
}

/// Sends requests.
pub(crate) struct Client {
    /// None once the plugin ends.
    link: Mutex<Option<Link>>,
    config: Config,
    clock: Arc<dyn Clock>,
    observed: bool,
    /// Whether anything was answered since the start that may be the API's.
    has_answered: AtomicBool,
}

/// The means by which requests are sent; replaced when certificates or secrets change.
#[derive(Clone)]
struct Link {
    /// Keeps connections alive.
    agent: Agent,
    /// Keeps none: every request opens a connection. For the one repeat that is allowed.
    fresh: Agent,
    headers: Arc<[(HeaderName, HeaderValue)]>,
}

impl Link {
    fn new(config: &Config, credentials: &Credentials, observed: bool) -> Self {
        Self {
            agent: agent(config, credentials, config.connections, observed),
            fresh: agent(config, credentials, 0, observed),
            headers: headers(&credentials.headers),
        }
    }
}

impl Client {
    /// `observed`: whether what goes over the wire is noted for whoever records it.
    pub(crate) fn new(config: &Config, clock: Arc<dyn Clock>, observed: bool) -> Self {
        let link = Link::new(config, &config.credentials, observed);
        Self {
            link: Mutex::new(Some(link)),
            config: config.clone(),
            clock,
            observed,
            has_answered: AtomicBool::new(false),
        }
    }

    /// Sends a question and returns the response once it is complete.
    ///
    /// A request that a kept-alive connection lost is sent once more on a new connection: the
    /// server closed it while nobody looked, and never saw the request. Nothing else is repeated, and
    /// not that either once a byte of an answer has come (RFC 9110, section 9.2.2).
    pub(crate) fn ask(
        &self,
        url: &str,
        body: &[u8],
        trace: Option<TraceId>,
    ) -> Result<Response, Failure> {
        #[cfg(any(test, fuzzing))]
        if let Some(answer) = super::simulated::ask(url, body) {
            return answer;
        }
        let ApiFormat { method, .. } = self.config.api_format;
        let content_type = self.config.api_format.content_type();
        self.read(self.send(Outgoing { method, content_type, url, body, trace })?)
    }

    /// Sends a request, and once more where it may be repeated.
    fn send(&self, outgoing: Outgoing<'_>) -> Result<http::Response<Body>, Failure> {
        let started = self.clock.now();
        let (attempts_before, received_before) = (connector::connection_attempts(), received());
        let link = lock(&self.link).clone().ok_or(Failure::Stopping)?;
        let timeout = self.config.timeout;
        match self.send_once(&link.agent, &link.headers, outgoing, timeout) {
            Err(Failure::ConnectionLost)
                if connector::connection_attempts() == attempts_before
                    && received() == received_before =>
            {
                let left = timeout.saturating_sub(self.clock.now().duration_since(started));
                if left.is_zero() {
                    return Err(Failure::TimedOut);
                }
                self.send_once(&link.fresh, &link.headers, outgoing, left)
            }
            sent => sent,
        }
    }

    fn read(&self, response: http::Response<Body>) -> Result<Response, Failure> {
        self.read_as(response, |head, declared, body| self.read_body(head, declared, body))
    }

    fn read_as(
        &self,
        response: http::Response<Body>,
        read_body: impl FnOnce(&Parts, Declared, Body) -> Result<ReadBody, Failure>,
    ) -> Result<Response, Failure> {
        let (head, body) = response.into_parts();
        observer::note(WireEvent::Head(&head));
        let declared = Declared::of(&head.headers);
        let (body, beginning) = read_body(&head, declared, body)?;
        // From now on a 400 is the API's own.
        self.has_answered.store(true, Ordering::Relaxed);
        Ok(Response {
            status: head.status.as_u16(),
            body,
            beginning,
            declared,
            cache_control: joined(&head, &header::CACHE_CONTROL),
            age: joined(&head, &header::AGE),
        })
    }

    /// The body, where it may say something; and what another begins with.
    fn read_body(
        &self,
        head: &Parts,
        declared: Declared,
        body: Body,
    ) -> Result<(Option<Vec<u8>>, Vec<u8>), Failure> {
        let api_format = &self.config.api_format;
        let may_say_something = if api_format.needs_body() {
            head.status.is_success()
        } else {
            // To the plugins that came before, a body said nothing beside a status that decides.
            head.status == StatusCode::OK && !api_format.compat.is_predecessor()
        };
        let is_yes_by_itself = !api_format.needs_body() && api_format.compat != Compat::Emqx;
        let must_say = !is_yes_by_itself || declared.says_something();
        framing::check(head)?;
        if may_say_something {
            let mut whole = read_whole(body, framing::ends_with_the_connection(head), must_say)?;
            if api_format.needs_body() || !declared.is_unrelated {
                framing::check_encoding(head, &whole)?;
            } else if is_yes_by_itself && framing::is_encoded(head, &whole) {
                // By its type it says nothing, and by its bytes nothing that anybody wrote.
                whole.clear();
            }
            // Nothing is no JSON, and nobody said that there would be nothing.
            let nothing = whole.trim_ascii().is_empty();
            if must_say && nothing && framing::ends_unannounced(head) {
                return Err(error_map::body_breaks_off());
            }
            return Ok((Some(whole), Vec::new()));
        }
        let beginning = read_away(body, framing::ends_with_the_connection(head))?;
        let may_be_a_proxy =
            head.status == StatusCode::BAD_REQUEST && !self.has_answered.load(Ordering::Relaxed);
        match may_be_a_proxy.then(|| error_map::not_passed_on(&beginning)).flatten() {
            Some(failure) => Err(failure),
            None => Ok((None, beginning)),
        }
    }

    fn send_once(
        &self,
        agent: &Agent,
        headers: &[(HeaderName, HeaderValue)],
        outgoing: Outgoing<'_>,
        timeout: Duration,
    ) -> Result<http::Response<Body>, Failure> {
        observer::note_request(headers);
        let Outgoing { method, content_type, url, body, trace } = outgoing;
        let mut request = match method {
            Method::Post => agent.post(url),
            Method::Put => agent.put(url),
            Method::Get => agent.get(url).force_send_body(),
        };
        request = request.content_type(content_type);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(trace) = trace {
            request = request.header(TRACEPARENT, trace.traceparent());
        }
        if timeout != self.config.timeout {
            request = request.config().timeout_global(Some(timeout)).build();
        }
        request.send(body).map_err(error_map::failure)
    }

    /// Lets go of idle connections. Requests under way go on.
    pub(crate) fn drop_connections(&self) {
        if let Some(link) = lock(&self.link).as_mut() {
            link.agent = renewed(&link.agent, self.observed);
        }
    }

    /// Uses other certificates and secrets from now on. Requests under way go on.
    pub(crate) fn renew(&self, credentials: &Credentials) {
        if let Some(link) = lock(&self.link).as_mut() {
            *link = Link::new(&self.config, credentials, self.observed);
        }
    }

    /// Ends what is under way; it fails, and so does everything later.
    pub(crate) fn interrupt(&self) {
        if let Some(link) = lock(&self.link).take() {
            link.agent.shutdown();
            link.fresh.shutdown();
        }
    }
}

/// An agent like this one, without its connections.
fn renewed(agent: &Agent, observed: bool) -> Agent {
    connecting(agent.config().clone(), observed)
}

/// Connections like those that `tcp` opens, hardened below the TLS layer as well, which has no eye for what waits
/// there.
fn hardened(tcp: impl Connector) -> impl Connector {
    let tls = tcp.chain(Harden::BelowTls).chain(RustlsConnector::default());
    tls.chain(Harden::Requests).chain(Strict)
}

fn connecting(config: ureq::config::Config, observed: bool) -> Agent {
    let connector = hardened(ResolvingConnector);
    if observed {
        Agent::with_parts(config, connector.chain(Observe), Unresolved)
    } else {
        Agent::with_parts(config, connector, Unresolved)
    }
}

fn agent(
    config: &Config,
    credentials: &Credentials,
    idle_connections: usize,
    observed: bool,
) -> Agent {
    connecting(settings(config, credentials, idle_connections), observed)
}

/// Every default that matters, said out loud.
fn settings(
    config: &Config,
    credentials: &Credentials,
    idle_connections: usize,
) -> ureq::config::Config {
    let der = |der: &Vec<u8>| Certificate::from_der(der).to_owned();
    let roots: Vec<_> = credentials.roots.iter().map(der).collect();
    let identity = credentials.identity.as_ref().and_then(|identity| {
        let chain: Vec<_> = identity.chain.iter().map(der).collect();
        // It was read once already, to see that it fits.
        let key = PrivateKey::from_pem(identity.key.expose()).ok()?;
        Some(ClientCert::new_with_certs(&chain, key))
    });
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(identity)
        .disable_verification(!config.tls_verify)
        .unversioned_rustls_crypto_provider(Arc::new(default_provider()))
        .build();
    Agent::config_builder()
        // The environment is the broker's; a proxy in it was not meant for us.
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        // Without this header, any encoding would do (RFC 9110, section 12.5.3).
        .accept_encoding("identity")
        .timeout_global(Some(config.timeout))
        .timeout_connect(Some(config.connect_timeout))
        .max_idle_connections(idle_connections)
        .max_idle_connections_per_host(idle_connections)
        .max_idle_age(IDLE)
        .no_delay(true)
        .max_response_header_size(HEADER_BYTES)
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        .user_agent(config.user_agent.as_str())
        .tls_config(tls)
        .build()
}

/// The configured headers; the options' reader has checked that each is well-formed.
fn headers(headers: &[Header]) -> Arc<[(HeaderName, HeaderValue)]> {
    let header = |header: &Header| {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let mut value = HeaderValue::from_bytes(header.value.expose()).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    };
    headers.iter().filter_map(header).collect()
}

/// All lines of a header field, joined.
fn joined(head: &Parts, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<_> = head.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    (!lines.is_empty()).then(|| lines.join(&b','))
}
