//! What the tests of real clients share: an API, a broker, and a session that every client goes through.

use std::path::PathBuf;
use std::process::Command;

use mosquitto_test::prelude::*;
use mosquitto_test::program::repository;

use crate::support::{EVERY_QUESTION, ROUTES};

/// How a client reaches the broker; the name is also its user's.
pub struct Way {
    pub name: &'static str,
    pub protocol: &'static str,
    pub transport: &'static str,
    listener: usize,
}

pub const WAYS: [Way; 4] = [
    Way { name: "tcp-3", protocol: "3.1.1", transport: "tcp", listener: 0 },
    Way { name: "tcp-5", protocol: "5", transport: "tcp", listener: 0 },
    Way { name: "ws-3", protocol: "3.1.1", transport: "websockets", listener: 1 },
    Way { name: "ws-5", protocol: "5", transport: "websockets", listener: 1 },
];

/// For clients that are tried with TLS as well; [`broker_with_tls`] has it.
pub const TLS: Way = Way { name: "tls-3", protocol: "3.1.1", transport: "tls", listener: 2 };

impl Way {
    pub fn is_5(&self) -> bool {
        self.protocol == "5"
    }
}

/// Everybody's password is `green` and everybody has the topics under their own name, but nobody is
/// given what is published to one that ends in `secret`.
pub fn api() -> AuthServer {
    AuthServer::answering(answer)
}

pub fn answer(request: &Request) -> Reply {
    let body = request.json();
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let allowed = if request.path == "/user" {
        text("password") == "green"
    } else {
        let own = text("topic").starts_with(&format!("{}/", text("username")));
        own && !(body["acc"] == 1 && text("topic").ends_with("/secret"))
    };
    Reply::status(if allowed { 200 } else { 403 })
}

/// Logins that the API has not answered yet.
pub struct HeldLogins(Option<Gate>);

/// Where logins are delayed, has all of them wait, so that a client has the time to send what it
/// should not send yet. Other brokers ask about one login at a time, and read nothing meanwhile.
pub fn hold_logins(version: Version, api: &AuthServer) -> HeldLogins {
    if !version.is_2_1() {
        return HeldLogins(None);
    }
    let gate = Gate::new();
    let held = gate.clone();
    api.set_handler(move |request| {
        let reply = answer(request);
        if request.path == "/user" { reply.after(&held) } else { reply }
    });
    HeldLogins(Some(gate))
}

impl HeldLogins {
    /// Answers once so many wait.
    pub fn release(self, count: usize) {
        if let Some(gate) = self.0 {
            gate.wait_until_waiting(count);
            gate.open();
        }
    }
}

/// The plugin's options for this API, which may take long: until every client of a test has started.
/// Its answers outlive any test, however slowly the clients start: each question is asked once. A delivery
/// is made at once, so that a client hears of what happens in the same order each time.
pub fn options(api: &AuthServer, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let patience = [
        ("http_timeout_ms", "60000"),
        ("cache_ttl", "600"),
        ("cache_deny_ttl", "600"),
        ("hold_max_bytes", "0"),
    ];
    api.options([&ROUTES, &EVERY_QUESTION[..], &patience, more].concat())
}

fn config(version: Version, api: &AuthServer, more: &[(&str, &str)]) -> BrokerConfig {
    let config = Broker::config(version).plugin(options(api, more)).allow_anonymous(false);
    config.listener(|listener| listener).listener(Listener::websockets)
}

/// A broker with a plain listener and one for websockets.
pub fn broker(version: Version, api: &AuthServer, more: &[(&str, &str)]) -> Broker {
    config(version, api, more).start()
}

/// The same with a third listener, for TLS.
pub fn broker_with_tls(version: Version, api: &AuthServer, certs: &Certs) -> Broker {
    config(version, api, &[]).listener(|listener| listener.tls(certs)).start()
}

/// A file that `mosquitto-test/clients.sh` has installed.
pub fn installed(file: &str) -> PathBuf {
    let path = repository(".clients").join(file);
    assert!(path.exists(), "{} is missing: run mosquitto-test/clients.sh once", path.display());
    path
}

/// Starts a Java client, which `clients.sh` has compiled, with the archives that it needs.
pub fn java(client: &str, archives: &str) -> Command {
    let program = installed(&format!("{client}/classes/Client.class"));
    let classes = program.parent().unwrap().display();
    let mut command = Command::new("java");
    command.args(["-cp", &format!("{classes}:{archives}"), "Client"]);
    command
}

/// Has a client of our own log in with this password, once it is told where.
pub fn start(mut client: Command, broker: &Broker, way: &Way, password: &str) -> Program {
    let port = broker.port_of(way.listener);
    client.args(["--port", &port.to_string(), "--user", way.name, "--password", password]);
    client.args(["--protocol", way.protocol, "--transport", way.transport]);
    Program::start(client, port, "started")
}

/// What a client has printed, less that it has started.
pub fn printed(client: &Program) -> Vec<String> {
    client.log().lines().filter(|line| *line != "started").map(str::to_owned).collect()
}

/// What one of the clients in Java prints of a whole session once it has subscribed.
pub fn printed_once_subscribed(way: &Way) -> Vec<String> {
    let own = |what: &str, how: &str| format!("{what} {}/{how}", way.name);
    vec![
        own("published", "secret"),
        own("published", "open"),
        own("message", "open: hello"),
        "published others/x".to_owned(),
        "ended".to_owned(),
    ]
}

/// What the API was asked about this user, in order: `login`, or the kind of access and the topic.
pub fn asked(api: &AuthServer, user: &str) -> Vec<String> {
    let of_user = api.requests().into_iter().map(|request| request.json());
    let of_user = of_user.filter(|body| body["username"] == user);
    let question = |body: serde_json::Value| match body["topic"].as_str() {
        None => "login".to_owned(),
        Some(topic) => format!("{} {topic}", body["acc"]),
    };
    of_user.map(question).collect()
}

/// What the API is asked when a user goes through the whole session, each question once.
pub fn whole_session(user: &str) -> Vec<String> {
    let own = |question: &str| format!("{question} {user}/");
    vec![
        "login".to_owned(),
        own("4") + "#",
        "4 others/#".to_owned(),
        own("2") + "secret",
        own("1") + "secret",
        own("2") + "open",
        own("1") + "open",
        "2 others/x".to_owned(),
    ]
}
