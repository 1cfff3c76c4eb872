//! How many events go in one request, and what follows from what the API makes of them.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::back_off::BackOff;
use crate::answer::Failure;
use crate::api::Told;

/// How many events go in one request.
const MOST: usize = 500;

/// What follows for events that were sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    /// The API has them.
    Taken,
    /// The API does not want them, by this status.
    Dropped(u16),
    /// They are sent again, fewer at once.
    Split,
    /// They are sent again after a pause.
    Again(Duration),
}

/// How events are sent.
pub(crate) struct Pace {
    back_off: BackOff,
    most: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { back_off: BackOff::default(), most: MOST }
    }
}

impl Pace {
    /// How many are sent at once.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// The API made this of so many events.
    pub(crate) fn after(&mut self, told: &Result<Told, Failure>, count: usize) -> Then {
        match told {
            Ok(Told::Taken) => {
                self.back_off.end();
                self.most = (self.most * 2).min(MOST);
                Then::Taken
            }
            Ok(Told::Refused(status)) if count > 1 && may_be_for_one(*status) => {
                self.back_off.end();
                self.most = count / 2;
                Then::Split
            }
            Ok(Told::Refused(status)) => {
                self.back_off.end();
                Then::Dropped(*status)
            }
            Err(_) => Then::Again(self.back_off.failed()),
        }
    }
}

/// Whether a refusal may be meant for one of several events, or for how many they are, so that the others
/// are tried without it. Of what is not there, or not allowed, none is taken (RFC 9110, section 15.5).
fn may_be_for_one(status: u16) -> bool {
    !matches!(status, 401 | 403 | 404 | 405 | 407 | 410)
}
