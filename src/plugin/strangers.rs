//! What one client is denied ends nothing that is known of the others.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::gates::{begin, check, connected, recalls};
use super::{AccessReply, HostCapabilities, Plugin};
use crate::api::fuzzing::{Response, simulate};
use crate::clock::ManualClock;
use crate::fake::{self, FakeBroker, FakeClient};
use crate::question::{Access, Action};

const OTHERS: usize = 10_000;
const DENIALS: usize = 1_000;

/// What the others do in turn, and are known to be allowed.
const KNOWN: [Action<'static>; 2] = [action(Access::Write, "state"), action(Access::Read, "news")];

const fn action(access: Access, topic: &str) -> Action<'_> {
    Action { access, topic, qos: 0, retain: false }
}

/// A worker that is through with its work before anybody waits for it.
fn spawn(_: String, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    work();
    Err(io::ErrorKind::WouldBlock.into())
}

fn plugin() -> Plugin {
    let options = [
        ("http_host", "127.0.0.1"),
        ("http_user_route", "/user"),
        ("http_acl_route", "/acl"),
        ("cache_ttl", "3600"),
    ];
    let config = fake::config(&options);
    Plugin::start(config, ManualClock::new(), HostCapabilities::of(false, spawn)).unwrap()
}

fn may(plugin: &Plugin, client: &FakeClient, action: Action<'_>) -> bool {
    plugin.access(&check(&FakeBroker::default(), client, Some(&*client.id), action))
        == AccessReply::Allow
}

#[test]
fn the_first_denials_of_a_stranger_end_nothing_that_is_known_of_ten_thousand_others() {
    let asked = Rc::new(Cell::new([0; 2]));
    let asking = Rc::clone(&asked);
    // It denies the stranger everything, and counts what it is asked about the stranger and about others.
    simulate(Some(Rc::new(move |_: &str, body: &[u8]| {
        let is_strange = String::from_utf8_lossy(body).contains("stranger");
        let [strange, other] = asking.get();
        asking.set(if is_strange { [strange + 1, other] } else { [strange, other + 1] });
        Ok(Response::of(if is_strange { 403 } else { 200 }, b""))
    })));
    let plugin = plugin();
    let others = (0..OTHERS).map(|number| connected(number + 1, &format!("other-{number}")));
    let others: Vec<_> = others.collect();
    let stranger = connected(OTHERS + 1, "stranger");
    let enter = |client: &FakeClient| begin(&plugin, client, &client.id, &Arc::default());
    let known = || others.iter().zip(KNOWN.into_iter().cycle());
    for (other, action) in known() {
        enter(other);
        // The second time it is found in the cache, and remembered in the session.
        assert!((0..2).all(|_| may(&plugin, other, action)));
    }
    enter(&stranger);
    assert_eq!(asked.replace([0; 2]), [0, OTHERS]);
    for (number, (other, known)) in known().enumerate() {
        if number % (OTHERS / DENIALS) == 0 {
            let topic = format!("secret/{number}");
            assert!(!may(&plugin, &stranger, action(Access::Write, &topic)));
        }
        assert!(recalls(&plugin, other, &other.id, known));
    }
    let recalled = |(other, action): (&FakeClient, _)| recalls(&plugin, other, &other.id, action);
    // Every session remembers it still.
    assert!(known().all(recalled));
    plugin.services.sessions.forget_allowed();
    assert!(!known().any(recalled));
    let allowed = |(other, action)| may(&plugin, other, action);
    // And every answer is in the cache.
    assert!(known().all(allowed));
    assert_eq!(asked.get(), [DENIALS, 0]);
    simulate(None);
}
