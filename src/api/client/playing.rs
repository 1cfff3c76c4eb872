//! A client whose connections are played, for a fuzzer: all of the way from the bytes that arrive to an answer.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};

use ureq::Agent;

use super::{Client, Link, hardened, headers, settings};
use crate::answer::Failure;
use crate::api::connector::Unresolved;
use crate::api::played::{Play, Played};
use crate::clock::Clock;
use crate::config::Config;

/// Asks a server that is played.
pub(crate) struct PlayedClient(Client);

impl PlayedClient {
    #[must_use]
    pub(crate) fn new(config: &Config, clock: Arc<dyn Clock>, played: Played) -> Self {
        let agent = |played, idle| {
            let settings = settings(config, &config.credentials, idle);
            Agent::with_parts(settings, hardened(Play::new(played)), Unresolved)
        };
        let elsewhere = Played { first: None, ..played };
        let (agent, fresh) = (agent(played, 1), agent(elsewhere, 0));
        let link = Link { agent, fresh, headers: headers(&config.credentials.headers) };
        let client = Client {
            link: Mutex::new(Some(link)),
            config: config.clone(),
            clock,
            observed: false,
            has_answered: false.into(),
        };
        Self(client)
    }

    /// The status of the answer, and the body, where it may say something.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn ask(&self, body: &[u8]) -> Result<(u16, Option<Vec<u8>>), Failure> {
        let response = self.0.ask("http://127.0.0.1/user", body, None)?;
        Ok((response.status, response.body))
    }

    /// The status of the answer to events.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn tell(&self, body: &[u8]) -> Result<u16, Failure> {
        self.0.tell("http://127.0.0.1/events", body, None)
    }
}
