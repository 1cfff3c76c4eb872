//! `healthcheck` sees whether the broker answers, whatever its listeners expect, and asks no API.

use std::fs;

use mosquitto_test::command::{Ran, run};
use mosquitto_test::prelude::*;

use crate::support::eventually;

fn check(broker: &Broker, arguments: &[&str]) -> Ran {
    let conf = broker.dir().join("mosquitto.conf");
    run(&[&["healthcheck", conf.to_str().unwrap()], arguments].concat(), "")
}

on_every_broker! {
    fn a_broker_that_runs_answers_on_every_kind_of_listener(version) {
        let (api, certs) = (AuthServer::answering(|_: &Request| Reply::status(200)), Certs::new());
        let mut config = Broker::config(version)
            .plugin(api.options([("http_user_route", "/user"), ("anonymous_username", "nobody")]))
            .listener(|listener| listener)
            .listener(Listener::websockets)
            .listener(|listener| listener.tls(certs.server()))
            .listener(|listener| {
                listener.tls(certs.server()).require_certificate(certs.server())
            });
        let socket = config.path("socket");
        config = config.line(&format!("listener 0 {}", socket.display()));
        if version.is_2_1() {
            config = config.listener(|listener| listener.line("enable_proxy_protocol 2"));
        }
        let count = if version.is_2_1() { 5 } else { 4 };
        let broker = config.start();
        let ports = (0..count).map(|nth| broker.port_of(nth).to_string());
        for name in ports.chain([socket.display().to_string()]) {
            let ran = check(&broker, &["--listener", &name]);
            assert_eq!(ran.status, 0, "{}", ran.all());
        }
        assert_eq!(check(&broker, &[]).status, 0);
        assert!(api.requests().is_empty(), "the API was asked");
    }

    fn a_broker_that_hangs_or_has_ended_does_not_answer(version) {
        let mut broker = Broker::config(version).start();
        broker.signal(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", broker.pid());
        eventually("the broker is stopped", || fs::read_to_string(&stat).unwrap().contains(") T "));
        let ran = check(&broker, &["--timeout", "1"]);
        assert_eq!(ran.status, 1);
        assert!(ran.stdout.contains("it takes connections and says nothing"), "{}", ran.all());
        broker.signal(libc::SIGCONT);
        assert_eq!(check(&broker, &[]).status, 0);
        broker.stop();
        assert_eq!(check(&broker, &["--timeout", "1"]).status, 1);
    }
}

#[test]
fn a_listener_that_is_not_there_is_named_with_those_that_are() {
    let conf = super::Conf::new("listener 1883\nlistener 8883\n");
    let ran = conf.run("healthcheck", &["--listener", "9"], "");
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("has no listener 9; it has 1883, 8883"), "{}", ran.stderr);
}
