//! How `jsonwebtoken` has signatures verified: by `ring`. The backends that it offers itself are another copy
//! of what `ring` does (`aws-lc-rs`, which a C compiler builds), or one with a known fault (`rsa`).

#![forbid(unsafe_code)]

use jsonwebtoken::crypto::{CryptoProvider, JwkUtils, JwtSigner, JwtVerifier};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use ring::{error::Unspecified, hmac};

use zeroize::Zeroizing;

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: sign_nothing,
    verifier_factory: verifier,
    jwk_utils: JwkUtils::new_unimplemented(),
};

/// Has the library use it. It is enough once, and does nothing later.
pub(crate) fn install() {
    let _ = PROVIDER.install_default();
}

fn sign_nothing(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(ErrorKind::InvalidAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    if !key.family().algorithms().contains(algorithm) {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let key = match key.kind() {
        DecodingKeyKind::SecretOrDer(bytes) => KeyMaterial::Whole(Zeroizing::new(bytes.clone())),
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            KeyMaterial::Rsa(RsaPublicKeyComponents { n: n.clone(), e: e.clone() })
        }
    };
    Ok(Box::new(ByRing { algorithm: *algorithm, key }))
}

struct ByRing {
    algorithm: Algorithm,
    key: KeyMaterial,
}

enum KeyMaterial {
    /// A secret, an `RSAPublicKey` (RFC 8017, section A.1.1), or a point on a curve.
    Whole(Zeroizing<Vec<u8>>),
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
}

impl JwtVerifier for ByRing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl jsonwebtoken::signature::Verifier<Vec<u8>> for ByRing {
    fn verify(&self, signed: &[u8], mark: &Vec<u8>) -> std::result::Result<(), Error> {
        self.check(signed, mark).map_err(|Unspecified| Error::new())
    }
}

type Error = jsonwebtoken::signature::Error;

impl ByRing {
    fn check(&self, signed: &[u8], mark: &[u8]) -> std::result::Result<(), Unspecified> {
        use signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519};
        match self.algorithm {
            Algorithm::HS256 => self.by_secret(hmac::HMAC_SHA256, signed, mark),
            Algorithm::HS384 => self.by_secret(hmac::HMAC_SHA384, signed, mark),
            Algorithm::HS512 => self.by_secret(hmac::HMAC_SHA512, signed, mark),
            Algorithm::RS256 => self.by_rsa(&signature::RSA_PKCS1_2048_8192_SHA256, signed, mark),
            Algorithm::RS384 => self.by_rsa(&signature::RSA_PKCS1_2048_8192_SHA384, signed, mark),
            Algorithm::RS512 => self.by_rsa(&signature::RSA_PKCS1_2048_8192_SHA512, signed, mark),
            Algorithm::PS256 => self.by_rsa(&signature::RSA_PSS_2048_8192_SHA256, signed, mark),
            Algorithm::PS384 => self.by_rsa(&signature::RSA_PSS_2048_8192_SHA384, signed, mark),
            Algorithm::PS512 => self.by_rsa(&signature::RSA_PSS_2048_8192_SHA512, signed, mark),
            Algorithm::ES256 => self.by_point(&ECDSA_P256_SHA256_FIXED, signed, mark),
            Algorithm::ES384 => self.by_point(&ECDSA_P384_SHA384_FIXED, signed, mark),
            Algorithm::EdDSA => self.by_point(&ED25519, signed, mark),
        }
    }

    fn by_secret(&self, hash: hmac::Algorithm, signed: &[u8], mark: &[u8]) -> Checked {
        match &self.key {
            KeyMaterial::Whole(secret) => hmac::verify(&hmac::Key::new(hash, secret), signed, mark),
            KeyMaterial::Rsa(_) => Err(Unspecified),
        }
    }

    fn by_rsa(&self, parameters: &'static RsaParameters, signed: &[u8], mark: &[u8]) -> Checked {
        match &self.key {
            KeyMaterial::Whole(der) => UnparsedPublicKey::new(parameters, der).verify(signed, mark),
            KeyMaterial::Rsa(components) => components.verify(parameters, signed, mark),
        }
    }

    fn by_point(
        &self,
        parameters: &'static dyn signature::VerificationAlgorithm,
        signed: &[u8],
        mark: &[u8],
    ) -> Checked {
        match &self.key {
            KeyMaterial::Whole(point) => {
                UnparsedPublicKey::new(parameters, point).verify(signed, mark)
            }
            KeyMaterial::Rsa(_) => Err(Unspecified),
        }
    }
}

type Checked = std::result::Result<(), Unspecified>;
