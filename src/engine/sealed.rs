//! Questions that are kept encrypted, to be asked again while the client is in.

#![forbid(unsafe_code)]

use super::Engine;
use super::job::Consult;
use crate::api::Request;
use crate::cache::Key;
use crate::pool::Pending;
use crate::question::{About, Kind, Question};
use crate::sealed::SealedQuestion;
use crate::secret::Secret;

impl Engine {
    /// The question, for asking it again by [`Engine::ask_sealed`].
    #[must_use]
    pub fn seal(&self, question: &Question<'_>) -> Option<SealedQuestion> {
        let (bearer, shared, request) = match question.about {
            About::Token(token) => {
                let body = Secret::new(token.as_bytes().to_vec());
                (
                    Some(question.username.to_owned()),
                    None,
                    Request { kind: Kind::Login, body, about: String::new(), subject: 0 },
                )
            }
            _ => (None, self.shared_name(question), self.request(question)),
        };
        let Request { kind, body, about, subject } = request;
        let claim = match self.claimed(question) {
            Some(password) => {
                Some((question.username.to_owned(), self.secret_box.seal(&password)?))
            }
            None => None,
        };
        let body = self.secret_box.seal(&body)?;
        Some(SealedQuestion { kind, bearer, claim, body, about, subject, shared })
    }

    /// Has a login asked again in the background, whatever is known of it, and however much memory strangers have:
    /// nobody stays in for want of it. None: it cannot be.
    #[must_use]
    pub(crate) fn ask_sealed(&self, key: Key, question: &SealedQuestion) -> Option<Pending> {
        let SealedQuestion { kind, bearer, claim, body, about, subject, shared } = question;
        let body = self.secret_box.open(body)?;
        if let Some(bearer) = bearer {
            return self.verify_again(key, body, bearer.clone());
        }
        let (about, subject) = (about.clone(), *subject);
        let request = Request { kind: *kind, body, about, subject };
        let job = || self.job_of(key, request, *shared, None, Consult::TheApi);
        match claim {
            Some((username, password)) => {
                let password = self.secret_box.open(password)?;
                self.ask_file_again(key, username, password, job())
            }
            None => self.asker.pool.ask_quietly(&self.in_flight_key(&key), job).ok(),
        }
    }
}
