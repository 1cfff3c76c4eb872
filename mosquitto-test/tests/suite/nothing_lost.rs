//! What the API allows is not lost for want of time: one client that causes many questions in a row, and
//! an API that takes its time, or is away for a while.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use mosquitto_test::mqtt::ClientBuilder;
use mosquitto_test::prelude::*;
use mosquitto_test::watch::patience;

use crate::metrics;
use crate::support::{PASSWORD, ROUTES, logged_in, may_publish, vanish};

/// How long a client may try; each of its tries takes its time.
const LONGEST: Duration = Duration::from_secs(120);

/// An API that allows everything but topics below `no`, and takes so long for each question about topics.
fn slow(milliseconds: u64) -> AuthServer {
    let api = AuthServer::start();
    set_slow(&api, milliseconds);
    api
}

fn set_slow(api: &AuthServer, milliseconds: u64) {
    api.set_handler(move |request| {
        if request.path == "/user" {
            return Reply::status(200);
        }
        thread::sleep(Duration::from_millis(milliseconds));
        let is_allowed = !request.json()["topic"].as_str().unwrap().starts_with("no/");
        Reply::status(if is_allowed { 200 } else { 403 })
    });
}

/// An API that allows everything, and fails for 3 s after the first question about topics.
fn away_for_three_seconds() -> AuthServer {
    let began = std::sync::OnceLock::new();
    AuthServer::answering(move |request| {
        if request.path == "/user" {
            return Reply::status(200);
        }
        let is_back = began.get_or_init(Instant::now).elapsed() >= Duration::from_secs(3);
        Reply::status(if is_back { 200 } else { 503 })
    })
}

fn fail_deliveries_for_three_seconds(api: &AuthServer) {
    let away = Instant::now();
    api.set_handler(move |request| {
        let is_away = away.elapsed() < Duration::from_secs(3);
        let is_delivery = request.path == "/acl" && request.json()["acc"] == 1;
        Reply::status(if is_away && is_delivery { 503 } else { 200 })
    });
}

fn broker(version: Version, api: &AuthServer, more: &[(&str, &str)]) -> Broker {
    Broker::config(version).plugin(api.options([&ROUTES, more].concat())).start()
}

/// A session that has subscribed to `jobs/#`, and whose client has gone.
fn offline_session(broker: &Broker, protocol: Protocol) -> ClientBuilder {
    let session = broker.client("kept").protocol(protocol).clean(false);
    let session = session.credentials("kept", PASSWORD);
    let reader = session.connect().expect_accepted();
    reader.subscribe("jobs/#").expect_granted();
    vanish(broker, "kept", reader);
    session
}

/// What a client does between two tries; most wait for a second.
fn pause() {
    thread::sleep(Duration::from_millis(300));
}

/// A connection of a client that comes again whenever the broker closes it. None: it is closed at once.
fn connect(broker: &Broker, protocol: Protocol, name: &str) -> Option<RawClient> {
    let mut client = broker.raw();
    let (name, password) = (name.as_bytes(), PASSWORD.as_bytes());
    client.send(raw::connect_packet(protocol, name, Some(name), Some(password), true));
    client.read_connack().map(|code| {
        assert_eq!(code, 0);
        client
    })
}

/// Comes again until the broker has answered a SUBSCRIBE with all of these filters: the client, the codes, and
/// how often it came.
fn subscribe_until_told(
    broker: &Broker,
    protocol: Protocol,
    name: &str,
    filters: &[String],
) -> (RawClient, Vec<u8>, usize) {
    let began = Instant::now();
    for tries in 1.. {
        assert!(began.elapsed() < LONGEST, "not subscribed after {tries} tries");
        if let Some(mut client) = connect(broker, protocol, name) {
            client.send(raw::subscribe_packet(protocol, 1, filters));
            while let Some((first, body)) = client.read_packet() {
                if first == 0x90 {
                    let codes = body[body.len() - filters.len()..].to_vec();
                    return (client, codes, tries);
                }
            }
        }
        pause();
    }
    unreachable!("it tries for ever")
}

/// The same for messages with QoS 1 on topics of their own, one after another; how often it came.
fn publish_until_acknowledged(
    broker: &Broker,
    protocol: Protocol,
    name: &str,
    topics: &[String],
) -> usize {
    let began = Instant::now();
    let mut acknowledged = 0;
    for tries in 1.. {
        assert!(began.elapsed() < LONGEST, "{acknowledged} published after {tries} tries");
        let Some(mut client) = connect(broker, protocol, name) else { continue };
        // A client sends again what was not acknowledged.
        for (number, topic) in topics.iter().enumerate().skip(acknowledged) {
            let id = u16::try_from(number + 1).unwrap();
            client.send(raw::publish_packet(protocol, topic, topic.as_bytes(), Some(id)));
        }
        while let Some((first, body)) = client.read_packet() {
            if first == 0x40 {
                assert!(matches!(body.get(2), None | Some(0 | 0x10)), "{body:x?}");
                acknowledged += 1;
                if acknowledged == topics.len() {
                    return tries;
                }
            }
        }
        pause();
    }
    unreachable!("it tries for ever")
}

fn topics(count: usize, name: impl Fn(usize) -> String) -> Vec<String> {
    (0..count).map(name).collect()
}

on_every_broker! {
    fn a_subscribe_with_sixty_filters_is_granted_in_full(version) {
        let filters = topics(60, |number| format!("a/{number}/#"));
        for (protocol, delay) in [(Protocol::V5, 5), (Protocol::V3_1_1, 20), (Protocol::V5, 100)] {
            let api = slow(delay);
            let broker = broker(version, &api, &[]);
            let (_one, codes, tries) = subscribe_until_told(&broker, protocol, "one", &filters);
            assert_eq!(codes, [1; 60], "{delay} ms");
            // 50 filters of 100 ms are its own five seconds, and what is beyond takes a try for each.
            assert!(tries <= if delay < 100 { 1 } else { 21 }, "{delay} ms: {tries} tries");
            // What the first one used up, the next one has.
            if delay == 20 {
                let (_, codes, tries) = subscribe_until_told(&broker, protocol, "two", &filters);
                assert_eq!((codes, tries), (vec![1; 60], 1));
            }
        }
    }

    fn without_a_cache_a_slow_api_answers_every_filter_in_the_end(version) {
        let mut filters = topics(60, |number| format!("a/{number}/#"));
        filters[30] = "no/30".to_owned();
        for protocol in Protocol::BOTH {
            let api = slow(200);
            let more = [("cache_ttl", "0"), ("breaker_failures", "1000")];
            let broker = broker(version, &api, &more);
            let (_, codes, tries) = subscribe_until_told(&broker, protocol, "one", &filters);
            let refusal = crate::support::subscribe_refusal(protocol);
            let expected: Vec<_> =
                (0..60).map(|number| if number == 30 { refusal } else { 1 }).collect();
            assert_eq!(codes, expected);
            // 25 filters of 200 ms are its own five seconds. Each try beyond has one more asked, unless it comes
            // before the answer.
            assert!(tries <= 1 + 2 * 35, "{tries} tries");
        }
    }

    fn without_a_cache_a_question_that_takes_longer_than_the_broker_waits_is_answered_at_the_retry(version) {
        for protocol in Protocol::BOTH {
            let api = slow(400);
            let more = [("cache_ttl", "0"), ("max_block_ms", "100")];
            let broker = broker(version, &api, &more);
            let filters = topics(3, |number| format!("a/{number}"));
            let (_, codes, _) = subscribe_until_told(&broker, protocol, "one", &filters);
            assert_eq!(codes, [1; 3]);
            let topics = topics(3, |number| format!("b/{number}"));
            publish_until_acknowledged(&broker, protocol, "two", &topics);
            // Each try beyond the first finds what was asked before.
            let asked = api.requests_to("/acl").len();
            assert!(asked <= 12, "{asked} questions about six topics");
        }
    }

    fn without_a_cache_an_answer_that_was_kept_for_a_retry_is_used_for_nothing_else(version) {
        let api = slow(400);
        let more = [("cache_ttl", "0"), ("max_block_ms", "100")];
        let broker = broker(version, &api, &more);
        let filters = ["a".to_owned()];
        let (mut client, codes, _) =
            subscribe_until_told(&broker, Protocol::V3_1_1, "one", &filters);
        assert_eq!(codes, [1]);
        // It was used, and the next question is another.
        let asked = api.requests_to("/acl").len();
        client.send(raw::subscribe_packet(Protocol::V3_1_1, 2, &filters));
        client.wait_closed();
        assert!(api.requests_to("/acl").len() > asked, "the API is asked again");
    }

    fn without_a_cache_a_login_that_takes_longer_than_the_broker_waits_is_let_in_at_its_next_try(version) {
        let api = AuthServer::answering(|_| {
            thread::sleep(Duration::from_millis(400));
            Reply::status(200)
        });
        let more = [("cache_ttl", "0"), ("max_block_ms", "100"), ("delayed_login", "false")];
        let broker = broker(version, &api, &more);
        for protocol in Protocol::BOTH {
            let name = format!("{protocol:?}");
            assert!(connect(&broker, protocol, &name).is_none());
            let began = Instant::now();
            while connect(&broker, protocol, &name).is_none() {
                assert!(began.elapsed() < patience(), "it is never let in");
                pause();
            }
            // With another password there is nothing to be found.
            let other = broker.client(&name).protocol(protocol).credentials(&name, "other");
            other.connect().expect_closed();
        }
    }

    fn the_states_of_two_hundred_devices_are_published(version) {
        for (protocol, delay) in [(Protocol::V3_1_1, 5), (Protocol::V5, 20)] {
            let api = slow(delay);
            let broker = broker(version, &api, &[]);
            let reader = logged_in(&broker, Protocol::V5, "reader");
            reader.subscribe("dev/#").expect_granted();
            let topics = topics(200, |number| format!("dev/{number}/state"));
            let tries = publish_until_acknowledged(&broker, protocol, "gateway", &topics);
            assert_eq!(tries, 1, "{delay} ms");
            let arrived: HashSet<_> = (0..200).map(|_| reader.expect_message().0).collect();
            assert_eq!(arrived.len(), 200, "{delay} ms");
        }
    }

    fn what_an_api_could_not_be_asked_for_three_seconds_is_granted_and_published_after(version) {
        for protocol in Protocol::BOTH {
            let api = away_for_three_seconds();
            let broker = broker(version, &api, &[("breaker_open_ms", "500")]);
            let filters = topics(60, |number| format!("a/{number}/#"));
            let (_one, codes, _) = subscribe_until_told(&broker, protocol, "one", &filters);
            assert_eq!(codes, [1; 60]);
            let api = away_for_three_seconds();
            let broker = crate::nothing_lost::broker(version, &api, &[("breaker_open_ms", "500")]);
            let topics = topics(20, |number| format!("dev/{number}/state"));
            publish_until_acknowledged(&broker, protocol, "gateway", &topics);
        }
    }

    fn retained_messages_survive_three_seconds_without_an_api(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[("breaker_open_ms", "500")]);
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        for number in 0..20 {
            let topic = format!("dev/{number}/state");
            publisher.publish_message(Message::new(&topic, "on").retained());
        }
        let reader = logged_in(&broker, Protocol::V3_1_1, "reader");
        fail_deliveries_for_three_seconds(&api);
        reader.subscribe("dev/+/state").expect_granted();
        let arrived: HashSet<_> = (0..20).map(|_| reader.expect_message().0).collect();
        assert_eq!(arrived.len(), 20);
    }

    fn a_hundred_queued_messages_arrive_when_what_was_told_has_ended(version) {
        let cases = [(Protocol::V5, 5), (Protocol::V3_1_1, 20), (Protocol::V5, 100)];
        for (protocol, delay) in cases {
            let api = slow(0);
            let broker = broker(version, &api, &[("cache_ttl", "1")]);
            let session = offline_session(&broker, protocol);
            let publisher = logged_in(&broker, Protocol::V5, "publisher");
            for number in 0..100 {
                assert!(may_publish(&publisher, &format!("jobs/{number}")));
            }
            thread::sleep(Duration::from_millis(1100));
            set_slow(&api, delay);
            let reader = session.connect().expect_accepted();
            let arrived: HashSet<_> = (0..100).map(|_| reader.expect_message().0).collect();
            assert_eq!(arrived.len(), 100, "{delay} ms");
        }
    }

    fn what_is_queued_for_a_kept_session_survives_three_seconds_without_an_api(version) {
        for protocol in Protocol::BOTH {
            let api = slow(0);
            let more = [("breaker_open_ms", "500"), ("cache_ttl", "1")];
            let broker = broker(version, &api, &more);
            let session = offline_session(&broker, protocol);
            let publisher = logged_in(&broker, Protocol::V5, "publisher");
            for number in 0..50 {
                assert!(may_publish(&publisher, &format!("jobs/{number}")));
            }
            thread::sleep(Duration::from_millis(1100));
            let away = Instant::now();
            api.set_handler(move |_| {
                let is_away = away.elapsed() < Duration::from_secs(3);
                Reply::status(if is_away { 503 } else { 200 })
            });
            // What comes meanwhile waits for the session.
            let reader = loop {
                match session.connect() {
                    Login::Accepted(client) => break client,
                    Login::Closed => assert!(away.elapsed() < patience()),
                    refused => panic!("{refused:?}"),
                }
                pause();
            };
            let arrived: HashSet<_> = (0..50).map(|_| reader.expect_message().0).collect();
            assert_eq!(arrived.len(), 50);
        }
    }

    fn every_topic_of_the_broker_itself_arrives_without_a_cache(version) {
        let api = slow(20);
        let config = Broker::config(version).line("sys_interval 1");
        let plugin = api.options([&ROUTES[..], &[("cache_ttl", "0")]].concat());
        let broker = config.plugin(plugin).start();
        let all = |name: &str, allows_all: bool| {
            if allows_all {
                set_slow(&api, 0);
            }
            let client = logged_in(&broker, Protocol::V3_1_1, name);
            client.subscribe("$SYS/#").expect_granted();
            client
        };
        let count = |client: &Client, until: usize| {
            let mut seen = HashSet::new();
            let began = Instant::now();
            while seen.len() < until && began.elapsed() < patience() {
                if let Some(message) = client.try_message(Duration::from_secs(3)) {
                    seen.insert(message.topic);
                } else {
                    break;
                }
            }
            seen
        };
        let slow_one = all("slow", false);
        let with_slow_api = count(&slow_one, 53);
        drop(slow_one);
        let quick_one = all("quick", true);
        let with_quick_api = count(&quick_one, with_slow_api.len());
        assert!(with_slow_api.len() >= 40, "{}", with_slow_api.len());
        assert_eq!(with_quick_api.len(), with_slow_api.len());
    }

    fn a_burst_of_one_client_holds_up_others_for_one_question_at_a_time(version) {
        let api = slow(20);
        let broker = broker(version, &api, &[]);
        let [one, two] = ["one", "two"].map(|name| logged_in(&broker, Protocol::V5, name));
        two.subscribe("others").expect_granted();
        // Known, so that only what the burst holds up is seen.
        assert!(may_publish(&one, "others"));
        two.expect_message();
        let filters = topics(60, |number| format!("a/{number}/#"));
        thread::scope(|scope| {
            let burst = scope.spawn(|| {
                // A packet for each filter: others have their turn between.
                let client = logged_in(&broker, Protocol::V3_1_1, "burst");
                filters.iter().for_each(|filter| client.subscribe(filter).expect_granted());
            });
            let mut slowest = Duration::ZERO;
            while !burst.is_finished() {
                let sent = Instant::now();
                assert_eq!(one.publish("others", "x"), 0);
                two.expect_message();
                slowest = slowest.max(sent.elapsed());
            }
            assert!(slowest < Duration::from_millis(1500), "{slowest:?}");
        });
    }

    fn a_returning_client_waits_once_and_not_once_for_each_filter(version) {
        for (delay, clean) in [(20, true), (60, false)] {
            let api = slow(delay);
            let more = [("cache_ttl", "1"), ("max_block_percent", "50"), ("http_connections", "32")];
            let (broker, metrics) = metrics::start(version, &api, &more);
            let held = || metrics.value("broker_held_seconds_total", &[]);
            let filters = topics(20, |number| format!("a/{number}"));
            let filters: Vec<_> = filters.iter().map(String::as_str).collect();
            let builder = broker.client("c").clean(clean).credentials("c", PASSWORD);
            let come = || {
                let client = builder.connect().expect_accepted();
                let codes = client.subscribe_many(&filters);
                assert!(codes.iter().all(|code| *code == Subscription::Granted(1)));
                client
            };
            let client = come();
            let at_first = held();
            let one_by_one = 20.0 * delay as f64 / 1000.0;
            assert!(at_first >= one_by_one, "{at_first} s: it waits for each");
            client.disconnect();
            // What was told ends.
            thread::sleep(Duration::from_millis(1100));
            api.forget_requests();
            let _client = come();
            let waited = held() - at_first;
            let longest = if version.is_2_1() { one_by_one / 4.0 } else { one_by_one / 2.0 };
            assert!(waited <= longest, "{delay} ms, clean {clean}: {waited} s of {one_by_one} s");
            let asked = api.requests_to("/acl").len();
            assert!(asked <= 22, "each is asked once: {asked}");
        }
    }

    fn a_client_that_waits_for_what_is_asked_ahead_may_leave_or_be_replaced(version) {
        let gate = Gate::new();
        gate.open();
        let api = AuthServer::start();
        let held = gate.clone();
        api.set_handler(move |request| {
            let reply = Reply::status(200);
            if request.path == "/acl" { reply.after(&held) } else { reply }
        });
        let broker = broker(version, &api, &[("cache_ttl", "1"), ("cache_auth_ttl", "0")]);
        let builder = broker.client("c").credentials("ann", PASSWORD);
        let client = builder.connect().expect_accepted();
        client.subscribe("a").expect_granted();
        client.disconnect();
        thread::sleep(Duration::from_millis(1100));
        gate.close();
        // It leaves before the answers are there.
        builder.start_connecting().abandon();
        // Answers that do not come keep nobody out for longer than a moment.
        let began = Instant::now();
        let client = loop {
            if let Login::Accepted(client) = builder.connect() {
                break client;
            }
            assert!(began.elapsed() < patience());
        };
        gate.open();
        client.subscribe("a").expect_granted();
        assert!(may_publish(&logged_in(&broker, Protocol::V5, "other"), "b"));
    }
}
