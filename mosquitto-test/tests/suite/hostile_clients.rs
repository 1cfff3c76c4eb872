//! Clients that mean no good, and have no password: floods of names, names as long as MQTT has them,
//! names that are made to be taken for others or for lines of the log, packets that do not wait their
//! turn, connections that are never finished or never stay.

use std::collections::HashSet;
use std::fs;

use mosquitto_test::prelude::*;
use serde_json::{Value, json};

use crate::control::{command, operator};
use crate::support::{
    EVERY_QUESTION, PASSWORD, ROUTES, broker_with, eventually, log_in, logged_in, may_publish,
    saying,
};

/// As much as fits into a CONNECT: no broker takes one of more than 100,000 bytes.
const LONG: usize = 32_000;

/// What tools such as fail2ban look for at the beginning of a line.
const DENIED: &str = "mosquitto-http-auth: login denied: ip=";

fn status(operator: &Client) -> Value {
    command(operator, json!([{"command": "getStatus"}])).remove(0)["data"].clone()
}

/// How much memory the broker has now, in bytes.
pub fn memory(broker: &Broker) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// Logs in with these bytes; CONNACK's code, or none if the connection was closed.
fn connack(broker: &Broker, id: &[u8], username: &[u8]) -> Option<u8> {
    let mut raw = broker.raw();
    let password = Some(PASSWORD.as_bytes());
    raw.send(raw::connect_packet(Protocol::V3_1_1, id, Some(username), password, true));
    raw.read_connack()
}

/// CONNECT, SUBSCRIBE and PUBLISH at once.
fn impatient(protocol: Protocol, user: &str) -> Vec<u8> {
    let connect =
        raw::connect_packet(protocol, user, Some(user.as_bytes()), Some(PASSWORD.as_bytes()), true);
    let subscribe = raw::subscribe_packet(protocol, 1, &["own"]);
    [connect, subscribe, raw::publish_packet(protocol, "own", b"x", Some(2))].concat()
}

on_every_broker! {
    fn a_flood_of_names_leaves_others_their_cached_answers(version) {
        const CACHE: u64 = 1 << 17;
        let api = AuthServer::start();
        let life = [("cache_ttl", "600"), ("cache_refresh_ahead", "false")];
        let small = [("cache_max_bytes", "131072"), ("log_level", "warn")];
        let broker = broker_with(version, &api, &[&life[..], &small].concat());
        let operator = operator(&broker);
        let good = logged_in(&broker, Protocol::V5, "good");
        let topics: Vec<_> = (0..50).map(|nth| format!("topic/{nth}")).collect();
        for _ in 0..3 {
            assert!(topics.iter().all(|topic| may_publish(&good, topic)));
        }
        let before = memory(&broker);
        api.forget_requests();
        // It takes a while, and is the same for every broker.
        let flood = if version.is_2_1() { 10_000 } else { 2_500 };
        let mut published = 0;
        for nth in 0..flood {
            let name = format!("name-{nth}");
            assert_eq!(connack(&broker, name.as_bytes(), name.as_bytes()), Some(0));
            // The good client goes about its business meanwhile.
            if nth % 500 == 0 {
                assert!(topics.iter().all(|topic| may_publish(&good, topic)));
                published += topics.len();
            }
        }
        let asked_again = api.requests_to("/acl").len();
        // moka estimates how often each answer is used.
        assert!(asked_again < published / 20, "{asked_again} of {published} answers were pushed out");
        let status = status(&operator);
        let bytes = status["cache"]["bytes"].as_u64().unwrap();
        assert!(bytes <= CACHE, "{status}");
        let grown = memory(&broker).saturating_sub(before);
        assert!(grown < 16 << 20, "the broker took {grown} bytes more");
    }

    fn names_as_long_as_there_are_fill_no_line_and_no_memory(version) {
        let api = AuthServer::answering(|request| {
            let user = request.json()["username"].as_str().unwrap_or_default().to_owned();
            Reply::status(if ["root", "ann"].contains(&user.as_str()) { 200 } else { 403 })
        });
        let limit = [("login_failures_max", "100"), ("http_user_fields", "clientid")];
        let broker = broker_with(version, &api, &limit);
        let before = memory(&broker);
        for nth in 0..300 {
            let long = format!("{nth}-").into_bytes().into_iter().chain(vec![b'n'; LONG]);
            let long: Vec<_> = long.collect();
            assert_eq!(connack(&broker, &long, &long), Some(Protocol::V3_1_1.refusal()));
        }
        // One of 300 denials by the same text kept whole would be 64 kB.
        let grown = memory(&broker).saturating_sub(before);
        assert!(grown < 8 << 20, "the broker took {grown} bytes more");
        broker.wait_for_log("reason=api");
        let log = broker.log();
        let denied = log.lines().filter(|line| line.starts_with(DENIED));
        for line in denied {
            assert!(line.len() < 1000 && line.ends_with("…\" reason=api status=403"), "{line}");
        }
        let ann = logged_in(&broker, Protocol::V5, "ann");
        for topic in ["t".repeat(65_500), "a/".repeat(199) + &"b".repeat(65_000)] {
            assert!(may_publish(&ann, &topic));
            assert_eq!(api.requests_to("/acl").last().unwrap().json()["topic"], topic);
            ann.subscribe(&topic).expect_granted();
        }
        let log = broker.log();
        let mut ours = log.lines().filter(|line| line.starts_with("mosquitto-http-auth: "));
        assert!(ours.all(|line| line.len() < 1000));
    }

    fn no_name_makes_a_line_of_its_own(version) {
        let api = AuthServer::answering(|request| {
            let user = request.json()["username"].as_str().unwrap_or_default().to_owned();
            Reply::status(if user == "ann" { 200 } else { 403 })
        });
        let broker = broker_with(version, &api, &[("http_user_fields", "clientid")]);
        let forged = format!("{DENIED}198.51.100.1 username=\"root\" clientid=\"c\" reason=api");
        let breaks = ["\n", "\r\n", "\r", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\u{2029}", "\0", "\u{7f}", "\u{1b}[2K"];
        let mut asked = 0;
        for text in breaks.iter().map(|end| format!("x{end}{forged}")).chain([
            forged.clone(),
            format!("\" reason=api\n{forged}"),
            format!("\\\" {forged}"),
            format!("\u{202e}{forged}"),
        ]) {
            for (id, user) in [(text.as_str(), "user"), ("id", text.as_str())] {
                // Mosquitto itself takes no control characters.
                if connack(&broker, id.as_bytes(), user.as_bytes()).is_some() {
                    asked += 1;
                }
            }
            let ann = logged_in(&broker, Protocol::V5, "ann");
            ann.publish_qos0(&text.replace(['\0', '#', '+'], "-"), "x");
        }
        broker.wait_until_idle();
        assert!(asked >= 8, "the names without control characters are asked about");
        let log = broker.log();
        let denied: Vec<_> = log.lines().filter(|line| line.starts_with(DENIED)).collect();
        assert_eq!(denied.len(), asked, "{denied:#?}");
        for line in denied {
            assert!(line.starts_with("mosquitto-http-auth: login denied: ip=127.0.0.1 username=\""));
        }
        let ours = log.lines().filter(|line| line.starts_with("mosquitto-http-auth: "));
        for line in ours {
            let odd = |c: char| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c);
            assert!(!line.contains(odd), "{line:?}");
        }
    }

    fn names_made_to_collide_are_told_apart(version) {
        // Each client's names run together, or are written as JSON or a form writes the others'.
        let tuples: Vec<[&str; 3]> = vec![
            ["a", "bc", "d"], ["ab", "c", "d"], ["a", "b", "cd"], ["abc", "d", ""], ["", "abcd", ""],
            ["a\",\"clientid\":\"c", "c", "p"], ["a", "c", "p\",\"clientid\":\"x"],
            ["a&clientid=c", "c", "p"], ["a", "c", "p&clientid=x"], ["a%26", "c", "p"], ["a&", "c", "p"],
            ["a\\", "c", "p"], ["a\\\\", "c", "p"], ["A", "bc", "d"], ["é", "c", "p"], ["e\u{301}", "c", "p"],
        ];
        for mode in ["json", "form"] {
            let known = tuples.clone();
            let api = AuthServer::answering(move |request| {
                let field = |name: &str| match request.json() {
                    Value::Null => form_field(&request.text(), name),
                    body => body[name].as_str().unwrap_or_default().to_owned(),
                };
                let asked = [field("username"), field("clientid"), field("password")];
                let place = known.iter().position(|tuple| asked == *tuple);
                // Every second one is let in.
                Reply::status(match place {
                    Some(nth) if nth % 2 == 0 => 200,
                    Some(_) => 403,
                    None => 500,
                })
            });
            let fields = [("http_user_fields", "clientid"), ("http_params_mode", mode)];
            let broker = broker_with(version, &api, &fields);
            let usable: Vec<_> =
                tuples.iter().enumerate().filter(|(_, [user, id, _])| !user.is_empty() && !id.is_empty()).collect();
            for _ in 0..2 {
                for (nth, [user, id, password]) in &usable {
                    let login = broker.client(id).credentials(user, password).connect();
                    assert_eq!(login.is_accepted(), nth % 2 == 0, "{mode}: {user:?} {id:?} {password:?}: {login:?}");
                }
            }
            let asked: HashSet<_> = api.requests().iter().map(Request::text).collect();
            assert_eq!((asked.len(), api.requests().len()), (usable.len(), usable.len()));
        }
    }

    fn packets_that_do_not_wait_their_turn_do_nothing_unallowed(version) {
        let api = AuthServer::answering(|request| {
            let body = request.json();
            let may = match body["username"].as_str().unwrap().split('-').next().unwrap() {
                "denied" => false,
                "silent" => body["topic"].is_null(),
                _ => true,
            };
            Reply::status(if may { 200 } else { 403 })
        });
        for delayed in ["true", "false"] {
            let broker = broker_with(version, &api, &[("delayed_login", delayed)]);
            let watcher = logged_in(&broker, Protocol::V5, "watcher");
            watcher.subscribe("own").expect_granted();
            let waits = version.is_2_1() && delayed == "true";
            for protocol in Protocol::BOTH {
                let ask = |user: &str| {
                    let mut raw = broker.raw();
                    raw.send(impatient(protocol, user));
                    raw
                };
                for user in ["denied", "silent", "allowed"] {
                    let mut raw = ask(&format!("{user}-{protocol:?}"));
                    let first = raw.read_packet();
                    match (user, waits) {
                        // Mosquitto closes on whoever speaks before its login is answered.
                        (_, true) => assert!(first.is_none_or(|(kind, _)| kind == 0xe0), "{user}"),
                        ("denied", _) => {
                            assert_eq!(first.unwrap().1[1], protocol.refusal());
                            raw.wait_closed();
                        }
                        _ => {
                            assert_eq!(first.unwrap().1[1], 0);
                            let (kind, granted) = raw.read_packet().unwrap();
                            assert_eq!(kind, 0x90);
                            assert_eq!(*granted.last().unwrap() < 0x80, user == "allowed");
                        }
                    }
                }
                // Only the one who may has published.
                let allowed = if waits { 0 } else { 1 };
                for _ in 0..allowed {
                    assert_eq!(watcher.expect_message(), ("own".into(), "x".into()));
                }
                watcher.publish("own", "marker");
                assert_eq!(watcher.expect_message(), ("own".into(), "marker".into()));
            }
        }
    }

    fn connections_that_are_never_finished_keep_nobody_out(version) {
        let api = AuthServer::start();
        let broker = broker_with(version, &api, &[]);
        let files = broker.open_files();
        let whole = raw::connect_packet(Protocol::V5, "c", Some(b"ann"), Some(b"half a password"), true);
        let half: Vec<_> = (0..200)
            .map(|nth| {
                let mut raw = broker.raw();
                raw.send(&whole[..nth % whole.len()]);
                raw
            })
            .collect();
        let client = log_in(&broker, Protocol::V5, "ann").expect_accepted();
        assert!(may_publish(&client, "t"));
        assert_eq!(api.requests().len(), 2, "nothing is asked about half a login");
        half.into_iter().for_each(RawClient::close);
        drop(client);
        eventually("the connections' end", || broker.open_files() <= files + 2);
    }

    fn clients_that_leave_while_they_wait_leave_nothing(version) {
        let gate = Gate::new();
        let (api, held) = (AuthServer::start(), gate.clone());
        let routes = [&ROUTES, &EVERY_QUESTION[..], &[("http_connections", "8"), ("http_timeout_ms", "2000")]];
        let broker = Broker::config(version).plugin(api.options(routes.concat())).start();
        let operator = operator(&broker);
        api.set_handler(move |request| {
            let waits = request.json()["username"] == "gone";
            if waits { Reply::status(200).after(&held) } else { Reply::status(200) }
        });
        let files = broker.open_files();
        // Other brokers ask about one at a time, and hold everybody up meanwhile.
        let count = if version.is_2_1() { 200 } else { 2 };
        for nth in 0..count {
            let mut raw = broker.raw();
            let id = format!("gone-{nth}");
            raw.send(raw::connect_packet(Protocol::V5, id, Some(b"gone"), Some(format!("password {nth}").as_bytes()), true));
            if version.is_2_1() && nth == 0 {
                gate.wait_until_waiting(1);
            }
            raw.close();
        }
        gate.open();
        eventually("the last of them is forgotten", || {
            let status = status(&operator);
            status["loginsWaiting"] == 0 && status["requests"]["queued"] == 0
        });
        eventually("their connections' end", || broker.open_files() <= files + 8);
        assert_eq!(status(&operator)["sessions"], 1, "only the operator is in");
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
    }
}

/// Strangers who wait for an API that takes its time, with names and passwords as long as they can be. Only
/// Mosquitto 2.1 lets logins wait.
#[test]
fn logins_that_wait_take_no_more_memory_than_they_may() {
    const STRANGERS: usize = 250;
    // What the broker itself has of each, about: the name, and the password twice.
    const THEIRS: u64 = 29_000 + 2 * 40_000 + 20_000;
    for is_same in [true, false] {
        let gate = Gate::new();
        let held = gate.clone();
        let api = AuthServer::answering(move |request| {
            let user = request.json()["username"].as_str().unwrap_or_default().to_owned();
            if user.len() > 1000 {
                Reply::status(403).after(&held)
            } else {
                saying(json!({"is_superuser": true}))
            }
        });
        // A broker that is too busy to tick in time waits for an answer as one does that cannot answer later.
        let options =
            [&ROUTES[..], &[("http_timeout_ms", "60000"), ("max_block_ms", "20")]].concat();
        let broker = Broker::config(Version::V2_1_2).plugin(api.options(options)).start();
        let operator = operator(&broker);
        let before = memory(&broker);
        let username = vec![b'n'; 29_000];
        let strangers: Vec<_> = (0..STRANGERS)
            .map(|number| {
                let mut raw = broker.raw();
                let guess = if is_same { 0 } else { number };
                let password = [guess.to_string().into_bytes(), vec![1; 40_000]].concat();
                let (name, password) = (Some(&username[..]), Some(&password[..]));
                let id = format!("stranger-{number}");
                raw.send(raw::connect_packet(Protocol::V5, id, name, password, true));
                raw
            })
            .collect();
        gate.wait_until_waiting(1);
        let mut waiting = 0;
        eventually("all have come", || {
            let status = status(&operator);
            waiting = status["loginsWaiting"].as_u64().unwrap();
            waiting + status["logins"]["unavailable"].as_u64().unwrap() == STRANGERS as u64
        });
        let grown = memory(&broker).saturating_sub(before);
        let allowed = (64 << 20) + STRANGERS as u64 * THEIRS + (8 << 20);
        assert!(grown < allowed, "{waiting} logins that wait take {grown} bytes of {allowed}");
        if is_same {
            let names = waiting * 100_000;
            assert!(
                grown < (8 << 20) + names + waiting * THEIRS,
                "{waiting} of them take {grown} bytes"
            );
        }
        // Whoever wants little has room beside them, where a worker is free.
        let comes_in = || log_in(&broker, Protocol::V5, "ann").is_accepted();
        if is_same {
            eventually("ann is let in beside them", comes_in);
        }
        gate.open();
        eventually("ann is let in", comes_in);
        eventually("the last of them is answered", || status(&operator)["loginsWaiting"] == 0);
        drop(strangers);
    }
}

/// A field of a form.
fn form_field(form: &str, name: &str) -> String {
    let pair = form.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    let mut bytes = Vec::new();
    let mut rest = pair.unwrap_or_default().bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<_> = rest.by_ref().take(2).collect();
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}
