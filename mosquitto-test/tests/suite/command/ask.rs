//! `login` and `access` ask what the plugin in a broker asks, and conclude what it concludes.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use mosquitto_test::command::{path, run_with};
use mosquitto_test::prelude::*;
use mosquitto_test::tokens::Issuer;
use mosquitto_test::watch::PATIENCE;
use serde_json::{Value, json};

use super::Conf;
use crate::support::{ROUTES, eventually, may_publish, saying};
use crate::tokens::claims;

const PASSWORD: &str = "s3cret \"pass\" w\u{f6}rd";

const STDIN: [&str; 2] = ["-P", "-"];

/// What of a request must be the same: everything.
fn essence(request: &Request) -> (String, String, Vec<(String, String)>, String) {
    let Request { method, path, headers, .. } = request.clone();
    (method, path, headers, request.text())
}

/// The one question among those of a report.
fn last(report: &Value) -> &Value {
    report["questions"].as_array().unwrap().last().unwrap()
}

fn why(report: &Value) -> (String, String) {
    let text = |key: &str| last(report)[key].as_str().unwrap().to_owned();
    (text("by"), text("why"))
}

on_every_broker! {
    fn a_certificate_that_is_told_is_sent(version) {
        let (api, certs) = (AuthServer::start(), Certs::new());
        let fields = "cert_fingerprint,cert_issuer,cert_serial,cert_pem";
        let options = [("http_user_fields", fields), ("http_acl_fields", fields), ROUTES[0], ROUTES[1]];
        // That the broker starts shows that the configuration is one.
        drop(Broker::config(version).plugin(api.options(options)).start());
        let conf = Conf::of(&api, &options);
        let file = certs.client("c").cert;
        let facts = [
            "-u", "ann", "--cert-fingerprint", "0aff", "--cert-issuer", "CN=Plant", "--cert-serial", "7b",
            "--cert-pem", file.to_str().unwrap(),
        ];
        let access = ["--login", "-t", "a/b", "--acc", "write"];
        conf.json("access", &[&facts[..], &STDIN, &access].concat(), &format!("{PASSWORD}\n"), 0);
        let pem = std::fs::read_to_string(&file).unwrap();
        assert_eq!(api.requests().len(), 2);
        for body in api.requests().iter().map(|request| request.json()) {
            assert_eq!(
                (&body["cert_fingerprint"], &body["cert_issuer"], &body["cert_serial"], &body["cert_pem"]),
                (&json!("0aff"), &json!("CN=Plant"), &json!("7b"), &json!(pem))
            );
        }
    }

    fn the_requests_are_those_of_the_broker(version) {
        let api = AuthServer::answering(|request| {
            Reply::status(if request.path == "/superuser" { 403 } else { 200 })
        });
        let options = [
            ("http_superuser_route", "/superuser"),
            ("http_user_fields", "clientid,peerhost,protocol,protocol_version,keepalive,clean_session"),
            ("http_acl_fields", "peerhost,protocol_version,qos,retain,cert_subject"),
            ("http_header_X-Key", "k3y"),
            ROUTES[0],
            ROUTES[1],
        ];
        for mode in [("http_params_mode", "json"), ("http_params_mode", "form")] {
            let options = [&options[..], &[mode]].concat();
            let broker = Broker::config(version).plugin(api.options(options.clone())).start();
            let builder = broker.client("c 1").protocol(Protocol::V5);
            let client = builder.credentials("ann", PASSWORD).connect().expect_accepted();
            assert!(may_publish(&client, "a/b"));
            let asked: Vec<_> = api.requests().iter().map(essence).collect();
            let fields = api.requests()[0].text();
            drop((client, broker));

            api.forget_requests();
            let keepalive = fields.split("keepalive").nth(1).unwrap();
            let digits = keepalive.trim_start_matches(['"', ':', '=']);
            let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
            let mut facts = vec!["-u", "ann", "-i", "c 1", "-V", "5", "-k", &digits];
            let is_kept = fields.contains("clean_session\":false") || fields.contains("clean_session=false");
            facts.extend(is_kept.then_some("--keep-session"));
            let conf = Conf::of(&api, &options);
            let access = ["--login", "-t", "a/b", "--acc", "write", "-q", "1"];
            let arguments = [&facts[..], &STDIN, &access].concat();
            let report = conf.json("access", &arguments, &format!("{PASSWORD}\n"), 0);
            assert_eq!(api.requests().iter().map(essence).collect::<Vec<_>>(), asked);
            assert_eq!(report["decision"], "allow");
            api.forget_requests();
        }
    }
}

#[test]
fn a_status_decides_and_the_exit_status_tells() {
    let api = AuthServer::start();
    let conf = Conf::of(&api, &ROUTES);
    for (status, exit, decision, said) in [
        (200, 0, "allow", "http_user_route answered 200 OK"),
        (403, 1, "deny", "http_user_route answered 403 Forbidden"),
        (204, 1, "deny", "http_user_route answered 204 No Content"),
        (503, 3, "unavailable", "http_user_route failed (status 503), and on_error is deny"),
    ] {
        api.set_handler(move |_| Reply::status(status).body("because"));
        let report = conf.json("login", &["-u", "ann", "-P", "-"], "right", exit);
        assert_eq!((&report["decision"], &report["status"]), (&json!(decision), &json!(exit)));
        assert_eq!(why(&report).1, said);
        let exchange = &last(&report)["exchanges"][0];
        let attempt = &exchange["attempts"][0];
        assert_eq!(exchange["route"], "http_user_route");
        assert_eq!(attempt["request"]["line"], "POST /user HTTP/1.1");
        assert!(
            attempt["answer"]["line"].as_str().unwrap().starts_with(&format!("HTTP/1.1 {status} "))
        );
        assert_eq!(attempt["new_connection"], true);
        for time in ["connect_ms", "first_byte_ms"] {
            assert!(attempt[time].as_f64().unwrap() > 0.0, "{time}: {attempt}");
        }
        assert!(exchange["total_ms"].as_f64() >= attempt["first_byte_ms"].as_f64());
    }
}

#[test]
fn no_password_and_no_secret_header_is_ever_printed() {
    // An API that gives everything away.
    let api = AuthServer::answering(|request| {
        let echo = format!("you sent {}\n{:?}", request.text(), request.headers);
        Reply::status(200).header("set-cookie", "s3ssion").body(echo)
    });
    let header = ("http_header_Authorization", "Bearer t0ken");
    for options in [
        vec![header],
        vec![header, ("http_params_mode", "form")],
        vec![header, ("password_encoding", "base64")],
    ] {
        let conf = Conf::of(&api, &[&options, &ROUTES[..]].concat());
        for more in [&[][..], &["--json"]] {
            let ran = conf.run("login", &[&["-u", "ann"], &STDIN[..], more].concat(), PASSWORD);
            assert_eq!(ran.status, 0, "{}", ran.all());
            let sent = api.requests().last().unwrap().text();
            assert!(!sent.is_empty() && !ran.all().contains(&sent));
            for secret in ["s3cret", "s3ssion", "t0ken", "czNjcmV0"] {
                assert!(!ran.all().contains(secret), "{secret} in {}", ran.all());
            }
            let length = format!("ength: {}", sent.len());
            assert!(!ran.all().contains(&length), "the length tells how long the password is");
            assert!(ran.all().contains("********"));
        }
    }
}

#[test]
fn a_password_comes_from_where_it_is_safe() {
    let api = AuthServer::answering(|request| {
        Reply::status(if request.json()["password"] == "right" { 200 } else { 403 })
    });
    let conf = Conf::of(&api, &ROUTES);
    let path = conf.path();
    let path = path.to_str().unwrap();
    let file = conf.dir.path().join("password");
    std::fs::write(&file, "right\nnot this\n").unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(conf.run("login", &["-u", "ann", "--password-file", file], "wrong").status, 0);
    assert_eq!(conf.run("login", &["-u", "ann", "-P", "-"], "right\r\n").status, 0);
    assert_eq!(conf.run("login", &["-u", "ann", "-P", "-"], "right \n").status, 1);
    let variable = [("MOSQUITTO_HTTP_AUTH_PASSWORD", "right")];
    assert_eq!(run_with(&variable, &["login", path, "-u", "ann"], "").status, 0);
    let plain = conf.run("login", &["-u", "ann", "-P", "right"], "");
    assert_eq!(plain.status, 0);
    assert!(plain.stderr.contains("warning: -P shows the password"), "{}", plain.stderr);
    let none = conf.run("login", &["-u", "ann"], "right");
    assert_eq!(none.status, 2, "without a terminal nobody can be asked");
    assert!(none.stderr.contains("a password is needed"), "{}", none.stderr);
    let missing = conf.run("login", &["-u", "ann", "--password-file", "/does/not/exist"], "");
    assert_eq!(missing.status, 2);
}

#[test]
fn on_a_terminal_the_password_is_asked_for_and_not_shown() {
    let api = AuthServer::answering(|request| {
        Reply::status(if request.json()["password"] == "right one" { 200 } else { 403 })
    });
    let conf = Conf::of(&api, &ROUTES);
    let tty = conf.dir.path().join("tty");
    let line = format!(
        "tty > {}; {} login {} -u ann",
        tty.display(),
        path().display(),
        conf.path().display()
    );
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env_remove("MOSQUITTO_HTTP_AUTH_PASSWORD");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (send, printed) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stdout.read(&mut buffer) {
            let _ = send.send(String::from_utf8_lossy(&buffer[..count]).into_owned());
        }
    });
    let mut all = String::new();
    while !all.contains("Password of ann: ") {
        all += &printed.recv_timeout(PATIENCE).expect("it asks for the password");
    }
    let tty = std::fs::read_to_string(tty).unwrap();
    eventually("the terminal shows nothing that is typed", || {
        let settings = Command::new("stty").args(["-F", tty.trim(), "-a"]).output().unwrap();
        String::from_utf8_lossy(&settings.stdout).contains(" -echo ")
    });
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"right one\n").unwrap();
    let status = child.wait().unwrap();
    reader.join().unwrap();
    all.extend(printed.iter());
    assert!(status.success(), "{all}");
    assert!(!all.contains("right one"), "{all}");
    assert!(all.contains("\u{1b}[1m"), "a terminal has colours: {all}");
}

#[test]
fn rules_of_the_logins_answer_decide_about_the_access() {
    let api = AuthServer::answering(|request| match request.path.as_str() {
        "/user" if request.json()["username"] == "root" => saying(json!({"is_superuser": true})),
        "/user" => saying(json!({"expire_at": 2_000_000_000_u64, "acl": [
            {"permission": "deny", "action": "publish", "topic": "up/secret"},
            {"permission": "allow", "action": "publish", "topic": "up/${clientid}/#"},
        ]})),
        _ => Reply::status(403),
    });
    let conf = Conf::of(&api, &ROUTES[..1]);
    let access = |user: &str, topic: &str, status: i32| {
        let arguments = ["-u", user, "--login", "-P", "-", "-i", "c1", "-t", topic, "-a", "2"];
        let report = conf.json("access", &arguments, "right", status);
        assert_eq!(report["questions"].as_array().unwrap().len(), 2);
        report
    };
    let allowed = access("ann", "up/c1/x", 0);
    let rule = "rule 2 (allow publish up/${clientid}/#) of the login's answer matches";
    assert_eq!(why(&allowed), ("rule".into(), rule.into()));
    let granted = &allowed["questions"][0]["granted"];
    assert_eq!((&granted["rules"], &granted["expire_at"]), (&json!(2), &json!(2_000_000_000_u64)));
    assert_eq!(why(&access("ann", "up/secret", 1)).0, "rule");
    let none = "no rule of the login's answer matches, and http_acl_route is unset";
    assert_eq!(why(&access("ann", "elsewhere", 1)), ("no rule".into(), none.into()));
    assert_eq!(why(&access("root", "anywhere", 0)).0, "superuser");
    // Without the login nothing is known.
    let report = conf.json("access", &["-u", "ann", "-t", "up/c1/x", "-a", "write"], "", 4);
    assert_eq!((&report["decision"], why(&report).0.as_str()), (&json!("defer"), "http_acl_route"));
}

#[test]
fn what_an_answer_says_of_the_client_counts_as_in_a_broker() {
    let api = AuthServer::answering(|request| match request.path.as_str() {
        "/user" if request.json()["username"] == "gone" => {
            saying(json!({"result": "deny", "reason": "moved away"}))
        }
        "/user" => saying(json!({"username": "ann", "client_attrs": {"tenant": "acme"}, "acl": [
            {"permission": "deny", "action": "publish", "topic": "locked", "clientid_re": "^guest-"},
            {"permission": "allow", "action": "publish", "topic": "near", "ipaddr": "192.0.2.0/24"},
            {"permission": "allow", "action": "publish", "topic": "${client_attrs.tenant}/${username}"},
        ]})),
        _ => Reply::status(200),
    });
    let more = [("http_acl_fields", "client_attrs")];
    let conf = Conf::of(&api, &[&ROUTES[..], &more].concat());
    let access = |topic: &str, more: &[&str]| {
        let arguments = ["-u", "given", "--login", "-P", "-", "-t", topic, "-a", "2"];
        let status = if topic == "locked" { 1 } else { 0 };
        conf.json("access", &[&arguments[..], more].concat(), "right", status)
    };
    let own = access("acme/ann", &[]);
    assert_eq!(why(&own).0, "rule");
    let granted = &own["questions"][0]["granted"];
    assert_eq!(granted["username"], "ann", "{granted}");
    assert_eq!(granted["client_attrs"]["tenant"], "acme", "{granted}");
    assert_eq!(why(&access("near", &["--address", "192.0.2.7"])).0, "rule");
    assert_eq!(why(&access("locked", &["-i", "guest-1"])).0, "rule");
    assert!(api.requests_to("/acl").is_empty());
    // What no rule is about is asked under the name, with the attributes.
    access("near", &[]);
    let asked = api.requests_to("/acl").remove(0).json();
    assert_eq!(
        (&asked["username"], &asked["client_attrs"]["tenant"]),
        (&json!("ann"), &json!("acme"))
    );
    let report = conf.json("login", &["-u", "gone", "-P", "-"], "right", 1);
    assert!(report.to_string().contains("moved away"), "{report}");
}

#[test]
fn an_api_for_emqx_is_understood_as_in_a_broker() {
    let api = AuthServer::answering(|request| {
        let about = request.json();
        match (request.path.as_str(), about["username"].as_str().unwrap_or_default()) {
            ("/user", "nothing") => Reply::status(204),
            ("/user", "silent") => saying(json!({"is_superuser": true})),
            ("/user", "broken") => saying(json!({"result": "allow", "zone_override": "z"})),
            ("/user", _) => saying(json!({"result": "allow", "acl": [
                {"permission": "allow", "action": "pub", "topic": "eq t/%u"},
            ]})),
            _ => saying(
                json!({"result": if about["action"] == "subscribe" { "allow" } else { "deny" }}),
            ),
        }
    });
    let conf = Conf::of(&api, &[&ROUTES[..], &[("compat", "emqx")]].concat());
    for (user, status) in [("ann", 0), ("nothing", 0), ("silent", 1), ("broken", 3)] {
        conf.json("login", &["-u", user, "-P", "-"], "right", status);
    }
    for (topic, acc, status, by) in [
        ("t/%u", "publish", 0, "rule"),
        ("t/ann", "publish", 1, "http_acl_route"),
        ("t/ann", "subscribe", 0, "http_acl_route"),
    ] {
        let access = ["-u", "ann", "--login", "-P", "-", "-t", topic, "-a", acc];
        assert_eq!(why(&conf.json("access", &access, "right", status)).0, by, "{topic} {acc}");
    }
}

#[test]
fn tokens_are_looked_at_as_in_a_broker() {
    let (issuer, other) = (Issuer::es256(), Issuer::es256());
    let keys = tempfile::tempdir().unwrap();
    let file = keys.path().join("issuer.pub");
    std::fs::write(&file, issuer.key_file()).unwrap();
    let api = AuthServer::start();
    let of = |more: &[(&str, &str)]| {
        Conf::of(&api, &[&[("jwt_key_file", file.to_str().unwrap())], more].concat())
    };
    let acl =
        json!({"acl": [{"permission": "allow", "action": "publish", "topic": "up/${username}"}]});
    let token = issuer.token(&claims("ann", &acl));
    let conf = of(&[]);
    let report = conf.json("login", &["-u", "ann", "-P", "-"], &token, 0);
    assert_eq!(why(&report).0, "token");
    assert_eq!(last(&report)["granted"]["rules"], json!(1));
    assert!(!report.to_string().contains(&token));
    for (user, password, by, said) in [
        ("ben", token.clone(), "token", "it is for another username"),
        ("ann", other.token(&claims("ann", &acl)), "token", "its signature is wrong"),
        ("ann", issuer.token(&claims("ann", &json!({"exp": 1}))), "token", "it has expired"),
    ] {
        let report = conf.json("login", &["-u", user, "-P", "-"], &password, 1);
        assert_eq!(why(&report).0, by);
        assert!(why(&report).1.contains(said), "{}", why(&report).1);
        assert!(!report.to_string().contains(&password));
    }
    let report = of(&[("jwt_only", "true")]).json("login", &["-u", "ann", "-P", "-"], "s3cret", 1);
    assert_eq!(why(&report).0, "jwt_only");
    // The client is known by the token's name, and has the token's rules.
    let conf = of(&[("jwt_username", "set")]);
    for (topic, status) in [("up/ann", 0), ("up/ben", 1)] {
        let access = ["-u", "ben", "--login", "-P", "-", "-t", topic, "-a", "2"];
        let report = conf.json("access", &access, &token, status);
        assert_eq!(report["questions"][0]["granted"]["username"], json!("ann"), "{report}");
        assert_eq!(why(&report).0, if status == 0 { "rule" } else { "no rule" });
    }
    // Lists of topics leave nothing to the API.
    let conf = of(&[("http_acl_route", "/acl")]);
    let lists = json!({"acl": {"pub": ["up/${username}"]}});
    let token = issuer.token(&claims("ann", &lists));
    for (topic, status, said) in [
        ("up/ann", 0, "rule 1 (allow publish up/${username}) of the login's answer matches"),
        ("up/ben", 1, "none of the lists in the token's claim acl holds it"),
    ] {
        let access = ["-u", "ann", "--login", "-P", "-", "-t", topic, "-a", "2"];
        assert_eq!(why(&conf.json("access", &access, &token, status)).1, said);
    }
    assert_eq!(api.requests().len(), 0, "nobody is asked");
}

#[test]
fn whoever_is_not_let_in_is_not_asked_about() {
    let api = AuthServer::answering(|request| {
        Reply::status(if request.path == "/user" { 403 } else { 200 })
    });
    let conf = Conf::of(&api, &ROUTES);
    let arguments = ["-u", "ann", "--login", "-P", "-", "-t", "t", "-a", "1"];
    let report = conf.json("access", &arguments, "wrong", 1);
    assert_eq!(report["questions"].as_array().unwrap().len(), 1);
    assert!(api.requests_to("/acl").is_empty());
    // Not having logged in, it is asked about all the same.
    assert_eq!(
        conf.json("access", &["-u", "ann", "-t", "t", "-a", "read"], "", 0)["decision"],
        "allow"
    );
    assert_eq!(api.requests_to("/acl")[0].json()["acc"], 1);
}

#[test]
fn what_is_decided_without_asking_is_told() {
    let api = AuthServer::start();
    let users = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(users.path(), "file:hash\n").unwrap();
    let local = ("local_users_file", users.path().to_str().unwrap());
    let conf = Conf::of(&api, &[&ROUTES[..], &[local]].concat());
    let access = ["-t", "t", "-a", "write"];
    for (subcommand, arguments, status, by) in [
        ("login", &["-u", "file", "--no-password"][..], 4, "local_users_file"),
        ("login", &["--no-password"], 4, "anonymous_username"),
        ("access", &["-u", "file", "-t", "t", "-a", "write"], 0, "local_users_file"),
        ("access", &["-u", "a+b", "-t", "t", "-a", "write"], 1, "deny_special_chars"),
        ("access", &["-u", "ann", "-i", "#", "-t", "t", "-a", "write"], 1, "deny_special_chars"),
        ("access", &access, 4, "anonymous_username"),
        ("access", &["-u", "ann", "-t", "#", "-a", "unsubscribe"], 0, "unsubscribe"),
    ] {
        let report = conf.json(subcommand, arguments, "", status);
        assert_eq!(why(&report).0, by, "{arguments:?}");
        assert!(last(&report)["exchanges"].as_array().unwrap().is_empty());
    }
    let bytes = conf.dir.path().join("bytes");
    std::fs::write(&bytes, b"\xff\xfe").unwrap();
    let arguments = ["-u", "ann", "--password-file", bytes.to_str().unwrap()];
    assert_eq!(why(&conf.json("login", &arguments, "", 1)).0, "password_encoding");
    assert!(api.requests().is_empty());
    let only_access = Conf::of(&api, &ROUTES[1..]);
    let report = only_access.json("login", &["-u", "ann", "--no-password"], "", 4);
    assert_eq!(why(&report).0, "http_user_route");
}

#[test]
fn a_failing_host_is_told_and_the_next_one_answers() {
    let api = AuthServer::start();
    let dead = refused_port();
    let hosts = format!("127.0.0.1:{dead}, 127.0.0.1:{}", api.port());
    let conf = Conf::with([("http_host", hosts.as_str()), ROUTES[0]]);
    let report = conf.json("login", &["-u", "ann", "-P", "-"], "right", 0);
    let exchanges = last(&report)["exchanges"].as_array().unwrap();
    assert_eq!(exchanges[0]["outcome"]["failure"], "connection refused");
    assert_eq!(exchanges[1]["outcome"]["answer"], "allowed");
    assert!(report["log"].to_string().contains("failed: connection refused"));
}

#[test]
fn the_id_of_each_question_is_shown() {
    let api = AuthServer::start();
    let trace = |request: &Request| {
        request.header("traceparent").unwrap().split('-').nth(1).unwrap().to_owned()
    };
    let conf = Conf::of(&api, &[&ROUTES[..], &[("http_trace", "true")]].concat());
    let asked = ["-u", "ann", "-t", "t", "-a", "write", "--login", "-P", "-"];
    let report = conf.json("access", &asked, "right", 0);
    let shown: Vec<_> = report["questions"].as_array().unwrap().iter().collect();
    let shown = shown.iter().map(|question| question["exchanges"][0]["trace"].clone());
    let sent = api.requests().iter().map(trace).map(Value::from).collect::<Vec<_>>();
    assert_eq!(shown.collect::<Vec<_>>(), sent);
    api.forget_requests();
    let ran = conf.run("login", &["-u", "ann", "-P", "-"], "right");
    assert!(ran.stdout.contains(&format!("trace: {}", trace(&api.requests()[0]))), "{}", ran.all());
    let conf = Conf::of(&api, &ROUTES);
    assert!(!conf.run("login", &["-u", "ann", "-P", "-"], "right").stdout.contains("trace"));
}

#[test]
fn on_error_decides_and_the_failure_is_told_all_the_same() {
    let port = refused_port().to_string();
    for (on_error, decision) in [("allow", "allow"), ("defer", "defer"), ("deny", "unavailable")] {
        let place = [("http_host", "127.0.0.1"), ("http_port", &*port), ("on_error", on_error)];
        let conf = Conf::with([&place, &ROUTES[..]].concat());
        let report = conf.json("access", &["-u", "ann", "-t", "t", "-a", "2"], "", 3);
        assert_eq!((&report["decision"], why(&report).0.as_str()), (&json!(decision), "on_error"));
    }
}

#[test]
fn an_answer_slower_than_a_broker_waits_is_told() {
    let api = AuthServer::answering(|_| Reply::status(200).body("slow").drip(SLOW));
    let conf = Conf::of(&api, &[&ROUTES[..], &[("max_block_ms", "1")]].concat());
    let report = conf.json("login", &["-u", "ann", "-P", "-"], "right", 0);
    let hint = last(&report)["hints"][0].as_str().unwrap();
    assert!(hint.contains("is longer than max_block_ms (1)"), "{hint}");
    assert!(hint.contains("its next attempt finds the answer cached"), "{hint}");
}

const SLOW: std::time::Duration = std::time::Duration::from_millis(5);

#[test]
fn what_a_broker_would_not_ask_is_refused() {
    let api = AuthServer::start();
    let conf = Conf::of(&api, &ROUTES);
    for (topic, acc) in [
        ("a/#", "write"),
        ("+", "read"),
        ("", "subscribe"),
        ("#/a", "subscribe"),
        ("a#", "subscribe"),
        ("a+/b", "subscribe"),
    ] {
        let ran = conf.run("access", &["-u", "ann", "-t", topic, "-a", acc], "");
        assert_eq!(ran.status, 2, "{}", ran.all());
        assert!(ran.stderr.contains("--topic"), "{}", ran.stderr);
    }
    assert!(api.requests().is_empty());
    for topic in ["#", "+", "+/a/#", "/", "a/+/b"] {
        conf.json("access", &["-u", "ann", "-t", topic, "-a", "subscribe"], "", 0);
    }
    let report = conf.json("access", &["-u", "ann", "-t", "$SYS/a", "-a", "write"], "", 0);
    assert!(last(&report)["hints"][0].as_str().unwrap().contains("Mosquitto itself denies"));
    api.forget_requests();
    let wrong = Conf::of(&api, &[ROUTES[0], ("cache_ttl", "soon")]);
    let ran = wrong.run("login", &["-u", "ann", "--no-password"], "");
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("mosquitto.conf:7: option cache_ttl: \"soon\""), "{}", ran.stderr);
    assert!(api.requests().is_empty());
}
