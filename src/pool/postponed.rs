//! An outcome that is known, and told later.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};

use super::Pending;
use super::in_flight::{Completion, InFlight};
use crate::answer::Outcome;
use crate::sync::lock;

/// Completes its `InFlight` once nobody holds this any more, or sooner if it is told to.
pub(crate) struct Postponed(Mutex<Option<(Completion<'static>, Outcome)>>);

impl Postponed {
    /// The pending for this outcome, and what keeps it back.
    #[must_use]
    pub(crate) fn new(outcome: Outcome) -> (Pending, Arc<Self>) {
        let in_flight = Arc::new(InFlight::default());
        let pending = Pending::new(Arc::clone(&in_flight));
        (pending, Arc::new(Self(Mutex::new(Some((Completion::new(in_flight, || ()), outcome))))))
    }

    /// Tells whoever waits.
    pub(crate) fn complete(&self) {
        let kept = lock(&self.0).take();
        if let Some((completion, outcome)) = kept {
            completion.complete(outcome);
        }
    }
}

impl Drop for Postponed {
    fn drop(&mut self) {
        self.complete();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::answer::Answer;

    #[test]
    fn it_completes_once_when_nobody_holds_it_or_when_told_to() {
        for is_told in [false, true] {
            let (pending, postponed) = Postponed::new(Ok(Answer::DENY));
            let (tell, told) = mpsc::channel();
            pending.watch(move |outcome| tell.send(outcome).unwrap());
            let other = Arc::clone(&postponed);
            drop(postponed);
            assert!(told.try_recv().is_err());
            if is_told {
                other.complete();
                assert_eq!(told.recv(), Ok(Ok(Answer::DENY)));
            }
            drop(other);
            assert_eq!(told.try_recv().ok(), (!is_told).then_some(Ok(Answer::DENY)));
        }
    }
}
