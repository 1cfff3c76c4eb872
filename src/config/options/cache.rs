//! How long answers live, and in how much memory.

#![forbid(unsafe_code)]

use super::Preset::{Value, Words};
use super::show;
use super::{Opt, opt};
use crate::config::values::{self, flag, lifetime};

pub(super) static OPTIONS: &[Opt] = &[
    opt!(
        "cache_ttl",
        Value("30"),
        "Seconds that an answer lives. 0: the plugin caches nothing, and asks every question.",
        |raw, text| raw.cache_ttl = lifetime(text)?,
        |config| show::seconds(config.cache.ttl)
    ),
    opt!(
        "cache_auth_ttl",
        Words("`cache_ttl`"),
        "Seconds that a permission to log in lives.",
        |raw, text| raw.cache_auth_ttl = Some(lifetime(text)?),
        |config| show::seconds(config.cache.login.allow)
    ),
    opt!(
        "cache_acl_ttl",
        Words("`cache_ttl`"),
        "Seconds that an answer about a topic, or about a superuser, is kept.",
        |raw, text| raw.cache_acl_ttl = Some(lifetime(text)?),
        |config| show::seconds(config.cache.access.allow)
    ),
    opt!(
        "cache_deny_ttl",
        Words("5, or `cache_ttl` where that is shorter"),
        "Seconds that a denial of either kind lives.",
        |raw, text| raw.cache_deny_ttl = Some(lifetime(text)?),
        |config| show::seconds(config.cache.access.deny)
    ),
    opt!(
        "cache_max_bytes",
        Value("64 MiB"),
        "Memory that cached answers may take, in bytes, KiB, MiB or GiB.",
        |raw, text| raw.cache_max_bytes = values::bytes(text, &(1 << 16..=1 << 40))?,
        |config| Some(show::bytes(config.cache.max_bytes))
    ),
    opt!(
        "cache_refresh_ahead",
        Value("true"),
        "Ask again in the background for a permission in use, once half of its lifetime has \
         passed, so that a client in traffic never waits.",
        |raw, text| raw.cache_refresh_ahead = flag(text)?,
        |config| Some(config.cache.refresh_ahead.to_string())
    ),
    opt!(
        "cache_stale_if_error",
        Value("0"),
        "Seconds past its lifetime that a permission may still serve while the API fails; fewer, or \
         none, if `Cache-Control` in the answer says so.",
        |raw, text| raw.cache_stale_if_error = lifetime(text)?,
        |config| show::seconds(config.cache.stale_if_error)
    ),
    opt!(
        "cache_revalidate",
        Value("0"),
        "Seconds after which the plugin asks about a connected client again in the background, \
         with the login question that let it in; it disconnects a client that the API now denies. \
         0: never.",
        |raw, text| raw.cache_revalidate = lifetime(text)?,
        |config| show::seconds(config.cache.revalidate)
    ),
];
