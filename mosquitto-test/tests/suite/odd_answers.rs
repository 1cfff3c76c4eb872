//! Answers that say no, or say something oddly, whatever they are labelled as: nobody is let in by one.
//! Each is given twice on connections that are kept, and twice on ones that are closed after it.

use mosquitto_test::prelude::*;
use serde_json::{Value, json};

use crate::support::{broker_with, log_in, logged_in, may_publish};

const DENIAL: &str = r#"{"result": "deny"}"#;

/// What an answer comes to.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Outcome {
    Allowed,
    Denied,
    Failed,
}
use Outcome::{Allowed, Denied, Failed};

/// The bytes of a 200 with this type and body, without the end of its head.
fn raw(status: &str, lines: &[&[u8]], body: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let length = format!("Content-Length: {}\r\n", body.len());
    let mut head = format!("HTTP/1.1 {status}\r\n{length}").into_bytes();
    for line in lines {
        head.extend([line, &b"\r\n"[..]].concat());
    }
    (head, body.to_vec())
}

type Row = (Vec<&'static [u8]>, &'static [u8], Outcome);

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    // A no is heard whatever its type says.
    for kind in [
        &b"Content-Type: application/json, application/json"[..],
        b"Content-Type: application/json; x=\"\xc3\xa9\"",
        b"Content-Type: application/json charset=utf-8",
        b"Content-Type: ,application/json,",
        b"Content-Type: application/json\xa0",
        b"Content-Type: text/html",
        b"Content-Type: text/html, application/json",
        b"Content-Type: application/jsonp",
        b"X-Type: none",
    ] {
        rows.push((vec![kind], DENIAL.as_bytes(), Denied));
        rows.push((vec![kind], b"\xef\xbb\xbf{\"result\":\"deny\"}", Denied));
        rows.push((vec![kind], b"{\"result\":\"de", Failed));
        for before in [&b"\xef\xbb\xbf\xef\xbb\xbf"[..], b" \xef\xbb\xbf", b"\x0b", b"\xc2\xa0"] {
            rows.push((vec![kind], [before, DENIAL.as_bytes()].concat().leak(), Failed));
        }
    }
    rows.push((
        vec![b"Content-Type: text/html", b"Content-Type: application/json"],
        DENIAL.as_bytes(),
        Denied,
    ));
    let json = || vec![&b"Content-Type: application/json"[..]];
    // What is said to be JSON, and is none.
    for before in [";", "/**/", ")]}',", "<br />Warning: ", "denied "] {
        rows.push((json(), [before, DENIAL].concat().leak().as_bytes(), Failed));
        rows.push((vec![], [before, DENIAL].concat().leak().as_bytes(), Allowed));
    }
    // JSON that is no object, and words.
    for body in
        ["\"deny\"", "[\"deny\"]", "[{\"result\": \"deny\"}]", "false", "\"no\"", "deny", "ignore"]
    {
        rows.push((json(), body.as_bytes(), Failed));
        rows.push((vec![], body.as_bytes(), Failed));
    }
    for body in ["true", "null", "0", "7.5", "[]", "\"ok\"", "\"ALLOW\"", "\"allowed\"", "\"True\""]
    {
        rows.push((json(), body.as_bytes(), Allowed));
        rows.push((vec![], body.as_bytes(), Allowed));
    }
    for body in ["ok", "denied", "<html>no</html>", "a=1"] {
        rows.push((vec![], body.as_bytes(), Allowed));
    }
    // Forms.
    let form = || vec![&b"Content-Type: application/x-www-form-urlencoded"[..]];
    for (body, outcome) in [
        ("result=deny", Denied),
        ("x=1&result=deny", Denied),
        ("result=allow", Allowed),
        ("result=no", Failed),
        ("result=deny&result=allow", Failed),
    ] {
        rows.push((form(), body.as_bytes(), outcome));
        rows.push((vec![b"Content-Type: text/html"], body.as_bytes(), outcome));
    }
    rows
}

/// Logs in twice with every answer, on connections that are kept or closed.
fn expect_rows(version: Version, more: &[(&str, &str)], rows: &'static [Row]) {
    let api = AuthServer::answering(move |request| {
        let body = request.json();
        let Some((number, end)) = body["username"].as_str().unwrap().split_once('-') else {
            return Reply::status(200);
        };
        let (lines, body, _) = &rows[number.parse::<usize>().unwrap()];
        let (mut head, body) = raw("200 OK", lines, body);
        if end == "close" {
            head.extend(b"Connection: close\r\n");
        }
        let answer = [&head[..], b"\r\n", &body].concat();
        if end == "close" { Reply::raw_then_close(answer) } else { Reply::raw(answer) }
    });
    let never = [("cache_ttl", "0")];
    let broker = broker_with(version, &api, &[&never, more].concat());
    for (number, (lines, body, outcome)) in rows.iter().enumerate() {
        for end in ["keep", "close", "keep"] {
            let found = match log_in(&broker, Protocol::V5, &format!("{number}-{end}")) {
                Login::Accepted(_) => Allowed,
                Login::Refused(_) => Denied,
                Login::Closed => Failed,
            };
            let shown =
                (lines.iter().map(|line| line.escape_ascii().to_string()), body.escape_ascii());
            assert_eq!(found, *outcome, "{:?} {}", shown.0.collect::<Vec<_>>(), shown.1);
        }
    }
    log_in(&broker, Protocol::V5, "sound").expect_accepted();
}

on_every_broker! {
    fn nobody_is_let_in_by_an_odd_answer(version) {
        expect_rows(version, &[], rows().leak());
    }

    fn json_that_ends_before_it_began_is_broken(version) {
        let api = AuthServer::answering(|request| {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n".as_bytes();
            let bytes = request.json()["username"].as_str().unwrap().parse().unwrap();
            Reply::raw_then_close([head, &b"\xef\xbb\xbf{}"[..bytes]].concat())
        });
        let broker = broker_with(version, &api, &[]);
        for bytes in 0..=4 {
            log_in(&broker, Protocol::V5, &bytes.to_string()).expect_closed();
        }
        log_in(&broker, Protocol::V5, "5").expect_accepted();
    }

    fn a_superuser_is_none_by_an_odd_answer(version) {
        let spellings = [
            ("true", true), ("1", true), ("\"1\"", true), ("\"true\"", true),
            ("false", false), ("0", false), ("\"0\"", false), ("\"false\"", false),
            ("\"\"", false), ("null", false), ("2", false), ("\"yes\"", false),
        ];
        let api = AuthServer::answering(move |request| match request.path.as_str() {
            "/superuser" => {
                let number: usize = request.json()["username"].as_str().unwrap().parse().unwrap();
                let body = format!(r#"{{"is_superuser": {}}}"#, spellings[number].0);
                Reply::status(200).header("Content-Type", "text/html").body(body)
            }
            "/acl" => Reply::status(403),
            _ => Reply::status(200),
        });
        let more = [("http_superuser_route", "/superuser")];
        let broker = broker_with(version, &api, &more);
        for (number, (spelling, is_one)) in spellings.iter().enumerate() {
            let client = logged_in(&broker, Protocol::V5, &number.to_string());
            assert_eq!(may_publish(&client, "t"), *is_one, "{spelling}");
        }
    }

    fn what_a_rule_or_a_session_cannot_mean_breaks_the_answer(version) {
        let rule = |key: &str, value: Value| {
            let mut rule = json!({"permission": "allow", "action": "all", "topic": "#"});
            rule[key] = value;
            json!({"acl": [rule]})
        };
        let answers: Vec<Value> = vec![
            json!({"expire_at": 1_795_883_368_000_u64}),
            json!({"expire_at": 9_000_000_000_u64}),
            json!({"clientid_override": "other"}),
            rule("ipaddr", Value::Null),
            rule("username_re", Value::Null),
            rule("zone", Value::Null),
            rule("qos", json!("1, 2")),
            rule("qos", json!("+1")),
            rule("qos", json!("01")),
            rule("qos", json!(["01"])),
            rule("retain", json!("yes")),
        ];
        let count = answers.len();
        let api = AuthServer::answering(move |request| {
            let number: usize = request.json()["username"].as_str().unwrap().parse().unwrap();
            let body = answers.get(number).cloned();
            Reply::status(200).json(body.unwrap_or(json!({})))
        });
        let broker = broker_with(version, &api, &[]);
        for number in 0..count {
            log_in(&broker, Protocol::V5, &number.to_string()).expect_closed();
        }
        log_in(&broker, Protocol::V5, &count.to_string()).expect_accepted();
    }

    fn rules_in_the_words_of_emqx_hold(version) {
        let acl = json!([
            {"permission": "deny", "action": "pub", "topic": "a", "retain": "1"},
            {"permission": "allow", "action": "pub", "topic": "a", "qos": ["0", "1"], "retain": "0"},
            {"permission": "allow", "action": "sub", "topic": "b", "retain": "whatever"},
        ]);
        let api = AuthServer::answering(move |_| Reply::status(200).json(json!({"acl": acl})));
        let broker = Broker::config(version).plugin(api.options([("http_user_route", "/user")])).start();
        let client = logged_in(&broker, Protocol::V5, "ann");
        assert!(may_publish(&client, "a") && !may_publish(&client, "b"));
        client.subscribe("b").expect_granted();
        client.subscribe("a").expect_refused();
    }

    fn an_answer_that_had_begun_is_not_asked_for_again(version) {
        let begun = [
            "HTTP/1.1 401 No\r\nContent-Len", "H", "HTTP/1.1 100 Continue\r\n\r\n",
        ];
        for reset in [false, true] {
            for begun in begun {
                let api = AuthServer::answering(move |request| {
                    let asked_before = request.nth_on_connection == 1;
                    match request.json()["username"].as_str().unwrap() {
                        "first" => Reply::status(200),
                        // On another connection it would be let in.
                        _ if asked_before => Reply::status(200),
                        _ if reset => Reply::raw_then_reset(begun),
                        _ => Reply::raw_then_close(begun),
                    }
                });
                let broker = broker_with(version, &api, &[]);
                log_in(&broker, Protocol::V5, "first").expect_accepted();
                log_in(&broker, Protocol::V5, "second").expect_closed();
                assert_eq!(api.requests().len(), 2, "{begun:?}");
            }
        }
    }

    fn chunks_are_read_strictly_and_interim_answers_passed_over(version) {
        let chunks = |size: &str, end: &str| {
            let head = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
            (head.to_owned(), format!("{size}\r\n{{}}\r\n{end}\r\n\r\n"))
        };
        let mut rows = Vec::new();
        let long = |length| format!("2;{}", "f".repeat(length));
        for size in ["2", "02", "2;a", "2 ;a=\"b\"", &long(64), &long(4000)] {
            rows.push((String::new(), chunks(size, "0"), Allowed));
            rows.push((String::new(), chunks("2", &size.replacen('2', "0", 1)), Allowed));
        }
        for size in ["+2", " 2", "2 ", "2\u{b}", "2\0", "2;", "2;a\nb", "2;a\0", "1", &long(5000)] {
            rows.push((String::new(), chunks(size, "0"), Failed));
        }
        let none = || ("Content-Length: 0\r\n".to_owned(), String::new());
        for interim in ["100 Continue\r\nConnection: keep-alive", "102 Wait\r\nA: b", "199 x", "100 C"] {
            let interim = format!("HTTP/1.1 {interim}\r\n\r\n");
            rows.push((interim.clone(), none(), Allowed));
            rows.push((interim.repeat(3), chunks("2;a", "0"), Allowed));
        }
        rows.push(("HTTP/1.1 100 C\r\nContent-Length: 0\r\n\r\n".into(), none(), Failed));
        let answers = rows.clone();
        let api = AuthServer::answering(move |request| {
            let body = request.json();
            let Some((number, way)) = body["username"].as_str().unwrap().split_once('-') else {
                return Reply::status(200);
            };
            let (interim, (lines, body), _) = &answers[number.parse::<usize>().unwrap()];
            let closes = if way == "close" { "Connection: close\r\n" } else { "" };
            let answer = format!("{interim}HTTP/1.1 200 OK\r\n{lines}{closes}\r\n{body}");
            if way == "close" { Reply::raw_then_close(answer) } else { Reply::raw(answer) }
        });
        let broker = broker_with(version, &api, &[("cache_ttl", "0")]);
        for (number, (interim, (_, body), outcome)) in rows.iter().enumerate() {
            for way in ["keep", "close", "keep"] {
                let found = match log_in(&broker, Protocol::V5, &format!("{number}-{way}")) {
                    Login::Accepted(_) => Allowed,
                    Login::Refused(_) => Denied,
                    Login::Closed => Failed,
                };
                assert_eq!(found, *outcome, "{way} {interim:?} {body:?}");
            }
        }
        log_in(&broker, Protocol::V5, "sound").expect_accepted();
    }

    fn in_text_mode_a_status_without_a_body_denies(version) {
        let api = AuthServer::answering(|request| {
            match request.json()["username"].as_str().unwrap() {
                "none" => Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"),
                "broken" => Reply::status(200).body("{\"result\":"),
                _ => Reply::status(200).body("ok"),
            }
        });
        let broker = broker_with(version, &api, &[("http_response_mode", "text")]);
        for _ in 0..7 {
            log_in(&broker, Protocol::V5, "none").expect_refused();
        }
        log_in(&broker, Protocol::V5, "broken").expect_closed();
        log_in(&broker, Protocol::V5, "ok").expect_accepted();
    }

    fn an_odd_cache_control_keeps_nothing(version) {
        let rows: [(&[&[u8]], bool); 9] = [
            (&[b"Cache-Control: max-age=600"], true),
            (&[b"Cache-Control: max-age=600, x=\"\xc3\xa9, no-store\""], true),
            (&[b"Cache-Control: max-age=600, max-age=0"], false),
            (&[b"Cache-Control: max-age=0", b"Cache-Control: max-age=600"], false),
            (&[b"Cache-Control: no-store;"], false),
            (&[b"Cache-Control: no-store, \xc3\xa9"], false),
            (&[b"Cache-Control: max-age=+600"], false),
            (&[b"Cache-Control: max-age=600", b"Age: 99999999999"], false),
            (&[b"Cache-Control: max-age=600", b"Age: old"], false),
        ];
        let api = AuthServer::answering(move |request| {
            let number: usize = request.json()["username"].as_str().unwrap().parse().unwrap();
            let (head, _) = raw("200 OK", rows[number].0, b"");
            Reply::raw([&head[..], b"\r\n"].concat())
        });
        let broker = broker_with(version, &api, &[]);
        for (number, (lines, is_kept)) in rows.iter().enumerate() {
            api.forget_requests();
            for _ in 0..2 {
                log_in(&broker, Protocol::V5, &number.to_string()).expect_accepted();
            }
            assert_eq!(api.requests().len() == 1, *is_kept, "{:?}", lines[0].escape_ascii().to_string());
        }
    }

    fn no_client_puts_the_host_out_of_service_by_what_a_400_repeats(version) {
        let page = "Client sent an HTTP request to an HTTPS server.\n";
        let api = AuthServer::answering(move |request| match request.json()["username"].as_str().unwrap() {
            "ann" => Reply::status(200),
            name => Reply::status(400).body(format!("{name}.\n")),
        });
        let broker = broker_with(version, &api, &[]);
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
        for _ in 0..7 {
            log_in(&broker, Protocol::V5, page.trim_end_matches(".\n")).expect_refused();
        }
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
    }

    fn too_many_rules_are_refused_at_once(version) {
        let api = AuthServer::answering(|request| {
            let count = request.json()["username"].as_str().unwrap().parse().unwrap();
            let rule = |n| json!({"permission": "allow", "action": "all", "topic": format!("%c{n}")});
            let acl: Vec<Value> = (0..count).map(rule).collect();
            Reply::status(200).json(json!({"acl": acl}))
        });
        let broker = broker_with(version, &api, &[]);
        log_in(&broker, Protocol::V5, "40000").expect_closed();
        broker.wait_for_log("there are more than 10000 rules");
        // Another broker, since a line of one kind is logged once a second.
        let broker = broker_with(version, &api, &[]);
        log_in(&broker, Protocol::V5, "1001").expect_closed();
        broker.wait_for_log("more than 1000 levels with placeholders stand in one place");
        log_in(&broker, Protocol::V5, "1000").expect_accepted();
    }
}
