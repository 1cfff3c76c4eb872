//! SIGHUP, on which the broker asks about every session again, disconnects nobody whom the API
//! does not really deny.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mosquitto_test::prelude::*;

use crate::support::may_publish;

fn broker(version: Version, api: &AuthServer, more: &[(&'static str, &'static str)]) -> Broker {
    let options = [("http_user_route", "/login"), ("cache_ttl", "0")];
    let options = options.into_iter().chain(more.iter().copied());
    Broker::config(version).acl_file("pattern readwrite #\n").plugin(api.options(options)).start()
}

/// So many users, each with a client that has logged in.
fn clients(broker: &Broker, count: usize) -> Vec<Client> {
    let client = |number| {
        let name = format!("user-{number}");
        broker.client(&name).credentials(&name, "x").connect().expect_accepted()
    };
    (0..count).map(client).collect()
}

const COUNT: usize = 30;

on_every_broker! {
    fn a_client_whose_keep_alive_the_broker_has_lowered_stays(version) {
        let api = AuthServer::start();
        let options = [("http_user_route", "/login"), ("http_user_fields", "keepalive")];
        let config = Broker::config(version).acl_file("pattern readwrite #\n");
        let broker = config.plugin(api.options(options)).line("max_keepalive 60").start();
        let client = broker.client("c").protocol(Protocol::V5).credentials("ann", "x");
        let client = client.keep_alive(Duration::from_secs(120)).connect().expect_accepted();
        for _ in 0..3 {
            broker.reload();
            assert!(may_publish(&client, "a/b"));
        }
        assert_eq!(api.requests()[0].json()["keepalive"], 120);
    }

    fn nobody_is_disconnected_while_the_api_is_slow_or_down(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[]);
        let clients = clients(&broker, COUNT);
        let gate = Gate::new();
        let held = gate.clone();
        api.set_handler(move |_| Reply::status(403).after(&held));
        broker.reload();
        for client in &clients {
            assert_eq!(client.publish("a/b", "still here"), 0);
        }
        api.set_handler(|_| Reply::status(500));
        gate.open();
        api.stop();
        broker.reload();
        broker.reload();
    }

    fn everyone_is_checked_again_in_the_background_and_only_the_denied_go(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[]);
        let clients = clients(&broker, COUNT);
        api.forget_requests();
        api.set_handler(|request| {
            let denied = request.json()["username"] == "user-7";
            Reply::status(if denied { 403 } else { 200 })
        });
        broker.reload();
        clients[7].wait_disconnected();
        broker.wait_for_log("disconnected \"user-7\": the API now denies its login");
        api.wait_for_requests(COUNT);
        for (number, client) in clients.iter().enumerate().filter(|(number, _)| *number != 7) {
            assert_eq!(client.publish("a/b", "still here"), 0, "{number}");
        }
    }

    fn a_check_that_fails_is_made_again_until_it_is_decided(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[]);
        let clients = clients(&broker, 2);
        api.forget_requests();
        let failed = AtomicUsize::new(0);
        api.set_handler(move |request| {
            let is_denied = request.json()["username"] == "user-1";
            let fails = is_denied && failed.fetch_add(1, Ordering::Relaxed) < 2;
            Reply::status(if fails { 500 } else if is_denied { 403 } else { 200 })
        });
        broker.reload();
        clients[1].wait_disconnected();
        assert!(may_publish(&clients[0], "a/b"));
        assert_eq!(api.requests().len(), 4, "once for the one, three times for the other");
    }

    fn logins_are_asked_about_a_few_at_once_and_topics_once_they_are_used(version) {
        let api = AuthServer::answering(|request| match request.json()["topic"].as_str() {
            Some("brief") => Reply::status(200).header("Cache-Control", "no-store"),
            _ => Reply::status(200),
        });
        let options = [("http_acl_route", "/acl"), ("http_connections", "4"), ("cache_auth_ttl", "0")];
        let broker = broker(version, &api, &[&options[..], &[("cache_acl_ttl", "600")]].concat());
        let clients = clients(&broker, COUNT);
        clients.iter().for_each(|client| client.subscribe("brief").expect_granted());
        // From now on answers about topics are kept as far as is known.
        clients[0].subscribe("long").expect_granted();
        broker.wait_until_idle();
        api.forget_requests();
        let gate = Gate::new();
        let held = gate.clone();
        api.set_handler(move |request| match request.path.as_str() {
            "/login" => Reply::status(200).after(&held),
            _ => Reply::status(200),
        });
        broker.reload();
        gate.wait_until_waiting(2);
        // Whoever comes now is not behind thirty others.
        let asked = api.requests_to("/login").len();
        assert!(asked <= 4, "{asked}");
        gate.open();
        api.wait_for_requests(COUNT);
        broker.wait_until_idle();
        assert_eq!((api.requests_to("/login").len(), api.requests_to("/acl").len()), (COUNT, 0));
    }

    fn an_answer_that_is_still_good_is_not_asked_for(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[("cache_auth_ttl", "600")]);
        let clients = clients(&broker, COUNT);
        broker.reload();
        for client in &clients {
            assert_eq!(client.publish("a/b", "still here"), 0);
        }
        assert_eq!(api.requests().len(), COUNT);
    }

    fn a_session_that_is_offline_is_not_asked_about_and_survives(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[]);
        let builder = broker.client("sleeper").credentials("sleeper", "x").clean(false);
        let sleeper = builder.connect().expect_accepted();
        sleeper.subscribe("a/#").expect_granted();
        sleeper.disconnect();
        broker.wait_until_idle();
        api.forget_requests();
        broker.reload();
        let other = broker.client("other").credentials("other", "x").connect().expect_accepted();
        other.publish("a/b", "kept");
        assert_eq!(api.requests().len(), 1, "only the new login was asked about");
        let sleeper = builder.connect().expect_accepted();
        assert_eq!(sleeper.expect_message(), ("a/b".into(), "kept".into()));
    }
}

#[test]
fn a_broker_that_never_ticks_disconnects_the_denied_at_the_next_login() {
    // 2.0.11 with per_listener_settings has no ticks to leave work for.
    let api = AuthServer::start();
    let options = [("http_user_route", "/login"), ("http_acl_route", "/acl"), ("cache_ttl", "0")];
    let broker = Broker::config(Version::V2_0_11)
        .per_listener_settings()
        .listener(|listener| listener.plugin(api.options(options)))
        .start();
    let clients = clients(&broker, 3);
    api.set_handler(|request| {
        let denied = request.json()["username"] == "user-1";
        Reply::status(if denied { 403 } else { 200 })
    });
    api.forget_requests();
    broker.reload();
    api.wait_for_requests(3);
    while clients[1].is_connected() {
        broker.client("other").credentials("other", "x").connect().expect_accepted();
    }
    for client in [&clients[0], &clients[2]] {
        assert_eq!(client.publish("a/b", "still here"), 0);
    }
}

#[test]
fn a_reload_comes_once_no_login_waits_and_clients_that_leave_meanwhile_harm_nobody() {
    let gate = Gate::new();
    let held = gate.clone();
    let api = AuthServer::answering(move |request| match request.json()["username"].as_str() {
        Some("slow") => Reply::status(200).after(&held),
        _ => Reply::status(200),
    });
    let broker = broker(Version::V2_1_2, &api, &[]);
    let clients = clients(&broker, COUNT);
    for round in 0..4 {
        let mark = broker.log_mark();
        let mut waiting: Vec<_> = (0..COUNT)
            .map(|number| {
                let id = format!("{round}-{number}");
                let mut raw = broker.raw();
                let packet =
                    raw::connect_packet(Protocol::V5, &id, Some(b"slow"), Some(b"x"), true);
                raw.send(packet);
                raw
            })
            .collect();
        // It has read them all, and is done with the last reload, during which a signal is lost.
        broker.wait_until_idle();
        // Half of them leave before the broker takes the signal, and half after it.
        waiting.truncate(COUNT / 2);
        broker.signal(libc::SIGHUP);
        drop(waiting);
        broker.wait_for_log_after(mark, "Reloading config.");
    }
    gate.open();
    for client in &clients {
        assert_eq!(client.publish("a/b", "still here"), 0);
    }
    broker.client("new").credentials("new", "x").connect().expect_accepted();
}
