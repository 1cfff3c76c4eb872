//! Issuers of JSON Web Tokens (RFC 7519), with keys of their own.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64URL};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};

/// Signs tokens.
pub enum Issuer {
    Hs256(Vec<u8>),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl Issuer {
    /// A secret of its own.
    pub fn hs256() -> Issuer {
        let secret: String = (0..48).map(|_| fastrand::alphanumeric()).collect();
        Issuer::Hs256(secret.into_bytes())
    }

    /// A new key on P-256.
    pub fn es256() -> Issuer {
        let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Issuer::Es256(EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap())
    }

    /// A new Ed25519 key.
    pub fn eddsa() -> Issuer {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Issuer::EdDsa(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    /// An RSA key, always the same: to make one takes long.
    pub fn rs256() -> Issuer {
        let pkcs8 = include_str!("../../src/jose/fixtures/rsa-pkcs8.base64");
        let pkcs8 = STANDARD.decode(pkcs8.trim()).unwrap();
        Issuer::Rs256(RsaKeyPair::from_pkcs8(&pkcs8).unwrap())
    }

    /// Its algorithm's name.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Issuer::Hs256(_) => "HS256",
            Issuer::Es256(_) => "ES256",
            Issuer::EdDsa(_) => "EdDSA",
            Issuer::Rs256(_) => "RS256",
        }
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm(), "typ": "JWT"}), claims)
    }

    /// A token that names its key.
    pub fn token_of(&self, kid: &str, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm(), "typ": "JWT", "kid": kid}), claims)
    }

    /// A token with this header, whatever it says.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64URL.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        format!("{signed}.{}", BASE64URL.encode(self.sign(signed.as_bytes())))
    }

    fn sign(&self, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Issuer::Hs256(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, signed).as_ref().to_vec()
            }
            Issuer::Es256(key) => key.sign(&random, signed).unwrap().as_ref().to_vec(),
            Issuer::EdDsa(key) => key.sign(signed).as_ref().to_vec(),
            Issuer::Rs256(key) => {
                let mut mark = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, signed, &mut mark).unwrap();
                mark
            }
        }
    }

    /// Its public key as a JWK (RFC 7517). A secret has none.
    pub fn jwk(&self, kid: &str) -> Value {
        let url = |bytes: &[u8]| BASE64URL.encode(bytes);
        let mut jwk = match self {
            Issuer::Hs256(_) => panic!("a secret is never published"),
            Issuer::Es256(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": url(x), "y": url(y)})
            }
            Issuer::EdDsa(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": url(key.public_key().as_ref())})
            }
            Issuer::Rs256(key) => {
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "n": url(&parts.n), "e": url(&parts.e)})
            }
        };
        jwk["kid"] = json!(kid);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm());
        jwk
    }

    /// What belongs in `jwt_secret_file`, or in `jwt_key_file` as a JWK Set.
    pub fn key_file(&self) -> Vec<u8> {
        match self {
            Issuer::Hs256(secret) => [secret.as_slice(), b"\n"].concat(),
            _ => json!({"keys": [self.jwk("1")]}).to_string().into_bytes(),
        }
    }
}
