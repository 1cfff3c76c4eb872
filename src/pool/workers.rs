//! The threads of a pool: the numbers that they go by, and what is left of those that have ended.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::thread::JoinHandle;

/// Threads that were started and not joined yet.
#[derive(Default)]
pub(crate) struct Workers {
    /// Of those that work, or are about to.
    numbers: BTreeSet<usize>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// How many work, or are about to.
    pub(crate) fn count(&self) -> usize {
        self.numbers.len()
    }

    /// The first number that is free, which a new worker takes.
    pub(crate) fn enlist(&mut self) -> usize {
        let free = (1..).zip(&self.numbers).find(|(number, taken)| number != *taken);
        let number = free.map_or(self.numbers.len() + 1, |(number, _)| number);
        self.numbers.insert(number);
        number
    }

    /// The worker of this number ends, or could not be started.
    pub(crate) fn dismiss(&mut self, number: usize) {
        self.numbers.remove(&number);
    }

    /// Keeps a thread, for joining it. Returns those that have ended, which joining does not keep
    /// anybody waiting for.
    pub(crate) fn keep(&mut self, thread: JoinHandle<()>) -> Vec<JoinHandle<()>> {
        let threads = self.take_threads().into_iter().chain([thread]);
        let (ended, others) = threads.partition(JoinHandle::is_finished);
        self.threads = others;
        ended
    }

    /// All threads that were not joined yet.
    pub(crate) fn take_threads(&mut self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawn(body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        std::thread::Builder::new().spawn(body).unwrap()
    }

    #[test]
    fn a_number_is_free_again_once_its_worker_has_ended() {
        let mut workers = Workers::default();
        assert_eq!([(); 3].map(|()| workers.enlist()), [1, 2, 3]);
        workers.dismiss(2);
        assert_eq!(workers.count(), 2);
        assert_eq!([(); 2].map(|()| workers.enlist()), [2, 4]);
        workers.dismiss(1);
        assert_eq!(workers.enlist(), 1);
    }

    #[test]
    fn threads_that_have_ended_are_given_back_for_joining() {
        let mut workers = Workers::default();
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let at_work = spawn(move || {
            let _ = gate.recv();
        });
        assert!(workers.keep(at_work).is_empty());
        let ended = spawn(|| {});
        while !ended.is_finished() {
            std::thread::yield_now();
        }
        assert_eq!(workers.keep(ended).len(), 1);
        drop(release);
        assert_eq!(workers.take_threads().len(), 1);
    }
}
