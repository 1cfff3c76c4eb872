//! Keys that verify, and which of them a token may mean.

#![forbid(unsafe_code)]

use std::fmt;

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse, RSAKeyParameters,
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{AlgorithmIdentifier, SubjectPublicKeyInfoDer, alg_id};
use rustls::sign::public_key_to_spki;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{ALGORITHMS, is_symmetric};
use crate::answer::InvalidToken;
use crate::secret::Secret;

/// The smallest and largest RSA keys that are taken, in bytes (RFC 7518, section 3.3; larger ones cost
/// more than they protect).
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// How many keys a set may have, and how many of them are tried with one token: each trial takes the broker's
/// thread up to a few tenths of a millisecond.
const MOST: usize = 256;
const MOST_TRIED: usize = 4;

/// A key, and what it verifies.
#[derive(Clone)]
pub(crate) struct Key {
    /// `kid`; none: it may be meant by any token.
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(super) decoding: DecodingKey,
}

impl Eq for Key {}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (&self.id, &self.algorithms) == (&other.id, &other.algorithms) && self.is_copy_of(other)
    }
}

impl Key {
    /// Whether it is the same key, whatever is said of it.
    fn is_copy_of(&self, other: &Self) -> bool {
        fn parts(key: &DecodingKey) -> (&[u8], &[u8]) {
            match key.kind() {
                DecodingKeyKind::SecretOrDer(bytes) => (bytes, &[]),
                DecodingKeyKind::RsaModulusExponent { n, e } => (n, e),
            }
        }
        parts(&self.decoding) == parts(&other.decoding)
    }
}

/// These keys without copies of those before.
fn distinct<'a>(keys: impl Iterator<Item = &'a Key>, most: usize) -> Vec<&'a Key> {
    let mut distinct: Vec<&Key> = Vec::new();
    for key in keys {
        if distinct.len() == most {
            break;
        }
        if !distinct.iter().any(|other| other.is_copy_of(key)) {
            distinct.push(key);
        }
    }
    distinct
}

/// Keys from wherever they come: first those without a `kid`, since any token may mean them.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct KeySet(Vec<Key>);

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({} keys)", self.0.len())
    }
}

impl KeySet {
    fn new(mut keys: Vec<Key>) -> Self {
        keys.sort_by_key(|key| key.id.is_some());
        Self(keys)
    }

    /// A secret for HMAC.
    #[must_use]
    pub(crate) fn of_secret(secret: &Secret) -> Self {
        let decoding = DecodingKey::from_secret(secret.expose());
        let algorithms = AlgorithmFamily::Hmac.algorithms().to_vec();
        Self(vec![Key { id: None, algorithms, decoding }])
    }

    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether any key verifies this algorithm.
    #[must_use]
    pub(crate) fn permits(&self, algorithm: Algorithm) -> bool {
        self.0.iter().any(|key| key.algorithms.contains(&algorithm))
    }

    /// These keys and those.
    #[must_use]
    pub(crate) fn with(&self, others: &Self) -> Self {
        Self::new([self.0.as_slice(), &others.0].concat())
    }

    /// Of which keys some are never tried, if that is so, where these algorithms are allowed. Only keys without a
    /// `kid` count: a token can do without the name of its key only if there are few.
    #[must_use]
    pub(crate) fn never_tried(&self, allowed: Option<&[Algorithm]>) -> Option<String> {
        let is_allowed =
            |algorithm| allowed.is_none_or(|allowed: &[Algorithm]| allowed.contains(&algorithm));
        let algorithms = ALGORITHMS.iter().filter(|(_, algorithm)| is_allowed(*algorithm));
        algorithms.into_iter().find_map(|(name, algorithm)| {
            let fits = |key: &&Key| key.id.is_none() && key.algorithms.contains(algorithm);
            let count = distinct(self.0.iter().filter(fits), usize::MAX).len();
            let problem = || {
                format!(
                    "{count} keys without a kid are for {name}, of which the plugin tries \
                     {MOST_TRIED} at most"
                )
            };
            (count > MOST_TRIED).then(problem)
        })
    }

    /// Whether a token names a key that is not among these. One that has no name may vouch for it all the
    /// same.
    #[must_use]
    pub(super) fn lacks(&self, id: Option<&str>) -> bool {
        id.is_some_and(|id| !self.0.iter().any(|key| key.id.as_deref() == Some(id)))
    }

    /// The keys that a token with this `kid` may mean, and that go with its algorithm: those of this name;
    /// without any, those that have none. A token that names none may mean any.
    ///
    /// # Errors
    /// There are none. Where the token names one that is not known, it may come yet, unless it is a secret: no
    /// set has one.
    pub(super) fn of(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<&Key>, InvalidToken> {
        let is_unknown = self.lacks(id);
        let may_be_meant = |key: &&Key| match id {
            Some(_) if is_unknown => key.id.is_none(),
            Some(id) => key.id.as_deref() == Some(id),
            None => true,
        };
        let fits = |key: &&Key| may_be_meant(key) && key.algorithms.contains(&algorithm);
        let tried = distinct(self.0.iter().filter(fits), MOST_TRIED);
        if !tried.is_empty() {
            return Ok(tried);
        }
        let may_come = if is_unknown { !is_symmetric(algorithm) } else { self.0.is_empty() };
        Err(if may_come { InvalidToken::UnknownKey } else { InvalidToken::Algorithm })
    }
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Keys<'a>,
}

/// No more than there may be, as they are written.
struct Keys<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Keys<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ReadKeys)
    }
}

struct ReadKeys;

impl<'de> Visitor<'de> for ReadKeys {
    type Value = Keys<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of keys")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Keys<'de>, A::Error> {
        let mut keys = Vec::new();
        while let Some(key) = array.next_element()? {
            if keys.len() == MOST {
                return Err(A::Error::custom(format_args!("it has more than {MOST} keys")));
            }
            keys.push(key);
        }
        Ok(Keys(keys))
    }
}

/// Whether a key is a private one.
#[derive(Deserialize)]
struct Parts {
    d: Option<IgnoredAny>,
}

const PRIVATE: &str = "it holds a private key, which belongs to the issuer alone";

/// How long a key may be that is looked at, with the certificates that it brings along, in bytes.
const KEY_BYTES: usize = 64 * 1024;

/// Reads a JWK Set (RFC 7517, section 5). A key that is not known, or not for signatures, is passed over, as
/// are secrets: whoever may read the set could sign with them.
///
/// # Errors
/// What is wrong with it: it is none, or has nothing that verifies tokens.
pub(crate) fn read_set(json: &[u8]) -> Result<KeySet, String> {
    let document: Document<'_> =
        serde_json::from_slice(json).map_err(|error| format!("no JWK Set: {error}"))?;
    let texts: Vec<_> = document.keys.0.iter().map(|key| key.get()).collect();
    let is_private = |text: &&str| serde_json::from_str(text).is_ok_and(|Parts { d }| d.is_some());
    if texts.iter().any(is_private) {
        return Err(PRIVATE.to_owned());
    }
    let is_a_key = |text: &&&str| text.len() <= KEY_BYTES;
    let read = |text: &&str| of_jwk(&serde_json::from_str(text).ok()?);
    let keys: Vec<_> = texts.iter().filter(is_a_key).filter_map(read).collect();
    if keys.is_empty() {
        return Err("it has no public key that verifies tokens".to_owned());
    }
    Ok(KeySet::new(keys))
}

/// The key; none if it is not for us.
fn of_jwk(jwk: &Jwk) -> Option<Key> {
    let common = &jwk.common;
    let is_to_sign = common.public_key_use.as_ref().is_none_or(|u| *u == PublicKeyUse::Signature);
    let verifies = |all: &Vec<KeyOperations>| all.contains(&KeyOperations::Verify);
    if !is_to_sign || !common.key_operations.as_ref().is_none_or(verifies) {
        return None;
    }
    let (decoding, mut algorithms) = match &jwk.algorithm {
        AlgorithmParameters::RSA(key) => (of_rsa(key)?, AlgorithmFamily::Rsa.algorithms().to_vec()),
        AlgorithmParameters::EllipticCurve(key) => {
            let (algorithm, bytes) = match key.curve {
                EllipticCurve::P256 => (Algorithm::ES256, 65),
                EllipticCurve::P384 => (Algorithm::ES384, 97),
                EllipticCurve::P521 | EllipticCurve::Ed25519 => return None,
            };
            let decoding = DecodingKey::from_ec_components(&key.x, &key.y).ok()?;
            (of_length(decoding, bytes)?, vec![algorithm])
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            let decoding = DecodingKey::from_ed_components(&key.x).ok()?;
            (of_length(decoding, 32)?, vec![Algorithm::EdDSA])
        }
        AlgorithmParameters::OctetKeyPair(_) | AlgorithmParameters::OctetKey(_) => return None,
    };
    if let Some(only) = common.key_algorithm {
        // Of an algorithm that is not known, or of another use altogether, nothing is left.
        algorithms.retain(|algorithm| format!("{algorithm:?}") == only.to_string());
    }
    (!algorithms.is_empty()).then(|| Key { id: common.key_id.clone(), algorithms, decoding })
}

fn of_rsa(key: &RSAKeyParameters) -> Option<DecodingKey> {
    let read = DecodingKey::from_rsa_components(&key.n, &key.e).ok()?;
    let DecodingKeyKind::RsaModulusExponent { n, e } = read.kind() else { return None };
    // Some issuers write the number with a zero in front, which it should not have (RFC 7518, section 2).
    let n = &n[n.iter().take_while(|byte| **byte == 0).count()..];
    RSA_BYTES.contains(&n.len()).then(|| DecodingKey::from_rsa_raw_components(n, e))
}

fn of_length(key: DecodingKey, bytes: usize) -> Option<DecodingKey> {
    let fits = matches!(key.kind(), DecodingKeyKind::SecretOrDer(all) if all.len() == bytes);
    fits.then_some(key)
}

const UNUSABLE: &str =
    "a key is none of RSA of 2048 to 8192 bits, EC on P-256 or P-384, and Ed25519";

/// Reads all public keys of a PEM file (RFC 7468, section 13).
///
/// # Errors
/// What is wrong with it: it holds none, or one that cannot be used.
pub(crate) fn read_pem(pem: &[u8]) -> Result<KeySet, String> {
    let label = b"PRIVATE KEY-----";
    if pem.windows(label.len()).any(|window| window == label) {
        return Err(PRIVATE.to_owned());
    }
    let keys: Vec<Key> = SubjectPublicKeyInfoDer::pem_slice_iter(pem)
        .map(|key| match key {
            Ok(key) => of_spki(&key).ok_or_else(|| UNUSABLE.to_owned()),
            Err(error) => Err(format!("broken PEM: {error}")),
        })
        .collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err("it holds no \"BEGIN PUBLIC KEY\"".to_owned());
    }
    Ok(KeySet(keys))
}

/// What an `RSAPublicKey` takes beside its modulus, in bytes: with tags, lengths and an exponent.
const RSA_FRAME: std::ops::RangeInclusive<usize> = 12..=32;

/// The key in a SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7); none if it cannot be used.
fn of_spki(der: &[u8]) -> Option<Key> {
    // With such a key both lengths take two bytes.
    let rsa = der.len().saturating_sub(24);
    let may_be = RSA_BYTES.start() + RSA_FRAME.start()..=RSA_BYTES.end() + RSA_FRAME.end();
    let (decoding, algorithms) = if let Some(point) = key_in(der, 65, alg_id::ECDSA_P256) {
        (DecodingKey::from_ec_der(point), vec![Algorithm::ES256])
    } else if let Some(point) = key_in(der, 97, alg_id::ECDSA_P384) {
        (DecodingKey::from_ec_der(point), vec![Algorithm::ES384])
    } else if let Some(point) = key_in(der, 32, alg_id::ED25519) {
        (DecodingKey::from_ed_der(point), vec![Algorithm::EdDSA])
    } else {
        let key = key_in(der, rsa, alg_id::RSA_ENCRYPTION).filter(|_| may_be.contains(&rsa))?;
        (DecodingKey::from_rsa_der(key), AlgorithmFamily::Rsa.algorithms().to_vec())
    };
    Some(Key { id: None, algorithms, decoding })
}

/// Its last bytes, if those are a key of this algorithm and the others say so: there is one way alone to write
/// them (ITU-T X.690, section 10).
fn key_in(der: &[u8], bytes: usize, algorithm: AlgorithmIdentifier) -> Option<&[u8]> {
    let key = &der[der.len().checked_sub(bytes)?..];
    (*public_key_to_spki(&algorithm, key) == *der).then_some(key)
}
