//! The names under which brokers find each other's answers.

#![forbid(unsafe_code)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use zeroize::Zeroizing;

use super::sealing::derive;
use crate::cache::encode;
use crate::config::{Config, FleetConfig};
use crate::field::FieldLists;
use crate::question::{Kind, Question, SharedName};
use crate::secret::Secret;

/// Changes with what an answer is taken to mean, so that two versions of the plugin that read the same
/// response differently share nothing.
const ANSWER_REVISION: u8 = 1;

/// Makes names: a keyed hash of all that an answer depends on.
pub struct Namer {
    key: Zeroizing<[u8; 32]>,
    scope: [u8; 32],
    fields: FieldLists,
}

impl Namer {
    pub fn new(config: &Config, fleet: &FleetConfig, secret: &Secret) -> Self {
        Self {
            key: derive("mosquitto-http-auth fleet 1: names of answers", &fleet.name, secret),
            scope: scope(config, fleet),
            fields: config.fields.clone(),
        }
    }

    pub fn name(&self, question: &Question<'_>) -> SharedName {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&self.scope);
        encode(question, self.fields.of(question.kind()), &mut |bytes| {
            hasher.update(bytes);
        });
        let mut name = [0; 24];
        name.copy_from_slice(&hasher.finalize().as_bytes()[..24]);
        SharedName(name)
    }
}

/// A name as Redis sees it.
pub fn text(name: &SharedName) -> String {
    BASE64.encode(name.0)
}

/// Tells apart brokers that ask differently, and so may be answered differently: by routes, method, modes,
/// fields and the values of all headers. What `fleet_scope` says comes in the place of all this.
fn scope(config: &Config, fleet: &FleetConfig) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    };
    add(&[ANSWER_REVISION]);
    if let Some(scope) = &fleet.scope {
        add(b"given");
        add(scope.as_bytes());
        return *hasher.finalize().as_bytes();
    }
    add(b"digest");
    let dialect = &config.dialect;
    for kind in [Kind::Login, Kind::Superuser, Kind::Access] {
        add(config.routes.of(kind).unwrap_or_default().as_bytes());
        let fields = config.fields.of(kind).iter().map(|field| field.name());
        add(fields.collect::<Vec<_>>().join(",").as_bytes());
        add(dialect.prefix(kind).as_bytes());
    }
    add(config.routes.batch.as_deref().unwrap_or_default().as_bytes());
    let modes = (dialect.compat, dialect.method, dialect.params, dialect.response);
    add(format!("{modes:?} {:?}", config.password_encoding).as_bytes());
    let mut headers: Vec<_> = config.material.headers.iter().collect();
    headers.sort_by_key(|header| header.name.to_ascii_lowercase());
    for header in headers {
        add(header.name.to_ascii_lowercase().as_bytes());
        add(header.value.expose());
    }
    *hasher.finalize().as_bytes()
}
