//! How long to wait before what failed is tried again.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::random;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// Pauses that grow from one failure to the next.
#[derive(Default)]
pub(crate) struct BackOff {
    failures: u32,
}

impl BackOff {
    /// It failed once more; the pause. Chance takes up to half of it away, so that brokers that failed
    /// together do not come back together.
    pub(crate) fn failed(&mut self) -> Duration {
        let pause = FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        pause.mul_f64(1.0 - random::fraction() / 2.0)
    }

    /// It works again.
    pub(crate) fn end(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_begin_anew() {
        let mut back_off = BackOff::default();
        let mut expected = FIRST;
        for _ in 0..100 {
            let pause = back_off.failed();
            assert!(pause <= expected && pause >= expected / 2, "{pause:?} {expected:?}");
            expected = (expected * 2).min(LONGEST);
        }
        back_off.end();
        assert!(back_off.failed() <= FIRST);
    }
}
