//! Keys: what the answer depends on, encoded without ambiguity, under a keyed hash.
//!
//! The encoding is injective (a property test takes it apart again), and the hash is BLAKE3 in its
//! keyed mode with a random key, so a key tells nothing about the password in the question and
//! cannot be guessed into. 128 bits are kept: that two of a billion questions share a key has a
//! chance of less than 1 in 10^20, and nobody can search for such a pair without the key.

#![forbid(unsafe_code)]

use zeroize::{Zeroize as _, Zeroizing};

use crate::field::{Field, Value};
use crate::question::{About, Kind, Question};
use crate::random::{self, NoRandomBytes};

/// A question's place in the cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key([u8; 16]);

impl From<Key> for u128 {
    fn from(Key(bytes): Key) -> Self {
        Self::from_ne_bytes(bytes)
    }
}

/// Makes keys. Each instance has its own, and with it a random hash key that never leaves it.
pub struct Keyring(Zeroizing<[u8; 32]>);

impl Keyring {
    /// A keyring with a new random hash key.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn random() -> Result<Self, NoRandomBytes> {
        let mut hash_key = Zeroizing::new([0; 32]);
        random::fill(hash_key.as_mut_slice())?;
        Ok(Self(hash_key))
    }

    /// The key of a question that is asked with these fields.
    #[must_use]
    pub fn key(&self, question: &Question<'_>, fields: &[Field]) -> Key {
        let mut question_bytes = QuestionBytes::default();
        let mut write = |bytes: &[u8]| question_bytes.add(bytes, &self.0);
        match question.about {
            // Whoever bears it under this name; no token has a zero byte in it.
            About::Token(token) => {
                write(&[4]);
                write(token.as_bytes());
                write(&[0]);
                write(question.username.as_bytes());
            }
            _ => encode(question, fields, &mut write),
        }
        let hash = question_bytes.hash(&self.0);
        if question.kind() == Kind::Login {
            question_bytes.wipe();
        }
        shortened(&hash)
    }

    /// The key of the errand to fetch the keys of tokens.
    #[must_use]
    pub(crate) fn of_token_keys(&self) -> Key {
        shortened(&blake3::keyed_hash(&self.0, &[6]))
    }

    /// The key of the errand to tidy up the cache.
    #[must_use]
    pub(crate) fn of_tidying_up(&self) -> Key {
        shortened(&blake3::keyed_hash(&self.0, &[7]))
    }

    /// The key of the same token as long as the keys are those that this number stands for.
    #[must_use]
    pub(crate) fn of_generation(&self, key: &Key, generation: u64) -> Key {
        let mut bytes = [5; 25];
        bytes[1..17].copy_from_slice(&key.0);
        bytes[17..].copy_from_slice(&generation.to_le_bytes());
        shortened(&blake3::keyed_hash(&self.0, &bytes))
    }
}

fn shortened(hash: &blake3::Hash) -> Key {
    let (key, _) = hash.as_bytes().split_first_chunk().unwrap_or((&[0; 16], &[]));
    Key(*key)
}

/// How many bytes of a question are kept before they are hashed. Most questions are shorter, and
/// to hash one piece costs much less than to hash many.
const BUFFERED: usize = 256;

/// A question's bytes on their way to the hash.
struct QuestionBytes {
    bytes: [u8; BUFFERED],
    count: usize,
    /// What of a longer question was hashed before.
    before: Option<Box<blake3::Hasher>>,
}

impl Default for QuestionBytes {
    fn default() -> Self {
        Self { bytes: [0; BUFFERED], count: 0, before: None }
    }
}

impl QuestionBytes {
    #[inline]
    fn add(&mut self, bytes: &[u8], hash_key: &[u8; 32]) {
        if let Some(free) = self.bytes[self.count..].get_mut(..bytes.len()) {
            free.copy_from_slice(bytes);
            self.count += bytes.len();
            return;
        }
        let new = || Box::new(blake3::Hasher::new_keyed(hash_key));
        let hasher = self.before.get_or_insert_with(new);
        hasher.update(&self.bytes[..self.count]).update(bytes);
        self.count = 0;
    }

    fn hash(&mut self, hash_key: &[u8; 32]) -> blake3::Hash {
        let rest = &self.bytes[..self.count];
        match &mut self.before {
            Some(hasher) => hasher.update(rest).finalize(),
            None => blake3::keyed_hash(hash_key, rest),
        }
    }

    /// Leaves nothing of a password behind.
    fn wipe(&mut self) {
        self.bytes.zeroize();
        self.before.iter_mut().for_each(|hasher| hasher.zeroize());
    }
}

/// Writes a question so that no two write the same bytes: the kind, then each field's value with
/// its type and, where it varies, its length. Which field comes where is fixed by the kind.
pub fn encode(question: &Question<'_>, fields: &[Field], write: &mut impl FnMut(&[u8])) {
    let kind = match question.kind() {
        Kind::Login => 1,
        Kind::Superuser => 2,
        Kind::Access => 3,
    };
    write(&[kind]);
    for field in fields {
        match field.value(question) {
            Value::Absent => write(&[0]),
            Value::Text(text) => sized(1, text.as_bytes(), write),
            Value::Base64(bytes) => sized(2, bytes, write),
            Value::Number(number) => {
                let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
                write(&[3, a, b, c, d, e, f, g, h]);
            }
            Value::Flag(flag) => write(&[4, flag.into()]),
            Value::Attributes(attributes) => {
                // No more than `MOST_ATTRIBUTES`, which one byte holds.
                write(&[5, attributes.pairs().len() as u8]);
                for (name, value) in attributes.pairs() {
                    sized(1, name.as_bytes(), write);
                    sized(1, value.as_bytes(), write);
                }
            }
        }
    }
}

fn sized(tag: u8, bytes: &[u8], write: &mut impl FnMut(&[u8])) {
    // What MQTT carries is 64 kB long at most (MQTT 5.0, section 1.5.4), and a certificate not
    // much longer: 32 bits hold every length.
    let [a, b, c, d] = (bytes.len() as u32).to_le_bytes();
    write(&[tag, a, b, c, d]);
    write(bytes);
}

impl Key {
    /// The same question, to which only the API's own answer will do.
    #[must_use]
    pub(crate) fn for_the_api(&self) -> Self {
        Self(self.0.map(|byte| !byte))
    }

    /// A part of it that is as good as random.
    #[must_use]
    pub fn short(&self) -> u64 {
        self.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
impl Key {
    pub(crate) const fn from_number(number: u32) -> Self {
        let [a, b, c, d] = number.to_le_bytes();
        Self([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fake::FakeClient;
    use crate::field::FieldLists;
    use crate::question::{About, Access, Action, Attributes, Password};

    /// A client's attributes, if the API gave any.
    type Known = Option<Attributes>;

    /// A question's parts, as a property test makes them up.
    #[derive(Clone, Debug, PartialEq)]
    enum Parts {
        Login {
            username: String,
            password: Vec<u8>,
            base64: bool,
            peer: Option<String>,
        },
        Superuser {
            username: String,
        },
        Access {
            username: String,
            id: String,
            topic: String,
            subscribe: bool,
            qos: u8,
            known: Known,
        },
    }

    impl Parts {
        fn with<T>(&self, use_question: impl FnOnce(&Question<'_>) -> T) -> T {
            let mut client = FakeClient::default();
            let mut attributes = None;
            let (username, about) = match self {
                Self::Login { username, password, base64, peer } => {
                    client.address.clone_from(peer);
                    let password = match std::str::from_utf8(password) {
                        Ok(text) if !base64 => Password::Text(text),
                        _ => Password::Base64(password),
                    };
                    (username, About::Login { password })
                }
                Self::Superuser { username } => (username, About::Superuser),
                Self::Access { username, id, topic, subscribe, qos, known } => {
                    client.id.clone_from(id);
                    attributes = known.as_ref();
                    let access = if *subscribe { Access::Subscribe } else { Access::Write };
                    (username, About::Access(Action { access, topic, qos: *qos, retain: false }))
                }
            };
            use_question(&Question { client: &client, username, attributes, about })
        }

        fn encoded(&self) -> Vec<u8> {
            let mut bytes = Vec::new();
            self.with(|question| {
                encode(question, lists().of(question.kind()), &mut |b| bytes.extend_from_slice(b));
            });
            bytes
        }

        /// The values that the API would see, which is what must not be confused.
        fn seen(&self) -> String {
            self.with(|question| {
                let show = |value| match value {
                    Value::Text(text) => format!("text {text:?}"),
                    Value::Base64(bytes) => format!("base64 {bytes:?}"),
                    Value::Number(number) => format!("number {number}"),
                    Value::Flag(flag) => format!("flag {flag}"),
                    Value::Attributes(attributes) => format!("attributes {attributes:?}"),
                    Value::Absent => "absent".to_owned(),
                };
                let fields = lists().of(question.kind()).to_vec();
                let values: Vec<_> = fields.iter().map(|f| show(f.value(question))).collect();
                format!("{:?} {values:?}", question.kind())
            })
        }
    }

    fn lists() -> FieldLists {
        FieldLists::with_extra(&[Field::PeerHost], &[Field::ClientAttrs, Field::Qos])
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof!["[ab]{0,3}", ".{0,8}", Just("a\u{0}b".to_owned())]
    }

    fn known() -> impl Strategy<Value = Known> {
        let pairs = proptest::collection::btree_map("[ab\u{0}]{1,3}", name(), 0..4);
        proptest::option::of(pairs.prop_map(|pairs| Attributes::new(pairs).unwrap()))
    }

    fn parts() -> impl Strategy<Value = Parts> {
        let password = proptest::collection::vec(any::<u8>(), 0..6);
        prop_oneof![
            (name(), password, any::<bool>(), proptest::option::of(name())).prop_map(
                |(username, password, base64, peer)| Parts::Login {
                    username,
                    password,
                    base64,
                    peer
                }
            ),
            name().prop_map(|username| Parts::Superuser { username }),
            (name(), name(), name(), any::<bool>(), 0..3u8, known()).prop_map(
                |(username, id, topic, subscribe, qos, known)| Parts::Access {
                    username,
                    id,
                    topic,
                    subscribe,
                    qos,
                    known
                }
            ),
        ]
    }

    /// Reads an encoding back into what was encoded; the proof that nothing is ambiguous.
    fn decoded(mut bytes: &[u8]) -> String {
        fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
            let (taken, rest) = bytes.split_at(count);
            *bytes = rest;
            taken
        }
        fn number(bytes: &mut &[u8]) -> u64 {
            u64::from_le_bytes(take(bytes, 8).try_into().unwrap())
        }
        fn length(bytes: &mut &[u8]) -> usize {
            u32::from_le_bytes(take(bytes, 4).try_into().unwrap()) as usize
        }
        let kind = match take(&mut bytes, 1) {
            [1] => Kind::Login,
            [2] => Kind::Superuser,
            [3] => Kind::Access,
            other => panic!("no kind: {other:?}"),
        };
        let mut values = Vec::new();
        while !bytes.is_empty() {
            values.push(match take(&mut bytes, 1) {
                [0] => "absent".to_owned(),
                [1] => {
                    let length = length(&mut bytes);
                    format!("text {:?}", std::str::from_utf8(take(&mut bytes, length)).unwrap())
                }
                [2] => {
                    let length = length(&mut bytes);
                    format!("base64 {:?}", take(&mut bytes, length))
                }
                [3] => format!("number {}", number(&mut bytes)),
                [4] => format!("flag {}", take(&mut bytes, 1) == [1]),
                [5] => {
                    let count = take(&mut bytes, 1)[0];
                    let mut text = || {
                        assert_eq!(take(&mut bytes, 1), [1]);
                        let length = length(&mut bytes);
                        String::from_utf8(take(&mut bytes, length).to_vec()).unwrap()
                    };
                    let pairs = (0..count).map(|_| (text(), text())).collect();
                    format!("attributes {:?}", Attributes::new(pairs).unwrap())
                }
                other => panic!("no tag: {other:?}"),
            });
        }
        format!("{kind:?} {values:?}")
    }

    proptest! {
        #[test]
        fn the_encoding_is_injective(parts in parts()) {
            prop_assert_eq!(decoded(&parts.encoded()), parts.seen());
        }

        #[test]
        fn two_questions_share_a_key_only_if_the_api_sees_the_same(a in parts(), b in parts()) {
            let keyring = Keyring::random().unwrap();
            let lists = lists();
            let key = |parts: &Parts| parts.with(|q| keyring.key(q, lists.of(q.kind())));
            prop_assert_eq!(key(&a) == key(&b), a.seen() == b.seen());
        }
    }

    #[test]
    fn shifting_a_boundary_between_fields_changes_the_key() {
        let login = |username: &str, password: &str| Parts::Login {
            username: username.into(),
            password: password.into(),
            base64: false,
            peer: None,
        };
        assert_ne!(login("ab", "c").encoded(), login("a", "bc").encoded());
        assert_ne!(login("a\0b", "").encoded(), login("a", "\0b").encoded());
    }

    #[test]
    fn attributes_that_differ_by_one_boundary_have_other_keys() {
        let access = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            let name = || "a".to_owned();
            Parts::Access {
                username: name(),
                id: name(),
                topic: name(),
                subscribe: false,
                qos: 0,
                known: Attributes::new(pairs.collect()),
            }
            .encoded()
        };
        let all = [
            access(&[]),
            access(&[("ab", "c")]),
            access(&[("a", "bc")]),
            access(&[("a", "b"), ("c", "")]),
            access(&[("a", ""), ("b", "c")]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other != one), "{at}");
        }
    }

    #[test]
    fn each_process_has_its_own_keys() {
        let parts = Parts::Superuser { username: "alice".into() };
        let key = || parts.with(|q| Keyring::random().unwrap().key(q, &[Field::Username]));
        assert_ne!(key(), key());
    }
}
