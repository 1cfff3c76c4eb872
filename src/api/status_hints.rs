//! Statuses by which an API mostly says that the configuration is wrong, though all that the client sees is a no.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

use crate::stats::Route;

/// What has been heard of each route of a host.
#[derive(Default)]
pub(crate) struct StatusHints {
    /// Whether a route has answered anything but the statuses that are a no for everybody.
    is_right: [AtomicBool; Route::ALL.len()],
}

impl StatusHints {
    /// What may be wrong where this route answers with this status; none: nothing is known to be.
    pub(crate) fn hint(&self, route: Route, status: u16) -> Option<&'static str> {
        let is_right = &self.is_right[route as usize];
        // An API may say by these that it does not know somebody.
        if !matches!(status, 401 | 404) {
            is_right.store(true, Ordering::Relaxed);
        }
        match status {
            300..=399 => Some("redirects are not followed: is this the exact path and protocol?"),
            401 if !is_right.load(Ordering::Relaxed) => {
                Some("it has said nothing else on this route: is http_header_Authorization right?")
            }
            404 if !is_right.load(Ordering::Relaxed) => {
                Some("it has said nothing else on this route: is the route right?")
            }
            405 => Some("is http_method right?"),
            415 => Some("is http_params_mode right?"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_no_for_everybody_is_hinted_at_until_the_route_says_something_else() {
        let hints = StatusHints::default();
        let is_hinted = |route, status| hints.hint(route, status).is_some();
        assert!(is_hinted(Route::User, 401) && is_hinted(Route::User, 404));
        assert!(!is_hinted(Route::User, 403) && !is_hinted(Route::User, 404));
        assert!(is_hinted(Route::Acl, 404), "another route");
        assert!(is_hinted(Route::User, 301) && is_hinted(Route::User, 405));
        assert!(!is_hinted(Route::User, 401) && !is_hinted(Route::User, 200));
    }
}
