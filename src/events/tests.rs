//! Events as they wait for the API, where no worker takes them.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::clock::ManualClock;
use crate::fake;

fn events(kinds: &str) -> (Events, Arc<ManualClock>) {
    let given = [
        ("http_host", "127.0.0.1"),
        ("http_user_route", "/user"),
        ("http_event_route", "/events"),
        ("http_events", kinds),
    ];
    let config = fake::config(&given);
    let manual = ManualClock::new();
    let clock: Arc<dyn Clock> = manual.clone();
    let log_queue = LogQueue::new(config.log_level, Arc::clone(&clock));
    let stats = Arc::<Stats>::default();
    let (log, counters, time) = (Arc::clone(&log_queue), Arc::clone(&stats), Arc::clone(&clock));
    let api = Arc::new(Api::new(&config, log, time, counters, None));
    let spawn: Spawn = |_, _| Err(io::Error::other("no thread is to be had"));
    (Events::new(&config, &api, &log_queue, &stats, &clock, spawn), manual)
}

fn client(client_id: &str) -> ClientFacts<'_> {
    let address = Some([192, 0, 2, 7].into());
    ClientFacts { client_id, username: "ann", address, protocol: "mqtt", protocol_version: 5 }
}

/// What waits, in brief.
fn waiting(events: &Events) -> Vec<String> {
    let mut sending = lock(&events.shared.sending);
    let mut all = Vec::new();
    while sending.queue.len() > 0 {
        all.extend(sending.queue.take(usize::MAX));
        sending.queue.finish();
    }
    let brief = |event: &Arc<str>| {
        let event: Value = serde_json::from_str(event).unwrap();
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", text("event"), text("clientid"), text("reason")).trim_end().to_owned()
    };
    all.iter().map(brief).collect()
}

#[test]
fn whom_the_broker_refuses_after_all_never_came() {
    let (events, _) = events("connected,disconnected");
    events.came(1, client("a"), false);
    events.left(1, None);
    events.settle();
    assert_eq!(waiting(&events), [""; 0]);
    events.came(1, client("a"), false);
    events.settle();
    events.left(1, None);
    events.left(1, None);
    assert_eq!(waiting(&events), ["connected a", "disconnected a"]);
}

#[test]
fn who_was_let_in_and_left_at_once_came_and_went() {
    let (events, _) = events("connected,disconnected");
    events.came(1, client("a"), true);
    events.left(1, None);
    events.settle();
    assert_eq!(waiting(&events), ["connected a", "disconnected a"]);
}

#[test]
fn over_a_websocket_a_refusal_may_come_a_while_later() {
    let (events, clock) = events("connected,disconnected");
    let websocket = ClientFacts { protocol: "websockets", ..client("a") };
    events.came(1, websocket, false);
    events.settle();
    events.left(1, None);
    assert_eq!(waiting(&events), [""; 0]);
    events.came(1, websocket, false);
    clock.advance(SETTLED);
    events.settle();
    assert_eq!(waiting(&events), ["connected a"]);
}

#[test]
fn a_broker_that_asks_anew_has_nobody_come_twice() {
    let (events, _) = events("connected,disconnected");
    for _ in 0..2 {
        events.came(1, client("a"), true);
        events.settle();
    }
    assert_eq!(waiting(&events), ["connected a"]);
    assert_eq!(events.list(None, 9).total, 1);
}

#[test]
fn only_what_was_asked_for_is_told() {
    let (events, _) = events("kicked");
    events.connected(1, client("a"));
    events.denied(Denial::Api, client("b"));
    events.kicked(Kick::Command, |client| client.client_id == "a");
    events.left(1, Some(Disconnection::Error));
    assert_eq!(waiting(&events), ["kicked a command"]);
}

#[test]
fn the_end_is_told_of_everybody_however_many() {
    let (events, _) = events("connected,disconnected");
    let most = 12_000;
    for handle in 0..most {
        events.connected(handle, client("a"));
    }
    assert_eq!(waiting(&events).len(), 10_000, "the oldest went");
    events.shut_down();
    assert_eq!(events.waiting(), 0);
    let counted = events.shared.stats.counts().events;
    let counted: Vec<_> = counted.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [("no-room", 2000), ("unsent", most as u64)]);
}

#[test]
fn pages_follow_one_another() {
    let (events, _) = events("connected");
    let ids: Vec<_> = (0..50).map(|number| format!("c{:02}", number * 37 % 50)).collect();
    for (handle, id) in ids.iter().enumerate() {
        events.connected(handle, client(id));
    }
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = events.list(after.as_deref(), 7);
        assert_eq!(page.total, 50);
        listed.extend(page.clients.iter().map(|client| client.client_id.to_string()));
        after = listed.last().cloned();
        if !page.has_more {
            break;
        }
    }
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    assert_eq!(listed, sorted);
}

/// What a broker does.
#[derive(Clone, Debug)]
enum Step {
    Comes {
        handle: usize,
        id: usize,
        is_certain: bool,
    },
    /// As Mosquitto 2.1 says.
    Connects {
        handle: usize,
        id: usize,
    },
    Leaves {
        handle: usize,
    },
    Kicks {
        id: usize,
    },
    Ticks,
}

fn step() -> impl Strategy<Value = Step> {
    let (handle, id) = (0..4_usize, 0..2_usize);
    prop_oneof![
        3 => (handle.clone(), id.clone(), any::<bool>())
            .prop_map(|(handle, id, is_certain)| Step::Comes { handle, id, is_certain }),
        2 => (handle.clone(), id.clone()).prop_map(|(handle, id)| Step::Connects { handle, id }),
        3 => handle.prop_map(|handle| Step::Leaves { handle }),
        1 => id.prop_map(|id| Step::Kicks { id }),
        2 => Just(Step::Ticks),
    ]
}

proptest! {
    /// Whoever keeps a table by the events has the clients in it that are connected.
    #[test]
    fn a_table_made_of_events_is_right(steps in proptest::collection::vec(step(), 0..60)) {
        let (events, _) = events("connected,disconnected,kicked");
        let ids = ["a", "b"];
        for step in steps {
            match step {
                Step::Comes { handle, id, is_certain } => {
                    events.came(handle, client(ids[id]), is_certain);
                }
                Step::Connects { handle, id } => events.connected(handle, client(ids[id])),
                Step::Leaves { handle } => events.left(handle, None),
                Step::Kicks { id } => {
                    events.kicked(Kick::Command, |client| client.client_id == ids[id]);
                }
                Step::Ticks => events.settle(),
            }
        }
        events.settle();
        let mut table = BTreeMap::<String, usize>::new();
        for event in waiting(&events) {
            let words: Vec<_> = event.split(' ').collect();
            let count = table.entry(words[1].to_owned()).or_default();
            match words[0] {
                "connected" => *count += 1,
                "disconnected" => {
                    prop_assert!(*count > 0, "nobody leaves who has not come");
                    *count -= 1;
                }
                _ => prop_assert!(*count > 0, "nobody is kicked who is not there"),
            }
        }
        let mut listed = BTreeMap::<String, usize>::new();
        for client in events.list(None, 99).clients {
            *listed.entry(client.client_id.to_string()).or_default() += 1;
        }
        table.retain(|_, count| *count > 0);
        prop_assert_eq!(table, listed);
    }
}
