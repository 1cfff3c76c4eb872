//! Takes secrets out of what is shown.

#![forbid(unsafe_code)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mosquitto_http_auth::api::Request;
use mosquitto_http_auth::api_format::ApiFormat;
use mosquitto_http_auth::config::Config;
use mosquitto_http_auth::form;
use mosquitto_http_auth::question::{About, Client, Kind, Password, Question};
use zeroize::Zeroizing;

use crate::wire_recorder::Head;

const MASK: &str = "********";

/// Shorter passwords than this are left in answers, which would be full of holes otherwise.
const SHORTEST: usize = 4;

/// What must not be shown of one client's questions.
pub(crate) struct Mask<'a> {
    pub(crate) config: &'a Config,
    pub(crate) client: &'a dyn Client,
    pub(crate) username: Option<&'a str>,
    pub(crate) password: &'a [u8],
}

impl Mask<'_> {
    /// A request's body: of a login's, the same code writes it with another password.
    pub(crate) fn request(&self, kind: Kind, sent: &[u8]) -> String {
        let api_format = &self.config.api_format;
        let username = self.username.or(self.config.anonymous_username.as_deref());
        let shown = match kind {
            Kind::Login => {
                let about = About::Login { password: Password::Text(MASK) };
                let username = username.unwrap_or_default();
                let question = Question { client: self.client, username, attributes: None, about };
                let fields = self.config.fields.of(Kind::Login);
                Request::new(&question, fields, &without_values(api_format)).body
            }
            Kind::Superuser | Kind::Access => {
                let rest = sent.strip_prefix(api_format.prefix(kind).as_bytes()).unwrap_or(sent);
                let prefix = without_values(api_format);
                let text = format!("{}{}", prefix.prefix(kind), String::from_utf8_lossy(rest));
                return text;
            }
        };
        String::from_utf8_lossy(shown.expose()).into_owned()
    }

    /// A request's head: the length of a login's body would tell that of the password.
    pub(crate) fn head(&self, kind: Kind, head: &Head) -> Head {
        let mut head = head.clone();
        for (name, value) in &mut head.fields {
            if kind == Kind::Login && name.eq_ignore_ascii_case("content-length") {
                *value = None;
            }
        }
        head
    }

    /// Whatever else came from outside: an API may send secrets back, as it got them.
    pub(crate) fn answer(&self, text: &str) -> String {
        let headers = self.config.credentials.headers.iter().map(|header| header.value.expose());
        // A scheme such as Bearer may stand before the secret.
        let words = headers.flat_map(|value| [Some(value), value.rsplit(|b| *b == b' ').next()]);
        let mut text = text.to_owned();
        for secret in words.flatten().chain([self.password]) {
            if secret.len() >= SHORTEST {
                for form in forms(secret) {
                    text = text.replace(form.as_str(), MASK);
                }
            }
        }
        text
    }
}

/// How a secret may be written in a message.
fn forms(secret: &[u8]) -> Vec<Zeroizing<String>> {
    let text = Zeroizing::new(String::from_utf8_lossy(secret).into_owned());
    let quoted = Zeroizing::new(serde_json::Value::from(text.as_str()).to_string());
    let in_quotes = quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned();
    let escaped = [" ", "%20", "+"].map(|blank| form::escaped(secret, blank));
    let others = [in_quotes, BASE64.encode(secret)].into_iter().chain(escaped);
    [text].into_iter().chain(others.map(Zeroizing::new)).collect()
}

/// The API's format with other values than those from the environment.
fn without_values(api_format: &ApiFormat) -> ApiFormat {
    let parameter = |parameter: &str| match parameter.split_once('=') {
        Some((key, _)) => format!("{key}={MASK}"),
        None => parameter.to_owned(),
    };
    let masked = |prefix: &String| prefix.split('&').map(parameter).collect::<Vec<_>>().join("&");
    ApiFormat { prefixes: api_format.prefixes.each_ref().map(masked), ..api_format.clone() }
}
