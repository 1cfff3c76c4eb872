//! Bodies as forms (`application/x-www-form-urlencoded`).

#![forbid(unsafe_code)]

use zeroize::Zeroizing;

use super::base64;
use crate::field::{Field, Value};
use crate::form::escaped;
use crate::question::Question;
use crate::secret::SecretBuilder;

/// These fields in this order. What the broker does not know is empty.
pub(crate) fn fields(question: &Question<'_>, fields: &[Field], body: &mut SecretBuilder) {
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            body.push(b"&");
        }
        pair(question, *field, "+", body);
    }
}

/// A field's name and what it holds.
fn pair(question: &Question<'_>, field: Field, blank: &str, body: &mut SecretBuilder) {
    body.push(field.name().as_bytes());
    body.push(b"=");
    match field.value(question) {
        Value::Text(text) => escape(text.as_bytes(), blank, body),
        Value::Base64(bytes) => escape(base64(bytes).as_bytes(), blank, body),
        Value::Number(number) => body.push(number.to_string().as_bytes()),
        Value::Flag(flag) => body.push(flag.to_string().as_bytes()),
        // As the text of its JSON object.
        Value::Attributes(attributes) => {
            let json = serde_json::to_vec(attributes.pairs()).unwrap_or_default();
            escape(&json, blank, body);
        }
        Value::Absent => {}
    }
}

/// The keys of mosquitto-auth-plug's forms.
const OF_AUTH_PLUG: [Field; 5] =
    [Field::Username, Field::Password, Field::Topic, Field::Acc, Field::ClientId];

/// The one form that mosquitto-auth-plug sends, whatever it asks: all of its keys are always there; one that `list`
/// lacks is empty, and `acc` is -1. Fields that it did not know follow.
pub(crate) fn of_auth_plug(question: &Question<'_>, list: &[Field], body: &mut SecretBuilder) {
    let added = list.iter().filter(|field| !OF_AUTH_PLUG.contains(field));
    for (index, field) in OF_AUTH_PLUG.iter().chain(added).enumerate() {
        if index > 0 {
            body.push(b"&");
        }
        match field {
            _ if list.contains(field) => pair(question, *field, "%20", body),
            Field::Acc => body.push(b"acc=-1"),
            _ => {
                body.push(field.name().as_bytes());
                body.push(b"=");
            }
        }
    }
}

fn escape(bytes: &[u8], blank: &str, body: &mut SecretBuilder) {
    body.push(Zeroizing::new(escaped(bytes, blank)).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeClient;
    use crate::field::FieldLists;
    use crate::question::{About, Access, Action, Password};

    const LOGIN: About<'_> = About::Login { password: Password::Text("p&w =+%é/~*") };

    fn sent(about: About<'_>, write: impl Fn(&Question<'_>, &mut SecretBuilder)) -> String {
        let client = FakeClient { id: "c 1".into(), ..FakeClient::default() };
        let mut body = SecretBuilder::default();
        write(&Question { client: &client, username: "a\"b", attributes: None, about }, &mut body);
        String::from_utf8(body.finish().expose().to_vec()).unwrap()
    }

    #[test]
    fn fields_are_escaped_as_go_does_it() {
        let list = [Field::ClientId, Field::Password, Field::Username];
        assert_eq!(
            sent(LOGIN, |question, body| fields(question, &list, body)),
            "clientid=c+1&password=p%26w+%3D%2B%25%C3%A9%2F~%2A&username=a%22b"
        );
        let action = Action { access: Access::Write, topic: "a/b", qos: 1, retain: true };
        let list = [Field::Acc, Field::Topic, Field::Retain, Field::CertSubject];
        assert_eq!(
            sent(About::Access(action), |question, body| fields(question, &list, body)),
            "acc=2&topic=a%2Fb&retain=true&cert_subject="
        );
    }

    #[test]
    fn auth_plug_always_sends_all_keys() {
        let sent = |about, added: &[Field]| {
            let lists = FieldLists::with_extra(added, added);
            sent(about, |question, body| of_auth_plug(question, lists.of(question.kind()), body))
        };
        let login =
            "username=a%22b&password=p%26w%20%3D%2B%25%C3%A9%2F~%2A&topic=&acc=-1&clientid=";
        assert_eq!(sent(LOGIN, &[]), login);
        let superuser = "username=a%22b&password=&topic=&acc=-1&clientid=";
        assert_eq!(sent(About::Superuser, &[]), superuser);
        let action = Action { access: Access::Subscribe, topic: "a/#", qos: 1, retain: false };
        let access = "username=a%22b&password=&topic=a%2F%23&acc=4&clientid=c%201";
        assert_eq!(sent(About::Access(action), &[]), access);
        let added = [Field::ClientId, Field::Keepalive, Field::Qos, Field::CertSubject];
        assert_eq!(sent(LOGIN, &added), format!("{login}c%201&keepalive=60&qos=&cert_subject="));
        assert_eq!(sent(About::Superuser, &added), superuser);
        let more = "&keepalive=60&qos=1&cert_subject=";
        assert_eq!(sent(About::Access(action), &added), format!("{access}{more}"));
    }
}
