//! Secrets that must be kept for a while: encrypted, under a key that only this process ever has.
//!
//! A session that expires is asked about again, and that takes its password. Whoever can read all
//! of the process's memory finds the key beside it (and the broker's own copy of the password in
//! clear); whoever gets to see a part of it, in a swap file or by accident, does not.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::question::{Kind, SharedName};
use crate::random::{self, NoRandomBytes};
use crate::secret::Secret;

thread_local! {
    static OPENED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread has opened anything since it last asked, so that there may be traces of it on its stack.
pub(crate) fn has_opened() -> bool {
    OPENED.replace(false)
}

/// Seals and opens. Each instance has its own, with a random key.
pub struct SecretBox {
    key: LessSafeKey,
    /// No nonce is used twice: 2^64 of them never run out.
    next: AtomicU64,
}

/// A secret that only its secret box can open.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    nonce: u64,
    bytes: Box<[u8]>,
}

/// A question that can be asked again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedQuestion {
    pub kind: Kind,
    /// The name that whoever bears a token gave; none: it is no token that is looked at.
    pub bearer: Option<String>,
    /// A user that a password file knew, and the password; none: it is not asked of the file.
    pub claim: Option<(String, Sealed)>,
    /// The request's body, or the token.
    pub body: Sealed,
    /// What it asks, for log lines; without the password.
    pub about: String,
    /// A hash of the user.
    pub subject: u64,
    /// Under which its answer is shared with other brokers.
    pub shared: Option<SharedName>,
}

impl SealedQuestion {
    /// About how much memory it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let claim =
            self.claim.as_ref().map_or(0, |(name, password)| name.len() + password.bytes.len());
        let bearer = self.bearer.as_ref().map_or(0, String::len);
        size_of::<Self>() + claim + bearer + self.body.bytes.len() + self.about.len()
    }
}

impl SecretBox {
    /// A secret box with a new random key.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn random() -> Result<Self, NoRandomBytes> {
        let mut bytes = Zeroizing::new([0; 32]);
        random::fill(bytes.as_mut_slice())?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, bytes.as_slice());
        // That many bytes are what the cipher wants.
        let key = key.map_err(|_| NoRandomBytes)?;
        Ok(Self { key: LessSafeKey::new(key), next: AtomicU64::new(0) })
    }

    /// Encrypts a secret; none if it is too long for the cipher (256 GiB).
    #[must_use]
    pub fn seal(&self, secret: &Secret) -> Option<Sealed> {
        let nonce = self.next.fetch_add(1, Ordering::Relaxed);
        let mut bytes = secret.expose().to_vec();
        self.key.seal_in_place_append_tag(bytes_of(nonce), Aad::empty(), &mut bytes).ok()?;
        Some(Sealed { nonce, bytes: bytes.into_boxed_slice() })
    }

    /// Decrypts what this secret box sealed; none if it is another's.
    #[must_use]
    pub(crate) fn open(&self, sealed: &Sealed) -> Option<Secret> {
        OPENED.set(true);
        let mut bytes = Zeroizing::new(sealed.bytes.to_vec());
        let open = self.key.open_in_place(bytes_of(sealed.nonce), Aad::empty(), &mut bytes);
        Some(Secret::new(open.ok()?.to_vec()))
    }
}

fn bytes_of(nonce: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&nonce.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::new(b"open sesame".to_vec())
    }

    #[test]
    fn what_was_sealed_opens_and_does_not_show() {
        let secret_box = SecretBox::random().unwrap();
        let (one, two) = (secret_box.seal(&secret()).unwrap(), secret_box.seal(&secret()).unwrap());
        assert_ne!(one.bytes, two.bytes, "the same secret twice looks the same");
        for sealed in [one, two] {
            assert!(!sealed.bytes.windows(4).any(|part| part == b"open" || part == b"sesa"));
            assert_eq!(secret_box.open(&sealed), Some(secret()));
        }
    }

    #[test]
    fn another_secret_box_does_not_open_it_and_nor_does_its_own_once_it_was_changed() {
        let secret_box = SecretBox::random().unwrap();
        let mut sealed = secret_box.seal(&secret()).unwrap();
        assert_eq!(SecretBox::random().unwrap().open(&sealed), None);
        sealed.bytes[0] ^= 1;
        assert_eq!(secret_box.open(&sealed), None);
    }
}
