//! Denials that come when the client has been closed already: each is noted once.

#![forbid(unsafe_code)]

use std::rc::Rc;

use super::{Attempt, HostCapabilities, LoginReply, Plugin};
use crate::answer::Decision;
use crate::api::fuzzing::{Response, simulate};
use crate::clock::ManualClock;
use crate::fake::{self, FakeBroker, FakeClient};

const DENIED: LoginReply = LoginReply::Now(Decision::Deny);
const CLOSED: LoginReply = LoginReply::Now(Decision::Unavailable);

/// The API denies whatever workers ask.
fn deny() {
    simulate(Some(Rc::new(|_: &str, _: &[u8]| Ok(Response::of(403, b"")))));
    fake::work_all();
    simulate(None);
}

/// A plugin whose API denies every login, and takes longer than the broker waits.
struct Slow {
    plugin: Plugin,
    broker: FakeBroker,
}

impl Slow {
    fn new(cache_ttl: &str) -> Self {
        let options = [
            ("http_host", "127.0.0.1"),
            ("http_user_route", "/user"),
            ("max_block_ms", "1"),
            ("login_failures_max", "4"),
            ("cache_ttl", cache_ttl),
        ];
        let config = fake::config(&options);
        let capabilities = HostCapabilities::of(false, fake::spawn);
        let plugin = Plugin::start(config, ManualClock::new(), capabilities).unwrap();
        let slow = Self { plugin, broker: FakeBroker::default() };
        slow.plugin.tick(&slow.broker);
        slow
    }

    fn guess_from(&self, address: &str, password: &[u8], is_http: bool) -> LoginReply {
        let client = FakeClient { address: Some(address.to_owned()), ..FakeClient::default() };
        self.plugin.login(&Attempt {
            client: &client,
            username: Some("ann"),
            password,
            broker: (!is_http).then_some(&self.broker as _),
        })
    }

    fn guess(&self, password: &[u8]) -> LoginReply {
        self.guess_from("192.0.2.7", password, false)
    }

    /// The API answers, and the broker looks up; how many denials have been noted by then.
    fn denials(&self) -> u64 {
        deny();
        self.plugin.tick(&self.broker);
        self.plugin.services.stats.counts().denied_logins.iter().map(|(_, count)| count).sum()
    }
}

#[test]
fn a_denial_that_comes_late_is_noted_once_though_the_guess_is_tried_again() {
    for cache_ttl in ["0", "30"] {
        let slow = Slow::new(cache_ttl);
        assert_eq!((slow.guess(b"one"), slow.denials()), (CLOSED, 1));
        // The same denial.
        assert_eq!((slow.guess(b"one"), slow.denials()), (DENIED, 1));
        // Another guess, tried again while the answer is on its way.
        assert_eq!([(); 3].map(|()| slow.guess(b"two")), [CLOSED; 3]);
        assert_eq!((slow.denials(), slow.guess(b"two"), slow.denials()), (2, DENIED, 2));
        slow.plugin.shut_down();
    }
}

#[test]
fn it_counts_for_the_lockout_of_the_address_that_it_came_from() {
    let slow = Slow::new("0");
    for (number, password) in [b"1", b"2", b"3", b"4"].into_iter().enumerate() {
        assert_eq!((slow.guess(password), slow.denials()), (CLOSED, number as u64 + 1));
    }
    // Unasked.
    assert_eq!(slow.guess(b"5"), DENIED);
    assert_eq!(slow.denials(), 5);
    let elsewhere = || slow.guess_from("192.0.2.8", b"1", false);
    // What is kept is another's denial.
    assert_eq!((elsewhere(), slow.denials()), (DENIED, 6));
    slow.plugin.shut_down();
}

#[test]
fn those_that_come_in_a_pass_of_the_broker_count_for_the_next_login_in_it() {
    let slow = Slow::new("0");
    assert_eq!([b"1", b"2", b"3", b"4"].map(|guess| slow.guess(guess)), [CLOSED; 4]);
    deny();
    assert_eq!(slow.guess(b"5"), DENIED);
    assert_eq!(slow.denials(), 5);
    slow.plugin.shut_down();
}

#[test]
fn those_at_the_brokers_http_api_count_as_well() {
    let slow = Slow::new("0");
    let guess = |password| slow.guess_from("", password, true);
    for (number, password) in [b"1", b"2", b"3", b"4"].into_iter().enumerate() {
        assert_eq!((guess(password), slow.denials()), (CLOSED, number as u64 + 1));
    }
    assert_eq!((guess(b"5"), slow.denials()), (DENIED, 5));
    slow.plugin.shut_down();
}
