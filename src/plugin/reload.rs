//! What is read again on SIGHUP.

#![forbid(unsafe_code)]

use super::Plugin;
use crate::cache::InvalidationScope;
use crate::config::Credentials;
use crate::failpoint;
use crate::sync::lock;

impl Plugin {
    /// SIGHUP: reads certificates, secret headers and the local users' file again. Cached answers
    /// stay; each has its lifetime. The broker goes on to ask about every session anew.
    pub fn reload(&self) {
        // First, since a broker that asks about every session must be told of each that it stays.
        self.services.tick_monitor.reload();
        self.authenticator.reloads();
        failpoint::reached("reload");
        self.reload_credentials();
        self.reload_files();
        let Some(users) = &self.services.local_users else { return };
        let path = users.path().display();
        match users.reload() {
            Ok(count) => {
                // Who was none may be one now, whatever was recalled for it.
                self.services.sessions.forget_allowed();
                log::info!(logger: *self.services.log_queue, "{path}: {count} local users");
            }
            Err(error) => log::error!(
                logger: *self.services.log_queue,
                "option local_users_file: cannot read {path} again ({error}); the names that it \
                 held before stay"
            ),
        }
    }

    /// Reads the files of mosquitto-go-auth's backend again. Whoever of a file has another password now, or
    /// none, is looked at anew.
    fn reload_files(&self) {
        let Some(files) = &self.services.files else { return };
        match files.reload() {
            Ok(found) => {
                self.tell_of_files(&found);
                for username in found.changed {
                    let username = Some(username);
                    self.invalidate(InvalidationScope { username, ..InvalidationScope::default() });
                }
            }
            Err(errors) => {
                for error in errors {
                    log::error!(logger: *self.services.log_queue, "{error}; what held before stays");
                }
            }
        }
    }

    fn reload_credentials(&self) {
        if !self.services.config.sources.may_change() {
            return;
        }
        match self.services.config.sources.read() {
            Ok(credentials) => {
                let mut current = lock(&self.credentials);
                if *current == credentials {
                    return;
                }
                if current.token_keys != credentials.token_keys {
                    log::info!(logger: *self.services.log_queue, "the keys that verify tokens have changed");
                }
                let token_keys = current.token_keys.clone();
                if *current != (Credentials { token_keys, ..credentials.clone() }) {
                    log::info!(logger: *self.services.log_queue, "certificates or secret headers have changed");
                }
                let never_tried = self.services.engine.renew_token_keys(&credentials.token_keys);
                if let Some(problem) = never_tried {
                    log::warn!(logger: *self.services.log_queue, "{problem}");
                }
                self.services.engine.renew(&credentials);
                *current = credentials;
            }
            Err(errors) => {
                for error in errors {
                    log::error!(logger: *self.services.log_queue, "{error}; what held before stays");
                }
            }
        }
    }
}
