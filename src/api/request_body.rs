//! What goes over the wire: the body of a request.

#![forbid(unsafe_code)]

use std::hash::BuildHasher as _;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustc_hash::FxBuildHasher;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::ser::{CompactFormatter, Formatter};
use zeroize::Zeroizing;

use crate::api_format::{ApiFormat, Compat, Params};
use crate::field::{Field, Value};
use crate::log_queue::quoted;
use crate::question::{About, Access, Kind, Question};
use crate::secret::{Secret, SecretBuilder};

mod form;

/// A question that owns what it needs, ready to be sent from another thread.
pub struct Request {
    pub kind: Kind,
    /// A JSON object, or a form. Secret, since a login's holds the password.
    pub body: Secret,
    /// What it asks, for log lines; without the password.
    pub about: String,
    /// A hash of the user, or for a question about a topic of that, by which questions are told apart
    /// that fail for a reason of their own.
    pub subject: u64,
}

impl Request {
    #[must_use]
    pub fn new(question: &Question<'_>, fields: &[Field], api_format: &ApiFormat) -> Self {
        let kind = question.kind();
        let body = match (api_format.params, api_format.compat) {
            (Params::Json, Compat::None) => json(question, fields, false, CompactFormatter),
            (Params::Json, Compat::Emqx) => json(question, fields, true, CompactFormatter),
            (Params::Json, _) => json(question, fields, false, AsciiMarkup),
            (Params::Form, compat) => {
                let mut body = SecretBuilder::with_capacity(1024);
                body.push(api_format.prefix(kind).as_bytes());
                match compat {
                    Compat::AuthPlug => form::of_auth_plug(question, fields, &mut body),
                    _ => form::fields(question, fields, &mut body),
                }
                body.finish()
            }
        };
        Self { kind, body, about: describe(question), subject: subject(question) }
    }
}

/// One JSON object (RFC 8259) with these fields, in this order; all of them as text, if so it is to be.
fn json(
    question: &Question<'_>,
    fields: &[Field],
    as_text: bool,
    formatter: impl Formatter,
) -> Secret {
    // Writing into memory and from types that have a JSON form cannot fail; if it did, the API
    // would refuse an empty body.
    let mut json = SecretBuilder::with_capacity(1024);
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, formatter);
    if (Object { question, fields, as_text }).serialize(&mut serializer).is_err() {
        json.clear();
    }
    json.finish()
}

/// Writes strings as Go does: with everything escaped that means something in HTML or JavaScript.
struct AsciiMarkup;

impl Formatter for AsciiMarkup {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let special = |c: char| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        let mut rest = fragment;
        while let Some(at) = rest.find(special) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let mut from = rest[at..].chars();
            if let Some(found) = from.next() {
                write!(writer, "\\u{:04x}", u32::from(found))?;
            }
            rest = from.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

fn base64(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(BASE64.encode(bytes))
}

struct Object<'a> {
    question: &'a Question<'a>,
    fields: &'a [Field],
    as_text: bool,
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for field in self.fields {
            let name = field.name();
            match field.value(self.question) {
                Value::Text(text) => map.serialize_entry(name, text.as_ref())?,
                Value::Base64(bytes) => map.serialize_entry(name, &*base64(bytes))?,
                Value::Number(number) if self.as_text => {
                    map.serialize_entry(name, &number.to_string())?;
                }
                Value::Flag(flag) if self.as_text => {
                    map.serialize_entry(name, &flag.to_string())?
                }
                Value::Absent if self.as_text => map.serialize_entry(name, "")?,
                Value::Number(number) => map.serialize_entry(name, &number)?,
                Value::Flag(flag) => map.serialize_entry(name, &flag)?,
                Value::Attributes(attributes) => map.serialize_entry(name, attributes.pairs())?,
                Value::Absent => map.serialize_entry(name, &())?,
            }
        }
        map.end()
    }
}

/// What a question is about, for a log line.
pub fn describe(question: &Question<'_>) -> String {
    let (id, username) = (quoted(question.client.id()), quoted(question.username));
    match question.about {
        About::Login { .. } | About::Token(_) => format!("the login of {username} (client {id})"),
        About::Superuser => format!("whether {username} is a superuser"),
        About::Access(action) => {
            let verb = match action.access {
                Access::Read => "receive from",
                Access::Write => "publish to",
                Access::Subscribe => "subscribe to",
                Access::Unsubscribe => "unsubscribe from",
            };
            format!("whether {username} (client {id}) may {verb} {}", quoted(action.topic))
        }
    }
}

fn subject(question: &Question<'_>) -> u64 {
    match question.about {
        About::Login { .. } | About::Token(_) | About::Superuser => {
            FxBuildHasher.hash_one(question.username)
        }
        About::Access(action) => FxBuildHasher.hash_one(action.topic),
    }
}

/// The body of a batch: these questions' own bodies, in order.
pub(crate) fn batch(requests: &[&Request]) -> Secret {
    let bodies: Vec<_> = requests.iter().map(|request| request.body.expose()).collect();
    Secret::new([b"{\"checks\":[", &*bodies.join(&b','), b"]}"].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json as value;

    use super::*;
    use crate::fake::FakeClient;
    use crate::field::FieldLists;
    use crate::question::{Action, Attributes, Password};

    fn sent(about: About<'_>, lists: &FieldLists, client: &FakeClient) -> String {
        let question = Question { client, username: "alice", attributes: None, about };
        let body = json(&question, lists.of(question.kind()), false, CompactFormatter);
        String::from_utf8(body.expose().to_vec()).unwrap()
    }

    fn login(password: &str) -> About<'_> {
        About::Login { password: Password::Text(password) }
    }

    const PUBLISH: Action<'_> =
        Action { access: Access::Write, topic: "a/b", qos: 1, retain: true };

    #[test]
    fn the_bodies_are_those_of_the_contract() {
        let (lists, client) = (FieldLists::with_extra(&[], &[]), FakeClient::default());
        let sent = |about| sent(about, &lists, &client);
        assert_eq!(sent(login("open sesame")), r#"{"username":"alice","password":"open sesame"}"#);
        assert_eq!(sent(About::Superuser), r#"{"username":"alice"}"#);
        assert_eq!(
            sent(About::Access(PUBLISH)),
            r#"{"username":"alice","clientid":"client-1","topic":"a/b","acc":2}"#
        );
    }

    #[test]
    fn added_fields_follow_and_what_is_not_known_is_null() {
        let lists = FieldLists::with_extra(Field::FOR_LOGIN, Field::FOR_ACCESS);
        let mut client = FakeClient::default();
        let parse = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
        assert_eq!(
            parse(sent(login("x"), &lists, &client)),
            value!({"username": "alice", "password": "x", "clientid": "client-1",
                   "peerhost": "192.0.2.7", "protocol": "mqtt", "protocol_version": 5,
                   "keepalive": 60, "clean_session": true,
                   "cert_common_name": null, "cert_subject": null, "cert_fingerprint": null,
                   "cert_issuer": null, "cert_serial": null, "cert_pem": null})
        );
        client.address = None;
        client.certificate = Some(("sensor".into(), "CN=sensor,O=Plant".into()));
        assert_eq!(
            parse(sent(About::Access(PUBLISH), &lists, &client)),
            value!({"username": "alice", "clientid": "client-1", "topic": "a/b", "acc": 2,
                   "peerhost": null, "protocol": "mqtt", "protocol_version": 5,
                   "keepalive": 60, "clean_session": true, "cert_common_name": "sensor",
                   "cert_subject": "CN=sensor,O=Plant", "cert_fingerprint": null,
                   "cert_issuer": null, "cert_serial": null, "cert_pem": null, "qos": 1, "retain": true,
                   "client_attrs": null})
        );
    }

    #[test]
    fn attributes_are_an_object_and_in_a_form_its_text() {
        let pairs = [("tenant", "acme"), ("a \"b\"", "é&=")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let attributes = Attributes::new(pairs.into()).unwrap();
        let client = FakeClient::default();
        let question = Question {
            client: &client,
            username: "alice",
            attributes: Some(&attributes),
            about: About::Access(PUBLISH),
        };
        let sent = |api_format: &ApiFormat| {
            let request = Request::new(&question, &[Field::ClientAttrs], api_format);
            String::from_utf8(request.body.expose().to_vec()).unwrap()
        };
        let json = r#"{"a \"b\"":"é&=","tenant":"acme"}"#;
        assert_eq!(sent(&ApiFormat::default()), format!(r#"{{"client_attrs":{json}}}"#));
        let form = ApiFormat { params: Params::Form, ..ApiFormat::default() };
        let text = "%7B%22a+%5C%22b%5C%22%22%3A%22%C3%A9%26%3D%22%2C%22tenant%22%3A%22acme%22%7D";
        assert_eq!(sent(&form), format!("client_attrs={text}"));
    }

    #[test]
    fn any_bytes_travel_as_base64() {
        let about = About::Login { password: Password::Base64(b"\xff\x00\xfe") };
        let body = sent(about, &FieldLists::with_extra(&[], &[]), &FakeClient::default());
        assert_eq!(body, r#"{"username":"alice","password":"/wD+"}"#);
    }

    proptest! {
        #[test]
        fn whatever_a_client_is_called_the_api_reads_it_back(
            username in any::<String>(), password in any::<String>()
        ) {
            let client = FakeClient::default();
            let about = login(&password);
            let question = Question { client: &client, username: &username, attributes: None, about };
            let body = json(&question, &[Field::Username, Field::Password], false, CompactFormatter);
            let read: serde_json::Value = serde_json::from_slice(body.expose()).unwrap();
            prop_assert_eq!(read, value!({"username": username, "password": password}));
        }
    }

    #[test]
    fn a_batch_holds_the_bodies_in_order() {
        let client = FakeClient::default();
        let request = |username| {
            let question =
                Question { client: &client, username, attributes: None, about: About::Superuser };
            Request::new(&question, &[Field::Username], &ApiFormat::default())
        };
        let (ann, ben) = (request("ann"), request("ben"));
        let body = batch(&[&ann, &ben]);
        assert_eq!(body.expose(), br#"{"checks":[{"username":"ann"},{"username":"ben"}]}"#);
    }

    #[test]
    fn a_log_line_about_a_login_does_not_hold_the_password() {
        let client = FakeClient::default();
        let question = Question {
            client: &client,
            username: "alice",
            attributes: None,
            about: login("hunter2"),
        };
        let about = describe(&question);
        assert!(about.contains("alice") && !about.contains("hunter2"), "{about}");
    }

    #[test]
    fn markup_is_escaped_where_go_would() {
        let client = FakeClient::default();
        let username = "<a> & \"b\"\u{2028}é";
        let question =
            Question { client: &client, username, attributes: None, about: About::Superuser };
        let api_format = ApiFormat { compat: Compat::GoAuth, ..ApiFormat::default() };
        let request = Request::new(&question, &[Field::Username], &api_format);
        let expected = r#"{"username":"\u003ca\u003e \u0026 \"b\"\u2028é"}"#;
        assert_eq!(String::from_utf8_lossy(request.body.expose()), expected);
    }

    #[test]
    fn an_api_for_emqx_is_sent_text_alone() {
        let lists =
            FieldLists::of_emqx(&[Field::Keepalive, Field::CertCommonName], Field::FOR_ACCESS);
        let client = FakeClient::default();
        let sent = |about, fields: &[Field]| {
            let question = Question { client: &client, username: "alice", attributes: None, about };
            let api_format = ApiFormat { compat: Compat::Emqx, ..ApiFormat::default() };
            let request = Request::new(&question, fields, &api_format);
            String::from_utf8(request.body.expose().to_vec()).unwrap()
        };
        let login = sent(login("<x>"), lists.of(Kind::Login));
        let expected =
            r#"{"username":"alice","password":"<x>","keepalive":"60","cert_common_name":""}"#;
        assert_eq!(login, expected);
        let access = lists.of(Kind::Access);
        let shown: Vec<_> = [Access::Write, Access::Subscribe, Access::Read]
            .map(|access| Action { access, ..PUBLISH })
            .map(|action| serde_json::from_str(&sent(About::Access(action), access)).unwrap())
            .map(|value: serde_json::Value| value["action"].as_str().unwrap().to_owned())
            .into();
        assert_eq!(shown, ["publish", "subscribe", "subscribe"]);
        let body = sent(About::Access(PUBLISH), &access[..4]);
        let expected =
            r#"{"username":"alice","clientid":"client-1","topic":"a/b","action":"publish"}"#;
        assert_eq!(body, expected);
        assert!(sent(About::Access(PUBLISH), access).contains(r#""qos":"1","retain":"true""#));
    }
}
