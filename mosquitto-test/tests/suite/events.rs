//! The API is told who comes and goes: in order, at least once, and nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mosquitto_test::prelude::*;
use mosquitto_test::watch::PATIENCE;
use serde_json::{Value, json};

use crate::control::{RESPONSES, command};
use crate::support::{
    PASSWORD, ROUTES, eventually, instance_for_each, log_in, logged_in, saying, unix_time, vanish,
};

pub const ROUTE: (&str, &str) = ("http_event_route", "/events");
const ALL: (&str, &str) = ("http_events", "connected,disconnected,login_denied,kicked");

fn broker(version: Version, api: &AuthServer, more: &[(&str, &str)]) -> Broker {
    let options = api.options([&ROUTES, &[ROUTE][..], more].concat());
    Broker::config(version).plugin(options).start()
}

/// Everything that the API was told, in order, as often as it was told; and in no more than it may be told.
pub fn told(api: &AuthServer) -> Vec<Value> {
    let mut events = Vec::new();
    for request in api.requests_to("/events") {
        assert!(!request.text().contains(PASSWORD), "{}", request.text());
        let body = request.json();
        let some = body["events"].as_array().unwrap().clone();
        assert!((1..=500).contains(&some.len()) && body.as_object().unwrap().len() == 1);
        events.extend(some);
    }
    for event in &events {
        let keys: Vec<_> = event.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = [
            "event",
            "at",
            "username",
            "clientid",
            "peerhost",
            "protocol",
            "protocol_version",
            "reason",
        ];
        expected.sort_unstable();
        assert_eq!(keys, expected);
    }
    events
}

/// What an event says in brief: `connected c`, or `disconnected c (kicked)`.
fn brief(event: &Value) -> String {
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let reason = event["reason"].as_str().map(|reason| format!(" ({reason})"));
    format!("{} {}{}", text("event"), text("clientid"), reason.unwrap_or_default())
}

fn briefs(api: &AuthServer) -> Vec<String> {
    told(api).iter().map(brief).collect()
}

/// Waits until the API was told exactly this.
#[track_caller]
fn expect(api: &AuthServer, expected: &[&str]) {
    let started = std::time::Instant::now();
    while briefs(api).len() < expected.len() && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(briefs(api), expected);
}

/// A reason that Mosquitto 2.0 does not know.
fn known(version: Version, event: &str, reason: &str) -> String {
    if version.is_2_1() { format!("{event} ({reason})") } else { event.to_owned() }
}

on_every_broker! {
    fn who_comes_and_goes_is_told_in_order(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[]);
        let ann = logged_in(&broker, Protocol::V3_1_1, "ann");
        let ben = logged_in(&broker, Protocol::V5, "ben");
        let mark = broker.log_mark();
        ann.disconnect();
        broker.wait_for_log_after(mark, "Client ann ");
        vanish(&broker, "ben", ben);
        let left = known(version, "disconnected ann", "client");
        let lost = known(version, "disconnected ben", "connection-lost");
        expect(&api, &["connected ann", "connected ben", &left, &lost]);
        let first = &told(&api)[0];
        assert_eq!(
            (&first["username"], &first["peerhost"], &first["protocol"], &first["protocol_version"]),
            (&json!("ann"), &json!("127.0.0.1"), &json!("mqtt"), &json!(4))
        );
        assert_eq!((&first["reason"], &told(&api)[1]["protocol_version"]), (&Value::Null, &json!(5)));
        let at = first["at"].as_f64().unwrap();
        assert!((at - unix_time() as f64).abs() < 120.0, "{at}");
        let request = &api.requests_to("/events")[0];
        assert_eq!(request.method, "POST");
        assert_eq!(request.header("content-type"), Some("application/json"));
    }

    fn without_a_route_nothing_is_told(version) {
        let api = AuthServer::start();
        let broker = Broker::config(version).plugin(api.options(ROUTES)).start();
        logged_in(&broker, Protocol::V5, "ann").disconnect();
        broker.wait_until_idle();
        assert!(api.requests().iter().all(|request| request.path == "/user"));
    }

    fn who_takes_over_comes_after_the_other_has_left(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[]);
        let first = logged_in(&broker, Protocol::V5, "ann");
        let _second = logged_in(&broker, Protocol::V5, "ann");
        first.wait_disconnected();
        expect(&api, &["connected ann", "disconnected ann (taken-over)", "connected ann"]);
    }

    fn a_kept_session_comes_and_goes_as_others_do(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[]);
        let connect = || {
            let builder = broker.client("c").protocol(Protocol::V3_1_1).clean(false);
            builder.credentials("ann", PASSWORD).connect().expect_accepted()
        };
        for _ in 0..2 {
            let client = connect();
            client.subscribe("a").expect_granted();
            vanish(&broker, "c", client);
        }
        let lost = known(version, "disconnected c", "connection-lost");
        expect(&api, &["connected c", &lost, "connected c", &lost]);
    }

    fn who_is_silent_too_long_has_left(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[]);
        let mut silent = broker.raw();
        let (user, password) = (Some(&b"ann"[..]), Some(PASSWORD.as_bytes()));
        let mut connect = raw::connect_packet(Protocol::V3_1_1, "c", user, password, true);
        // One second of keep-alive, and never a word more.
        connect[10..12].copy_from_slice(&[0, 1]);
        silent.send(connect);
        assert_eq!(silent.read_connack(), Some(0));
        let gone = known(version, "disconnected c", "keep-alive");
        expect(&api, &["connected c", &gone]);
    }

    fn who_is_kicked_is_told_and_why(version) {
        let api = AuthServer::answering(|request| match request.json()["username"] == "root" {
            true => saying(json!({"is_superuser": true})),
            false => Reply::status(200),
        });
        let broker = broker(version, &api, &[ALL]);
        let operator = logged_in(&broker, Protocol::V5, "root");
        operator.subscribe(RESPONSES).expect_granted();
        let (ann, ben) = (logged_in(&broker, Protocol::V5, "ann"), logged_in(&broker, Protocol::V5, "ben"));
        command(&operator, json!([{"command": "kick", "clientid": "ann"}]));
        ann.wait_disconnected();
        command(&operator, json!([{"command": "kick", "username": "ben"}]));
        ben.wait_disconnected();
        expect(&api, &[
            "connected root", "connected ann", "connected ben", "kicked ann (command)",
            "disconnected ann (kicked)", "kicked ben (command)", "disconnected ben (kicked)",
        ]);
    }

    fn a_session_that_expires_is_told(version) {
        let ends = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ends);
        let api = AuthServer::answering(move |request| match request.path.as_str() {
            "/user" if over.swap(true, Ordering::SeqCst) => Reply::status(403),
            "/user" => saying(json!({"expire_at": unix_time() + 1})),
            _ => Reply::status(204),
        });
        let broker = broker(version, &api, &[ALL]);
        logged_in(&broker, Protocol::V5, "ann").wait_disconnected();
        expect(&api, &["connected ann", "kicked ann (revoked)", "disconnected ann (kicked)"]);
    }

    fn a_denied_login_is_told_with_its_reason(version) {
        let api = AuthServer::answering(|request| {
            let allowed = request.path != "/user" || request.json()["username"] == "ann";
            Reply::status(if allowed { 200 } else { 401 }).json(json!({"reason": "secret-of-the-api"}))
        });
        let broker = broker(version, &api, &[ALL]);
        log_in(&broker, Protocol::V5, "eve").expect_refused();
        log_in(&broker, Protocol::V3_1_1, "eve").expect_refused();
        logged_in(&broker, Protocol::V5, "ann");
        eventually("ann has gone", || briefs(&api).len() == 4);
        let left = known(version, "disconnected ann", "connection-lost");
        expect(&api, &["login_denied eve (api)", "login_denied eve (api)", "connected ann", &left]);
        let denied = &told(&api)[0];
        assert_eq!(
            (&denied["username"], &denied["peerhost"], &denied["protocol_version"]),
            (&json!("eve"), &json!("127.0.0.1"), &json!(5))
        );
        assert!(!api.requests_to("/events").iter().any(|r| r.text().contains("secret-of-the-api")));
    }

    fn a_client_is_told_by_the_name_that_the_api_gives_it(version) {
        let api = AuthServer::answering(|request| match request.path.as_str() {
            "/user" => saying(json!({"username": "meter-7"})),
            _ => Reply::status(200),
        });
        let broker = broker(version, &api, &[]);
        let client = logged_in(&broker, Protocol::V5, "ann");
        vanish(&broker, "ann", client);
        eventually("both were told", || told(&api).len() == 2);
        assert!(told(&api).iter().all(|event| event["username"] == "meter-7"), "{:?}", told(&api));
    }

    fn whom_mosquitto_itself_lets_in_is_told_and_whom_it_refuses_is_not(version) {
        let api = AuthServer::start();
        let options = api.options([("http_acl_route", "/acl"), ROUTE, ALL]);
        let config = Broker::config(version).password_file(&[("ann", "right")]).allow_anonymous(true);
        let broker = config.plugin(options).start();
        let connect = |id: &str, user: &str, password: &str| {
            broker.client(id).protocol(Protocol::V5).credentials(user, password).connect()
        };
        connect("wrong", "ann", "wrong").expect_refused();
        connect("stranger", "ben", "right").expect_refused();
        let ann = connect("right", "ann", "right").expect_accepted();
        let nobody = broker.client("nobody").connect().expect_accepted();
        eventually("both were told", || told(&api).len() == 2);
        expect(&api, &["connected right", "connected nobody"]);
        assert_eq!((&told(&api)[0]["username"], &told(&api)[1]["username"]), (&json!("ann"), &Value::Null));
        drop((ann, nobody));
    }

    fn over_a_websocket_it_is_the_same(version) {
        let api = AuthServer::start();
        let options = api.options([("http_acl_route", "/acl"), ROUTE]);
        let config = Broker::config(version).plugin(options).password_file(&[("ann", "right")]);
        let broker = config.listener(|listener| listener).listener(Listener::websockets).start();
        let connect = |id: &str, password: &str| {
            let mut client = RawClient::connect_by_websocket(broker.port_of(1));
            let (user, password) = (Some(&b"ann"[..]), Some(password.as_bytes()));
            client.send(raw::connect_packet(Protocol::V3_1_1, id, user, password, true));
            (client.read_connack(), client)
        };
        for _ in 0..5 {
            // Mosquitto 2.0 says only a while later that it has refused it.
            assert_ne!(connect("wrong", "wrong").0, Some(0));
        }
        let (code, ann) = connect("right", "right");
        assert_eq!(code, Some(0));
        expect(&api, &["connected right"]);
        let event = &told(&api)[0];
        assert_eq!(event["protocol"], "websockets");
        let known = if version.is_2_1() { json!("127.0.0.1") } else { Value::Null };
        assert_eq!(event["peerhost"], known, "on 2.0 such a client can choose it");
        drop(ann);
    }

    fn an_api_that_is_away_for_three_seconds_misses_nothing(version) {
        let api = AuthServer::start();
        let port = api.port();
        let broker = broker(version, &api, &[("cache_ttl", "3600")]);
        // With the answer known, logins need no API.
        let connect = |id: &str| {
            let builder = broker.client(id).protocol(Protocol::V5).credentials("ann", PASSWORD);
            builder.connect().expect_accepted()
        };
        let stays = connect("first");
        expect(&api, &["connected first"]);
        api.stop();
        let began = std::time::Instant::now();
        let mut expected = Vec::new();
        let mut number = 0;
        while began.elapsed() < Duration::from_secs(3) || number < 20 {
            let id = format!("c{number}");
            vanish(&broker, &id, connect(&id));
            expected.push(format!("connected {id}"));
            expected.push(known(version, &format!("disconnected {id}"), "connection-lost"));
            number += 1;
        }
        broker.wait_for_log(" failed: connection refused; it was told of ");
        drop(api);
        let api = AuthServer::start_on(port);
        let expected: Vec<_> = expected.iter().map(String::as_str).collect();
        expect(&api, &expected);
        assert!(api.requests_to("/events").len() < expected.len(), "many go together");
        drop(stays);
    }

    fn what_may_have_arrived_is_told_again(version) {
        let sick = Arc::new(AtomicBool::new(true));
        let is_sick = Arc::clone(&sick);
        let api = AuthServer::answering(move |request| match request.path.as_str() {
            "/events" if is_sick.load(Ordering::SeqCst) => Reply::status(503),
            _ => Reply::status(200),
        });
        let broker = broker(version, &api, &[]);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        eventually("it was tried twice", || api.requests_to("/events").len() >= 2);
        broker.wait_for_log(" failed: status 503; it was told of 1 events");
        let ben = logged_in(&broker, Protocol::V5, "ben");
        sick.store(false, Ordering::SeqCst);
        eventually("ben was told", || briefs(&api).contains(&"connected ben".to_owned()));
        let mut briefs = briefs(&api);
        briefs.dedup();
        let twice = ["connected ann", "connected ben"];
        assert!(briefs == twice || briefs == [&twice[..], &twice].concat(), "{briefs:?}");
        drop((ann, ben));
    }

    fn an_event_that_the_api_refuses_takes_no_other_along(version) {
        let gate = Gate::new();
        let held = gate.clone();
        let api = AuthServer::answering(move |request| {
            let is_evil = request.text().contains("\"clientid\":\"evil");
            match request.path.as_str() {
                "/events" => Reply::status(if is_evil { 400 } else { 200 }).after(&held),
                _ => Reply::status(200),
            }
        });
        let broker = broker(version, &api, &[("http_events", "connected")]);
        // While the first waits for its answer, the others come together.
        let first = logged_in(&broker, Protocol::V5, "first");
        gate.wait_until_waiting(1);
        let ids = ["a", "b", "evil", "c", "d", "evil2"];
        let clients = ids.map(|id| logged_in(&broker, Protocol::V5, id));
        gate.open();
        broker.wait_for_log("the API refuses events with status 400; 1 are dropped");
        let last = logged_in(&broker, Protocol::V5, "last");
        let taken = || {
            let requests = api.requests_to("/events");
            let taken = requests.iter().filter(|request| !request.text().contains("evil"));
            let events = taken.flat_map(|r| r.json()["events"].as_array().unwrap().clone());
            events.map(|event| brief(&event)).collect::<Vec<_>>()
        };
        eventually("the last was told", || taken().contains(&"connected last".to_owned()));
        let expected = ["first", "a", "b", "c", "d", "last"].map(|id| format!("connected {id}"));
        assert_eq!(taken(), expected);
        drop((first, clients, last));
    }

    fn a_route_that_is_not_there_costs_one_request(version) {
        let api = AuthServer::answering(|request| {
            Reply::status(if request.path == "/events" { 404 } else { 200 })
        });
        let broker = broker(version, &api, &[]);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        broker.wait_for_log("the API refuses events with status 404; 1 are dropped");
        assert_eq!(briefs(&api), ["connected ann"]);
        drop(ann);
    }

    fn a_hostile_burst_takes_bounded_room_and_pushes_out_no_event_of_a_client(version) {
        let away = Arc::new(AtomicBool::new(true));
        let is_away = Arc::clone(&away);
        let api = AuthServer::answering(move |request| match request.path.as_str() {
            "/events" if is_away.load(Ordering::SeqCst) => Reply::status(503),
            "/user" if request.json()["username"] != "ann" => Reply::status(401),
            _ => Reply::status(200),
        });
        let broker = broker(version, &api, &[ALL]);
        let operator = logged_in(&broker, Protocol::V5, "ann");
        // Each has names of 90 kB, as long as Mosquitto lets them be, of which no more than 16 MiB may wait.
        let long = "x".repeat(45_000);
        for number in 0..250 {
            let name = format!("{number}-{long}");
            broker.client(&name).credentials(&name, "wrong").connect().expect_refused();
        }
        broker.wait_for_log("more events wait for http_event_route than the queue holds");
        let ben = broker.client("ben").credentials("ann", PASSWORD).connect().expect_accepted();
        api.forget_requests();
        away.store(false, Ordering::SeqCst);
        eventually("ben was told", || briefs(&api).contains(&"connected ben".to_owned()));
        let numbers: Vec<u64> = told(&api)
            .iter()
            .filter(|event| event["event"] == "login_denied")
            .map(|event| event["clientid"].as_str().unwrap().split('-').next().unwrap().parse().unwrap())
            .collect();
        assert!(numbers.len() < 200 && numbers.last() == Some(&249), "{numbers:?}");
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "in order: {numbers:?}");
        // It happened before all of them, and they push out nothing that is not theirs.
        assert_eq!(briefs(&api)[0], "connected ann");
        drop((operator, ben));
    }

    fn the_end_of_the_broker_is_told(version) {
        let api = AuthServer::start();
        let mut broker = broker(version, &api, &[]);
        let _clients = ["ann", "ben"].map(|user| logged_in(&broker, Protocol::V5, user));
        assert!(broker.stop().success());
        let mut briefs = briefs(&api);
        briefs[2..].sort_unstable();
        assert_eq!(briefs, [
            "connected ann", "connected ben", "disconnected ann (broker-stopped)",
            "disconnected ben (broker-stopped)",
        ]);
    }

    fn no_api_keeps_the_broker_from_ending(version) {
        let gate = Gate::new();
        for silent in [true, false] {
            let held = gate.clone();
            let api = AuthServer::answering(move |request| match request.path.as_str() {
                "/events" if silent => Reply::status(200).after(&held),
                "/events" => Reply::status(503),
                _ => Reply::status(200),
            });
            let mut broker = broker(version, &api, &[("http_timeout_ms", "600000")]);
            let _ann = logged_in(&broker, Protocol::V5, "ann");
            eventually("it was told", || !api.requests_to("/events").is_empty());
            let began = std::time::Instant::now();
            assert!(broker.stop().success());
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
            broker.wait_for_log("2 events did not reach the API before the end");
        }
        gate.open();
    }

    fn sighup_changes_nothing(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[]);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        broker.reload();
        broker.wait_until_idle();
        let ben = logged_in(&broker, Protocol::V5, "ben");
        expect(&api, &["connected ann", "connected ben"]);
        drop((ann, ben));
    }

    fn each_instance_tells_its_own_api_of_its_own_clients(version) {
        let (one, two) = (AuthServer::start(), AuthServer::start());
        let broker = instance_for_each(version, [&one, &two].map(|api| api.options([ROUTES[0], ROUTE])));
        let connect = |listener: usize, id: &str| {
            let builder = broker.client(id).port(broker.port_of(listener));
            builder.credentials(id, PASSWORD).connect().expect_accepted()
        };
        // Mosquitto 2.0.11 does not tick with per_listener_settings.
        let (ann, ben) = (connect(0, "ann"), connect(1, "ben"));
        expect(&one, &["connected ann"]);
        expect(&two, &["connected ben"]);
        vanish(&broker, "ben", ben);
        expect(&two, &["connected ben", &known(version, "disconnected ben", "connection-lost")]);
        assert_eq!(briefs(&one), ["connected ann"]);
        drop(ann);
    }

    fn a_request_has_a_trace_and_the_configured_headers(version) {
        let api = AuthServer::start();
        let more = [("http_trace", "true"), ("http_header_X-Broker", "one")];
        let broker = broker(version, &api, &more);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        expect(&api, &["connected ann"]);
        let request = &api.requests_to("/events")[0];
        crate::traces::ids(request);
        assert_eq!(request.header("x-broker"), Some("one"));
        drop(ann);
    }

    fn connected_clients_are_listed_in_pages(version) {
        let api = AuthServer::answering(|request| match request.json()["username"] == "root" {
            true => saying(json!({"is_superuser": true})),
            false => Reply::status(200),
        });
        let broker = Broker::config(version).plugin(api.options(ROUTES)).start();
        let clients: Vec<_> =
            ["d", "a", "c", "b"].map(|id| logged_in(&broker, Protocol::V5, id)).into();
        let operator = logged_in(&broker, Protocol::V5, "root");
        operator.subscribe(RESPONSES).expect_granted();
        let list = |command_: Value| {
            let data = command(&operator, json!([command_])).remove(0)["data"].clone();
            let ids = data["clients"].as_array().unwrap().iter();
            let ids: Vec<_> = ids.map(|c| c["clientid"].as_str().unwrap().to_owned()).collect();
            (ids.join(" "), data)
        };
        let (ids, data) = list(json!({"command": "listClients"}));
        assert_eq!((ids.as_str(), &data["totalCount"]), ("a b c d root", &json!(5)));
        assert_eq!(data.get("next"), None);
        let first = &data["clients"][0];
        assert_eq!(
            (&first["username"], &first["peerhost"], &first["protocol"], &first["protocol_version"]),
            (&json!("a"), &json!("127.0.0.1"), &json!("mqtt"), &json!(5))
        );
        assert!((first["connected_at"].as_f64().unwrap() - unix_time() as f64).abs() < 120.0);
        let (ids, data) = list(json!({"command": "listClients", "count": 2}));
        assert_eq!((ids.as_str(), &data["next"]), ("a b", &json!("b")));
        let (ids, data) = list(json!({"command": "listClients", "count": 3, "after": "b"}));
        assert_eq!((ids.as_str(), data.get("next")), ("c d root", None));
        drop(clients);
        eventually("they have gone", || list(json!({"command": "listClients"})).0 == "root");
        let wrong = command(&operator, json!([{"command": "listClients", "count": 5000}])).remove(0);
        assert_eq!(wrong["error"], "\"count\" is something else; allowed: 1 to 1000");
    }
}
