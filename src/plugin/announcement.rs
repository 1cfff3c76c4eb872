//! What the plugin says when it starts.

#![forbid(unsafe_code)]

use super::Plugin;
use crate::policy::OnError;
use crate::question::Kind;
use crate::services::Services;

impl Plugin {
    /// Says at the start what is in force, and what may not be meant.
    pub(super) fn announce(&self) {
        let version = env!("CARGO_PKG_VERSION");
        log::info!(logger: *self.services.log_queue, "version {version}, {}", self.services.config);
        for warning in &self.services.config.warnings {
            log::warn!(logger: *self.services.log_queue, "{warning}");
        }
        if self.services.config.https && !self.services.config.tls_verify {
            log::warn!(
                logger: *self.services.log_queue,
                "the API's certificate is not verified: whoever is between the broker and the API \
                 can read every password and answer every question"
            );
        }
        if self.services.config.on_error == OnError::Allow {
            log::warn!(
                logger: *self.services.log_queue,
                "on_error allow: while the API fails, everyone may log in and do everything"
            );
        }
        if let Some(address) = self.services.config.metrics_listen {
            log::info!(logger: *self.services.log_queue, "metrics are at http://{address}/metrics");
            if !address.ip().is_loopback() {
                log::warn!(
                    logger: *self.services.log_queue,
                    "metrics_listen {address}: whoever reaches this address can read the metrics, \
                     without a password and unencrypted"
                );
            }
        }
        if self.sys_topics.is_taken() {
            log::info!(
                logger: *self.services.log_queue,
                "nothing is published below $SYS/broker/http-auth: another instance does"
            );
        }
        for line in self.left_to_the_broker() {
            log::info!(logger: *self.services.log_queue, "{line}");
        }
    }

    /// What the broker's other means decide. The broker does not tell a plugin whether there are any, and
    /// denies everything where there are none.
    fn left_to_the_broker(&self) -> impl Iterator<Item = &'static str> {
        let Services { config, files, .. } = &self.services;
        let knows_logins = config.routes.of(Kind::Login).is_some()
            || config.tokens().is_some()
            || files.as_ref().is_some_and(|files| files.has_passwords());
        let knows_topics = config.routes.of(Kind::Access).is_some()
            || config.files.as_ref().is_some_and(|files| files.acl.is_some());
        let logins = "http_user_route is unset: logins are left to password_file or another plugin, and \
                      Mosquitto refuses every username where there is neither";
        let topics = "http_acl_route is unset: without rules in a login's answer, topics are left to acl_file \
                      or another plugin, and Mosquitto denies them where there is neither";
        [(knows_logins, logins), (knows_topics, topics)]
            .into_iter()
            .filter_map(|(is_known, line)| (!is_known).then_some(line))
    }
}
