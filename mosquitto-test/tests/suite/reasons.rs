//! An API says why it denies: the log tells, and nobody else.

use mosquitto_test::prelude::*;
use serde_json::json;

use crate::support::{NOT_AUTHORIZED, ROUTES, log_in, logged_in, saying};

on_every_broker! {
    fn the_reason_of_a_denial_is_in_its_line_and_nowhere_else(version) {
        let api = AuthServer::answering(|request| {
            let name = request.json()["username"].as_str().unwrap_or_default().to_owned();
            match (request.path.as_str(), name.as_str()) {
                ("/user", "ann") => saying(json!({"reason": "a yes needs none"})),
                ("/user", "body") => saying(json!({"result": "deny", "reason": "locked\nout\u{202e}"})),
                ("/user", "status") => Reply::status(401).json(json!({"reason": "no such user"})),
                ("/user", "long") => saying(json!({"result": "deny", "reason": "x".repeat(300)})),
                ("/user", "odd") => saying(json!({"result": "deny", "reason": ["x"]})),
                ("/acl", _) => Reply::status(403).json(json!({"reason": "not yours"})),
                _ => Reply::status(500),
            }
        });
        let broker = Broker::config(version).plugin(api.options(ROUTES)).start();
        for protocol in Protocol::BOTH {
            for user in ["body", "status", "long", "odd"] {
                assert_eq!(log_in(&broker, protocol, user).expect_refused(), protocol.refusal());
            }
        }
        let line = |user: &str, rest: &str| {
            let line = format!("username=\"{user}\" clientid=\"{user}\" reason=api{rest}");
            broker.wait_for_log(&line);
        };
        line("body", " status=200 api_reason=\"locked\\nout\\u{202e}\"");
        line("status", " status=401 api_reason=\"no such user\"");
        line("long", &format!(" status=200 api_reason=\"{}\"", "x".repeat(200)));
        line("odd", " status=200");
        assert_eq!(api.requests_to("/user").len(), 4, "the second time, the answers were known");
        let ann = logged_in(&broker, Protocol::V5, "ann");
        assert_eq!(ann.publish("a", "x"), NOT_AUTHORIZED);
        broker.wait_for_log(
            "the API says about whether \"ann\" (client \"ann\") may publish to \"a\": \"not yours\"",
        );
        assert!(!broker.log_contains("a yes needs none"));
    }

    fn the_reason_of_a_denial_in_another_mode_is_in_its_line(version) {
        for (mode, body, reason) in [
            ("json", r#"{"ok": false, "reason": "locked"}"#.to_owned(), "locked".to_owned()),
            ("text", "x".repeat(300), "x".repeat(200)),
        ] {
            let api = AuthServer::answering(move |_| Reply::status(200).body(body.as_str()));
            let options = api.options([("http_user_route", "/user"), ("http_response_mode", mode)]);
            let broker = Broker::config(version).plugin(options).start();
            log_in(&broker, Protocol::V5, "ann").expect_refused();
            broker.wait_for_log(&format!("reason=api status=200 api_reason=\"{reason}\""));
        }
    }
}
