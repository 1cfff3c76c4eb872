//! A token in its compact serialization (RFC 7515, section 7.1): three parts in base64url with dots between
//! them.

#![forbid(unsafe_code)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::keys::KeySet;
use super::{is_symmetric, ring_provider};
use crate::answer::InvalidToken;

/// How long a token may be, in bytes: one with hundreds of rules is shorter.
pub(crate) const LONGEST: usize = 16 * 1024;

/// What of a token's claims is checked beside its signature.
#[derive(Clone, Copy)]
pub(crate) struct Checks<'a> {
    /// None: all that its key permits.
    pub algorithms: Option<&'a [Algorithm]>,
    pub issuer: Option<&'a str>,
    /// One of them must be the token's; empty: that is not looked at.
    pub audience: &'a [String],
    /// By how many seconds the issuer's clock may differ.
    pub(crate) leeway: u64,
}

/// What of a header chooses among the keys that there are. What would bring a key along, or say where one
/// is to be fetched (`jwk`, `jku`, `x5c`, `x5u`), has no say.
#[derive(serde::Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    #[serde(default, rename = "crit")]
    _crit: Refused,
}

/// What must not be there: whoever does not understand all that `crit` names must not accept the token
/// (RFC 7515, section 4.1.11).
#[derive(Default)]
struct Refused;

impl<'de> Deserialize<'de> for Refused {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("a header that demands what is not understood"))
    }
}

/// The token that a password is, if it has the form of one: its header must be a JSON object, so that no
/// password that happens to have two dots in it is taken for a token. One that is too long to be looked
/// at has the form as well.
#[must_use]
pub(crate) fn token_in(password: &[u8]) -> Option<&str> {
    // All JSON objects begin with an `e` in base64, and few passwords do.
    if password.first() != Some(&b'e') {
        return None;
    }
    let text = std::str::from_utf8(password).ok()?;
    let is_base64url = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let parts: [&str; 3] = split(text)?;
    let has_header = || {
        let header = BASE64URL.decode(parts[0]).ok();
        header.is_some_and(|header| serde_json::from_slice::<Map<String, Value>>(&header).is_ok())
    };
    (parts.into_iter().all(is_base64url) && (text.len() > LONGEST || has_header())).then_some(text)
}

fn split(text: &str) -> Option<[&str; 3]> {
    let (signed, signature) = text.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    Some([header, payload, signature])
}

/// A token's claims, as JSON, once it is certain that one of these keys has signed them, and that they are
/// good now and here.
///
/// # Errors
/// Why it is not believed.
pub(crate) fn verify(
    token: &str,
    keys: &KeySet,
    checks: Checks<'_>,
) -> Result<Box<RawValue>, InvalidToken> {
    if token.len() > LONGEST {
        return Err(InvalidToken::Malformed);
    }
    let [header, ..] = split(token).ok_or(InvalidToken::Malformed)?;
    let (header, algorithm) = read_header(header)?;
    if checks.algorithms.is_some_and(|allowed| !allowed.contains(&algorithm)) {
        return Err(InvalidToken::Algorithm);
    }
    ring_provider::install();
    let validation = validation(algorithm, checks);
    let kid = header.kid.as_deref();
    for key in keys.of(kid, algorithm)? {
        match jsonwebtoken::decode(token, &key.decoding, &validation) {
            Ok(token) => return Ok(token.claims),
            Err(error) if *error.kind() == ErrorKind::InvalidSignature => {}
            Err(error) => return Err(why(error.kind())),
        }
    }
    // Its own key may be one that is not known yet, unless that is a secret: no set has one.
    let may_come = keys.lacks(kid) && !is_symmetric(algorithm);
    Err(if may_come { InvalidToken::UnknownKey } else { InvalidToken::Signature })
}

/// Whether a public key that is not known yet could verify a token, where these algorithms are allowed.
#[must_use]
pub(crate) fn may_have_public_key(token: &str, algorithms: Option<&[Algorithm]>) -> bool {
    let is_allowed =
        |algorithm| algorithms.is_none_or(|allowed: &[Algorithm]| allowed.contains(&algorithm));
    let header = split(token).filter(|_| token.len() <= LONGEST);
    let header = header.and_then(|[header, ..]| read_header(header).ok());
    header.is_some_and(|(_, algorithm)| !is_symmetric(algorithm) && is_allowed(algorithm))
}

/// What a header says, and the algorithm that it names.
fn read_header(header: &str) -> Result<(Header, Algorithm), InvalidToken> {
    let header = BASE64URL.decode(header).map_err(|_| InvalidToken::Malformed)?;
    let header: Header = serde_json::from_slice(&header).map_err(|_| InvalidToken::Malformed)?;
    let algorithm = header.alg.parse().map_err(|_| InvalidToken::Algorithm)?;
    Ok((header, algorithm))
}

fn validation(algorithm: Algorithm, checks: Checks<'_>) -> Validation {
    let mut validation = Validation::new(algorithm);
    // The library looks at issuer and audience where they are there, and at nothing that has the wrong type:
    // what must be right must be there.
    validation.required_spec_claims.clear();
    validation.leeway = checks.leeway;
    validation.validate_nbf = true;
    validation.validate_aud = !checks.audience.is_empty();
    if validation.validate_aud {
        validation.required_spec_claims.insert("aud".to_owned());
        validation.set_audience(checks.audience);
    }
    if let Some(issuer) = checks.issuer {
        validation.required_spec_claims.insert("iss".to_owned());
        validation.set_issuer(&[issuer]);
    }
    validation
}

fn why(error: &ErrorKind) -> InvalidToken {
    match error {
        ErrorKind::InvalidSignature => InvalidToken::Signature,
        ErrorKind::ExpiredSignature => InvalidToken::Expired,
        ErrorKind::ImmatureSignature => InvalidToken::NotYetValid,
        ErrorKind::InvalidIssuer => InvalidToken::Issuer,
        ErrorKind::InvalidAudience => InvalidToken::Audience,
        ErrorKind::MissingRequiredClaim(name) if name == "iss" => InvalidToken::Issuer,
        ErrorKind::MissingRequiredClaim(name) if name == "aud" => InvalidToken::Audience,
        ErrorKind::InvalidClaimFormat(name) => {
            InvalidToken::Claims(format!("{name:?} is not what it must be"))
        }
        ErrorKind::InvalidAlgorithm => InvalidToken::Algorithm,
        _ => InvalidToken::Malformed,
    }
}
