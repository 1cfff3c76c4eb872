//! The first stage: what each option says on its own, before it is known whether they go together.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::legacy::Leftovers;
use super::special::SpecialChars;
use super::{
    AclUnavailable, BreakerConfig, CacheConfig, Config, EmptyCredentials, Endpoint, Jitter,
    Lifetime, LocalUsersAcl, LocalUsersConfig, Material, PasswordEncoding, Routes, Sources,
    UnavailableReply,
};
use crate::dialect::{Compat, Dialect};
use crate::field::{Field, FieldLists};
use crate::policy::OnError;

/// The options that were given, each checked; none where the default holds.
#[derive(Default)]
pub struct Draft {
    pub hosts: Option<Vec<(String, Option<u16>)>>,
    pub port: Option<u16>,
    pub https: bool,
    pub routes: Routes,
    pub user_fields: Vec<Field>,
    pub acl_fields: Vec<Field>,
    pub timeout_ms: Option<u64>,
    pub connect_timeout_ms: Option<u64>,
    pub connections: Option<u64>,
    pub sources: Sources,
    pub cache_ttl: Option<u64>,
    pub cache_auth_ttl: Option<u64>,
    pub cache_acl_ttl: Option<u64>,
    pub cache_deny_ttl: Option<u64>,
    pub cache_max_bytes: Option<u64>,
    pub cache_refresh_ahead: Option<bool>,
    pub cache_stale_if_error: Option<u64>,
    pub cache_revalidate: Option<u64>,
    pub max_block_ms: Option<u64>,
    pub max_block_percent: Option<u8>,
    pub breaker_failures: Option<u64>,
    pub breaker_open_ms: Option<u64>,
    pub on_error: Option<OnError>,
    pub acl_unavailable: Option<AclUnavailable>,
    pub hold_ms: Option<u64>,
    pub hold_max_bytes: Option<u64>,
    pub anonymous_username: Option<String>,
    pub password_encoding: Option<PasswordEncoding>,
    pub local_users_file: Option<PathBuf>,
    pub local_users_acl: Option<LocalUsersAcl>,
    pub deny_special_chars: Option<bool>,
    pub login_failures_max: Option<u64>,
    pub login_failures_window: Option<u64>,
    pub delayed_login: Option<bool>,
    pub unavailable_reply: Option<UnavailableReply>,
    pub log_level: Option<LevelFilter>,
    pub metrics_listen: Option<SocketAddr>,
    pub sys_interval: Option<u64>,
    pub tls_verify: Option<bool>,
    pub user_agent: Option<String>,
    pub dialect: Dialect,
    /// Seconds by which lifetimes vary; only the plugins that came before have an option for it.
    pub auth_jitter: Option<u64>,
    pub acl_jitter: Option<u64>,
    pub anonymous_access: Option<String>,
    pub empty_credentials: Option<EmptyCredentials>,
    pub warnings: Vec<String>,
    pub leftovers: Leftovers,
}

const USER_AGENT: &str = concat!("mosquitto-http-auth/", env!("CARGO_PKG_VERSION"));

impl Draft {
    /// The second stage: everything together, with its defaults.
    pub fn into_config(self, material: Material) -> Config {
        let default_port = self.port.unwrap_or(if self.https { 443 } else { 80 });
        let endpoint = |(host, port): (String, Option<u16>)| Endpoint {
            host,
            port: port.unwrap_or(default_port),
        };
        let millis = |given: Option<u64>, default| Duration::from_millis(given.unwrap_or(default));
        let timeout = millis(self.timeout_ms, 5000);
        let tls_verify = self.tls_verify.unwrap_or(true);
        let cache = self.cache();
        let fields = match self.dialect.compat {
            Compat::None => FieldLists::with_extra(&self.user_fields, &self.acl_fields),
            Compat::GoAuth => FieldLists::of_go_auth(),
            Compat::AuthPlug => FieldLists::of_auth_plug(),
        };
        // Topics are made of names; the oldest of the plugins minded the slash as well.
        // The plugins that came before closed no connection for a topic.
        let acl_unavailable = match self.dialect.compat {
            Compat::None => AclUnavailable::Close,
            Compat::GoAuth | Compat::AuthPlug => AclUnavailable::Deny,
        };
        let special_chars: &[u8] = match self.dialect.compat {
            _ if self.deny_special_chars == Some(false) => b"",
            Compat::AuthPlug => b"+#/",
            Compat::None | Compat::GoAuth => b"+#",
        };
        Config {
            endpoints: self.hosts.unwrap_or_default().into_iter().map(endpoint).collect(),
            https: self.https,
            routes: self.routes,
            fields,
            sources: self.sources,
            material,
            timeout,
            connect_timeout: millis(self.connect_timeout_ms, 2000).min(timeout),
            connections: usize::try_from(self.connections.unwrap_or(32)).unwrap_or(32),
            tls_verify,
            user_agent: self.user_agent.unwrap_or_else(|| USER_AGENT.to_owned()),
            dialect: self.dialect,
            cache,
            breaker: BreakerConfig {
                failures: self.breaker_failures.unwrap_or(5),
                rest: millis(self.breaker_open_ms, 5000),
            },
            max_block: millis(self.max_block_ms, 1000),
            max_block_percent: self.max_block_percent.unwrap_or(50),
            on_error: self.on_error.unwrap_or(OnError::Deny),
            acl_unavailable: self.acl_unavailable.unwrap_or(acl_unavailable),
            hold: millis(self.hold_ms, 10_000),
            hold_max_bytes: self.hold_max_bytes.unwrap_or(16 << 20),
            anonymous_username: self.anonymous_username,
            anonymous_access: self.anonymous_access,
            empty_credentials: self.empty_credentials.unwrap_or(EmptyCredentials::Own),
            password_encoding: self.password_encoding.unwrap_or(PasswordEncoding::Utf8),
            local_users: self.local_users_file.map(|file| LocalUsersConfig {
                file,
                acl: self.local_users_acl.unwrap_or(LocalUsersAcl::Allow),
            }),
            special_chars: SpecialChars::new(special_chars),
            login_failures_max: usize::try_from(self.login_failures_max.unwrap_or(0)).unwrap_or(0),
            login_failures_window: Duration::from_secs(self.login_failures_window.unwrap_or(60)),
            delayed_login: self.delayed_login.unwrap_or(true),
            unavailable_reply: self.unavailable_reply.unwrap_or(UnavailableReply::Close),
            log_level: self.log_level.unwrap_or(LevelFilter::Info),
            metrics_listen: self.metrics_listen,
            sys_interval: Some(Duration::from_secs(self.sys_interval.unwrap_or(10)))
                .filter(|interval| !interval.is_zero()),
            warnings: self.warnings,
        }
    }

    fn cache(&self) -> CacheConfig {
        let ttl = self.cache_ttl.unwrap_or(30);
        let seconds = |given: Option<u64>, default| Duration::from_secs(given.unwrap_or(default));
        let deny = |allow: Option<u64>| match self.dialect.compat {
            Compat::None => seconds(self.cache_deny_ttl, ttl.min(5)),
            // Allowed or denied, an answer lives as long.
            Compat::GoAuth | Compat::AuthPlug => seconds(allow, ttl),
        };
        let lifetime = |allow, jitter: Option<u64>| Lifetime {
            allow: seconds(allow, ttl),
            deny: deny(allow),
            jitter: jitter.map_or(Jitter::Shorter, |s| Jitter::Around(Duration::from_secs(s))),
        };
        CacheConfig {
            login: lifetime(self.cache_auth_ttl, self.auth_jitter),
            access: lifetime(self.cache_acl_ttl, self.acl_jitter),
            max_bytes: self.cache_max_bytes.unwrap_or(64 << 20),
            refresh_ahead: self.cache_refresh_ahead.unwrap_or(true),
            stale_if_error: seconds(self.cache_stale_if_error, 0),
            revalidate: seconds(self.cache_revalidate, 0),
        }
    }
}
