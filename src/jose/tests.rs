//! Tokens and keys, signed by issuers of every kind.

#![forbid(unsafe_code)]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64URL};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};

use super::*;
use crate::answer::InvalidToken;
use crate::clock::{Clock as _, SystemClock};
use crate::secret::Secret;

mod sets;

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
const PUBLIC_PEM: &[u8] = include_bytes!("fixtures/rsa-public.pem");

/// Issuers of every kind, with keys of their own.
struct Issuers {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    random: SystemRandom,
}

impl Issuers {
    fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = STANDARD.decode(include_str!("fixtures/rsa-pkcs8.base64")).unwrap();
        let ec = |algorithm| {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap()
        };
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            rsa: RsaKeyPair::from_pkcs8(&pkcs8).unwrap(),
            p256: ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).unwrap(),
            random,
        }
    }

    fn sign(&self, algorithm: Algorithm, signed: &[u8]) -> Vec<u8> {
        let hmac = |hash| hmac::sign(&hmac::Key::new(hash, SECRET), signed).as_ref().to_vec();
        let rsa = |encoding: &'static dyn RsaEncoding| {
            let mut mark = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(encoding, &self.random, signed, &mut mark).unwrap();
            mark
        };
        let ec = |key: &EcdsaKeyPair| key.sign(&self.random, signed).unwrap().as_ref().to_vec();
        match algorithm {
            Algorithm::HS256 => hmac(hmac::HMAC_SHA256),
            Algorithm::HS384 => hmac(hmac::HMAC_SHA384),
            Algorithm::HS512 => hmac(hmac::HMAC_SHA512),
            Algorithm::RS256 => rsa(&signature::RSA_PKCS1_SHA256),
            Algorithm::RS384 => rsa(&signature::RSA_PKCS1_SHA384),
            Algorithm::RS512 => rsa(&signature::RSA_PKCS1_SHA512),
            Algorithm::PS256 => rsa(&signature::RSA_PSS_SHA256),
            Algorithm::PS384 => rsa(&signature::RSA_PSS_SHA384),
            Algorithm::PS512 => rsa(&signature::RSA_PSS_SHA512),
            Algorithm::ES256 => ec(&self.p256),
            Algorithm::ES384 => ec(&self.p384),
            Algorithm::EdDSA => self.ed25519.sign(signed).as_ref().to_vec(),
        }
    }

    fn token(&self, algorithm: Algorithm, header: &str) -> String {
        self.claiming(algorithm, header, "{}")
    }

    fn claiming(&self, algorithm: Algorithm, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
        let mark = self.sign(algorithm, signed.as_bytes());
        format!("{signed}.{}", BASE64URL.encode(mark))
    }

    fn jwk(&self, algorithm: Algorithm, more: &str) -> String {
        let url = |bytes: &[u8]| BASE64URL.encode(bytes);
        let ec = |curve: &str, key: &EcdsaKeyPair| {
            let point = &key.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            format!(r#""kty":"EC","crv":"{curve}","x":"{}","y":"{}""#, url(x), url(y))
        };
        let members = match algorithm {
            Algorithm::ES256 => ec("P-256", &self.p256),
            Algorithm::ES384 => ec("P-384", &self.p384),
            Algorithm::EdDSA => {
                let x = url(self.ed25519.public_key().as_ref());
                format!(r#""kty":"OKP","crv":"Ed25519","x":"{x}""#)
            }
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                format!(r#""kty":"oct","k":"{}""#, url(SECRET))
            }
            _ => {
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
                let (n, e) = (url(&parts.n), url(&parts.e));
                format!(r#""kty":"RSA","n":"{n}","e":"{e}""#)
            }
        };
        format!("{{{members}{more}}}")
    }

    fn set(&self, keys: &[(Algorithm, &str)]) -> KeySet {
        let keys: Vec<_> = keys.iter().map(|(a, more)| self.jwk(*a, more)).collect();
        read_set(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes()).unwrap()
    }

    fn all(&self) -> KeySet {
        let public = [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];
        let public = self.set(&public.map(|algorithm| (algorithm, "")));
        public.with(&KeySet::of_secret(&Secret::new(SECRET.to_vec())))
    }
}

const ANY: Checks<'_> = Checks { algorithms: None, issuer: None, audience: &[], leeway: 5 };

fn verify(token: &str, keys: &KeySet) -> Result<String, InvalidToken> {
    verify_with(token, keys, ANY)
}

fn verify_with(token: &str, keys: &KeySet, checks: Checks<'_>) -> Result<String, InvalidToken> {
    super::verify(token, keys, checks).map(|claims| claims.get().to_owned())
}

fn header(algorithm: Algorithm) -> String {
    format!(r#"{{"alg":"{algorithm:?}"}}"#)
}

#[test]
fn what_is_signed_by_a_known_key_is_believed_and_nothing_else_whatever_it_claims() {
    let issuers = Issuers::new();
    let all = issuers.all();
    for (_, signed_by) in ALGORITHMS {
        for (_, claimed) in ALGORITHMS {
            let token = issuers.token(*signed_by, &header(*claimed));
            let believed = verify(&token, &all).is_ok();
            assert_eq!(believed, signed_by == claimed, "{signed_by:?} as {claimed:?}");
        }
        let token = issuers.token(*signed_by, &header(*signed_by));
        let others: Vec<_> =
            ALGORITHMS.iter().map(|(_, a)| *a).filter(|a| a != signed_by).collect();
        let refused = verify_with(&token, &all, Checks { algorithms: Some(&others), ..ANY });
        assert_eq!(refused, Err(InvalidToken::Algorithm));
        let changed = token.replacen(".e30.", ".eyJhIjoxfQ.", 1);
        assert_eq!(verify(&changed, &all).unwrap_err(), InvalidToken::Signature);
    }
}

#[test]
fn a_public_key_is_no_secret_and_none_is_no_algorithm() {
    let issuers = Issuers::new();
    let keys = read_pem(PUBLIC_PEM).unwrap();
    assert!(verify(&issuers.token(Algorithm::RS256, r#"{"alg":"RS256"}"#), &keys).is_ok());
    let signed = format!("{}.{}", BASE64URL.encode(r#"{"alg":"HS256"}"#), BASE64URL.encode("{}"));
    for secret in [PUBLIC_PEM, PUBLIC_PEM.trim_ascii_end()] {
        let mark = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
        let token = format!("{signed}.{}", BASE64URL.encode(mark));
        assert_eq!(verify(&token, &keys), Err(InvalidToken::Algorithm));
    }
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let head = BASE64URL.encode(format!(r#"{{"alg":"{none}"}}"#));
        for mark in ["", "AAAA"] {
            let token = format!("{head}.e30.{mark}");
            assert!(token_in(token.as_bytes()).is_some());
            assert_eq!(verify(&token, &issuers.all()), Err(InvalidToken::Algorithm));
        }
    }
}

#[test]
fn a_key_that_is_for_one_algorithm_or_purpose_is_for_no_other() {
    use Algorithm::{PS256, RS256};
    let issuers = Issuers::new();
    let pinned = issuers.set(&[(RS256, r#","alg":"RS256","use":"sig","key_ops":["verify"]"#)]);
    assert!(verify(&issuers.token(RS256, r#"{"alg":"RS256"}"#), &pinned).is_ok());
    let other = issuers.token(PS256, r#"{"alg":"PS256"}"#);
    assert_eq!(verify(&other, &pinned), Err(InvalidToken::Algorithm));
    for more in
        [r#","use":"enc""#, r#","alg":"RSA-OAEP""#, r#","key_ops":["sign"]"#, r#","alg":"ES256""#]
    {
        let set = format!(r#"{{"keys":[{}]}}"#, issuers.jwk(RS256, more));
        assert!(read_set(set.as_bytes()).is_err(), "{more}");
    }
    let secret = format!(r#"{{"keys":[{}]}}"#, issuers.jwk(Algorithm::HS256, ""));
    assert!(read_set(secret.as_bytes()).is_err());
}

#[test]
fn a_kid_chooses_among_the_keys_that_there_are() {
    use Algorithm::{ES256, EdDSA};
    let issuers = Issuers::new();
    let keys = issuers.set(&[(ES256, r#","kid":"a""#), (EdDSA, r#","kid":"b""#)]);
    let token = |kid: &str| issuers.token(ES256, &format!(r#"{{"alg":"ES256","kid":{kid}}}"#));
    assert!(verify(&token("\"a\""), &keys).is_ok());
    assert!(verify(&issuers.token(ES256, r#"{"alg":"ES256"}"#), &keys).is_ok());
    assert_eq!(verify(&token("\"b\""), &keys), Err(InvalidToken::Algorithm));
    for unknown in ["\"c\"", "\"\"", "\"../../dev/null\"", "\"a' OR 1=1\""] {
        assert_eq!(verify(&token(unknown), &keys), Err(InvalidToken::UnknownKey), "{unknown}");
    }
    for broken in ["1", "[\"a\"]", "{}", "\"a\",\"kid\":\"a\""] {
        assert_eq!(verify(&token(broken), &keys), Err(InvalidToken::Malformed), "{broken}");
    }
    // A key without a name may have signed any token; one that it has not signed may mean another.
    let own = issuers.set(&[(ES256, "")]);
    assert!(
        verify(&token("\"c\""), &keys.with(&own)).is_ok() && verify(&token("\"c\""), &own).is_ok()
    );
    for other in [Issuers::new().set(&[(ES256, "")]), issuers.set(&[(EdDSA, "")])] {
        for all in [keys.with(&other), other] {
            assert_eq!(verify(&token("\"c\""), &all), Err(InvalidToken::UnknownKey));
        }
    }
    let brought = r#"{"alg":"EdDSA","kid":"x","jwk":{"kty":"OKP"},"jku":"http://a/"}"#;
    assert_eq!(verify(&issuers.token(EdDSA, brought), &keys), Err(InvalidToken::UnknownKey));
    let crit = r#"{"alg":"EdDSA","kid":"b","crit":["b64"],"b64":false}"#;
    assert_eq!(verify(&issuers.token(EdDSA, crit), &keys), Err(InvalidToken::Malformed));
}

#[test]
fn the_signatures_of_the_standards_examples_are_right() {
    let claims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    // RFC 7515, appendix A.1.
    let secret =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let secret = Secret::new(BASE64URL.decode(secret).unwrap());
    let token = format!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{claims}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    assert_eq!(verify(&token, &KeySet::of_secret(&secret)), Err(InvalidToken::Expired));
    // Appendix A.3.
    let set = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    let token = format!(
        "eyJhbGciOiJFUzI1NiJ9.{claims}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    assert_eq!(verify(&token, &read_set(set.as_bytes()).unwrap()), Err(InvalidToken::Expired));
    // RFC 8037, appendix A.
    let set = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    // Its payload is no JSON, which is looked at last.
    let keys = read_set(set.as_bytes()).unwrap();
    assert_eq!(verify(token, &keys), Err(InvalidToken::Malformed));
    let changed = token.replacen(".hgy", ".hgz", 1);
    assert_eq!(verify(&changed, &keys), Err(InvalidToken::Signature));
}

#[test]
fn only_what_has_the_form_of_a_token_is_one() {
    for password in
        ["", "e", "a.b.c", "ey.e30.x y", "eyJ.e30.", "secret.with.dots", "e30.e30", "e30.e30.a.b"]
    {
        assert!(token_in(password.as_bytes()).is_none(), "{password}");
    }
    assert!(token_in(b"e30.e30.").is_some(), "a header that says nothing is one all the same");
    let long = format!("e30.{}.", "a".repeat(token::LONGEST));
    assert!(token_in(long.as_bytes()).is_some());
    assert_eq!(verify(&long, &KeySet::default()), Err(InvalidToken::Malformed));
    let deep = BASE64URL.encode(format!(r#"{{"alg":"ES256","x":{}"#, "[".repeat(5000)));
    assert!(token_in(format!("{deep}.e30.").as_bytes()).is_none());
}

fn now() -> i64 {
    i64::try_from(SystemClock.unix_time().as_secs()).unwrap()
}

/// What a token with these claims comes to.
fn claimed(claims: &str, checks: Checks<'_>) -> Result<String, InvalidToken> {
    let issuers = Issuers::new();
    let token = issuers.claiming(Algorithm::ES256, r#"{"alg":"ES256"}"#, claims);
    verify_with(&token, &issuers.all(), checks)
}

#[test]
fn a_token_is_good_until_exp_and_the_leeway_and_from_nbf_less_the_leeway() {
    let at =
        |name: &str, seconds: i64| claimed(&format!(r#"{{"{name}":{}}}"#, now() + seconds), ANY);
    assert!(at("exp", 60).is_ok() && at("exp", -2).is_ok());
    assert_eq!(at("exp", -10), Err(InvalidToken::Expired));
    assert!(at("nbf", -60).is_ok() && at("nbf", 2).is_ok());
    assert_eq!(at("nbf", 60), Err(InvalidToken::NotYetValid));
    let said = |claims: &str| claimed(claims, ANY);
    assert_eq!(said(r#"{"exp":0}"#), Err(InvalidToken::Expired));
    assert_eq!(said(r#"{"exp":1.5e9}"#), Err(InvalidToken::Expired));
    for odd in ["\"1900000000\"", "-1", "true", "1e300", "{}"] {
        for name in ["exp", "nbf"] {
            let refused = said(&format!(r#"{{"{name}":{odd}}}"#));
            assert!(refused.is_err(), "{name} {odd}: {refused:?}");
        }
    }
}

#[test]
fn issuer_and_audience_are_looked_at_where_they_are_set() {
    assert!(claimed(r#"{"iss":7,"aud":[1,{}]}"#, ANY).is_ok());
    let checks = Checks { issuer: Some("https://idp/realm"), ..ANY };
    assert!(claimed(r#"{"iss":"https://idp/realm"}"#, checks).is_ok());
    for claims in ["{}", r#"{"iss":"https://idp/realm/"}"#, r#"{"iss":null}"#, r#"{"iss":7}"#] {
        assert_eq!(claimed(claims, checks), Err(InvalidToken::Issuer), "{claims}");
    }
    let audience = ["mqtt".to_owned(), "account".to_owned()];
    let checks = Checks { audience: &audience, ..ANY };
    for claims in [r#"{"aud":"mqtt"}"#, r#"{"aud":["web","account"]}"#] {
        assert!(claimed(claims, checks).is_ok(), "{claims}");
    }
    for claims in ["{}", r#"{"aud":"mqt"}"#, r#"{"aud":[]}"#, r#"{"aud":7}"#, r#"{"aud":null}"#] {
        assert_eq!(claimed(claims, checks), Err(InvalidToken::Audience), "{claims}");
    }
}

#[test]
fn a_token_that_names_no_key_has_few_tried() {
    use Algorithm::{ES256, EdDSA};
    let issuers = Issuers::new();
    let token = issuers.token(ES256, r#"{"alg":"ES256"}"#);
    let own = issuers.set(&[(ES256, "")]);
    let before = |count: usize, more: &str| {
        let others = (0..count).map(|_| Issuers::new().set(&[(ES256, more), (EdDSA, "")]));
        others.fold(KeySet::default(), |all, other| all.with(&other)).with(&own)
    };
    let copies = before(1, "");
    let copies = (0..9).fold(KeySet::default(), |all, _| copies.with(&all));
    let (es256, eddsa) =
        ("5 keys without a kid are for ES256", "5 keys without a kid are for EdDSA");
    for (all, is_believed, never_tried, never_of_eddsa) in [
        (before(3, ""), true, None, None),
        (before(4, ""), false, Some(es256), None),
        (before(4, r#","kid":"x""#), true, None, None),
        (before(5, r#","kid":"x""#), true, Some(eddsa), Some(eddsa)),
        (copies, true, None, None),
    ] {
        assert_eq!(verify(&token, &all).is_ok(), is_believed, "{never_tried:?}");
        for (allowed, expected) in
            [(None, never_tried), (Some(&[EdDSA][..]), never_of_eddsa), (Some(&[]), None)]
        {
            let said = all.never_tried(allowed);
            assert_eq!(said.as_deref().and_then(|said| said.split(", ").next()), expected);
        }
    }
}
