//! Questions on their way to a worker.

#![forbid(unsafe_code)]

use crate::api::Request;
use crate::cache::{Key, Subject};
use crate::memory::MemoryPermit;
use crate::question::{Question, SharedName};

/// A question on its way to a worker, and where its answer goes.
pub(crate) struct Job {
    pub key: Key,
    pub request: Request,
    /// Under which its answer is shared with other brokers.
    pub shared: Option<SharedName>,
    /// What of it invalidations look at; only where others may know the answer.
    pub subject: Option<OwnedSubject>,
    pub(crate) consult: Consult,
    #[expect(dead_code, reason = "it is counted for as long as it is there")]
    pub permit: MemoryPermit,
}

/// Whether an answer will do that another broker was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Consult {
    /// Any that is alive.
    Others,
    /// One that need not be asked for again soon.
    ForYounger,
    /// None: somebody wants to know what the API says now.
    TheApi,
}

/// A [`Subject`] on its way to a worker.
pub(crate) struct OwnedSubject {
    client_id: String,
    username: String,
    topic: Option<String>,
}

impl OwnedSubject {
    pub(crate) fn of(question: &Question<'_>) -> Self {
        let Subject { client_id, username, topic } = Subject::of(question);
        Self {
            client_id: client_id.to_owned(),
            username: username.to_owned(),
            topic: topic.map(str::to_owned),
        }
    }
}

impl Job {
    /// What others are to be asked about it; none: nothing.
    pub(crate) fn wanted(&self) -> Option<(&SharedName, Subject<'_>)> {
        let OwnedSubject { client_id, username, topic } = self.subject.as_ref()?;
        let topic = topic.as_deref();
        Some((self.shared.as_ref()?, Subject { client_id, username, topic }))
    }
}
