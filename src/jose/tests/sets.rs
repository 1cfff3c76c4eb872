//! Sets of keys and PEM files.

#![forbid(unsafe_code)]

use super::*;

#[test]
fn a_set_is_read_past_what_nobody_knows_and_never_takes_a_private_key() {
    let issuers = Issuers::new();
    let key = issuers.jwk(Algorithm::ES256, "");
    let with = |other: &str| read_set(format!(r#"{{"keys":[{other},{key}],"x":1}}"#).as_bytes());
    for unknown in [
        r#"{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}"#,
        r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#,
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#,
        r#"{"kty":"oct","k":"c2VjcmV0"}"#,
        r#"{"kty":7}"#,
        "7",
    ] {
        assert_eq!(with(unknown).unwrap().len(), 1, "{unknown}");
    }
    assert!(with(&issuers.jwk(Algorithm::ES256, r#","d":"AA""#)).unwrap_err().contains("private"));
    for none in ["", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":[]}"#] {
        assert!(read_set(none.as_bytes()).is_err(), "{none}");
    }
}

#[test]
fn pem_files_hold_public_keys_and_are_told_apart_from_private_ones() {
    assert_eq!(read_pem(PUBLIC_PEM).unwrap().len(), 1);
    assert_eq!(read_pem(&[PUBLIC_PEM, PUBLIC_PEM].concat()).unwrap().len(), 2);
    let private = b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n";
    assert!(read_pem(private).unwrap_err().contains("private key"));
    for none in
        [&b""[..], b"nothing", b"-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n"]
    {
        assert!(read_pem(none).is_err());
    }
    let issuers = Issuers::new();
    let of_der = |der: &[u8]| {
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der)
        );
        read_pem(pem.as_bytes())
    };
    for (algorithm, beginning, point) in [
        (
            Algorithm::ES256,
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA=",
            issuers.p256.public_key().as_ref(),
        ),
        (Algorithm::ES384, "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgA=", issuers.p384.public_key().as_ref()),
        (Algorithm::EdDSA, "MCowBQYDK2VwAyEA", issuers.ed25519.public_key().as_ref()),
    ] {
        let beginning = STANDARD.decode(beginning).unwrap();
        let der = [&beginning, point].concat();
        let keys = of_der(&der).unwrap();
        assert!(verify(&issuers.token(algorithm, &header(algorithm)), &keys).is_ok());
        assert!(!keys.permits(Algorithm::HS256) && !keys.permits(Algorithm::RS256));
        for at in 0..beginning.len() {
            let mut other = der.clone();
            other[at] ^= 1;
            assert!(of_der(&other).is_err(), "{algorithm:?}, byte {at}");
        }
        assert!(of_der(&der[..der.len() - 1]).is_err(), "{algorithm:?}");
        assert!(of_der(&[&der[..], b"\0"].concat()).is_err(), "{algorithm:?}");
    }
}
