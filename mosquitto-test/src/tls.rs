//! A certificate authority for one test: server and client certificates as PEM files, right ones and
//! wrong ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use tempfile::TempDir;

/// An authority and the server certificate that it signed for `localhost` and `127.0.0.1`.
pub struct Certs {
    authority: CertifiedIssuer<'static, KeyPair>,
    dir: Arc<TempDir>,
    issued: AtomicUsize,
    server: Option<Identity>,
}

/// A certificate with its key, and the authority's certificate beside them.
#[derive(Clone)]
pub struct Identity {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
    certificate_der: CertificateDer<'static>,
    key_der: Vec<u8>,
    authority_der: CertificateDer<'static>,
    /// Keeps the files for as long as somebody may name them.
    _dir: Arc<TempDir>,
}

impl Certs {
    /// A new authority: certificates of another `Certs` are strangers to it, though all such
    /// authorities have the same name.
    pub fn new() -> Certs {
        Certs::named("mosquitto-test authority")
    }

    /// A new authority of this name.
    pub fn named(name: &str) -> Certs {
        let key = KeyPair::generate().unwrap();
        Certs::of(CertifiedIssuer::self_signed(authority_params(name), key).unwrap())
    }

    /// An authority of this name for which this one vouches. Who trusts this one trusts its
    /// certificates if they come with its own: [`Identity::followed_by`].
    pub fn intermediate(&self, name: &str) -> Certs {
        self.intermediate_with(authority_params(name))
    }

    /// The same, whose time is over.
    pub fn expired_intermediate(&self, name: &str) -> Certs {
        self.intermediate_with(expired(authority_params(name)))
    }

    fn intermediate_with(&self, params: CertificateParams) -> Certs {
        let key = KeyPair::generate().unwrap();
        Certs::of(CertifiedIssuer::signed_by(params, key, &self.authority).unwrap())
    }

    fn of(authority: CertifiedIssuer<'static, KeyPair>) -> Certs {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        let mut certs = Certs { authority, dir, issued: AtomicUsize::new(0), server: None };
        certs.server = Some(certs.issue("server", server_params(&["localhost", "127.0.0.1"])));
        certs
    }

    pub fn server(&self) -> &Identity {
        self.server.as_ref().unwrap()
    }

    /// The authority's certificate, for a `cafile` or `tls_ca_file`.
    pub fn ca_file(&self) -> &Path {
        &self.server().ca
    }

    /// A server certificate whose time is over.
    pub fn expired(&self) -> Identity {
        self.issue("expired", expired(server_params(&["localhost", "127.0.0.1"])))
    }

    /// A server certificate whose time is to come.
    pub fn of_the_future(&self) -> Identity {
        let mut params = server_params(&["localhost", "127.0.0.1"]);
        params.not_before = date_time_ymd(4000, 1, 1);
        self.issue("of-the-future", params)
    }

    /// A server certificate for these hosts.
    pub fn server_for(&self, hosts: &[&str]) -> Identity {
        self.issue("server", server_params(hosts))
    }

    /// A server certificate that an authority could have: `openssl req -x509` makes such.
    pub fn marked_as_authority(&self) -> Identity {
        let mut params = server_params(&["localhost", "127.0.0.1"]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.issue("authority", params)
    }

    /// A server certificate for a host that is not the one connected to.
    pub fn wrong_host(&self) -> Identity {
        self.issue("wrong-host", server_params(&["elsewhere.example"]))
    }

    /// A client certificate with this common name.
    pub fn client(&self, common_name: &str) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue("client", params)
    }

    fn issue(&self, kind: &str, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let nth = self.issued.fetch_add(1, Ordering::Relaxed);
        let file = |end: &str| self.dir.path().join(format!("{kind}-{nth}{end}"));
        let identity = Identity {
            ca: self.dir.path().join("ca.pem"),
            cert: file(".pem"),
            key: file(".key"),
            certificate_der: certificate.der().clone(),
            key_der: key.serialize_der(),
            authority_der: self.authority.der().clone(),
            _dir: self.dir.clone(),
        };
        fs::write(&identity.cert, certificate.pem()).unwrap();
        fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }
}

impl Default for Certs {
    fn default() -> Self {
        Certs::new()
    }
}

impl AsRef<Identity> for Certs {
    fn as_ref(&self) -> &Identity {
        self.server()
    }
}

impl AsRef<Identity> for Identity {
    fn as_ref(&self) -> &Identity {
        self
    }
}

impl Identity {
    /// The same with the certificates of these authorities behind its own, in this order, for
    /// programs that read them from the file.
    pub fn followed_by(&self, authorities: &[&Certs]) -> Identity {
        let mut chain = fs::read_to_string(&self.cert).unwrap();
        for authority in authorities {
            chain.push_str(&authority.authority.pem());
        }
        let cert = self.cert.with_extension("chain.pem");
        fs::write(&cert, chain).unwrap();
        Identity { cert, ..self.clone() }
    }

    /// A connection to a server of the same authority by which whoever has this certificate identifies
    /// itself.
    pub(crate) fn client_connection(&self) -> ClientConnection {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.authority_der.clone()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key_der.clone()));
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![self.certificate_der.clone()], key)
            .unwrap();
        ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap()
    }

    /// What a rustls server needs to present this certificate and, if `ask_clients`, to demand one
    /// of the same authority from its clients.
    pub(crate) fn server_config(&self, ask_clients: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if ask_clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority_der.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key_der.clone()));
        Arc::new(builder.with_single_cert(vec![self.certificate_der.clone()], key).unwrap())
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    params
}

fn server_params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "mosquitto-test server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}
