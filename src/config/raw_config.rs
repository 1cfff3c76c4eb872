//! The first stage: what each option says on its own, before it is known whether they go together.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::leftovers::Leftovers;
use super::special::SpecialChars;
use super::{
    AclUnavailable, BreakerConfig, CacheConfig, Config, Credentials, EmptyCredentials, Endpoint,
    EventKind, FilesConfig, FleetConfig, Jitter, Lifetime, LocalUsersAcl, LocalUsersConfig,
    PasswordEncoding, Routes, Sources, TokensConfig, UnavailableReply, WebsocketAddress,
};
use crate::api_format::{ApiFormat, Compat};
use crate::field::{Field, FieldLists};
use crate::policy::OnError;

/// What the options say: first their defaults, then the values that were given.
#[derive(Default)]
pub(crate) struct RawConfig {
    pub hosts: Vec<(String, Option<u16>)>,
    pub port: Option<u16>,
    pub https: bool,
    pub routes: Routes,
    pub user_fields: Vec<Field>,
    pub(crate) acl_fields: Vec<Field>,
    pub timeout: Duration,
    pub connect_timeout: Duration,
    pub connections: u64,
    pub sources: Sources,
    pub cache_ttl: Duration,
    pub cache_auth_ttl: Option<Duration>,
    pub cache_acl_ttl: Option<Duration>,
    pub cache_deny_ttl: Option<Duration>,
    pub cache_max_bytes: u64,
    pub cache_refresh_ahead: bool,
    pub cache_stale_if_error: Duration,
    pub cache_revalidate: Duration,
    pub max_block: Duration,
    pub max_block_percent: u8,
    pub breaker_failures: u64,
    pub(crate) breaker_open: Duration,
    pub on_error: OnError,
    pub acl_unavailable: AclUnavailable,
    pub hold: Duration,
    pub hold_max_bytes: u64,
    pub anonymous_username: Option<String>,
    pub password_encoding: PasswordEncoding,
    pub local_users_file: Option<PathBuf>,
    pub local_users_acl: LocalUsersAcl,
    pub files: Option<FilesConfig>,
    pub deny_special_chars: bool,
    pub login_failures_max: u64,
    pub login_failures_window: Duration,
    pub websocket_address: WebsocketAddress,
    pub delayed_login: bool,
    pub unavailable_reply: UnavailableReply,
    /// None only until the defaults are in; the type has none of its own.
    pub log_level: Option<LevelFilter>,
    pub trace: bool,
    pub events: Vec<EventKind>,
    pub metrics_listen: Option<SocketAddr>,
    pub sys_interval: Duration,
    pub tls_verify: bool,
    pub(crate) user_agent: String,
    pub api_format: ApiFormat,
    pub(crate) auth_jitter: Jitter,
    pub(crate) acl_jitter: Jitter,
    pub(crate) anonymous_access: Option<String>,
    pub empty_credentials: EmptyCredentials,
    pub tokens: TokensConfig,
    pub fleet: FleetConfig,
    pub warnings: Vec<String>,
    pub(crate) leftovers: Leftovers,
}

impl RawConfig {
    /// The second stage: everything together.
    pub(crate) fn into_config(self, credentials: Credentials) -> Config {
        let port = self.port.unwrap_or(if self.https { 443 } else { 80 });
        let endpoint =
            |(host, own): (String, Option<u16>)| Endpoint { host, port: own.unwrap_or(port) };
        let cache = self.cache();
        let fields = match self.api_format.compat {
            Compat::None | Compat::AuthPlug => {
                FieldLists::with_extra(&self.user_fields, &self.acl_fields)
            }
            Compat::GoAuth => FieldLists::of_go_auth(&self.user_fields, &self.acl_fields),
            Compat::Emqx => FieldLists::of_emqx(&self.user_fields, &self.acl_fields),
        };
        // Topics are made of names; the oldest of the plugins minded the slash as well.
        let special_chars: &[u8] = match self.api_format.compat {
            _ if !self.deny_special_chars => b"",
            Compat::AuthPlug => b"+#/",
            Compat::None | Compat::GoAuth | Compat::Emqx => b"+#",
        };
        Config {
            tokens: TokensConfig { syntax: self.api_format.compat.syntax(), ..self.tokens },
            endpoints: self.hosts.into_iter().map(endpoint).collect(),
            port,
            https: self.https,
            routes: self.routes,
            fields,
            sources: self.sources,
            credentials,
            timeout: self.timeout,
            connect_timeout: self.connect_timeout.min(self.timeout),
            connections: usize::try_from(self.connections).unwrap_or(usize::MAX),
            tls_verify: self.tls_verify,
            user_agent: self.user_agent,
            api_format: self.api_format,
            cache,
            breaker: BreakerConfig { failures: self.breaker_failures, rest: self.breaker_open },
            max_block: self.max_block,
            max_block_percent: self.max_block_percent,
            on_error: self.on_error,
            acl_unavailable: self.acl_unavailable,
            hold: self.hold,
            hold_max_bytes: self.hold_max_bytes,
            anonymous_username: self.anonymous_username,
            anonymous_access: self.anonymous_access,
            empty_credentials: self.empty_credentials,
            password_encoding: self.password_encoding,
            local_users: self
                .local_users_file
                .map(|file| LocalUsersConfig { file, acl: self.local_users_acl }),
            files: self.files,
            special_chars: SpecialChars::new(special_chars),
            login_failures_max: usize::try_from(self.login_failures_max).unwrap_or(usize::MAX),
            login_failures_window: self.login_failures_window,
            websocket_address: self.websocket_address,
            delayed_login: self.delayed_login,
            unavailable_reply: self.unavailable_reply,
            log_level: self.log_level.unwrap_or(LevelFilter::Info),
            trace: self.trace,
            events: self.events,
            metrics_listen: self.metrics_listen,
            sys_interval: Some(self.sys_interval).filter(|interval| !interval.is_zero()),
            fleet: self.fleet.if_there(),
            warnings: self.warnings,
        }
    }

    fn cache(&self) -> CacheConfig {
        let ttl = self.cache_ttl;
        let deny = |allow: Duration| match self.api_format.compat {
            Compat::None | Compat::Emqx => ttl.min(Duration::from_secs(5)),
            // Allowed or denied, an answer lives as long.
            Compat::GoAuth | Compat::AuthPlug => allow,
        };
        let lifetime = |allow: Option<Duration>, jitter| {
            let allow = allow.unwrap_or(ttl);
            Lifetime { allow, deny: self.cache_deny_ttl.unwrap_or(deny(allow)), jitter }
        };
        CacheConfig {
            ttl,
            login: lifetime(self.cache_auth_ttl, self.auth_jitter),
            access: lifetime(self.cache_acl_ttl, self.acl_jitter),
            max_bytes: self.cache_max_bytes,
            refresh_ahead: self.cache_refresh_ahead,
            stale_if_error: self.cache_stale_if_error,
            revalidate: self.cache_revalidate,
        }
    }
}
