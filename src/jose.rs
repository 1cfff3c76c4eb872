//! JSON Web Tokens (RFC 7519), and the keys that verify them (RFC 7517). What a token grants is not looked
//! at here.
//!
//! `jsonwebtoken` reads and verifies; it has the arithmetic done by `ring`, which TLS needs anyway
//! (`ring_provider.rs`). This module decides what the library leaves open, by one rule: the key says which
//! algorithms verify with it, and the token chooses among those. So no token can have a public key taken
//! for a secret, and none can do without a signature.
//!
//! The library's 10.3 is the last for Rust 1.85. Its PEM reader would bring along a version of `time` with a
//! known fault, so that `keys.rs` tells what is in a PEM file. It does not look at `crit`, skips no key of an
//! unknown type in a set, and keeps the copy that it makes of a secret until that is replaced, without
//! wiping it (10.4, for Rust 1.88, does).

#![forbid(unsafe_code)]

mod keys;
mod ring_provider;
mod token;

pub(crate) use jsonwebtoken::Algorithm;
pub(crate) use keys::{KeySet, read_pem, read_set};
pub(crate) use token::{Checks, may_have_public_key, token_in, verify};

use jsonwebtoken::AlgorithmFamily;

/// Every algorithm that can be verified, by its registered name (RFC 7518, section 3.1; RFC 8037, section
/// 3.1). There is none for `none`.
pub(crate) const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// Whether whoever can verify can sign as well.
#[must_use]
pub(crate) fn is_symmetric(algorithm: Algorithm) -> bool {
    AlgorithmFamily::Hmac.algorithms().contains(&algorithm)
}

#[cfg(test)]
mod tests;
