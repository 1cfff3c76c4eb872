//! Passwords as mosquitto-go-auth's `pw` hashes them.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::pbkdf2::{self, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA512};

use super::Remark;
use crate::config::SaltEncoding;

/// No more rounds are taken: ten million of them take seconds.
const MOST_ITERATIONS: u32 = 10_000_000;

/// How long a hash is at least, in bytes: one of none would be everybody's.
const SHORTEST_HASH: usize = 16;

/// The users of a file.
#[derive(Default)]
pub(crate) struct Passwords(HashMap<String, Hash>);

#[derive(PartialEq, Eq)]
struct Hash {
    is_sha256: bool,
    iterations: NonZeroU32,
    salt: Box<[u8]>,
    hash: Box<[u8]>,
}

impl Passwords {
    /// Reads `NAME:HASH` lines. Of two lines about one user the later one holds.
    pub(crate) fn parse(text: &str, salt: SaltEncoding) -> (Self, Vec<Remark>) {
        let mut hashes = HashMap::new();
        let mut remarks = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if is_blank(line) {
                continue;
            }
            match entry(line, salt) {
                Ok((name, hash)) => {
                    hashes.insert(name.to_owned(), hash);
                }
                Err(problem) => {
                    remarks.push((index + 1, format!("{problem}; the line lets nobody in")));
                }
            }
        }
        (Self(hashes), remarks)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn knows(&self, username: &str) -> bool {
        self.0.contains_key(username)
    }

    /// Whether this is the user's password.
    pub(crate) fn let_in(&self, username: &str, password: &[u8]) -> bool {
        let Some(Hash { is_sha256, iterations, salt, hash }) = self.0.get(username) else {
            return false;
        };
        let algorithm = if *is_sha256 { PBKDF2_HMAC_SHA256 } else { PBKDF2_HMAC_SHA512 };
        pbkdf2::verify(algorithm, *iterations, salt, password, hash).is_ok()
    }

    /// The users of whom `newer` says something else, or nothing.
    pub(crate) fn changed_in(&self, newer: &Self) -> Vec<String> {
        let changed = self.0.iter().filter(|(name, hash)| newer.0.get(*name) != Some(*hash));
        changed.map(|(name, _)| name.clone()).collect()
    }
}

/// Whether mosquitto-go-auth passes a line over: blanks alone, or a `#` in front.
pub(crate) fn is_blank(line: &str) -> bool {
    line.starts_with('#') || line.chars().all(|character| character == ' ')
}

fn entry(line: &str, salt: SaltEncoding) -> Result<(&str, Hash), &'static str> {
    match line.split(':').collect::<Vec<_>>()[..] {
        [name, hash] if !name.is_empty() => Ok((name, parse_hash(hash, salt)?)),
        _ => Err("it is not of the form NAME:HASH"),
    }
}

/// `PBKDF2$sha512$100000$SALT$HASH`, or `$pbkdf2-sha512$i=100000,l=64$SALT$HASH`, in base64.
fn parse_hash(text: &str, encoding: SaltEncoding) -> Result<Hash, &'static str> {
    const WRONG: &str = "its hash is none that mosquitto-go-auth's pw writes with pbkdf2";
    let fields: Vec<_> = text.split('$').filter(|field| !field.is_empty()).collect();
    let (is_sha256, iterations, salt, hash, base64) = match fields[..] {
        ["PBKDF2", "sha512", iterations, salt, hash] => (false, iterations, salt, hash, STANDARD),
        ["PBKDF2", "sha256", iterations, salt, hash] => (true, iterations, salt, hash, STANDARD),
        ["pbkdf2-sha512", parameters, salt, hash] => {
            let mut parameters = parameters.split(',');
            let iterations = parameters.find_map(|one| one.strip_prefix("i=")).ok_or(WRONG)?;
            (false, iterations, salt, hash, STANDARD_NO_PAD)
        }
        [kind, ..] if kind.starts_with("argon2") || matches!(kind, "2a" | "2b" | "2y") => {
            return Err("its hash is one of argon2 or bcrypt, and only pbkdf2 is offered");
        }
        _ => return Err(WRONG),
    };
    let iterations = iterations.parse().ok().and_then(NonZeroU32::new).ok_or(WRONG)?;
    if iterations.get() > MOST_ITERATIONS {
        return Err("its hash has more than 10000000 iterations");
    }
    let salt = match encoding {
        SaltEncoding::Base64 => base64.decode(salt).map_err(|_| WRONG)?,
        SaltEncoding::Utf8 => salt.as_bytes().to_vec(),
    };
    let hash = base64.decode(hash).map_err(|_| WRONG)?;
    if hash.len() < SHORTEST_HASH {
        return Err(WRONG);
    }
    Ok(Hash { is_sha256, iterations, salt: salt.into(), hash: hash.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// mosquitto-go-auth's own test data; each password is the name.
    const GO_AUTHS: &str = "test1:PBKDF2$sha512$100000$2WQHK5rjNN+oOT+TZAsWAw==$TDf4Y6J+9BdnjucFQ0ZUWlTwzncTjOOeE00W4Qm8lfPQyPCZACCjgfdK353jdGFwJjAf6vPAYaba9+z4GWK7Gg==
test with space:PBKDF2$sha512$100000$uB2YB/cgHc+FOOzzfyy8TQ==$+m2jZlNjJ9w7GEDvcThfJ2fJGvClupdh/ygamPDrxks+CKv5SlcFMwIjElDrosmpMYMAhtGcE0CEhAFMQ2EqQQ==";

    fn parse(text: &str) -> (Passwords, Vec<Remark>) {
        Passwords::parse(text, SaltEncoding::Base64)
    }

    #[test]
    fn mosquitto_go_auths_own_passwords_let_in() {
        let (passwords, remarks) = parse(GO_AUTHS);
        assert_eq!((passwords.len(), remarks.len()), (2, 0));
        assert!(passwords.let_in("test1", b"test1"));
        assert!(passwords.let_in("test with space", b"test with space"));
        for (name, password) in [("test1", "test2"), ("test1", ""), ("test2", "test2"), ("", "")] {
            assert!(!passwords.let_in(name, password.as_bytes()), "{name} {password}");
        }
    }

    /// RFC 7914, section 11, has this vector for PBKDF2-HMAC-SHA-256: `passwd`, `salt`, one iteration.
    #[test]
    fn every_form_of_a_hash_is_read() {
        let sha256 = "VawEblbjCJ/sFpHCJUS2BflBhSFt3gRl5oudV8INrLw=";
        let (passwords, remarks) = parse(&format!("ann:PBKDF2$sha256$1$c2FsdA==${sha256}"));
        assert!(passwords.let_in("ann", b"passwd"), "{remarks:?}");
        let plain = format!("ann:PBKDF2$sha256$1$salt${sha256}");
        let (passwords, _) = Passwords::parse(&plain, SaltEncoding::Utf8);
        assert!(passwords.let_in("ann", b"passwd"));
        let (_, hash) = GO_AUTHS.lines().next().unwrap().split_once("100000").unwrap();
        let phc = format!("test1:$pbkdf2-sha512$i=100000,l=64{}", hash.replace('=', ""));
        let (passwords, remarks) = parse(&phc);
        assert!(passwords.let_in("test1", b"test1"), "{remarks:?}");
    }

    #[test]
    fn what_is_no_hash_lets_nobody_in_and_is_named_by_its_line() {
        for (line, why) in [
            ("ann", "NAME:HASH"),
            ("ann:a:b", "NAME:HASH"),
            (":PBKDF2$sha512$1$c2FsdA==$c2FsdHNhbHRzYWx0c2FsdA==", "NAME:HASH"),
            ("ann:", "pw writes"),
            ("ann:plain", "pw writes"),
            ("ann:PBKDF2$sha512$1$c2FsdA==$", "pw writes"),
            ("ann:PBKDF2$sha512$1$c2FsdA==$c2FsdA==", "pw writes"),
            ("ann:PBKDF2$sha1$1$c2FsdA==$c2FsdHNhbHRzYWx0c2FsdA==", "pw writes"),
            ("ann:PBKDF2$sha512$0$c2FsdA==$c2FsdHNhbHRzYWx0c2FsdA==", "pw writes"),
            ("ann:PBKDF2$sha512$99999999$c2FsdA==$c2FsdHNhbHRzYWx0c2FsdA==", "iterations"),
            ("ann:PBKDF2$sha512$1$!$c2FsdHNhbHRzYWx0c2FsdA==", "pw writes"),
            ("ann:$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", "bcrypt"),
            ("ann:$argon2id$v=19$m=4096,t=3,p=2$c2FsdA$c2FsdA", "argon2"),
        ] {
            let (passwords, remarks) = parse(&format!("# users\n\n{line}\n"));
            assert_eq!(passwords.len(), 0, "{line}");
            assert_eq!(remarks[0].0, 3);
            let remark = &remarks[0].1;
            assert!(remark.contains(why) && !remark.contains("c2Fsd"), "{remark}");
        }
    }

    #[test]
    fn a_user_has_changed_whose_line_is_another_or_gone() {
        let (before, _) = parse(GO_AUTHS);
        let (same, _) = parse(GO_AUTHS);
        assert!(before.changed_in(&same).is_empty());
        let (after, _) = parse(GO_AUTHS.lines().next().unwrap());
        assert_eq!(before.changed_in(&after), ["test with space"]);
        assert!(after.changed_in(&before).is_empty(), "who is new was nobody before");
    }
}
