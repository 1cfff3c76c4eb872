//! While a login waits on Mosquitto 2.1, the broker refuses everybody else under its client identifier.
//! Whoever has no right to an identifier cannot keep it so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mosquitto_test::prelude::*;

const VERSION: Version = Version::V2_1_2;

/// What a client waits before it tries again.
const RETRY: Duration = Duration::from_secs(1);

/// An API that takes this long to say whether the password is `right`.
fn api(takes: Duration) -> AuthServer {
    AuthServer::answering(move |request| {
        thread::sleep(takes);
        Reply::status(if request.json()["password"] == "right" { 200 } else { 403 })
    })
}

fn broker(api: &AuthServer, more: &[(&'static str, &'static str)]) -> Broker {
    let options = [("http_user_route", "/login")].into_iter().chain(more.iter().copied());
    Broker::config(VERSION).plugin(api.options(options)).start()
}

/// One who tries password after password under the owner's identifier, for as long as it lives.
struct Stranger {
    stop: Arc<AtomicBool>,
    /// How often it was denied.
    denials: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

/// How many passwords strangers have tried.
static TRIES: AtomicU32 = AtomicU32::new(0);

impl Stranger {
    fn start(port: u16) -> Stranger {
        let stop = Arc::new(AtomicBool::new(false));
        let denials = Arc::<AtomicU32>::default();
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&denials));
        let body = move || {
            while !stopped.load(Ordering::Relaxed) {
                let mut raw = RawClient::connect_to(port);
                let password = format!("guess {}", TRIES.fetch_add(1, Ordering::Relaxed));
                let (name, password) = (Some(&b"stranger"[..]), Some(password.as_bytes()));
                raw.send(raw::connect_packet(Protocol::V3_1_1, "c", name, password, true));
                match raw.read_connack() {
                    Some(0) => panic!("a wrong password was let in"),
                    Some(_) => drop(counted.fetch_add(1, Ordering::Relaxed)),
                    None => {}
                }
            }
        };
        Stranger { stop, denials, thread: Some(thread::spawn(body)) }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

/// For how many milliseconds strangers may keep an identifier occupied in all.
const OCCUPIED_MS: u64 = 500;

/// Has the owner come several times while strangers try, and each time get in within two tries.
fn expect_the_owner_in_within_two_tries(takes: u64, strangers: usize, is_known: bool) {
    let api = api(Duration::from_millis(takes));
    let ttl = if is_known { "600" } else { "0" };
    let broker = broker(&api, &[("cache_ttl", ttl), ("cache_deny_ttl", "0")]);
    let owner = broker.client("c").credentials("owner", "right");
    if is_known {
        owner.connect().expect_accepted().disconnect();
    }
    let strangers: Vec<_> = (0..strangers).map(|_| Stranger::start(broker.port())).collect();
    // What they may keep the identifier occupied for, before nobody waits there any more, is used up.
    let denials = || strangers.iter().map(|s| u64::from(s.denials.load(Ordering::Relaxed)));
    while denials().sum::<u64>() * takes < 2 * OCCUPIED_MS || denials().any(|count| count == 0) {
        thread::yield_now();
    }
    for round in 0..4 {
        let mut login = owner.connect();
        if !login.is_accepted() {
            thread::sleep(RETRY);
            login = owner.connect();
        }
        assert!(login.is_accepted(), "round {round}: the owner is kept out");
        login.expect_accepted().disconnect();
    }
    drop(strangers);
}

#[test]
fn an_owner_gets_in_beside_one_stranger() {
    for takes in [20, 200] {
        for is_known in [true, false] {
            expect_the_owner_in_within_two_tries(takes, 1, is_known);
        }
    }
}

#[test]
fn an_owner_gets_in_beside_three_strangers() {
    for takes in [20, 200] {
        for is_known in [true, false] {
            expect_the_owner_in_within_two_tries(takes, 3, is_known);
        }
    }
}
