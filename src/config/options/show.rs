//! Shows values that are in force as one would give them.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::config::{Config, Endpoint, without_query};
use crate::field::Field;
use crate::question::Kind;
use crate::secret::Secret;

use super::plain_values::KINDS;

pub(crate) fn seconds(duration: Duration) -> Option<String> {
    Some(duration.as_secs().to_string())
}

pub(crate) fn millis(duration: Duration) -> Option<String> {
    Some(duration.as_millis().to_string())
}

/// A number of bytes in the largest binary unit (IEC 80000-13) that fits.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, size)| bytes >= *size && bytes % size == 0) {
        Some((unit, size)) => format!("{} {unit}", bytes / size),
        None => bytes.to_string(),
    }
}

/// The word that an option has for this value.
pub(crate) fn word<T: Copy + PartialEq>(words: &[(&str, T)], value: T) -> Option<String> {
    words.iter().find(|(_, known)| *known == value).map(|(word, _)| (*word).to_owned())
}

/// Its query is the operator's own, and may hold a key.
pub(crate) fn route(route: Option<&str>) -> Option<String> {
    route.map(|route| without_query(route).into_owned())
}

/// Every host with its port.
pub(crate) fn hosts(config: &Config) -> String {
    let host = |endpoint: &Endpoint| {
        let Endpoint { host, port } = endpoint;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    };
    config.endpoints.iter().map(host).collect::<Vec<_>>().join(", ")
}

/// The fields that were added to those that are always sent.
pub(crate) fn fields(config: &Config, kind: Kind) -> Option<String> {
    let always = [Field::Username, Field::Password, Field::Topic, Field::Acc];
    let is_extra = |field: &&Field| {
        !always.contains(field) && (kind == Kind::Login || **field != Field::ClientId)
    };
    let names: Vec<_> = config.fields.of(kind).iter().filter(is_extra).map(|f| f.name()).collect();
    (!names.is_empty()).then(|| names.join(","))
}

/// Kinds of answers, as `fleet_share` names them.
pub(crate) fn kinds(kinds: &[Kind]) -> String {
    if kinds.is_empty() {
        return "none".to_owned();
    }
    let names = KINDS.iter().filter(|(_, kind)| kinds.contains(kind)).map(|(name, _)| *name);
    names.collect::<Vec<_>>().join(",")
}

/// Where a secret comes from.
pub(crate) fn source(secret: &Secret) -> String {
    match String::from_utf8_lossy(secret.expose()).trim() {
        path if path.starts_with('@') => format!("set, from the file {}", &path[1..]),
        name if name.starts_with('$') => {
            format!("set, from the environment variable {}", &name[1..])
        }
        _ => "set".to_owned(),
    }
}
