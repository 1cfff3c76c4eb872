//! What the options of the plugins that came before say only together.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use super::SaltEncoding;
use crate::question::Kind;
use crate::secret::Secret;

/// Names or addresses, each with its port where that is given.
type Hosts = Vec<(String, Option<u16>)>;

/// What has a meaning only together with other options.
#[derive(Default)]
pub(crate) struct Leftovers {
    pub cache: bool,
    /// Lifetimes by a predecessor's options, for which ours have their own places.
    pub(crate) auth_ttl: Option<Duration>,
    pub(crate) acl_ttl: Option<Duration>,
    pub(crate) disable_superuser: bool,
    pub(crate) register: Option<Vec<Kind>>,
    pub backends: Backends,
    pub(crate) redis_cache: RedisCache,
    pub(crate) ip: Option<Hosts>,
    pub(crate) hostname: Option<String>,
}

/// What is said about the option `backends`.
#[derive(Default)]
pub(crate) struct Backends {
    /// None: nothing.
    pub names: Option<Vec<String>>,
    pub(crate) register: Option<Vec<Kind>>,
    /// The option that names a file, and its path.
    pub passwords: Option<(String, PathBuf)>,
    pub acl: Option<(String, PathBuf)>,
    /// The option's name and the hasher.
    pub hasher: Option<(String, String)>,
    pub(crate) files_hasher: Option<(String, String)>,
    pub salt: SaltEncoding,
    pub(crate) files_salt: SaltEncoding,
}

impl Backends {
    pub(crate) fn set_hasher(&mut self, name: &str, value: &str) {
        let salt = if value == "utf-8" { SaltEncoding::Utf8 } else { SaltEncoding::Base64 };
        let given = Some((name.to_owned(), value.to_owned()));
        match name {
            "hasher" => self.hasher = given,
            "files_hasher" => self.files_hasher = given,
            "hasher_salt_encoding" => self.salt = salt,
            _ => self.files_salt = salt,
        }
    }
}

/// What is said about the cache in a Redis.
#[derive(Default)]
pub(crate) struct RedisCache {
    /// `cache_type redis`.
    pub(crate) is_chosen: bool,
    pub host: Option<String>,
    pub port: Option<String>,
    pub password: Option<Secret>,
    pub database: Option<String>,
    pub(crate) is_cluster: bool,
    pub addresses: Option<String>,
    /// The names of those options that are there.
    pub names: Vec<String>,
}
