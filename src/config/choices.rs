//! The words that options choose from.

#![forbid(unsafe_code)]

use log::LevelFilter;

use super::{
    AclUnavailable, EventKind, LocalUsersAcl, PasswordEncoding, TokenUsername, UnavailableReply,
    WebsocketAddress,
};
use crate::api_format::{Compat, Method, Params, ResponseMode};
use crate::policy::OnError;

pub const ON_ERROR: &[(&str, OnError)] =
    &[("deny", OnError::Deny), ("defer", OnError::Defer), ("allow", OnError::Allow)];

pub const ACL_UNAVAILABLE: &[(&str, AclUnavailable)] =
    &[("close", AclUnavailable::Close), ("deny", AclUnavailable::Deny)];

pub const UNAVAILABLE_REPLY: &[(&str, UnavailableReply)] =
    &[("close", UnavailableReply::Close), ("reason", UnavailableReply::Reason)];

pub const WEBSOCKET_ADDRESS: &[(&str, WebsocketAddress)] =
    &[("unknown", WebsocketAddress::Unknown), ("trust", WebsocketAddress::Trust)];

pub const EVENTS: &[(&str, EventKind)] = &[
    ("connected", EventKind::Connected),
    ("disconnected", EventKind::Disconnected),
    ("login_denied", EventKind::LoginDenied),
    ("kicked", EventKind::Kicked),
];

pub const LOCAL_USERS_ACL: &[(&str, LocalUsersAcl)] =
    &[("allow", LocalUsersAcl::Allow), ("defer", LocalUsersAcl::Defer)];

pub const TOKEN_USERNAME: &[(&str, TokenUsername)] =
    &[("match", TokenUsername::Match), ("set", TokenUsername::Set), ("any", TokenUsername::Any)];

pub const PASSWORD_ENCODING: &[(&str, PasswordEncoding)] =
    &[("utf8", PasswordEncoding::Utf8), ("base64", PasswordEncoding::Base64)];

pub const RESPONSE_MODE: &[(&str, ResponseMode)] =
    &[("status", ResponseMode::Status), ("json", ResponseMode::Json), ("text", ResponseMode::Text)];

pub const PARAMS_MODE: &[(&str, Params)] = &[("json", Params::Json), ("form", Params::Form)];

pub const METHOD: &[(&str, Method)] =
    &[("POST", Method::Post), ("PUT", Method::Put), ("GET", Method::Get)];

pub const COMPAT: &[(&str, Compat)] = &[
    ("none", Compat::None),
    ("go-auth", Compat::GoAuth),
    ("auth-plug", Compat::AuthPlug),
    ("emqx", Compat::Emqx),
];

pub const LOG_LEVEL: &[(&str, LevelFilter)] = &[
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];
