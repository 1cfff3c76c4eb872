//! The words that options choose from.

#![forbid(unsafe_code)]

use log::LevelFilter;

use super::{
    AclUnavailable, EventKind, LocalUsersAcl, PasswordEncoding, TokenUsername, UnavailableReply,
    WebsocketAddress,
};
use crate::api_format::{Compat, Method, Params, ResponseMode};
use crate::policy::OnError;

pub(crate) const ON_ERROR: &[(&str, OnError)] =
    &[("deny", OnError::Deny), ("defer", OnError::Defer), ("allow", OnError::Allow)];

pub(crate) const ACL_UNAVAILABLE: &[(&str, AclUnavailable)] =
    &[("close", AclUnavailable::Close), ("deny", AclUnavailable::Deny)];

pub(crate) const UNAVAILABLE_REPLY: &[(&str, UnavailableReply)] =
    &[("close", UnavailableReply::Close), ("reason", UnavailableReply::Reason)];

pub(crate) const WEBSOCKET_ADDRESS: &[(&str, WebsocketAddress)] =
    &[("unknown", WebsocketAddress::Unknown), ("trust", WebsocketAddress::Trust)];

pub(crate) const EVENTS: &[(&str, EventKind)] = &[
    ("connected", EventKind::Connected),
    ("disconnected", EventKind::Disconnected),
    ("login_denied", EventKind::LoginDenied),
    ("kicked", EventKind::Kicked),
];

pub(crate) const LOCAL_USERS_ACL: &[(&str, LocalUsersAcl)] =
    &[("allow", LocalUsersAcl::Allow), ("defer", LocalUsersAcl::Defer)];

pub(crate) const TOKEN_USERNAME: &[(&str, TokenUsername)] =
    &[("match", TokenUsername::Match), ("set", TokenUsername::Set), ("any", TokenUsername::Any)];

pub(crate) const PASSWORD_ENCODING: &[(&str, PasswordEncoding)] =
    &[("utf8", PasswordEncoding::Utf8), ("base64", PasswordEncoding::Base64)];

pub(crate) const RESPONSE_MODE: &[(&str, ResponseMode)] =
    &[("status", ResponseMode::Status), ("json", ResponseMode::Json), ("text", ResponseMode::Text)];

pub(crate) const PARAMS_MODE: &[(&str, Params)] = &[("json", Params::Json), ("form", Params::Form)];

pub(crate) const METHOD: &[(&str, Method)] =
    &[("POST", Method::Post), ("PUT", Method::Put), ("GET", Method::Get)];

pub(crate) const COMPAT: &[(&str, Compat)] = &[
    ("none", Compat::None),
    ("go-auth", Compat::GoAuth),
    ("auth-plug", Compat::AuthPlug),
    ("emqx", Compat::Emqx),
];

pub(crate) const LOG_LEVEL: &[(&str, LevelFilter)] = &[
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];
