//! What is asked before anybody asks for it, and what is on its way.

#![forbid(unsafe_code)]

use super::Engine;
use super::job::Consult;
use crate::cache::Key;
use crate::pool::Pending;
use crate::question::Question;

impl Engine {
    /// Has the questions among these whose answers are not known asked at once: somebody is about
    /// to ask for them, one after another. Does nothing while the API is out of service, nor for questions
    /// that are left alone since they failed.
    pub(crate) fn ask_ahead<'a>(&self, questions: impl Iterator<Item = Question<'a>>) {
        if !self.asker.api.in_service() {
            return;
        }
        self.asker.pool.ask_ahead(questions.filter_map(|question| {
            let key = self.key(&question);
            let unknown = !self.cache.knows(&key, &question)
                && self.asker.recent_failures.back_off(&key, self.asker.clock.now()).is_none();
            (unknown && self.has_room_for(&question))
                .then(|| (key, self.job(key, &question, Consult::Others)))
        }));
    }

    /// Whether answers about topics are kept, so that it is worth asking for them ahead.
    #[must_use]
    pub(crate) fn keeps_access_answers(&self) -> bool {
        self.cache.keeps_access_answers()
    }

    /// The pending for an answer that is on its way.
    #[must_use]
    pub(crate) fn join(&self, key: &Key) -> Option<Pending> {
        self.asker.pool.join(key)
    }

    /// Whether the answer is on its way.
    #[must_use]
    pub(crate) fn is_under_way(&self, key: &Key) -> bool {
        self.asker.pool.is_under_way(key)
    }
}
