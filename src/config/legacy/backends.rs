//! The option `backends`: which of a predecessor's means are offered here, and what to use in place of the
//! others.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::Outcome;
use crate::api_format::Compat;
use crate::config::leftovers::Backends;
use crate::config::raw_config::RawConfig;
use crate::config::{ConfigError, FilesConfig, Routes};
use crate::question::Kind;

pub(crate) fn set_path(place: &mut Option<(String, PathBuf)>, name: &str, value: &str) -> Outcome {
    if value.is_empty() {
        return Outcome::Wrong("the path of a file".to_owned());
    }
    if place.is_some() {
        return Outcome::Refused("the same is given by its other name");
    }
    *place = Some((name.to_owned(), value.into()));
    Outcome::Set
}

pub(crate) fn names(value: &str) -> Option<Vec<String>> {
    Some(value.split(',').map(|name| name.trim().to_owned()).collect())
}

/// What to use in place of a backend.
fn instead(name: &str) -> Option<&'static str> {
    Some(match name {
        "jwt" => "jwt_key_file, jwt_secret_file or http_jwks_route verify tokens here",
        "postgres" | "mysql" | "sqlite" | "mongo" | "redis" | "memcached" => {
            "let a small API ask the database, and name it by http_host"
        }
        "grpc" => "let a small API pass questions on, and name it by http_host",
        "js" | "plugin" | "lua" => {
            "let a small API decide as the script does, and name it by http_host"
        }
        "ldap" => "let a small API ask the directory, and name it by http_host",
        "cdb" | "psk" => "use Mosquitto's own password_file or psk_file",
        _ => return None,
    })
}

/// Puts together what the options say about backends.
pub(crate) fn conclude(raw: &mut RawConfig) -> Result<(), Vec<ConfigError>> {
    let given = std::mem::take(&mut raw.leftovers.backends);
    let errors = errors(&given, raw.api_format.compat);
    if !errors.is_empty() {
        return Err(errors);
    }
    let has_files =
        given.names.as_ref().is_some_and(|names| names.iter().any(|name| name == "files"));
    if !has_files {
        for (name, _) in [&given.passwords, &given.acl].into_iter().flatten() {
            let text = format!("option {name} does nothing here: files is not among the backends");
            raw.warnings.push(text);
        }
        return Ok(());
    }
    let is_decided = |kind| given.register.as_ref().is_none_or(|kinds| kinds.contains(&kind));
    let salt = if given.files_hasher.is_some() { given.files_salt } else { given.salt };
    let alone = given.names.as_ref().is_some_and(|names| !names.iter().any(|name| name == "http"));
    if alone {
        raw.routes = Routes::default();
    }
    raw.files = Some(FilesConfig {
        salt,
        alone,
        decides_logins: is_decided(Kind::Login),
        decides_access: is_decided(Kind::Access),
        passwords: given.passwords.map(|(_, path)| path),
        acl: given.acl.map(|(_, path)| path),
    });
    Ok(())
}

fn errors(given: &Backends, compat: Compat) -> Vec<ConfigError> {
    let Some(names) = &given.names else { return Vec::new() };
    let about = |text: String| ConfigError::about("backends", format!("option backends: {text}"));
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let mut errors = Vec::new();
    for name in names {
        match name.as_str() {
            "http" => {}
            "files" if compat == Compat::GoAuth => {}
            "files" => errors.push(about(
                "files is not offered; use Mosquitto's own password_file with local_users_file, and \
                 acl_file with local_users_acl defer"
                    .to_owned(),
            )),
            other => errors.push(about(match instead(other) {
                Some(instead) => {
                    format!("{other} is not offered; {instead} (docs/migrating.md)")
                }
                None => format!("{:?} is not known; allowed: files, http", shown(other)),
            })),
        }
    }
    if !has("files") || compat != Compat::GoAuth {
        return errors;
    }
    let hasher = given.files_hasher.as_ref().or(given.hasher.as_ref());
    if let Some((option, hasher)) =
        hasher.filter(|(_, hasher)| matches!(&**hasher, "bcrypt" | "argon2id"))
    {
        let text = format!(
            "option {option}: {hasher} is not offered; allowed: pbkdf2, which pw -h pbkdf2 writes, or \
             let the API know these passwords"
        );
        errors.push(ConfigError::about(option, text));
    }
    let asks_for_passwords =
        given.register.as_ref().is_some_and(|kinds| kinds.contains(&Kind::Login));
    if asks_for_passwords && given.passwords.is_none() {
        let text = "option files_register has user in it, which needs files_password_path";
        errors.push(ConfigError::about("files_register", text.to_owned()));
    }
    errors
}

fn shown(name: &str) -> String {
    name.chars().take(40).collect()
}
