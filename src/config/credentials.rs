//! What the configuration names and does not hold: certificates, keys, secret headers. It is read
//! at the start, and again on SIGHUP.

#![forbid(unsafe_code)]

use super::fleet::{FleetCredentials, FleetSources};
use super::{ConfigError, Header, tokens, values};
use crate::jose::{Algorithm, KeySet};
use crate::secret::Secret;

/// Where it comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sources {
    /// Whether the API's certificate is to be verified, over TLS.
    pub verifies: bool,
    pub ca_file: Option<String>,
    pub cert_file: Option<String>,
    pub key_file: Option<String>,
    /// Each header's name, and its value as the option says it: itself, `@path` or `$NAME`.
    pub headers: Vec<(String, Secret)>,
    pub jwt_key_file: Option<String>,
    pub jwt_secret_file: Option<String>,
    /// Which algorithms of these keys are allowed; none: all.
    pub(crate) jwt_algorithms: Option<Vec<Algorithm>>,
    pub(crate) fleet: FleetSources,
}

/// What was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Credentials {
    /// Trusted certificate authorities, as DER.
    pub roots: Vec<Vec<u8>>,
    /// How the plugin identifies itself to the API (RFC 8446, section 4.4.2).
    pub identity: Option<Identity>,
    pub headers: Vec<Header>,
    /// What verifies tokens, but for what the API has.
    pub(crate) token_keys: KeySet,
    pub(crate) fleet: FleetCredentials,
}

/// A certificate with those that vouch for it, as DER, and its private key, as PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub chain: Vec<Vec<u8>>,
    pub key: Secret,
}

impl Sources {
    /// The files that the options of a fleet name, each with its option.
    #[must_use]
    pub fn files_of_fleet(&self) -> Vec<(&'static str, String)> {
        self.fleet.files()
    }

    /// Reads everything.
    ///
    /// # Errors
    /// Everything that cannot be read or is not what it should be.
    pub(crate) fn read(&self) -> Result<Credentials, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let roots = keep(self.roots(), &mut errors).unwrap_or_default();
        let identity = keep(self.identity(), &mut errors).flatten();
        let header = |(name, text): &(String, Secret)| {
            let text = String::from_utf8_lossy(text.expose());
            let problem = |problem: String| {
                ConfigError::secret_value(&format!("http_header_{name}"), &problem)
            };
            let value = values::header_value(&text).map_err(problem)?;
            Ok(Header { name: name.clone(), value })
        };
        let headers = self.headers.iter().map(header);
        let headers = headers.filter_map(|header| keep(header, &mut errors)).collect();
        let token_keys = keep(self.token_keys(), &mut errors).unwrap_or_default();
        let fleet = keep(self.fleet.read(), &mut errors).unwrap_or_default();
        if errors.is_empty() {
            Ok(Credentials { roots, identity, headers, token_keys, fleet })
        } else {
            Err(errors)
        }
    }

    /// Whether there are files with keys that verify tokens.
    #[must_use]
    pub(crate) fn has_token_keys(&self) -> bool {
        self.jwt_key_file.is_some() || self.jwt_secret_file.is_some()
    }

    fn token_keys(&self) -> Result<KeySet, ConfigError> {
        let keys = self.jwt_key_file.as_deref().map_or(Ok(KeySet::default()), |path| {
            tokens::public_keys(path, self.jwt_algorithms.as_deref())
                .map_err(|allowed| ConfigError::value("jwt_key_file", path, &allowed))
        })?;
        let Some(path) = self.jwt_secret_file.as_deref() else { return Ok(keys) };
        let secret = tokens::secret(path)
            .map_err(|allowed| ConfigError::value("jwt_secret_file", path, &allowed))?;
        Ok(keys.with(&KeySet::of_secret(&secret)))
    }

    /// Whether there is anything that may change while the broker runs.
    #[must_use]
    pub(crate) fn may_change(&self) -> bool {
        let in_a_file = |(_, text): &(String, Secret)| text.expose().starts_with(b"@");
        self.verifies
            || self.cert_file.is_some()
            || self.has_token_keys()
            || self.headers.iter().any(in_a_file)
            || self.fleet.may_change()
    }

    fn roots(&self) -> Result<Vec<Vec<u8>>, ConfigError> {
        match &self.ca_file {
            _ if !self.verifies => Ok(Vec::new()),
            Some(path) => values::certificates(path)
                .map_err(|allowed| ConfigError::value("tls_ca_file", path, &allowed)),
            None => values::system_roots().map_err(ConfigError::overall),
        }
    }

    fn identity(&self) -> Result<Option<Identity>, ConfigError> {
        let (Some(cert_file), Some(key_file)) = (&self.cert_file, &self.key_file) else {
            return Ok(None);
        };
        let chain = values::certificates(cert_file)
            .map_err(|allowed| ConfigError::value("tls_cert_file", cert_file, &allowed))?;
        let key = values::private_key(key_file, &chain)
            .map_err(|allowed| ConfigError::value("tls_key_file", key_file, &allowed))?;
        Ok(Some(Identity { chain, key }))
    }
}

fn keep<T>(read: Result<T, ConfigError>, errors: &mut Vec<ConfigError>) -> Option<T> {
    read.map_err(|error| errors.push(error)).ok()
}
