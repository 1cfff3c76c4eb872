//! What the API shows of itself in a TLS handshake.
//!
//! The HTTP client keeps that to itself, so this is a handshake of its own, with the same
//! authorities and the same certificate; nothing is sent after it. The certificate is seen even
//! where it is not accepted.

#![forbid(unsafe_code)]

use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mosquitto_http_auth::config::{Config, Endpoint};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore};
use rustls::{SignatureScheme, version};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// What was seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// The protocol's version and the cipher suite; none if the handshake failed.
    pub(crate) agreed: Option<(String, String)>,
    pub(crate) certificate: Option<Certificate>,
    /// Against what the certificate was verified.
    pub(crate) verified: String,
    /// Why the handshake failed.
    pub(crate) problem: Option<String>,
}

/// A server's certificate.
pub(crate) struct Certificate {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// The hosts that it is for.
    pub(crate) names: Vec<String>,
    /// Unix time.
    pub(crate) valid_until: i64,
    /// The same, as text.
    pub(crate) valid_until_text: String,
}

/// Shakes hands with a host.
pub(crate) fn look_at(config: &Config, endpoint: &Endpoint) -> Seen {
    let verified = match &config.sources.ca_file {
        _ if !config.tls_verify => "nothing, by tls_verify false".to_owned(),
        Some(file) => format!("tls_ca_file {file}"),
        None => format!("the system's {} authorities", config.credentials.roots.len()),
    };
    let mut seen = Seen { verified, ..Seen::default() };
    let certificates = Arc::new(Mutex::new(Vec::new()));
    match shake(config, endpoint, &certificates) {
        Ok(agreed) => seen.agreed = Some(agreed),
        Err(problem) => seen.problem = Some(problem),
    }
    let certificates = certificates.lock().unwrap_or_else(PoisonError::into_inner);
    seen.certificate = certificates.first().and_then(|der: &CertificateDer<'_>| read(der));
    seen
}

type Certificates = Arc<Mutex<Vec<CertificateDer<'static>>>>;

fn shake(
    config: &Config,
    endpoint: &Endpoint,
    certificates: &Certificates,
) -> Result<(String, String), String> {
    let text = |error: std::io::Error| error.to_string();
    let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| error.to_string())?;
    let settings = settings(config, certificates).map_err(|error| error.to_string())?;
    let mut connection =
        ClientConnection::new(Arc::new(settings), name).map_err(|error| error.to_string())?;
    let mut socket = connect(endpoint, config.connect_timeout)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).map_err(text)?;
    }
    let version = connection.protocol_version().map(|version| format!("{version:?}"));
    let suite = connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
    connection.send_close_notify();
    // Whoever is left to be told can do without.
    let _ = connection.complete_io(&mut socket);
    Ok((version.unwrap_or_default(), suite.unwrap_or_default()))
}

fn connect(endpoint: &Endpoint, limit: Duration) -> Result<TcpStream, String> {
    let addresses = (&*endpoint.host, endpoint.port)
        .to_socket_addrs()
        .map_err(|error| format!("{}: {error}", endpoint.host))?;
    let mut problem = format!("{} has no address", endpoint.host);
    for address in addresses {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(socket) => {
                let limits = socket
                    .set_read_timeout(Some(limit))
                    .and_then(|()| socket.set_write_timeout(Some(limit)));
                return limits.map(|()| socket).map_err(|error| error.to_string());
            }
            Err(error) => problem = format!("{address}: {error}"),
        }
    }
    Err(problem)
}

fn settings(config: &Config, certificates: &Certificates) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(config.credentials.roots.iter().map(|der| der.clone().into()));
    let judge = if config.tls_verify {
        let builder =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        Some(builder.build().map_err(|error| Error::General(error.to_string()))?)
    } else {
        None
    };
    let watcher =
        Watcher { judge, provider: Arc::clone(&provider), seen: Arc::clone(certificates) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(watcher));
    let Some(identity) = &config.credentials.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = identity.chain.iter().map(|der| der.clone().into()).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key.expose())
        .map_err(|error| Error::General(error.to_string()))?;
    builder.with_client_auth_cert(chain, key)
}

/// Remembers the certificates, and judges them as the HTTP client does.
#[derive(Debug)]
struct Watcher {
    judge: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    seen: Certificates,
}

impl ServerCertVerifier for Watcher {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(end_entity.clone().into_owned());
        match &self.judge {
            None => Ok(ServerCertVerified::assertion()),
            Some(judge) => {
                judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn read(der: &CertificateDer<'_>) -> Option<Certificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names = alternative.map(|names| names.value.general_names.iter().filter_map(name));
    let until = certificate.validity().not_after;
    Some(Certificate {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        names: names.map(Iterator::collect).unwrap_or_default(),
        valid_until: until.timestamp(),
        valid_until_text: until.to_string(),
    })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => Some(std::net::Ipv4Addr::from(v4).to_string()),
            Err(_) => {
                let v6 = <[u8; 16]>::try_from(*bytes).ok()?;
                Some(std::net::Ipv6Addr::from(v6).to_string())
            }
        },
        _ => None,
    }
}
