//! What several of the files beside this one need.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mosquitto_test::prelude::*;
use mosquitto_test::watch::patience;
use serde_json::{Value, json};

/// Both routes, so that a client can log in before its ACL checks are looked at.
pub const ROUTES: [(&str, &str); 2] = [("http_user_route", "/user"), ("http_acl_route", "/acl")];

/// Has every question asked and waited for, so that each failure is seen as what it is: bounded
/// waits, the breaker and connections that are closed have tests of their own.
pub const EVERY_QUESTION: [(&str, &str); 4] = [
    ("max_block_ms", "60000"),
    ("max_block_percent", "100"),
    ("breaker_failures", "1000000"),
    ("acl_unavailable", "deny"),
];

/// The reason code of a denied publish in MQTT 5.
pub const NOT_AUTHORIZED: u8 = 0x87;

/// A broker that asks this API, with more options than where it is and its routes.
pub fn broker_with(version: Version, api: &AuthServer, more: &[(&str, &str)]) -> Broker {
    Broker::config(version)
        .plugin(api.options([&ROUTES, &EVERY_QUESTION[..], more].concat()))
        .start()
}

/// A broker that asks whatever is on this port.
pub fn broker_on_port(version: Version, port: u16, more: &[(&str, &str)]) -> Broker {
    let port = port.to_string();
    let place = [("http_host", "127.0.0.1"), ("http_port", port.as_str())];
    Broker::config(version).plugin([&place, &ROUTES[..], &EVERY_QUESTION, more].concat()).start()
}

/// The password of [`log_in`]. No broker's log may show it: [`mosquitto_test::broker::secrets`].
pub const PASSWORD: &str = "canary-of-the-suite-7Qx2";

/// Logs in; the client's identifier is the user's name.
pub fn log_in(broker: &Broker, protocol: Protocol, user: &str) -> Login {
    broker.client(user).protocol(protocol).credentials(user, PASSWORD).connect()
}

/// A broker in which `user` is logged in by an API that is healthy then. Handlers set later decide
/// about the ACL checks alone.
pub fn logged_in(broker: &Broker, protocol: Protocol, user: &str) -> Client {
    log_in(broker, protocol, user).expect_accepted()
}

/// The status by which Mosquitto 2.1's own HTTP API, on this port, answers somebody with this password.
pub fn http_api_status(port: u16, user: &str, password: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = "GET /api/v1/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let credentials = BASE64.encode(format!("{user}:{password}"));
    write!(stream, "{head}Authorization: Basic {credentials}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

/// Whether an MQTT 5 client's publish was allowed; 0x10 says that nobody has subscribed.
pub fn may_publish(client: &Client, topic: &str) -> bool {
    match client.publish(topic, "x") {
        0 | 0x10 => true,
        NOT_AUTHORIZED => false,
        code => panic!("a publish was answered with {code:#x}"),
    }
}

/// The SUBACK code of a denied subscription.
pub fn subscribe_refusal(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::V3_1_1 => 0x80,
        Protocol::V5 => NOT_AUTHORIZED,
    }
}

/// Waits for the line about a question that the API failed to answer.
pub fn wait_for_failure(broker: &Broker, why: &str, about: &str) {
    broker.wait_for_log(&format!(" failed: {why}; it was asked about {about}"));
}

/// Tries again until it works: a question that is still on its way when the API recovers fails all
/// those who ask it meanwhile.
pub fn eventually(what: &str, works: impl FnMut() -> bool) {
    eventually_within(patience(), what, works);
}

/// The same, for what takes long on purpose.
pub fn eventually_within(limit: Duration, what: &str, mut works: impl FnMut() -> bool) {
    let started = Instant::now();
    while !works() {
        assert!(started.elapsed() < limit, "{what}: not within {limit:?}");
    }
}

/// What time it is, in seconds of Unix time.
pub fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Has the broker take the time of day from this file: `-1h` and the like. Its other clock goes on.
pub fn with_clock(config: BrokerConfig, clock: &Path) -> BrokerConfig {
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    assert!(Path::new(library).exists(), "install.sh installs libfaketime");
    config
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

/// A 200 that says this.
pub fn saying(body: Value) -> Reply {
    Reply::status(200).json(body)
}

/// A 200 that grants these rules.
pub fn granting(texts: &[&str]) -> Reply {
    saying(json!({"acl": rules(texts)}))
}

/// Rules as an API writes them, from `allow publish a/#` and the like.
pub fn rules(texts: &[&str]) -> Value {
    let rule = |text: &&str| {
        let words: Vec<_> = text.splitn(3, ' ').collect();
        json!({"permission": words[0], "action": words[1], "topic": words[2]})
    };
    texts.iter().map(rule).collect()
}

/// What an API answers that grants everyone the rules that the password spells, with `; ` between
/// them: `allow publish a/#; deny all #`. `root` may do everything.
pub fn granting_what_the_password_spells(request: &Request) -> Reply {
    let body = request.json();
    let password = body["password"].as_str().unwrap_or_default();
    if body["username"] == "root" {
        return saying(json!({"is_superuser": true}));
    }
    granting(&password.split("; ").collect::<Vec<_>>())
}

/// Ends a client's connection as a crash would, and returns once the broker has noticed.
pub fn vanish(broker: &Broker, id: &str, client: Client) {
    let mark = broker.log_mark();
    client.vanish();
    broker.wait_for_log_after(mark, &format!("Client {id} "));
}

/// Starts a broker with a plain listener, and with one that takes its clients' names from their
/// certificates.
pub fn certificate_listener(config: BrokerConfig, certs: &Certs) -> Broker {
    let by_certificate = |listener: Listener| {
        let listener = listener.tls(certs.server()).require_certificate(certs.server());
        listener.line("use_identity_as_username true")
    };
    config.listener(|listener| listener).listener(by_certificate).start()
}

/// Runs `mosquitto_pub`, if there is a message, or `mosquitto_sub`, as client `c` with the
/// certificate of `sensor-7`.
pub fn with_certificate(broker: &Broker, certs: &Certs, rest: &[&str]) -> Output {
    let identity = certs.client("sensor-7");
    let [ca, cert, key] =
        [certs.ca_file(), &identity.cert, &identity.key].map(|path| path.to_str().unwrap());
    let port = broker.port_of(1).to_string();
    let tls = ["-h", "localhost", "-p", &port, "--cafile", ca, "--cert", cert, "--key", key];
    let arguments = [&tls, &["-i", "c"][..], rest].concat();
    match rest.contains(&"-m") {
        true => broker.mosquitto_pub(&arguments),
        false => broker.mosquitto_sub(&arguments),
    }
}

/// A broker with a listener, and an instance of the plugin of its own there, for each of these options.
pub fn instance_for_each<const N: usize>(
    version: Version,
    options: [Vec<(String, String)>; N],
) -> Broker {
    let config = Broker::config(version).per_listener_settings();
    let add = |config: BrokerConfig, options| config.listener(|listener| listener.plugin(options));
    options.into_iter().fold(config, add).start()
}
