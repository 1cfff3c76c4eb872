//! Who may log in, as far as that is known before anybody is asked.

#![forbid(unsafe_code)]

use super::Reason;
use crate::answer::{Decision, InvalidToken};
use crate::config::{Config, EmptyCredentials, PasswordEncoding};
use crate::jose;
use crate::question::{About, Kind, Password};

/// A login as the client gives it, and what is known of it.
#[derive(Clone, Copy)]
pub(crate) struct Login<'a> {
    /// None where the client gave none.
    pub username: Option<&'a str>,
    pub password: &'a [u8],
    /// Whether the username is one that the plugin gives to clients while they wait.
    pub(crate) has_placeholder: bool,
    /// Whether the broker asks about a session that it has, as it does on SIGHUP.
    pub(crate) is_about_a_session: bool,
    /// Whether there is a password file of mosquitto-go-auth's backend `files`.
    pub(crate) has_password_file: bool,
}

/// A decision, or the question whose answer it takes: about whom, and what.
pub(crate) enum LoginStep<'a> {
    Decided(Decision, Reason),
    Ask(&'a str, About<'a>),
}

/// What follows from the login itself. `is_local` tells whether a user is in `local_users_file`.
pub(crate) fn login<'a>(
    config: &'a Config,
    login: Login<'a>,
    is_local: impl FnOnce(&str) -> bool,
) -> LoginStep<'a> {
    use LoginStep::{Ask, Decided};

    if login.has_placeholder {
        return Decided(Decision::Deny, Reason::ReservedName);
    }
    let username = login.username.or(config.anonymous_username.as_deref());
    if username.is_some_and(is_local) {
        return Decided(Decision::Defer, Reason::LocalUser);
    }
    if let Some(tokens) = config.tokens() {
        if let Some(token) = jose::token_in(login.password) {
            return Ask(login.username.unwrap_or_default(), About::Token(token));
        }
        let gives_something = login.username.is_some() || !login.password.is_empty();
        if tokens.only && gives_something && login.is_about_a_session {
            return Decided(Decision::Unavailable, Reason::Session);
        } else if tokens.only && gives_something {
            return Decided(Decision::Deny, Reason::InvalidToken(InvalidToken::Missing));
        }
    }
    if config.routes.of(Kind::Login).is_none() && !login.has_password_file {
        return Decided(Decision::Defer, Reason::NoLoginRoute);
    }
    let is_empty = username.is_none() || login.password.is_empty();
    if is_empty && config.empty_credentials == EmptyCredentials::Deny {
        return Decided(Decision::Deny, Reason::EmptyCredentials);
    }
    let Some(username) = username else { return Decided(Decision::Defer, Reason::NoUsername) };
    let password = match config.password_encoding {
        PasswordEncoding::Utf8 => std::str::from_utf8(login.password).ok().map(Password::Text),
        PasswordEncoding::Base64 => Some(Password::Base64(login.password)),
    };
    match password {
        Some(password) => Ask(username, About::Login { password }),
        None => Decided(Decision::Deny, Reason::NotUtf8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.e30.c2ln";

    const LOGIN: Login<'_> = Login {
        username: Some("ann"),
        password: b"secret",
        has_placeholder: false,
        is_about_a_session: false,
        has_password_file: false,
    };

    const ROUTE: (&str, &str) = ("http_user_route", "/user");
    const OTHER: (&str, &str) = ("http_acl_route", "/acl");

    fn config(more: &[(&str, &str)]) -> Config {
        fake::config(&[&[("http_host", "a")], more].concat())
    }

    /// What is decided; or whom, and about which kind of secret, somebody is asked.
    fn said(config: &Config, given: Login<'_>, local: &str) -> Result<(Decision, Reason), String> {
        match login(config, given, |name| name == local) {
            LoginStep::Decided(decision, reason) => Ok((decision, reason)),
            LoginStep::Ask(username, about) => Err(match about {
                About::Token(token) => format!("{username} token {token}"),
                About::Login { password: Password::Text(text) } => format!("{username} {text}"),
                About::Login { password: Password::Base64(bytes) } => {
                    format!("{username} {bytes:?}")
                }
                _ => panic!("no login"),
            }),
        }
    }

    fn decided(config: &Config, given: Login<'_>) -> (Decision, Reason) {
        said(config, given, "").unwrap()
    }

    fn asked(config: &Config, given: Login<'_>) -> String {
        said(config, given, "").unwrap_err()
    }

    #[test]
    fn a_name_that_clients_bear_while_they_wait_is_refused_before_all_else() {
        let login = Login { has_placeholder: true, password: TOKEN.as_bytes(), ..LOGIN };
        for config in [config(&[OTHER]), config(&[ROUTE])] {
            let judged = said(&config, login, "ann");
            assert_eq!(judged, Ok((Decision::Deny, Reason::ReservedName)));
        }
    }

    #[test]
    fn mosquittos_own_users_are_left_to_it_under_whatever_name_they_come() {
        let anonymous = config(&[ROUTE, ("anonymous_username", "guest")]);
        let local = Ok((Decision::Defer, Reason::LocalUser));
        assert_eq!(said(&anonymous, LOGIN, "ann"), local);
        assert_eq!(said(&anonymous, Login { username: None, ..LOGIN }, "guest"), local);
        assert_eq!(
            said(&anonymous, Login { username: None, ..LOGIN }, "ann"),
            Err("guest secret".into())
        );
    }

    #[test]
    fn without_a_route_and_a_password_file_the_broker_decides() {
        let (none, route) = (config(&[OTHER]), config(&[ROUTE]));
        for password in [&b"secret"[..], b"", b"\xff"] {
            let login = Login { password, ..LOGIN };
            assert_eq!(decided(&none, login), (Decision::Defer, Reason::NoLoginRoute));
        }
        assert_eq!(asked(&route, LOGIN), "ann secret");
        assert_eq!(asked(&none, Login { has_password_file: true, ..LOGIN }), "ann secret");
    }

    #[test]
    fn whoever_gives_no_name_is_left_to_the_broker_or_denied_as_before() {
        let nobody = Login { username: None, ..LOGIN };
        let own = config(&[ROUTE]);
        assert_eq!(decided(&own, nobody), (Decision::Defer, Reason::NoUsername));
        assert_eq!(asked(&own, Login { password: b"", ..LOGIN }), "ann ");
        let predecessor = config(&[("http_getuser_uri", "/user"), ("http_aclcheck_uri", "/acl")]);
        let denied = (Decision::Deny, Reason::EmptyCredentials);
        assert_eq!(decided(&predecessor, nobody), denied);
        assert_eq!(decided(&predecessor, Login { password: b"", ..LOGIN }), denied);
        assert_eq!(asked(&predecessor, LOGIN), "ann secret");
    }

    #[test]
    fn a_password_that_is_no_text_is_denied_unless_it_is_sent_as_base64() {
        let login = Login { password: b"\xff", ..LOGIN };
        assert_eq!(decided(&config(&[ROUTE]), login), (Decision::Deny, Reason::NotUtf8));
        let base64 = config(&[ROUTE, ("password_encoding", "base64")]);
        assert_eq!(asked(&base64, login), "ann [255]");
    }

    #[test]
    fn a_token_is_looked_at_as_one_and_may_be_the_only_way_in() {
        let file = std::env::temp_dir().join(format!("jwt-secret-{}", std::process::id()));
        std::fs::write(&file, "0123456789abcdef0123456789abcdef").unwrap();
        let secret = ("jwt_secret_file", file.to_str().unwrap());
        let (both, only) = (config(&[ROUTE, secret]), config(&[secret, ("jwt_only", "true")]));
        std::fs::remove_file(&file).unwrap();
        let token = Login { password: TOKEN.as_bytes(), ..LOGIN };
        for config in [&both, &only] {
            assert_eq!(asked(config, token), format!("ann token {TOKEN}"));
            let nameless = Login { username: None, ..token };
            assert_eq!(asked(config, nameless), format!(" token {TOKEN}"));
        }
        assert_eq!(asked(&both, LOGIN), "ann secret");
        let missing = (Decision::Deny, Reason::InvalidToken(InvalidToken::Missing));
        assert_eq!(decided(&only, LOGIN), missing);
        assert_eq!(decided(&only, Login { username: None, ..LOGIN }), missing);
        let kept = Login { is_about_a_session: true, ..LOGIN };
        assert_eq!(decided(&only, kept), (Decision::Unavailable, Reason::Session));
        let nothing = Login { username: None, password: b"", ..LOGIN };
        assert_eq!(decided(&only, nothing), (Decision::Defer, Reason::NoLoginRoute));
    }
}
