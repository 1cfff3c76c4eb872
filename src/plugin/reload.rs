//! What is read again on SIGHUP.

#![forbid(unsafe_code)]

use super::Plugin;
use crate::cache::InvalidationScope;
use crate::config::Material;
use crate::defect;
use crate::sync::lock;

impl Plugin {
    /// SIGHUP: reads certificates, secret headers and the local users' file again. Cached answers
    /// stay; each has its lifetime. The broker goes on to ask about every session anew.
    pub fn reload(&self) {
        // First, since a broker that asks about every session must be told of each that it stays.
        self.tick_monitor.reload();
        defect::place("reload");
        self.reload_material();
        self.reload_files();
        let Some(users) = &self.local_users else { return };
        let path = users.path().display();
        match users.reload() {
            Ok(count) => {
                // Who was none may be one now, whatever was recalled for it.
                self.sessions.forget_allowed();
                log::info!(logger: *self.journal, "{path}: {count} local users");
            }
            Err(error) => log::error!(
                logger: *self.journal,
                "option local_users_file: cannot read {path} again ({error}); the names that it \
                 held before stay"
            ),
        }
    }

    /// Reads the files of mosquitto-go-auth's backend again. Whoever of a file has another password now, or
    /// none, is looked at anew.
    fn reload_files(&self) {
        let Some(files) = &self.files else { return };
        match files.reload() {
            Ok(found) => {
                self.tell_of_files(&found);
                for username in found.changed {
                    let username = Some(username);
                    self.invalidate(InvalidationScope { username, ..InvalidationScope::default() });
                }
            }
            Err(mistakes) => {
                for mistake in mistakes {
                    log::error!(logger: *self.journal, "{mistake}; what held before stays");
                }
            }
        }
    }

    fn reload_material(&self) {
        if !self.config.sources.may_change() {
            return;
        }
        match self.config.sources.read() {
            Ok(material) => {
                let mut current = lock(&self.material);
                if *current == material {
                    return;
                }
                if current.token_keys != material.token_keys {
                    log::info!(logger: *self.journal, "the keys that verify tokens have changed");
                }
                let token_keys = current.token_keys.clone();
                if *current != (Material { token_keys, ..material.clone() }) {
                    log::info!(logger: *self.journal, "certificates or secret headers have changed");
                }
                self.engine.renew(&material);
                *current = material;
            }
            Err(mistakes) => {
                for mistake in mistakes {
                    log::error!(logger: *self.journal, "{mistake}; what held before stays");
                }
            }
        }
    }
}
