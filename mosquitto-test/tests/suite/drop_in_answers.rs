//! What answers came to for the predecessors comes of them here, whatever they are about; and that no
//! question is repeated at once, whatever a configuration says.

use mosquitto_test::prelude::*;

use crate::support::{may_publish, subscribe_refusal};

const GO_AUTH: &str = "backends http
    http_getuser_uri /user
    http_aclcheck_uri /acl
    retry_count 2
    cache true";

const AUTH_PLUG: &str = "backends http
    http_ip 127.0.0.1
    http_getuser_uri /user
    http_superuser_uri /superuser
    http_aclcheck_uri /acl
    http_retry_count 2
    auth_cacheseconds 300";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Allowed,
    Denied,
    Failed,
}

use Outcome::{Allowed, Denied, Failed};

/// An answer, and what comes of it. A status of 0 stands for none: the connection is reset.
type Row = (u16, &'static str, Outcome);

const BY_STATUS: &[Row] = &[
    (200, "", Allowed),
    (204, "", Allowed),
    (200, r#"{"ok":false,"result":"deny"}"#, Allowed),
    (301, "", Denied),
    (401, "ok", Denied),
    (404, "", Denied),
    (429, "", Denied),
    (500, "ok", Failed),
    (503, "", Failed),
    (0, "", Failed),
];

const BY_JSON: &[Row] = &[
    (200, r#"{"ok":true}"#, Allowed),
    (201, r#"{"OK":true,"more":1}"#, Allowed),
    (200, r#"{"ok":false,"error":"no such user"}"#, Denied),
    (200, "{}", Denied),
    (401, r#"{"ok":true}"#, Denied),
    (200, "ok", Failed),
    (500, r#"{"ok":true}"#, Failed),
];

const BY_TEXT: &[Row] = &[
    (200, "ok", Allowed),
    (202, "ok", Allowed),
    (200, "ok\n", Denied),
    (200, "no such user", Denied),
    (403, "ok", Denied),
    (502, "ok", Failed),
];

/// The row that a question is about: its user's name begins with the row's number, or its topic does.
fn about(request: &Request) -> Option<usize> {
    let named = |text: &str| text.split(['/', '&']).next()?.strip_prefix("row-")?.parse().ok();
    match serde_json::from_str::<serde_json::Value>(&request.text()) {
        Ok(json) => {
            let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
            named(&text("topic")).or_else(|| named(&text("username")))
        }
        Err(_) => {
            let form = request.text().replace("%2F", "/");
            let value =
                |key: &str| form.split_once(&format!("{key}=")).and_then(|(_, rest)| named(rest));
            value("topic").or_else(|| value("username"))
        }
    }
}

/// An API that answers as the rows say, and everybody else with a yes.
fn api(rows: &'static [Row]) -> AuthServer {
    AuthServer::answering(move |request| {
        if request.path == "/superuser" {
            return Reply::status(403);
        }
        let (status, body, _) = about(request).map_or(rows[0], |row| rows[row]);
        if status == 0 { Reply::reset() } else { Reply::status(status).body(body) }
    })
}

fn start(version: Version, api: &AuthServer, options: &str) -> Broker {
    let place = format!("http_host 127.0.0.1\nhttp_port {}\nbreaker_failures 1000000", api.port());
    // auth-plug's host is in its own option.
    let place =
        if options.contains("http_ip") { place.split_once('\n').unwrap().1 } else { &place };
    let config = Broker::config(version).line(&format!("auth_plugin {}", plugin_path().display()));
    let lines = place.lines().chain(options.lines()).map(str::trim);
    lines.fold(config, |config, option| config.line(&format!("auth_opt_{option}"))).start()
}

fn check_login(broker: &Broker, protocol: Protocol, row: usize, outcome: Outcome) {
    let name = format!("row-{row}");
    let client = broker.client(&name).protocol(protocol).credentials(&name, "p");
    match outcome {
        Allowed => client.connect().expect_accepted().disconnect(),
        Denied => assert_eq!(client.connect().expect_refused(), protocol.refusal()),
        Failed => client.connect().expect_closed(),
    }
}

/// A denial and a failure look alike: nothing happens, and nobody is disconnected.
fn check_access(broker: &Broker, protocol: Protocol, row: usize, outcome: Outcome) {
    let log_in = |id: &str, protocol| {
        broker.client(id).protocol(protocol).credentials("u", "p").connect().expect_accepted()
    };
    let (subscriber, publisher) = (log_in("s", protocol), log_in("p", Protocol::V5));
    let allowed = outcome == Allowed;
    match subscriber.subscribe(&format!("row-{row}/s/#")) {
        subscription if allowed => subscription.expect_granted(),
        subscription => assert_eq!(subscription.expect_refused(), subscribe_refusal(protocol)),
    }
    assert_eq!(may_publish(&publisher, &format!("row-{row}/p")), allowed);
    for client in [subscriber, publisher] {
        assert!(client.is_connected());
        client.disconnect();
    }
}

fn check(version: Version, options: &str, rows: &'static [Row]) {
    let api = api(rows);
    let broker = start(version, &api, options);
    for (row, (status, _, outcome)) in rows.iter().enumerate() {
        for protocol in [Protocol::V3_1_1, Protocol::V5] {
            check_login(&broker, protocol, row, *outcome);
            check_access(&broker, protocol, row, *outcome);
        }
        // What a kept-alive connection lost is asked once more, on a new one.
        if *status == 0 {
            continue;
        }
        // Each question twice, once in each protocol; a yes and a no are cached, a failure is not.
        let asked = |path: &str| {
            api.requests_to(path).iter().filter(|request| about(request) == Some(row)).count()
        };
        let times = if *outcome == Failed { 2 } else { 1 };
        assert_eq!(asked("/user"), times, "login, row {row}");
        // What a client asked in vain is asked once more, ahead, when it comes again.
        let ahead = if *outcome == Failed { 2 } else { 0 };
        let asked = asked("/acl");
        assert!(
            (2 * times..=2 * times + ahead).contains(&asked),
            "subscription and publish, row {row}: {asked}"
        );
    }
}

on_every_broker! {
    fn go_auths_status_decides(version) {
        check(version, GO_AUTH, BY_STATUS);
    }

    fn go_auths_json_decides(version) {
        check(version, &format!("{GO_AUTH}\nhttp_response_mode json"), BY_JSON);
    }

    fn go_auths_text_decides(version) {
        check(version, &format!("{GO_AUTH}\nhttp_response_mode text"), BY_TEXT);
    }

    fn auth_plugs_status_decides(version) {
        check(version, AUTH_PLUG, BY_STATUS);
    }

    fn a_delivery_that_is_denied_or_fails_disconnects_nobody(version) {
        for (options, status) in [(GO_AUTH, 403), (GO_AUTH, 500), (AUTH_PLUG, 403), (AUTH_PLUG, 500)] {
            let api = AuthServer::answering(move |request| {
                let text = request.text();
                let is_read = text.contains(r#""acc":1"#) || text.contains("&acc=1&");
                let status = match request.path.as_str() {
                    "/superuser" => 403,
                    _ if is_read && text.contains("secret") => status,
                    _ => 200,
                };
                Reply::status(status)
            });
            let broker = start(version, &api, options);
            let log_in = |id: &str| {
                let client = broker.client(id).protocol(Protocol::V5).credentials("u", "p");
                client.connect().expect_accepted()
            };
            let (subscriber, publisher) = (log_in("s"), log_in("p"));
            subscriber.subscribe("#").expect_granted();
            assert!(may_publish(&publisher, "secret"));
            assert!(may_publish(&publisher, "open"));
            assert_eq!(subscriber.expect_message().0, "open", "{status}");
            assert!(publisher.is_connected());
        }
    }
}
