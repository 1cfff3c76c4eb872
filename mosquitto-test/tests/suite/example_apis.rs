//! The example APIs that the documentation shows, as their readers would run them.

use std::process::Command;

use mosquitto_test::prelude::*;
use mosquitto_test::program::{free_port, repository};

use crate::support::{EVERY_QUESTION, ROUTES, may_publish};

pub fn python(file: &str) -> Program {
    let port = free_port();
    let mut command = Command::new("python3");
    command.arg(repository("examples/python").join(file)).arg(port.to_string());
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
