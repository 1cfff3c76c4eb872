//! What holds up the broker is counted for whose questions they are: nobody uses up what another needs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mosquitto_test::prelude::*;

use crate::hostile_clients::memory;
use crate::support::{ROUTES, eventually, logged_in, may_publish};

/// An API whose answers take so long.
fn api(delay: Duration) -> AuthServer {
    AuthServer::answering(move |_| {
        thread::sleep(delay);
        Reply::status(200)
    })
}

on_every_broker! {
    fn a_subscribe_with_sixty_filters_takes_nothing_from_the_next_clients(version) {
        for delay in [5, 20] {
            let api = api(Duration::from_millis(delay));
            let broker = Broker::config(version).plugin(api.options(ROUTES)).start();
            for (name, protocol) in ["one", "two"].into_iter().zip(Protocol::BOTH) {
                let client = logged_in(&broker, protocol, name);
                let filters: Vec<_> = (0..60).map(|number| format!("{name}/{number}/#")).collect();
                let filters: Vec<_> = filters.iter().map(String::as_str).collect();
                for granted in client.subscribe_many(&filters) {
                    granted.expect_granted();
                }
            }
        }
    }

    fn a_gateway_publishes_the_states_of_two_hundred_devices(version) {
        let api = api(Duration::from_millis(5));
        let broker = Broker::config(version).plugin(api.options(ROUTES)).start();
        let gateway = logged_in(&broker, Protocol::V5, "gateway");
        for number in 0..200 {
            assert!(may_publish(&gateway, &format!("devices/{number}/state")), "{number}");
        }
    }

    fn one_slow_login_does_not_shut_out_the_quick_one_after_it(version) {
        let api = AuthServer::answering(|request| {
            let is_slow = request.json()["username"] == "slow";
            thread::sleep(Duration::from_millis(if is_slow { 700 } else { 0 }));
            Reply::status(200)
        });
        let options = ROUTES.into_iter().chain([("delayed_login", "false")]);
        let broker = Broker::config(version).plugin(api.options(options)).start();
        logged_in(&broker, Protocol::V3_1_1, "slow");
        logged_in(&broker, Protocol::V5, "quick");
    }

    fn what_a_client_subscribes_to_takes_bounded_memory(version) {
        let api = AuthServer::start();
        let listeners = |config: BrokerConfig| {
            let config = config.listener(|listener| listener);
            config.listener(|listener| listener.line("mount_point tenant/")).start()
        };
        let bare = listeners(Broker::config(version).allow_anonymous(true));
        let broker = listeners(Broker::config(version).plugin(api.options(ROUTES)));
        for listener in [0, 1] {
            let [without, with] = [&bare, &broker].map(|broker| grown(broker, listener));
            assert!(with < without + (8 << 20), "{listener}: {with} bytes, {without} without plugin");
        }
    }
}

/// How much memory the broker takes more for a client that subscribes to long filters and gives them up.
/// Mosquitto takes 200 levels; with a mount point it never ends a subscription, and keeps the filter.
fn grown(broker: &Broker, listener: usize) -> u64 {
    let builder = broker.client("c").port(broker.port_of(listener)).protocol(Protocol::V5);
    let client = builder.credentials("ann", "x").connect().expect_accepted();
    let filter = |number| format!("{number}/{}{}", "a/".repeat(190), "b".repeat(60_000));
    client.subscribe(&filter(0)).expect_granted();
    let before = memory(broker);
    for number in 1..=200 {
        client.subscribe(&filter(number)).expect_granted();
        client.unsubscribe(&filter(number));
    }
    memory(broker).saturating_sub(before)
}

/// Mosquitto 2.1 asks about its HTTP API on a thread of that; the broker goes on meanwhile.
#[test]
fn wrong_passwords_at_the_http_api_take_nothing_from_clients() {
    let api = AuthServer::answering(|request| {
        let is_stranger = request.json()["username"] == "evil";
        thread::sleep(Duration::from_millis(if is_stranger { 300 } else { 5 }));
        Reply::status(if is_stranger { 403 } else { 200 })
    });
    let options = ROUTES.into_iter().chain([("cache_ttl", "0"), ("delayed_login", "false")]);
    let broker = Broker::config(Version::V2_1_2)
        .plugin(api.options(options))
        .listener(|listener| listener)
        .listener(|listener| listener.line("protocol http_api"))
        .start();
    let port = broker.port_of(1);
    let (over, tried) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let head = "GET /api/v1/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
                // evil:wrong
                write!(stream, "{head}Authorization: Basic ZXZpbDp3cm9uZw==\r\n\r\n").unwrap();
                let _ = stream.read_to_end(&mut Vec::new());
                tried.store(true, Ordering::Relaxed);
            }
        });
        eventually("the stranger has been refused once", || tried.load(Ordering::Relaxed));
        for number in 0..12 {
            let client = logged_in(&broker, Protocol::V5, &format!("good-{number}"));
            assert!(may_publish(&client, &format!("good/{number}")), "{number}");
        }
        over.store(true, Ordering::Relaxed);
    });
}
