//! What each HTTP status means: 200 allows, a status of an API that cannot answer is a failure, and
//! every other one denies. The body and its type say nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mosquitto_test::prelude::*;

use crate::support::{
    NOT_AUTHORIZED, ROUTES, broker_with, log_in, logged_in, may_publish, subscribe_refusal,
    wait_for_failure,
};

const DENIED: [u16; 22] = [
    201, 202, 204, 206, 226, 300, 304, 400, 401, 402, 403, 404, 405, 406, 409, 410, 418, 422, 431,
    451, 460, 499,
];
const FAILED: [u16; 12] = [408, 425, 429, 500, 501, 502, 503, 504, 507, 511, 520, 599];
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// An API that answers with the status that the username or the topic ends in, while it is `ill`.
fn api(ill: &Arc<AtomicBool>) -> AuthServer {
    let ill = ill.clone();
    AuthServer::answering(move |request| {
        let body = request.json();
        let about = body["topic"].as_str().or(body["username"].as_str()).unwrap();
        let status = about.rsplit(['-', '/']).next().unwrap().parse().ok();
        let ill = ill.load(Ordering::Relaxed);
        Reply::status(status.filter(|_| ill).unwrap_or(200))
    })
}

fn ill() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

/// Names a user for each protocol, so that neither profits from what is cached of the other.
fn user(protocol: Protocol, status: u16) -> String {
    format!("{protocol:?}-{status}")
}

/// The denials of both routes, with a healthy check in between to see that the connection stays.
fn expect_acl_denials(broker: &Broker, protocol: Protocol, statuses: &[u16]) {
    let client = logged_in(broker, protocol, "ann");
    for status in statuses {
        let topic = format!("{protocol:?}/{status}");
        let code = client.publish(&topic, "x");
        assert_eq!(code, if protocol == Protocol::V5 { NOT_AUTHORIZED } else { 0 }, "{status}");
        let filter = format!("{protocol:?}/sub/{status}");
        let refusal = client.subscribe(&filter).expect_refused();
        assert_eq!(refusal, subscribe_refusal(protocol), "{status}");
        client.subscribe("healthy").expect_granted();
    }
    assert!(client.is_connected());
}

/// What a 200 may carry without meaning anything.
fn bodies() -> Vec<(&'static str, Reply)> {
    let ok = || Reply::status(200);
    let encoded = |kind| {
        let reply = ok().header("Content-Type", kind).header("Content-Encoding", "gzip");
        reply.body([0x1f, 0x8b, 8, 0, 0, 0, 0, 0])
    };
    let html = "<html><body>denied, forbidden, 403</body></html>";
    vec![
        ("empty", ok()),
        ("text", ok().header("Content-Type", "text/plain").body("denied")),
        ("html", ok().header("Content-Type", "text/html; charset=utf-8").body(html)),
        ("array", ok().header("Content-Type", "application/json").body("[]")),
        ("null", ok().header("Content-Type", "application/json").body("null")),
        ("unknown-keys", ok().json(serde_json::json!({"allowed": false, "error": "no"}))),
        ("binary", ok().header("Content-Type", "image/png").body([0, 255, 13, 10, 13, 10, 128])),
        ("broken-type", ok().header("Content-Type", ";;=/").body("x")),
        ("nothing-encoded", ok().header("Content-Encoding", "gzip")),
        ("no-coding", ok().header("Content-Encoding", "UTF-8").body("fine")),
        ("no-coding-json", ok().header("Content-Encoding", "utf-8").json(serde_json::json!({}))),
        ("encoded-picture", encoded("image/svg+xml")),
        ("large", ok().body(vec![b'x'; 60_000])),
    ]
}

on_every_broker! {
    fn only_200_lets_a_client_in_and_every_refusal_is_said_and_cached(version) {
        let api = api(&ill());
        let broker = broker_with(version, &api, &[("cache_deny_ttl", "600")]);
        for protocol in Protocol::BOTH {
            log_in(&broker, protocol, &user(protocol, 200)).expect_accepted();
            for status in DENIED {
                let refused = || {
                    let login = log_in(&broker, protocol, &user(protocol, status));
                    assert!(!login.is_accepted(), "{status}");
                    assert_eq!(login.expect_refused(), protocol.refusal(), "{status}");
                };
                refused();
                let asked = api.requests().len();
                refused();
                assert_eq!(api.requests().len(), asked, "the denial by {status} was cached");
            }
        }
        assert_eq!(api.requests().len(), 2 * (1 + DENIED.len()));
    }

    fn a_status_of_failure_closes_the_login_and_is_forgotten_at_once(version) {
        let ill = ill();
        let api = api(&ill);
        let broker = broker_with(version, &api, &[("cache_deny_ttl", "600")]);
        for protocol in Protocol::BOTH {
            for status in FAILED {
                let asked = api.requests().len();
                ill.store(true, Ordering::Relaxed);
                log_in(&broker, protocol, &user(protocol, status)).expect_closed();
                assert_eq!(api.requests().len(), asked + 1, "{status} is not asked again");
                ill.store(false, Ordering::Relaxed);
                log_in(&broker, protocol, &user(protocol, status)).expect_accepted();
                assert_eq!(api.requests().len(), asked + 2, "{status} was not cached");
            }
        }
        wait_for_failure(&broker, "status 408", "the login of \"V3_1_1-408\"");
    }

    fn an_acl_check_is_denied_by_every_other_status_and_the_client_stays(version) {
        let api = api(&ill());
        let broker = broker_with(version, &api, &[]);
        for protocol in Protocol::BOTH {
            expect_acl_denials(&broker, protocol, &DENIED);
        }
    }

    fn an_acl_check_is_denied_by_a_failure_and_the_client_stays(version) {
        let api = api(&ill());
        let broker = broker_with(version, &api, &[]);
        for protocol in Protocol::BOTH {
            expect_acl_denials(&broker, protocol, &FAILED);
        }
        wait_for_failure(&broker, "status 408", "whether \"ann\" (client \"ann\") may");
    }

    fn a_denied_acl_check_is_cached_and_a_failed_one_is_not(version) {
        let ill = ill();
        let api = api(&ill);
        let broker = broker_with(version, &api, &[("cache_deny_ttl", "600")]);
        let client = logged_in(&broker, Protocol::V5, "ann");
        assert!(!may_publish(&client, "t/403") && !may_publish(&client, "t/503"));
        client.subscribe("s/403").expect_refused();
        client.subscribe("s/503").expect_refused();
        ill.store(false, Ordering::Relaxed);
        api.forget_requests();
        assert!(!may_publish(&client, "t/403"), "the denial is cached");
        client.subscribe("s/403").expect_refused();
        assert!(api.requests().is_empty());
        assert!(may_publish(&client, "t/503"), "the failure is forgotten");
        client.subscribe("s/503").expect_granted();
        assert_eq!(api.requests().len(), 2);
    }

    fn a_redirect_denies_and_is_never_followed(version) {
        let target = AuthServer::start();
        let location = format!("http://127.0.0.1:{}/user", target.port());
        let api = AuthServer::answering(move |request| {
            let name = request.json()["username"].as_str().unwrap().to_owned();
            match name.rsplit('-').next().unwrap().parse() {
                Ok(status) => Reply::status(status).header("Location", &location),
                Err(_) if request.json()["topic"] == "moved" => {
                    Reply::status(307).header("Location", &location)
                }
                Err(_) => Reply::status(200),
            }
        });
        let broker = broker_with(version, &api, &[]);
        for protocol in Protocol::BOTH {
            for status in REDIRECTS {
                let login = log_in(&broker, protocol, &user(protocol, status));
                assert_eq!(login.expect_refused(), protocol.refusal(), "{status}");
            }
        }
        let client = logged_in(&broker, Protocol::V5, "ann");
        assert!(!may_publish(&client, "moved") && may_publish(&client, "stays"));
        assert_eq!(target.connections(), 0);
        assert_eq!(api.requests().len(), 2 * REDIRECTS.len() + 3);
    }

    fn a_no_that_looks_like_a_mistake_in_the_configuration_is_warned_of(version) {
        for (status, hint) in [
            (301, "redirects are not followed: is this the exact path and protocol?"),
            (401, "it has said nothing else on this route: is http_header_Authorization right?"),
            (404, "it has said nothing else on this route: is the route right?"),
            (405, "is http_method right?"),
            (415, "is http_params_mode right?"),
            (403, ""),
        ] {
            let api = AuthServer::answering(move |request| match request.path.as_str() {
                "/user" if request.json()["username"] == "ann" => Reply::status(200),
                _ => Reply::status(status),
            });
            let broker = broker_with(version, &api, &[("cache_deny_ttl", "0")]);
            let warning = |route: &str| {
                format!("answers on the {route} route with status {status}; {hint}")
            };
            log_in(&broker, Protocol::V5, "wrong").expect_refused();
            if hint.is_empty() {
                logged_in(&broker, Protocol::V5, "ann");
                assert!(!broker.log_contains("answers on the"));
                continue;
            }
            broker.wait_for_log(&warning("user"));
            // Once the route has let somebody in, it may well mean the user.
            let ann = logged_in(&broker, Protocol::V5, "ann");
            let mark = broker.log_mark();
            assert!(!may_publish(&ann, "t"));
            broker.wait_for_log_after(mark, &warning("acl"));
            if matches!(status, 401 | 404) {
                let mark = broker.log_mark();
                log_in(&broker, Protocol::V5, "other").expect_refused();
                broker.wait_for_log_after(mark, "login denied: ");
                let log = broker.log();
                assert_eq!(log.matches("answers on the user route").count(), 1, "{log}");
            }
        }
    }

    fn a_redirect_to_the_api_itself_is_not_followed_either(version) {
        let api = AuthServer::answering(|request| match request.path.as_str() {
            "/user" => Reply::status(301).header("Location", "/elsewhere"),
            _ => Reply::status(200),
        });
        let broker = broker_with(version, &api, &[]);
        log_in(&broker, Protocol::V5, "ann").expect_refused();
        assert!(api.requests_to("/elsewhere").is_empty());
    }

    fn the_body_of_a_200_changes_nothing(version) {
        let api = AuthServer::answering(|request| {
            let name = request.json()["username"].as_str().unwrap().to_owned();
            let said = bodies().into_iter().find(|(kind, _)| *kind == name);
            said.unwrap().1
        });
        let broker = broker_with(version, &api, &[]);
        for (kind, _) in bodies() {
            let client = logged_in(&broker, Protocol::V5, kind);
            assert!(may_publish(&client, "t"), "{kind}");
            client.subscribe("t").expect_granted();
        }
        assert_eq!(api.connections(), 1, "a body is read to its end");
    }

    fn the_body_of_a_denial_changes_nothing(version) {
        let api = AuthServer::answering(|_| {
            Reply::status(403).json(serde_json::json!({"result": "allow", "ok": true}))
        });
        let broker = broker_with(version, &api, &[]);
        log_in(&broker, Protocol::V5, "ann").expect_refused();
    }

    fn an_interim_answer_is_passed_over(version) {
        let api = AuthServer::answering(|request| {
            let interim = match request.json()["username"].as_str().unwrap() {
                "continue" => "HTTP/1.1 100 Continue\r\n\r\n",
                _ => "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n",
            };
            let last = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            Reply::raw(format!("{interim}{last}"))
        });
        let broker = Broker::config(version).plugin(api.options(ROUTES)).start();
        log_in(&broker, Protocol::V5, "continue").expect_accepted();
        log_in(&broker, Protocol::V5, "hints").expect_accepted();
    }
}
