//! Options about tokens, and the files that they name.

#![forbid(unsafe_code)]

use std::fs;
use std::time::Duration;

use super::{Config, ConfigError, Sources};
use crate::jose::{self, ALGORITHMS, Algorithm, KeySet};
use crate::rules::Syntax;
use crate::secret::Secret;

/// Which tokens let in whom.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct TokensConfig {
    /// Where the API has its keys; none: nowhere.
    pub jwks_route: Option<String>,
    /// None: all that a key's type permits.
    pub algorithms: Option<Vec<Algorithm>>,
    pub issuer: Option<String>,
    /// One of them must be the token's; empty: that is not looked at.
    pub audience: Vec<String>,
    /// By how much the issuer's clock may differ.
    pub(crate) leeway: Duration,
    pub(crate) username_claim: String,
    pub(crate) username: TokenUsername,
    /// Whether another password is denied.
    pub only: bool,
    /// How the rules in a token are written.
    pub(crate) syntax: Syntax,
}

/// What the token's name for the client is to the name that the client gives.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) enum TokenUsername {
    /// The same, or the client is denied.
    #[default]
    Match,
    /// It takes the other's place.
    Set,
    /// Nothing.
    Any,
}

/// The options that say nothing without keys.
const OF_KEYS: [&str; 7] = [
    "jwt_algorithms",
    "jwt_issuer",
    "jwt_audience",
    "jwt_leeway",
    "jwt_username_claim",
    "jwt_username",
    "jwt_only",
];

impl Config {
    /// Which tokens let in whom; none: no password is taken for one.
    #[must_use]
    pub fn tokens(&self) -> Option<&TokensConfig> {
        self.tokens.has_keys(&self.sources).then_some(&self.tokens)
    }
}

impl TokensConfig {
    /// Whether tokens are looked at.
    pub(super) fn has_keys(&self, sources: &Sources) -> bool {
        self.jwks_route.is_some() || sources.has_token_keys()
    }

    /// Options that do not go together.
    pub(super) fn errors(
        &self,
        sources: &Sources,
        is_given: impl Fn(&str) -> bool,
    ) -> Vec<ConfigError> {
        if !self.has_keys(sources) {
            let given = OF_KEYS.into_iter().find(|name| is_given(name));
            let error = |name| {
                ConfigError::overall(format!(
                    "option {name} needs keys: jwt_key_file, jwt_secret_file or http_jwks_route"
                ))
            };
            return given.map(error).into_iter().collect();
        }
        let has_public_keys = sources.jwt_key_file.is_some() || self.jwks_route.is_some();
        let unusable = |algorithm: &Algorithm| match jose::is_symmetric(*algorithm) {
            true if sources.jwt_secret_file.is_none() => Some("jwt_secret_file"),
            false if !has_public_keys => Some("jwt_key_file or http_jwks_route"),
            _ => None,
        };
        let given = self.algorithms.iter().flatten();
        let errors = given.filter_map(|algorithm| {
            let what = unusable(algorithm)?;
            Some(ConfigError::overall(format!("option jwt_algorithms: {algorithm:?} needs {what}")))
        });
        errors.collect()
    }

    /// The algorithms that are allowed, as far as the keys are known.
    pub(super) fn algorithms_in_words(&self, config: &Config) -> String {
        let keys = &config.credentials.token_keys;
        let is_allowed = |algorithm: Algorithm| match &self.algorithms {
            Some(allowed) => allowed.contains(&algorithm),
            None if self.jwks_route.is_some() && !jose::is_symmetric(algorithm) => true,
            None => keys.permits(algorithm),
        };
        let names = ALGORITHMS.iter().filter(|(_, algorithm)| is_allowed(*algorithm));
        names.map(|(name, _)| *name).collect::<Vec<_>>().join(",")
    }
}

pub(crate) fn algorithms(text: &str) -> Result<Vec<Algorithm>, String> {
    let of = |name: &str| ALGORITHMS.iter().find(|(known, _)| *known == name).map(|(_, a)| *a);
    let all: Option<Vec<_>> = text.split(',').map(|name| of(name.trim())).collect();
    all.ok_or_else(|| {
        let names: Vec<_> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
        format!("a comma list out of {}", names.join(", "))
    })
}

pub(crate) fn audience(text: &str) -> Result<Vec<String>, String> {
    let all: Vec<_> = text.split(',').map(|one| one.trim().to_owned()).collect();
    if all.iter().any(String::is_empty) { Err("a comma list of names".to_owned()) } else { Ok(all) }
}

pub(crate) fn claim(text: &str) -> Result<String, String> {
    let other = ["iss", "aud", "exp", "nbf", "iat", "acl", "is_superuser", "client_attrs"];
    if text.is_empty() || other.contains(&text) {
        return Err("a claim that holds a name, such as sub or preferred_username".to_owned());
    }
    Ok(text.to_owned())
}

/// The public keys in a file, of which none is to be one that is never tried where these algorithms are allowed.
pub(crate) fn public_keys(path: &str, allowed: Option<&[Algorithm]>) -> Result<KeySet, String> {
    let wrong = |problem: String| {
        format!(
            "the path of a readable file with public keys in PEM, or with a JWK Set ({problem})"
        )
    };
    let file = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let is_json = file.trim_ascii_start().starts_with(b"{");
    let keys = if is_json { jose::read_set(&file) } else { jose::read_pem(&file) };
    let keys = keys.map_err(wrong)?;
    keys.never_tried(allowed).map_or(Ok(keys), |problem| Err(wrong(problem)))
}

/// The shortest secret that is taken, in bytes: whoever sees a token can try out shorter ones (RFC 7518,
/// section 3.2).
const SHORTEST: usize = 32;

/// The secret in a file.
pub(crate) fn secret(path: &str) -> Result<Secret, String> {
    let wrong = |problem: String| {
        format!(
            "the path of a readable file with a secret of {SHORTEST} bytes or more, such as openssl \
             rand -hex 32 writes ({problem})"
        )
    };
    let file = Secret::new(fs::read(path).map_err(|error| wrong(error.to_string()))?);
    let bytes = file.expose();
    let line = bytes.strip_suffix(b"\r\n").or(bytes.strip_suffix(b"\n")).unwrap_or(bytes);
    if line.starts_with(b"-----BEGIN") {
        return Err(wrong("it is a PEM file, which belongs to jwt_key_file".to_owned()));
    }
    if line.len() < SHORTEST {
        return Err(wrong(format!("it has {}", line.len())));
    }
    Ok(Secret::new(line.to_vec()))
}
