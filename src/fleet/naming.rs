//! The names under which brokers find each other's answers.

#![forbid(unsafe_code)]

use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use zeroize::Zeroizing;

use super::sealing::derive;
use crate::cache::encode;
use crate::config::{Config, FleetConfig, Header};
use crate::field::FieldLists;
use crate::question::{Kind, Question, SharedName};
use crate::secret::Secret;
use crate::sync::lock;

/// Changes with how an answer is written, and with what it is taken to mean, so that two versions of the plugin
/// that read the same response differently share nothing.
const ANSWER_REVISION: u8 = 2;

/// Makes names: a keyed hash of all that an answer depends on.
pub(crate) struct Namer {
    question_key: Zeroizing<[u8; 32]>,
    key: Zeroizing<[u8; 32]>,
    fields: FieldLists,
    scope: Scope,
    current: Mutex<Current>,
}

/// The scope, while the headers are the same.
struct Current {
    digest: [u8; 32],
    number: u64,
}

impl Namer {
    pub(crate) fn new(config: &Config, fleet: &FleetConfig, secret: &Secret) -> Self {
        let key = |purpose| derive(purpose, &fleet.name, secret);
        let scope = Scope::new(config, fleet);
        let digest = scope.digest(&config.credentials.headers);
        Self {
            question_key: key("mosquitto-http-auth fleet 1: questions"),
            key: key("mosquitto-http-auth fleet 1: names of answers"),
            fields: config.fields.clone(),
            scope,
            current: Mutex::new(Current { digest, number: 0 }),
        }
    }

    /// What names a question at brokers that ask in the same way.
    pub(crate) fn name(&self, question: &Question<'_>) -> SharedName {
        let mut hasher = blake3::Hasher::new_keyed(&self.question_key);
        encode(question, self.fields.of(question.kind()), &mut |bytes| {
            hasher.update(bytes);
        });
        SharedName(first(&hasher))
    }

    /// The name of its answer as Redis sees it, where it is asked in the way of now.
    pub(crate) fn text(&self, name: &SharedName) -> String {
        self.text_in(&lock(&self.current), name)
    }

    /// The same for an answer that was asked for in the `way` of this number. None: other headers are sent by now, and
    /// brokers that send those would find it under this name.
    pub(crate) fn text_of(&self, way: u64, name: &SharedName) -> Option<String> {
        let current = lock(&self.current);
        (current.number == way).then(|| self.text_in(&current, name))
    }

    fn text_in(&self, current: &Current, name: &SharedName) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&current.digest).update(&name.0);
        BASE64.encode(first(&hasher))
    }

    /// Which of the ways to ask is the one of now, counted.
    pub(crate) fn number(&self) -> u64 {
        lock(&self.current).number
    }

    /// Other headers are sent from when `send` was called: a question that is asked meanwhile has the number of before. The
    /// scope that follows.
    pub(crate) fn renew(&self, headers: &[Header], send: impl FnOnce()) -> [u8; 32] {
        let mut current = lock(&self.current);
        send();
        let digest = self.scope.digest(headers);
        if digest != current.digest {
            *current = Current { digest, number: current.number + 1 };
        }
        digest
    }
}

fn first(hasher: &blake3::Hasher) -> [u8; 24] {
    let mut name = [0; 24];
    name.copy_from_slice(&hasher.finalize().as_bytes()[..24]);
    name
}

/// Tells apart brokers that ask differently, and so may be answered differently: by routes, method, modes,
/// fields and the values of all headers. What `fleet_scope` says comes in the place of all this but for how
/// rules are written.
pub(crate) struct Scope {
    hasher: blake3::Hasher,
    has_headers: bool,
}

impl Scope {
    pub(crate) fn new(config: &Config, fleet: &FleetConfig) -> Self {
        let mut hasher = blake3::Hasher::new();
        let mut add = |bytes: &[u8]| add(&mut hasher, bytes);
        add(&[ANSWER_REVISION]);
        if let Some(scope) = &fleet.scope {
            add(b"given");
            add(scope.as_bytes());
            // Rules that are written in another way are not the same.
            add(format!("{:?}", config.api_format.compat.syntax()).as_bytes());
            return Self { hasher, has_headers: false };
        }
        add(b"digest");
        let api_format = &config.api_format;
        for kind in [Kind::Login, Kind::Superuser, Kind::Access] {
            add(config.routes.of(kind).unwrap_or_default().as_bytes());
            let fields = config.fields.of(kind).iter().map(|field| field.name());
            add(fields.collect::<Vec<_>>().join(",").as_bytes());
            add(api_format.prefix(kind).as_bytes());
        }
        add(config.routes.batch.as_deref().unwrap_or_default().as_bytes());
        let modes = (api_format.compat, api_format.method, api_format.params, api_format.response);
        add(format!("{modes:?} {:?}", config.password_encoding).as_bytes());
        Self { hasher, has_headers: true }
    }

    /// The scope of a broker that sends these headers, which may be others after a SIGHUP.
    pub(crate) fn digest(&self, headers: &[Header]) -> [u8; 32] {
        let mut hasher = self.hasher.clone();
        let mut headers: Vec<_> = headers.iter().filter(|_| self.has_headers).collect();
        headers.sort_by_key(|header| header.name.to_ascii_lowercase());
        for header in headers {
            add(&mut hasher, header.name.to_ascii_lowercase().as_bytes());
            add(&mut hasher, header.value.expose());
        }
        *hasher.finalize().as_bytes()
    }
}

fn add(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, FakeClient};
    use crate::question::{About, Password};

    /// A broker with these options more.
    fn config(more: &[(&str, &str)]) -> Config {
        let given = [
            ("http_host", "a"),
            ("http_user_route", "/u"),
            ("http_superuser_route", "/s"),
            ("http_acl_route", "/a"),
            ("fleet_redis", "r"),
            ("fleet_secret", "$PATH"),
        ];
        let is_other = |(name, _): &&(&str, &str)| !more.iter().any(|(other, _)| other == name);
        let options: Vec<_> = given.iter().filter(is_other).chain(more).copied().collect();
        fake::config(&options)
    }

    fn namer(config: &Config) -> Namer {
        Namer::new(config, config.fleet.as_ref().unwrap(), &Secret::new(vec![1; 32]))
    }

    /// The name of one question's answer.
    fn text(namer: &Namer) -> String {
        let client = FakeClient::default();
        let about = About::Login { password: Password::Text("secret") };
        let question = Question { client: &client, username: "ann", attributes: None, about };
        namer.text(&namer.name(&question))
    }

    fn name(more: &[(&str, &str)]) -> String {
        text(&namer(&config(more)))
    }

    #[test]
    fn other_headers_make_other_names_once_they_are_sent() {
        let header = |value| config(&[("http_header_X_Broker", value)]);
        let (one, two) = (header("one"), header("two"));
        let namer = namer(&one);
        let (number, before) = (namer.number(), text(&namer));
        let mut is_sent = false;
        namer.renew(&two.credentials.headers, || is_sent = true);
        assert!(is_sent && namer.number() != number);
        assert_eq!(text(&namer), name(&[("http_header_X_Broker", "two")]));
        let number = namer.number();
        namer.renew(&two.credentials.headers, || ());
        assert_eq!(namer.number(), number, "they are the same");
        namer.renew(&one.credentials.headers, || ());
        assert_eq!(text(&namer), before);
    }

    /// That two questions differ in their encoding wherever the API sees a difference, `cache::key` proves.
    #[test]
    fn brokers_that_ask_otherwise_have_other_names() {
        let mut names = vec![name(&[])];
        for more in [
            vec![("http_user_route", "/v")],
            vec![("http_superuser_route", "/v")],
            vec![("http_acl_route", "/v")],
            vec![("http_acl_batch_route", "/v")],
            vec![("http_method", "GET")],
            vec![("http_params_mode", "form")],
            vec![("http_response_mode", "text")],
            vec![("http_user_fields", "clientid,peerhost")],
            vec![("http_acl_fields", "qos,retain")],
            vec![("http_header_X_Broker", "one")],
            vec![("http_header_X_Broker", "two")],
            vec![("http_header_X_Other", "one")],
            vec![("fleet_name", "another")],
            vec![("fleet_scope", "one")],
            vec![("fleet_scope", "two")],
        ] {
            let other = name(&more);
            assert!(names.iter().all(|name| *name != other), "{more:?}");
            names.push(other);
        }
    }

    #[test]
    fn brokers_that_ask_alike_have_the_same_names() {
        let headers = [("http_header_A", "1"), ("http_header_B", "2")];
        let turned = [headers[1], headers[0]];
        assert_eq!(name(&headers), name(&turned));
        for more in
            [("http_host", "b"), ("cache_ttl", "7"), ("fleet_broker", "two"), ("fleet_redis", "q")]
        {
            assert_eq!(name(&[]), name(&[more]), "{more:?}");
        }
        let scoped = |value| name(&[("fleet_scope", "one"), ("http_header_X_Broker", value)]);
        assert_eq!(scoped("one"), scoped("two"));
    }
}
