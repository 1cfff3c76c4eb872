//! The example APIs that the documentation shows, as their readers would run them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use mosquitto_test::prelude::*;
use mosquitto_test::program::{free_port, repository};
use mosquitto_test::watch::PATIENCE;
use serde_json::Value;

use crate::apis::installed;
use crate::support::{EVERY_QUESTION, ROUTES, eventually, may_publish};
use crate::{axum, express, fastapi, node_red};

pub fn python(file: &str) -> Program {
    python_with(file, &[])
}

fn python_with(file: &str, environment: &[(&str, &str)]) -> Program {
    let port = free_port();
    let mut command = Command::new("python3");
    command.arg(repository("examples/python").join(file)).arg(port.to_string());
    command.envs(environment.iter().copied());
    Program::start(command, port, "listening on port")
}

fn broker(version: Version, api: &Program, more: &[(&str, &str)]) -> Broker {
    let port = api.port().to_string();
    let place = [("http_host", "127.0.0.1"), ("http_port", port.as_str())];
    Broker::config(version).plugin([&place, &EVERY_QUESTION[..], more].concat()).start()
}

fn log_in(broker: &Broker, id: &str, user: &str, password: &str) -> Login {
    broker.client(id).protocol(Protocol::V5).credentials(user, password).connect()
}

on_every_broker! {
    fn an_api_that_answers_by_status(version) {
        let api = python("statuses.py");
        let broker = broker(version, &api, &ROUTES);
        log_in(&broker, "c", "ann", "blue").expect_refused();
        let ann = log_in(&broker, "c", "ann", "green").expect_accepted();
        assert!(may_publish(&ann, "users/ann/x") && !may_publish(&ann, "users/ben/x"));
        assert!(!may_publish(&ann, "public/x"));
        ann.subscribe("public/#").expect_granted();
        ann.subscribe("users/#").expect_refused();
        ann.subscribe("users/ann/#").expect_granted();
        ann.publish("users/ann/x", "hello");
        assert_eq!(ann.expect_message(), ("users/ann/x".into(), "hello".into()));
    }

    fn an_api_that_answers_with_rules(version) {
        let api = python("rules.py");
        let broker = broker(version, &api, &[ROUTES[0]]);
        log_in(&broker, "c", "ann", "blue").expect_refused();
        let ann = log_in(&broker, "sensor", "ann", "green").expect_accepted();
        assert!(may_publish(&ann, "users/ann/x") && !may_publish(&ann, "users/ben/x"));
        assert!(!may_publish(&ann, "users/ann/locked/x"));
        assert!(may_publish(&ann, "devices/sensor/up/t") && !may_publish(&ann, "devices/c/up/t"));
        ann.subscribe("devices/sensor/down/+").expect_granted();
        ann.subscribe("devices/+/down/+").expect_refused();
        ann.subscribe("public/news").expect_granted();
        let root = log_in(&broker, "r", "root", "black").expect_accepted();
        root.publish("devices/sensor/down/reboot", "now");
        assert_eq!(ann.expect_message().1, "now");
        root.publish("public/news", "all is well");
        assert_eq!(ann.expect_message().1, "all is well");
    }

    fn an_api_that_prints_by_which_trace_a_question_is_found(version) {
        let api = python("events.py");
        let broker = broker(version, &api, &[&ROUTES[..], &[("http_trace", "true")]].concat());
        log_in(&broker, "c", "ann", "blue").expect_refused();
        api.wait_for_log("403 'ann' login trace=");
        let log = api.log();
        let trace = log.lines().find_map(|line| line.strip_prefix("403 'ann' login ")).unwrap();
        assert_eq!(trace.len(), "trace=".len() + 32);
        broker.wait_for_log(&format!("reason=api status=403 {trace}"));
        let ann = log_in(&broker, "c", "ann", "green").expect_accepted();
        assert!(may_publish(&ann, "users/ann/x") && !may_publish(&ann, "users/ben/x"));
    }

    fn an_api_that_knows_who_is_connected(version) {
        let api = python("events.py");
        let route = ("http_event_route", "/events");
        let broker = broker(version, &api, &[&ROUTES[..], &[route]].concat());
        let clients = || -> Vec<String> {
            let request = "GET /clients HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            let mut stream = TcpStream::connect(("127.0.0.1", api.port())).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            let body: Value = serde_json::from_str(body).unwrap();
            let clients = body["clients"].as_array().unwrap().iter();
            clients.map(|client| client["clientid"].as_str().unwrap().to_owned()).collect()
        };
        assert!(clients().is_empty());
        let ann = log_in(&broker, "c1", "ann", "green").expect_accepted();
        let ben = log_in(&broker, "c2", "ben", "blue").expect_accepted();
        eventually("both are there", || clients() == ["c1", "c2"]);
        ann.disconnect();
        eventually("one is left", || clients() == ["c2"]);
        api.wait_for_log(" connected 'c1' of 'ann'");
        // Whoever takes over is there, whatever is said of the other.
        let again = log_in(&broker, "c2", "ben", "blue").expect_accepted();
        api.wait_for_log(" disconnected 'c2' of 'ben' (taken-over)");
        eventually("it is the other", || clients() == ["c2"]);
        drop(broker);
        drop((ben, again));
    }

    fn an_api_that_answers_many_questions_at_once(version) {
        let api = python("batches.py");
        let more = [("http_acl_batch_route", "/acls")];
        let broker = broker(version, &api, &[&ROUTES[..], &more].concat());
        let [ann, ben] = [("ann", "green"), ("ben", "blue")].map(|(user, password)| {
            let client = log_in(&broker, user, user, password).expect_accepted();
            client.subscribe("teams/garden/#").expect_granted();
            client
        });
        assert!(!may_publish(&ben, "teams/kitchen/x"));
        assert!(may_publish(&ann, "teams/garden/x"));
        for member in [&ann, &ben] {
            assert_eq!(member.expect_message().0, "teams/garden/x");
        }
    }
}

/// The status that a question on this route gets, with these lines in its head.
fn status(port: u16, route: &str, head: &str) -> u16 {
    let question =
        r#"{"username":"ann","password":"green","clientid":"c","topic":"users/ann/x","acc":2}"#;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = question.len();
    write!(
        stream,
        "POST {route} HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n{head}\r\n{question}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// An API in the environment of one that answers its brokers alone.
fn expect_caution(api: &Program) {
    expect_caution_at("/user", api);
}

/// The same of an API with another route for logins.
fn expect_caution_at(route: &str, api: &Program) {
    let port = api.port();
    assert_eq!(status(port, route, "Authorization: Bearer t0ken\r\n"), 200);
    for head in ["", "Authorization: Bearer t0ke\r\n", "Authorization: Bearer None\r\n"] {
        assert_eq!(status(port, route, head), 401, "{head}");
    }
    assert_eq!(status(port, "/usr", "Authorization: Bearer t0ken\r\n"), 404);
    // While it does nothing, more connections wait than a broker's start brings by default.
    api.signal(libc::SIGSTOP);
    let address = ([127, 0, 0, 1], port).into();
    let waiting: Vec<_> = (0..64).map(|_| TcpStream::connect_timeout(&address, PATIENCE)).collect();
    api.signal(libc::SIGCONT);
    assert!(waiting.iter().all(Result::is_ok), "the API's listen backlog is short");
}

const TOKEN: [(&str, &str); 1] = [("API_TOKEN", "t0ken")];

#[test]
fn the_examples_in_express_and_fastapi_print_events() {
    let (express, fastapi) = (express::start(), fastapi::start());
    for api in [&express, &fastapi.program] {
        let more = [ROUTES[0], ("http_event_route", "/events")];
        let broker = broker(Version::V2_1_2, api, &more);
        let ann = log_in(&broker, "c7", "ann", "green").expect_accepted();
        api.wait_for_log("connected ");
        drop(ann);
        api.wait_for_log("(connection-lost)");
        assert!(api.log().contains("c7"), "{}", api.log());
    }
}

#[test]
fn the_examples_in_python_answer_their_brokers_alone() {
    for file in ["statuses.py", "rules.py", "batches.py", "events.py"] {
        expect_caution(&python_with(file, &TOKEN));
    }
}

#[test]
fn the_example_for_tokens_answers_its_brokers_alone() {
    let port = free_port();
    let mut command = Command::new(installed("examples/jwt/.venv/bin/python"));
    // No token of the test is valid, whatever the key is.
    command.current_dir(repository("examples/jwt")).args(["api.py", "README.md"]);
    command.arg(port.to_string()).envs(TOKEN);
    expect_caution(&Program::start(command, port, "listening on port"));
}

#[test]
fn the_example_in_express_answers_its_brokers_alone() {
    expect_caution(&express::start_with(&TOKEN));
}

#[test]
fn the_example_in_fastapi_answers_its_brokers_alone() {
    expect_caution(&fastapi::start_with(&TOKEN).program);
}

#[test]
fn the_example_in_axum_answers_its_brokers_alone() {
    expect_caution(&axum::start_with(&TOKEN));
}

#[test]
fn the_example_in_node_red_answers_its_brokers_alone() {
    let node_red = node_red::start_with(&[], &TOKEN);
    expect_caution_at("/mqttAuthentication/userGet", &node_red.program);
}

on_every_broker! {
    fn a_broker_that_bears_the_token_is_answered(version) {
        let api = python_with("statuses.py", &TOKEN);
        let token = ("http_header_Authorization", "Bearer t0ken");
        let with = broker(version, &api, &[&ROUTES[..], &[token]].concat());
        log_in(&with, "c", "ann", "green").expect_accepted();
        let without = broker(version, &api, &ROUTES);
        log_in(&without, "c", "ann", "green").expect_refused();
        without.wait_for_log("reason=api status=401");
    }
}
