//! Which clients are asked about, and under which name.

#![forbid(unsafe_code)]

use super::Preset::{Value, Words};
use super::plain_values::{name, path};
use super::show;
use super::{Opt, opt};
use crate::config::LocalUsersAcl;
use crate::config::choices::{LOCAL_USERS_ACL, WEBSOCKET_ADDRESS};
use crate::config::values::{choice, flag, number, seconds};

pub(super) static OPTIONS: &[Opt] = &[
    opt!(
        "local_users_file",
        Words("unset"),
        "The path of Mosquitto's own `password_file`: the plugin leaves the users in it to \
         Mosquitto, and never asks the API about them. Read again on SIGHUP.",
        |raw, text| raw.local_users_file = Some(path(text)?),
        |config| config.local_users.as_ref().map(|local| local.file.display().to_string())
    ),
    opt!(
        "local_users_acl",
        Value("allow"),
        "ACL checks of those users: `allow`, or `defer` (to `acl_file`, which grants every \
         subscription).",
        |raw, text| raw.local_users_acl = choice(text, LOCAL_USERS_ACL)?,
        |config| {
            let local_users = config.local_users.as_ref();
            show::word(LOCAL_USERS_ACL, local_users.map_or(LocalUsersAcl::Allow, |local| local.acl))
        }
    ),
    opt!(
        "deny_special_chars",
        Value("true"),
        "Deny every ACL check of a username or client identifier with `+` or `#` in it, without \
         asking.",
        |raw, text| raw.deny_special_chars = flag(text)?,
        |config| Some((!config.special_chars.is_empty()).to_string())
    ),
    opt!(
        "login_failures_max",
        Value("0"),
        "Denied logins of one address and username within `login_failures_window` after which the \
         plugin refuses this pair without asking. A login without a username neither counts nor is \
         refused so. 0: never.",
        |raw, text| raw.login_failures_max = number(text, &(0..=1000), "denials")?,
        |config| Some(config.login_failures_max.to_string())
    ),
    opt!(
        "login_failures_window",
        Value("60"),
        "Seconds for which a denied login counts.",
        |raw, text| raw.login_failures_window = seconds(text, 1..=86_400)?,
        |config| show::seconds(config.login_failures_window)
    ),
    opt!(
        "websocket_address",
        Value("unknown"),
        "What the plugin makes of the address of a client that comes over a websocket on Mosquitto \
         2.0, which from 2.0.15 on takes it from the `X-Forwarded-For` that the client sends: \
         `unknown` (`null` in `peerhost`, `ip=unknown` in the log, failed logins counted by \
         username alone), or `trust`, if only a proxy that overwrites this header reaches the \
         listener. 2.1 does not read it.",
        |raw, text| raw.websocket_address = choice(text, WEBSOCKET_ADDRESS)?,
        |config| show::word(WEBSOCKET_ADDRESS, config.websocket_address)
    ),
    opt!(
        "anonymous_username",
        Words("unset"),
        "The name under which the plugin asks the API about clients without a username. Unset: it \
         leaves them to the broker.",
        |raw, text| raw.anonymous_username = Some(name(text)?),
        |config| config.anonymous_username.clone()
    ),
];
