//! mosquitto-go-auth's backend `files`: users with passwords in one file, and what they may do in another.
//!
//! A yes of a file is final. To anything else the API is asked, as mosquitto-go-auth asked the next
//! backend.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::{ConfigError, FilesConfig};
use crate::question::Action;

mod acl;
mod passwords;

use acl::Acl;
use passwords::Passwords;

/// What the files hold.
pub struct Files {
    config: FilesConfig,
    content: RwLock<Arc<Content>>,
}

#[derive(Default)]
struct Content {
    passwords: Passwords,
    acl: Acl,
}

/// What reading the files came to.
#[derive(Default)]
pub struct Found {
    pub users: usize,
    /// Users whose password is not what it was, or who are gone.
    pub changed: Vec<String>,
    /// What of the files does nothing.
    pub remarks: Vec<String>,
}

impl Files {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// A file cannot be read, or an access list is not understood.
    pub(crate) fn read(config: FilesConfig) -> Result<(Self, Found), Vec<ConfigError>> {
        let files = Self { config, content: RwLock::default() };
        let found = files.reload()?;
        Ok((files, found))
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// A file cannot be read, or an access list is not understood. What they held before stays.
    pub fn reload(&self) -> Result<Found, Vec<ConfigError>> {
        let FilesConfig { passwords: passwords_path, acl: acl_path, .. } = &self.config;
        let mut found = Found::default();
        let mut errors = Vec::new();
        let mut content = Content::default();
        if let Some(path) = passwords_path {
            match text("files_password_path", path) {
                Ok(text) => {
                    let (passwords, remarks) = Passwords::parse(&text, self.config.salt);
                    content.passwords = passwords;
                    found.remarks.extend(placed(path, remarks));
                }
                Err(error) => errors.push(error),
            }
        }
        if let Some(path) = acl_path {
            let known = passwords_path.as_ref().map(|_| &content.passwords);
            let read = text("files_acl_path", path).and_then(|text| {
                Acl::parse(&text, known).map_err(|(line, problem)| {
                    let place = format!("{}:{line}", path.display());
                    ConfigError::about(
                        "files_acl_path",
                        format!("option files_acl_path: {place}: {problem}"),
                    )
                })
            });
            match read {
                Ok((acl, remarks)) => {
                    content.acl = acl;
                    found.remarks.extend(placed(path, remarks));
                }
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut current = self.content.write().unwrap_or_else(PoisonError::into_inner);
        found.users = content.passwords.len();
        found.changed = current.passwords.changed_in(&content.passwords);
        *current = Arc::new(content);
        Ok(found)
    }

    fn content(&self) -> Arc<Content> {
        Arc::clone(&self.content.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the files decide about logins.
    #[must_use]
    pub(crate) fn has_passwords(&self) -> bool {
        self.config.passwords.is_some() && self.config.decides_logins
    }

    /// Whether there is a password of this user.
    #[must_use]
    pub fn knows(&self, username: &str) -> bool {
        self.has_passwords() && self.content().passwords.knows(username)
    }

    /// Whether this is the user's password. Takes a tenth of a second of a processor's time: not for the
    /// broker's thread.
    #[must_use]
    pub fn let_in(&self, username: &str, password: &[u8]) -> bool {
        self.has_passwords() && self.content().passwords.let_in(username, password)
    }

    /// Whether the access list allows this; none: there is none, and the API has a say. Without an API a
    /// user may do everything where no list is named.
    #[must_use]
    pub fn allow(&self, username: &str, client_id: &str, action: &Action<'_>) -> Option<bool> {
        let FilesConfig { acl, alone, decides_access, .. } = &self.config;
        match (decides_access, acl) {
            (true, Some(_)) => Some(self.content().acl.allows(username, client_id, action)),
            (true, None) if *alone => Some(true),
            (false, _) if *alone => Some(false),
            _ => None,
        }
    }
}

/// A line, counted from 1, and what of it does nothing.
type Remark = (usize, String);

fn placed(path: &Path, remarks: Vec<Remark>) -> impl Iterator<Item = String> {
    let path = path.display().to_string();
    remarks.into_iter().map(move |(line, remark)| format!("{path}:{line}: {remark}"))
}

fn text(option: &str, path: &Path) -> Result<String, ConfigError> {
    let read = fs::read(path).map_err(|error| {
        ConfigError::value(option, &path.to_string_lossy(), &format!("a readable file ({error})"))
    })?;
    // Names and topics are UTF-8 in MQTT, so that nothing else can be meant.
    Ok(String::from_utf8_lossy(&read).into_owned())
}

/// Reads both files for a fuzzer, and asks them.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(passwords: &str, acl: &str) {
    let (passwords, remarks) = Passwords::parse(passwords, crate::config::SaltEncoding::Base64);
    assert!(remarks.iter().all(|(line, _)| *line > 0));
    if let Ok((acl, _)) = Acl::parse(acl, Some(&passwords)) {
        let action =
            Action { access: crate::question::Access::Write, topic: "a/b", qos: 0, retain: false };
        let _ = acl.allows("ann", "c", &action);
    }
}
