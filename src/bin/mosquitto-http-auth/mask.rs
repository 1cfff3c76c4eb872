//! Takes secrets out of what is shown.

#![forbid(unsafe_code)]

use mosquitto_http_auth::api::Request;
use mosquitto_http_auth::config::Config;
use mosquitto_http_auth::dialect::Dialect;
use mosquitto_http_auth::question::{About, Client, Kind, Password, Question};
use zeroize::Zeroizing;

const MASK: &str = "********";

/// Shorter passwords than this are left in answers, which would be full of holes otherwise.
const SHORTEST: usize = 4;

/// What must not be shown of one client's questions.
pub struct Mask<'a> {
    pub config: &'a Config,
    pub client: &'a dyn Client,
    pub username: Option<&'a str>,
    pub password: &'a [u8],
}

impl Mask<'_> {
    /// A request's body: of a login's, the same code writes it with another password.
    pub fn request(&self, kind: Kind, sent: &[u8]) -> String {
        let dialect = &self.config.dialect;
        let username = self.username.or(self.config.anonymous_username.as_deref());
        let shown = match kind {
            Kind::Login => {
                let about = About::Login { password: Password::Text(MASK) };
                let username = username.unwrap_or_default();
                let question = Question { client: self.client, username, about };
                let fields = self.config.fields.of(Kind::Login);
                Request::new(&question, fields, &without_values(dialect)).body
            }
            Kind::Superuser | Kind::Access => {
                let rest = sent.strip_prefix(dialect.prefix(kind).as_bytes()).unwrap_or(sent);
                let prefix = without_values(dialect);
                let text = format!("{}{}", prefix.prefix(kind), String::from_utf8_lossy(rest));
                return text;
            }
        };
        String::from_utf8_lossy(shown.expose()).into_owned()
    }

    /// Whatever else came from outside: an API may send a password back.
    pub fn answer(&self, text: &str) -> String {
        let Ok(password) = std::str::from_utf8(self.password) else { return text.to_owned() };
        if password.len() < SHORTEST {
            return text.to_owned();
        }
        let quoted = Zeroizing::new(serde_json::Value::from(password).to_string());
        let in_quotes = quoted.trim_matches('"');
        text.replace(password, MASK).replace(in_quotes, MASK)
    }
}

/// The dialect with other values than those from the environment.
fn without_values(dialect: &Dialect) -> Dialect {
    let parameter = |parameter: &str| match parameter.split_once('=') {
        Some((key, _)) => format!("{key}={MASK}"),
        None => parameter.to_owned(),
    };
    let masked = |prefix: &String| prefix.split('&').map(parameter).collect::<Vec<_>>().join("&");
    Dialect { prefixes: dialect.prefixes.each_ref().map(masked), ..dialect.clone() }
}
