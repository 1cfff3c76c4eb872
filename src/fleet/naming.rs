//! The names under which brokers find each other's answers.

#![forbid(unsafe_code)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use zeroize::Zeroizing;

use super::sealing::derive;
use crate::cache::encode;
use crate::config::{Config, FleetConfig};
use crate::field::FieldLists;
use crate::question::{Kind, Question, SharedName};
use crate::secret::Secret;

/// Changes with what an answer is taken to mean, so that two versions of the plugin that read the same
/// response differently share nothing.
const ANSWER_REVISION: u8 = 1;

/// Makes names: a keyed hash of all that an answer depends on.
pub(crate) struct Namer {
    key: Zeroizing<[u8; 32]>,
    scope: [u8; 32],
    fields: FieldLists,
}

impl Namer {
    pub(crate) fn new(config: &Config, fleet: &FleetConfig, secret: &Secret) -> Self {
        Self {
            key: derive("mosquitto-http-auth fleet 1: names of answers", &fleet.name, secret),
            scope: scope(config, fleet),
            fields: config.fields.clone(),
        }
    }

    pub(crate) fn name(&self, question: &Question<'_>) -> SharedName {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&self.scope);
        encode(question, self.fields.of(question.kind()), &mut |bytes| {
            hasher.update(bytes);
        });
        let mut name = [0; 24];
        name.copy_from_slice(&hasher.finalize().as_bytes()[..24]);
        SharedName(name)
    }
}

/// A name as Redis sees it.
pub(crate) fn text(name: &SharedName) -> String {
    BASE64.encode(name.0)
}

/// Tells apart brokers that ask differently, and so may be answered differently: by routes, method, modes,
/// fields and the values of all headers. What `fleet_scope` says comes in the place of all this but for how
/// rules are written.
pub(crate) fn scope(config: &Config, fleet: &FleetConfig) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    };
    add(&[ANSWER_REVISION]);
    if let Some(scope) = &fleet.scope {
        add(b"given");
        add(scope.as_bytes());
        // Rules that are written in another way are not the same.
        add(format!("{:?}", config.api_format.compat.syntax()).as_bytes());
        return *hasher.finalize().as_bytes();
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
    let mut headers: Vec<_> = config.credentials.headers.iter().collect();
    headers.sort_by_key(|header| header.name.to_ascii_lowercase());
    for header in headers {
        add(header.name.to_ascii_lowercase().as_bytes());
        add(header.value.expose());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::fake::FakeClient;
    use crate::question::{About, Password};

    /// The name of one question at a broker with these options more.
    fn name(more: &[(&str, &str)]) -> SharedName {
        let given = [
            ("http_host", "a"),
            ("http_user_route", "/u"),
            ("http_superuser_route", "/s"),
            ("http_acl_route", "/a"),
            ("fleet_redis", "r"),
            ("fleet_secret", "$PATH"),
        ];
        let is_other = |(name, _): &&(&str, &str)| !more.iter().any(|(other, _)| other == name);
        let options: Vec<_> = given.iter().filter(is_other).chain(more).collect();
        let options: Vec<_> =
            options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let config = config::read(&options).unwrap();
        let fleet = config.fleet.clone().unwrap();
        let namer = Namer::new(&config, &fleet, &Secret::new(vec![1; 32]));
        let client = FakeClient::default();
        let about = About::Login { password: Password::Text("secret") };
        namer.name(&Question { client: &client, username: "ann", attributes: None, about })
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
            assert!(names.iter().all(|name| name.0 != other.0), "{more:?}");
            names.push(other);
        }
    }

    #[test]
    fn brokers_that_ask_alike_have_the_same_names() {
        let headers = [("http_header_A", "1"), ("http_header_B", "2")];
        let turned = [headers[1], headers[0]];
        assert_eq!(name(&headers).0, name(&turned).0);
        for more in
            [("http_host", "b"), ("cache_ttl", "7"), ("fleet_broker", "two"), ("fleet_redis", "q")]
        {
            assert_eq!(name(&[]).0, name(&[more]).0, "{more:?}");
        }
        let scoped = |value| name(&[("fleet_scope", "one"), ("http_header_X_Broker", value)]).0;
        assert_eq!(scoped("one"), scoped("two"));
    }
}
