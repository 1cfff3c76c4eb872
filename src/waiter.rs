//! Waits for answers, for as long as the broker may be held up, and says what bounded that.

#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::answer::{Failure, Outcome};
use crate::block_budget::{BlockBudget, Bound, CLIENT_BURST, Payer};
use crate::clock::Clock;
use crate::config::Config;
use crate::pool::Asked;
use crate::stats::Stats;
use crate::trace::TraceId;

/// Waits for answers on the broker's thread.
pub(crate) struct Waiter {
    config: Arc<Config>,
    block_budget: BlockBudget,
}

/// What came of waiting.
pub(crate) struct Waited {
    pub outcome: Outcome,
    pub bound: Bound,
    /// The trace id of the request that was waited for, if it has one and was sent.
    pub trace: Option<TraceId>,
}

impl Waiter {
    #[must_use]
    pub(crate) fn new(config: &Arc<Config>, clock: &Arc<dyn Clock>, stats: &Arc<Stats>) -> Self {
        let (longest, percent) = (config.max_block, config.max_block_percent);
        let (clock, stats) = (Arc::clone(clock), Arc::clone(stats));
        let block_budget = BlockBudget::new(longest, percent, clock, stats);
        Self { config: Arc::clone(config), block_budget }
    }

    /// Waits for the answer for as long as the payer may hold up the broker.
    pub(crate) fn wait(&self, asked: &mut Asked, payer: Payer<'_>) -> Waited {
        let trace = if self.config.trace { asked.trace_of() } else { None };
        let (outcome, bound) = self.block_budget.wait(asked, payer);
        Waited { outcome, bound, trace: trace.and_then(|trace| trace.get()) }
    }

    /// Why there is no answer, for a line of the log.
    pub(crate) fn in_words(&self, failure: &Failure, bound: Bound) -> String {
        match failure {
            Failure::NotYet => {
                let bound = self.bound_in_words(bound);
                format!("the API took longer than the broker may be held up ({bound})")
            }
            Failure::Overloaded => {
                "more questions wait for the API than the queue holds".to_owned()
            }
            _ => "a question was not asked because of an internal error".to_owned(),
        }
    }

    /// Which option bounds the wait, for a line of the log.
    pub(crate) fn bound_in_words(&self, bound: Bound) -> String {
        match bound {
            Bound::Question => format!("max_block_ms {}", self.config.max_block.as_millis()),
            Bound::Share => format!("max_block_percent {}", self.config.max_block_percent),
            Bound::Client => format!("{} s for each client", CLIENT_BURST.as_secs()),
        }
    }

    /// Where questions go, for a line of the log.
    pub(crate) fn hosts(&self) -> String {
        let https = self.config.https;
        let hosts: Vec<_> = self.config.endpoints.iter().map(|e| e.origin(https)).collect();
        hosts.join(", ")
    }
}
