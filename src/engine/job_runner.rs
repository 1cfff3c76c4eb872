//! What the workers do with a job: ask the API, keep what it says, tell those who wait.

#![forbid(unsafe_code)]

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::job::{Consult, Job};
use super::recent_failures::RecentFailures;
use crate::answer::{Answer, Failure, Freshness};
use crate::api::{Api, Reply, Sign};
use crate::cache::{Cache, Key};
use crate::clock::Clock;
use crate::failpoint;
use crate::fleet::{self, Fleet};
use crate::pool::Completion;
use crate::trace::TraceId;

type Jobs<'a> = Vec<(Job, Completion<'a>)>;

/// When the API was asked.
#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    /// The same for other brokers; none: they are not told.
    for_others: Option<fleet::Asked>,
}

/// What the workers share.
pub(crate) struct JobRunner {
    pub api: Arc<Api>,
    pub cache: Arc<Cache>,
    pub(crate) recent_failures: Arc<RecentFailures>,
    pub fleet: Option<Arc<Fleet>>,
    pub clock: Arc<dyn Clock>,
    /// Is told of every answer, before anyone who waits for it is.
    pub heard: Arc<OnceLock<Heard>>,
}

/// Is told which question was answered, and when it was asked.
pub(crate) type Heard = Box<dyn Fn(&Key, Instant) + Send + Sync>;

impl JobRunner {
    /// A worker's job, or several in one request. Each answer is in the cache before anyone who
    /// waits for it hears of it, so that whoever asks from then on finds it there. When nobody
    /// waits any more, the same question serves to see whether a host that was out of service is
    /// back.
    pub(crate) fn run_jobs(&self, jobs: Vec<(Job, Completion<'_>)>) {
        failpoint::reached("worker");
        let jobs = match &self.fleet {
            Some(fleet) => self.answer_from(fleet, jobs),
            None => jobs,
        };
        let (jobs, completions): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
        let Some(job) = jobs.first() else { return };
        let trace = self.api.new_trace();
        self.ask(&jobs, completions, trace);
        self.api.probe(&job.request, self.recent_failures.has(&job.key), trace);
    }

    /// Asks these questions in one request, and completes them.
    fn ask(&self, jobs: &[Job], mut completions: Vec<Completion<'_>>, trace: Option<TraceId>) {
        let asked = self.asked();
        if let Some(trace) = trace {
            completions.iter().for_each(|completion| completion.note_trace(trace));
        }
        match self.ask_api(jobs, trace) {
            Ok(replies) => {
                failpoint::reached("answer");
                for ((job, completion), reply) in jobs.iter().zip(completions).zip(replies) {
                    self.answer(job, completion, reply, asked);
                }
            }
            // An API that refuses or fails to answer a batch, for its size or for one of the questions
            // in it, has said nothing about the others.
            Err(failure) if jobs.len() > 1 && may_answer_half(&failure) => {
                let second_half = completions.split_off(jobs.len() / 2);
                let (first, second) = jobs.split_at(jobs.len() / 2);
                self.ask(first, completions, trace);
                self.ask(second, second_half, trace);
            }
            Err(failure) => {
                for (job, completion) in jobs.iter().zip(completions) {
                    self.fail(job, completion, failure.clone());
                }
            }
        }
    }

    fn ask_api(&self, jobs: &[Job], trace: Option<TraceId>) -> Result<Vec<Reply>, Failure> {
        let requests: Vec<_> = jobs.iter().map(|job| &job.request).collect();
        let failed_before = jobs.iter().any(|job| self.recent_failures.has(&job.key));
        self.api.ask(&requests, failed_before, trace)
    }

    /// Tells everybody who waits. An answer that the API lets nobody keep is for one of them, as a
    /// one-time password is good for one login (RFC 9111, section 4, shares only what may be
    /// stored): for each of the others the question is asked anew.
    fn answer(&self, job: &Job, mut completion: Completion<'_>, reply: Reply, asked: Asked) {
        let (mut reply, mut asked) = (reply, asked);
        loop {
            let is_for_one = reply.freshness.lifetime.is_some_and(|lifetime| lifetime.is_zero());
            let answer = self.keep(job, reply, asked);
            if !is_for_one {
                return completion.complete(Ok(answer));
            }
            let Some(others) = completion.complete_for_one(Ok(answer)) else { return };
            completion = others;
            asked = self.asked();
            let trace = self.api.new_trace();
            trace.iter().for_each(|trace| completion.note_trace(*trace));
            let replies = self.ask_api(std::slice::from_ref(job), trace);
            reply = match replies.map(|mut replies| replies.pop()) {
                Ok(Some(reply)) => reply,
                Ok(None) => return,
                Err(failure) => return self.fail(job, completion, failure),
            };
        }
    }

    fn fail(&self, job: &Job, completion: Completion<'_>, failure: Failure) {
        self.cache.refresh_failed(&job.key);
        self.recent_failures.note(job.key, &failure, self.clock.now());
        completion.complete(Err(failure));
    }

    fn keep(&self, job: &Job, reply: Reply, asked: Asked) -> Answer {
        let Reply { answer, freshness } = reply;
        self.recent_failures.forget(&job.key);
        let kind = job.request.kind;
        self.cache.store_for(job.key, kind, answer.clone(), freshness, asked.at);
        self.tell_of(&job.key, asked.at);
        if let (Some(fleet), Some(name), Some(for_others)) =
            (&self.fleet, &job.shared, asked.for_others)
        {
            fleet.share(name, for_others, &answer, freshness, self.cache.lifetime(kind, &answer));
        }
        answer
    }

    fn asked(&self) -> Asked {
        let for_others = self.fleet.as_ref().and_then(|fleet| fleet.before_asking());
        Asked { at: self.clock.now(), for_others }
    }

    /// Answers these questions as far as other brokers know the answers; the rest comes back.
    fn answer_from<'a>(&self, fleet: &Fleet, jobs: Jobs<'a>) -> Jobs<'a> {
        let wanted: Vec<_> = jobs.iter().filter_map(|(job, _)| job.wanted()).collect();
        if wanted.is_empty() {
            return jobs;
        }
        let asked = self.clock.now();
        let mut found = fleet.look_up(&wanted).into_iter();
        let mut rest = Vec::new();
        for (job, completion) in jobs {
            let found = job.wanted().and_then(|_| found.next()?);
            match found.and_then(|found| self.keep_shared(&job, found, asked)) {
                Some(answer) => completion.complete(Ok(answer)),
                None => rest.push((job, completion)),
            }
        }
        rest
    }

    /// Keeps what another broker was told, for what is left of its life. None: it is not good enough.
    fn keep_shared(&self, job: &Job, found: fleet::Found, asked: Instant) -> Option<Answer> {
        let answer = self.api.read_shared(&found.json)?;
        let kind = job.request.kind;
        let own = self.cache.lifetime(kind, &answer);
        let life = if found.is_given { found.life } else { found.life.min(own) };
        let left = life.checked_sub(found.age).filter(|left| !left.is_zero())?;
        // One that is asked for ahead of its end is replaced by a younger one, or not at all.
        let is_young = found.age < life / 2;
        let ends =
            answer.session_grants.as_ref().and_then(|session_grants| session_grants.expire_at);
        let has_ended = ends.is_some_and(|end| end <= self.clock.unix_time().as_secs());
        if has_ended || (job.consult == Consult::ForYounger && !is_young) {
            return None;
        }
        self.recent_failures.forget(&job.key);
        let freshness = Freshness { lifetime: Some(left), stale: found.stale };
        let found_at = (asked, found.age);
        // This broker may have been told something else since then.
        if !self.cache.store_shared(job.key, kind, answer.clone(), freshness, found_at) {
            return None;
        }
        self.tell_of(&job.key, asked.checked_sub(found.age).unwrap_or(asked));
        Some(answer)
    }

    fn tell_of(&self, key: &Key, asked: Instant) {
        if let Some(heard) = self.heard.get() {
            heard(key, asked);
        }
    }
}

/// Whether an API that failed so may answer half of the questions. One that asks for fewer requests, or for
/// later ones (RFC 6585, section 4; RFC 8470, section 5.2), is not to be sent twice as many at once.
fn may_answer_half(failure: &Failure) -> bool {
    Sign::of(failure) == Sign::There && !matches!(failure, Failure::Status(408 | 425 | 429))
}
