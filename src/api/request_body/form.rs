//! Bodies as forms (`application/x-www-form-urlencoded`).

#![forbid(unsafe_code)]

use zeroize::Zeroizing;

use super::base64;
use crate::field::{Field, Value};
use crate::form::escaped;
use crate::question::{About, Password, Question};
use crate::secret::SecretBuilder;

/// These fields in this order. What the broker does not know is empty.
pub(crate) fn fields(question: &Question<'_>, fields: &[Field], body: &mut SecretBuilder) {
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            body.push(b"&");
        }
        body.push(field.name().as_bytes());
        body.push(b"=");
        match field.value(question) {
            Value::Text(text) => escape(text.as_bytes(), "+", body),
            Value::Base64(bytes) => escape(base64(bytes).as_bytes(), "+", body),
            Value::Number(number) => body.push(number.to_string().as_bytes()),
            Value::Flag(flag) => body.push(flag.to_string().as_bytes()),
            // As the text of its JSON object.
            Value::Attributes(attributes) => {
                let json = serde_json::to_vec(attributes.pairs()).unwrap_or_default();
                escape(&json, "+", body);
            }
            Value::Absent => {}
        }
    }
}

/// The one form that mosquitto-auth-plug sends, whatever it asks: all keys are always there.
pub(crate) fn of_auth_plug(question: &Question<'_>, body: &mut SecretBuilder) {
    let (mut password, mut topic, mut acc, mut clientid) = (Zeroizing::default(), "", -1, "");
    match question.about {
        About::Token(_) => {}
        About::Login { password: Password::Text(text) } => password = Zeroizing::new(text.into()),
        About::Login { password: Password::Base64(bytes) } => password = base64(bytes),
        About::Superuser => {}
        About::Access(action) => {
            topic = action.topic;
            acc = i64::try_from(action.access.acc()).unwrap_or(-1);
            clientid = question.client.id();
        }
    }
    for (key, value) in [
        ("username=", question.username.as_bytes()),
        ("&password=", password.as_bytes()),
        ("&topic=", topic.as_bytes()),
        ("&acc=", acc.to_string().as_bytes()),
        ("&clientid=", clientid.as_bytes()),
    ] {
        body.push(key.as_bytes());
        // The acc of what is no access is -1, and a hyphen is never escaped.
        escape(value, "%20", body);
    }
}

fn escape(bytes: &[u8], blank: &str, body: &mut SecretBuilder) {
    body.push(Zeroizing::new(escaped(bytes, blank)).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeClient;
    use crate::question::{Access, Action};

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
        assert_eq!(
            sent(LOGIN, of_auth_plug),
            "username=a%22b&password=p%26w%20%3D%2B%25%C3%A9%2F~%2A&topic=&acc=-1&clientid="
        );
        assert_eq!(
            sent(About::Superuser, of_auth_plug),
            "username=a%22b&password=&topic=&acc=-1&clientid="
        );
        let action = Action { access: Access::Subscribe, topic: "a/#", qos: 0, retain: false };
        assert_eq!(
            sent(About::Access(action), of_auth_plug),
            "username=a%22b&password=&topic=a%2F%23&acc=4&clientid=c%201"
        );
    }
}
