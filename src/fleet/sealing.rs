//! What only brokers with the same `fleet_secret` can read, write and name.
//!
//! Redis may be read and written by others. So nothing goes there but under names and keys that are made
//! from the secret: BLAKE3 in its modes for deriving keys and for keyed hashes, ChaCha20-Poly1305
//! (RFC 8439) for everything that is kept.

#![forbid(unsafe_code)]

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::random;
use crate::secret::Secret;

/// The version of what is kept, which is its first byte.
const VERSION: u8 = 1;

/// How many random bytes each sealing has, so that no two have the same key.
const SALT: usize = 16;

/// The bytes that sealing adds: version, salt and tag.
const OVERHEAD: usize = 1 + SALT + 16;

type HashKey = Zeroizing<[u8; 32]>;

/// A key for one purpose, of this fleet alone.
pub(crate) fn derive(purpose: &str, fleet: &str, secret: &Secret) -> HashKey {
    // BLAKE3, section 6.2, wants a context that is hard-coded and says what the key is for.
    let mut hasher = blake3::Hasher::new_derive_key(purpose);
    hasher.update(&(fleet.len() as u64).to_le_bytes()).update(fleet.as_bytes());
    hasher.update(secret.expose());
    Zeroizing::new(*hasher.finalize().as_bytes())
}

/// Seals with the first secret, and opens with all of them: a secret is replaced broker by broker.
pub(crate) struct Sealer {
    keys: Vec<HashKey>,
}

impl Sealer {
    pub(crate) fn of_answers(fleet: &str, secrets: &[Secret]) -> Self {
        Self::new("mosquitto-http-auth fleet 1: answers", fleet, secrets)
    }

    pub(crate) fn of_records(fleet: &str, secrets: &[Secret]) -> Self {
        Self::new("mosquitto-http-auth fleet 1: entries of the log", fleet, secrets)
    }

    pub(crate) fn of_members(fleet: &str, secrets: &[Secret]) -> Self {
        Self::new("mosquitto-http-auth fleet 1: members", fleet, secrets)
    }

    fn new(purpose: &str, fleet: &str, secrets: &[Secret]) -> Self {
        Self { keys: secrets.iter().map(|secret| derive(purpose, fleet, secret)).collect() }
    }

    /// Seals bytes that are good under this name alone. None: there are no random bytes to be had.
    pub(crate) fn seal(&self, name: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        let salt: [u8; SALT] = random::bytes().ok()?;
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD);
        sealed.push(VERSION);
        sealed.extend_from_slice(&salt);
        let mut secret = plain.to_vec();
        let (key, nonce) = one_time_key(self.keys.first()?, &salt, name)?;
        key.seal_in_place_append_tag(nonce, Aad::from(aad(name)), &mut secret).ok()?;
        sealed.extend_from_slice(&secret);
        Some(sealed)
    }

    /// A name in the place of another, from which that cannot be told.
    pub(crate) fn tag(&self, name: &[u8]) -> String {
        let hash = |key: &HashKey| blake3::keyed_hash(key, name).to_hex()[..32].to_owned();
        self.keys.first().map(hash).unwrap_or_default()
    }

    /// Opens what was sealed under this name. None: it was not, or has been changed since.
    pub(crate) fn open(&self, name: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (version, rest) = sealed.split_first()?;
        let (salt, secret) = rest.split_first_chunk::<SALT>()?;
        if *version != VERSION {
            return None;
        }
        self.keys.iter().find_map(|key| {
            let mut bytes = secret.to_vec();
            let (key, nonce) = one_time_key(key, salt, name)?;
            let plain = key.open_in_place(nonce, Aad::from(aad(name)), &mut bytes).ok()?;
            Some(plain.to_vec())
        })
    }
}

/// A key that seals once, so that its nonce may be fixed.
fn one_time_key(key: &HashKey, salt: &[u8; SALT], name: &[u8]) -> Option<(LessSafeKey, Nonce)> {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(salt).update(name);
    let bytes = Zeroizing::new(*hasher.finalize().as_bytes());
    let key = UnboundKey::new(&CHACHA20_POLY1305, bytes.as_slice()).ok()?;
    Some((LessSafeKey::new(key), Nonce::assume_unique_for_key([0; NONCE_LEN])))
}

fn aad(name: &[u8]) -> Vec<u8> {
    [&[VERSION], name].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::new(vec![byte; 32])
    }

    fn sealer(secrets: &[u8]) -> Sealer {
        let secrets: Vec<_> = secrets.iter().map(|byte| secret(*byte)).collect();
        Sealer::new("a purpose", "mqtt", &secrets)
    }

    #[test]
    fn a_secret_is_replaced_broker_by_broker() {
        let (before, both, after) = (sealer(&[1]), sealer(&[2, 1]), sealer(&[2]));
        let old = before.seal(b"name", b"text").unwrap();
        let new = both.seal(b"name", b"text").unwrap();
        assert_eq!(both.open(b"name", &old).as_deref(), Some(&b"text"[..]));
        assert_eq!(after.open(b"name", &new).as_deref(), Some(&b"text"[..]));
        assert_eq!(before.open(b"name", &new), None);
        assert_eq!(after.open(b"name", &old), None);
    }

    #[test]
    fn what_one_fleet_or_purpose_seals_no_other_opens() {
        let sealed = sealer(&[1]).seal(b"name", b"text").unwrap();
        for (purpose, fleet) in [("a purpose", "mqt"), ("another", "mqtt")] {
            let other = Sealer::new(purpose, fleet, &[secret(1)]);
            assert_eq!(other.open(b"name", &sealed), None, "{purpose} {fleet}");
        }
    }

    proptest! {
        #[test]
        fn every_flipped_bit_and_every_missing_byte_is_noticed(
            plain in proptest::collection::vec(any::<u8>(), 0..64),
            at in any::<proptest::sample::Index>(),
            bit in 0..8u8,
        ) {
            let sealer = sealer(&[1]);
            let mut sealed = sealer.seal(b"name", &plain).unwrap();
            prop_assert_eq!(sealer.open(b"name", &sealed), Some(plain.clone()));
            prop_assert_eq!(sealer.open(b"nama", &sealed), None);
            let at = at.index(sealed.len());
            prop_assert_eq!(sealer.open(b"name", &sealed[..at]), None);
            sealed[at] ^= 1 << bit;
            prop_assert_eq!(sealer.open(b"name", &sealed), None);
        }
    }
}
