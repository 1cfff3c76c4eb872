//! Configurations written for mosquitto-go-auth's and mosquitto-auth-plug's http backends run with
//! the library's path changed and nothing else; what the API sees is what it always saw.

use mosquitto_test::prelude::*;
use mosquitto_test::redis::{Engine, IN_TOUCH, Redis};

use crate::support::{eventually, may_publish};

/// A broker with such a configuration, in which `PORT` stands for the API's port.
fn config(version: Version, port: u16, directive: &str, options: &str) -> BrokerConfig {
    let line = format!("{directive} {}", plugin_path().display());
    let options = options.lines().map(str::trim).filter(|line| !line.is_empty());
    options.fold(Broker::config(version).line(&line), |config, option| {
        config.line(&format!("auth_opt_{}", option.replace("PORT", &port.to_string())))
    })
}

fn start(version: Version, api: &AuthServer, options: &str) -> Broker {
    config(version, api.port(), "auth_plugin", options).start()
}

fn log_in(broker: &Broker, id: &str, user: &str, password: &str) -> Login {
    broker.client(id).protocol(Protocol::V5).credentials(user, password).connect()
}

/// Everything about a request that an API can tell.
fn seen(request: &Request) -> (String, String, String) {
    let line = format!("{} {}", request.method, request.path);
    (line, request.header("content-type").unwrap_or_default().to_owned(), request.text())
}

fn triple(line: &str, media_type: &str, body: &str) -> (String, String, String) {
    (line.to_owned(), media_type.to_owned(), body.to_owned())
}

const GO_AUTH: &str = "backends http
    http_host 127.0.0.1
    http_port PORT
    http_getuser_uri /api/auth/?check_acl=true
    http_superuser_uri /superuser
    http_aclcheck_uri /acl";

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

const AUTH_PLUG: &str = "backends http
    http_ip 127.0.0.1
    http_port PORT
    http_getuser_uri /auth
    http_superuser_uri /superuser
    http_aclcheck_uri /acl";

/// What the console of a hosted Mosquitto asks for, as mosquitto-go-auth's options.
const STACKHERO: &str = "http_host 127.0.0.1
    http_port PORT
    http_getuser_uri /user
    http_superuser_uri /superUser
    http_aclcheck_uri /acls";

/// The bodies of a login, of a subscription and of a publish that is delivered, of a client all of
/// whose names hold what must be escaped somewhere.
const GO_AUTH_JSON: [&str; 5] = [
    r#"{"clientid":"c \"\u0026+%/é😀","password":"p \"\u0026+%/é😀","username":"u \"\u0026+%/é😀"}"#,
    r#"{"username":"u \"\u0026+%/é😀"}"#,
    r#"{"acc":4,"clientid":"c \"\u0026+%/é😀","topic":"t \"\u0026%é😀/+/#","username":"u \"\u0026+%/é😀"}"#,
    r#"{"acc":2,"clientid":"c \"\u0026+%/é😀","topic":"t \"\u0026%é😀/a/b","username":"u \"\u0026+%/é😀"}"#,
    r#"{"acc":1,"clientid":"c \"\u0026+%/é😀","topic":"t \"\u0026%é😀/a/b","username":"u \"\u0026+%/é😀"}"#,
];

const GO_AUTH_FORM: [&str; 5] = [
    "clientid=c+%22%26%2B%25%2F%C3%A9%F0%9F%98%80&password=p+%22%26%2B%25%2F%C3%A9%F0%9F%98%80\
     &username=u+%22%26%2B%25%2F%C3%A9%F0%9F%98%80",
    "username=u+%22%26%2B%25%2F%C3%A9%F0%9F%98%80",
    "acc=4&clientid=c+%22%26%2B%25%2F%C3%A9%F0%9F%98%80\
     &topic=t+%22%26%25%C3%A9%F0%9F%98%80%2F%2B%2F%23&username=u+%22%26%2B%25%2F%C3%A9%F0%9F%98%80",
    "acc=2&clientid=c+%22%26%2B%25%2F%C3%A9%F0%9F%98%80\
     &topic=t+%22%26%25%C3%A9%F0%9F%98%80%2Fa%2Fb&username=u+%22%26%2B%25%2F%C3%A9%F0%9F%98%80",
    "acc=1&clientid=c+%22%26%2B%25%2F%C3%A9%F0%9F%98%80\
     &topic=t+%22%26%25%C3%A9%F0%9F%98%80%2Fa%2Fb&username=u+%22%26%2B%25%2F%C3%A9%F0%9F%98%80",
];

const AUTH_PLUG_FORM: [&str; 5] = [
    "username=u%20%22%26%2B%25%2F%C3%A9%F0%9F%98%80&password=p%20%22%26%2B%25%2F%C3%A9%F0%9F%98%80\
     &topic=&acc=-1&clientid=",
    "username=u%20%22%26%2B%25%2F%C3%A9%F0%9F%98%80&password=&topic=&acc=-1&clientid=",
    "username=u%20%22%26%2B%25%2F%C3%A9%F0%9F%98%80&password=\
     &topic=t%20%22%26%25%C3%A9%F0%9F%98%80%2F%2B%2F%23&acc=4\
     &clientid=c%20%22%26%2B%25%2F%C3%A9%F0%9F%98%80",
    "username=u%20%22%26%2B%25%2F%C3%A9%F0%9F%98%80&password=\
     &topic=t%20%22%26%25%C3%A9%F0%9F%98%80%2Fa%2Fb&acc=2\
     &clientid=c%20%22%26%2B%25%2F%C3%A9%F0%9F%98%80",
    "username=u%20%22%26%2B%25%2F%C3%A9%F0%9F%98%80&password=\
     &topic=t%20%22%26%25%C3%A9%F0%9F%98%80%2Fa%2Fb&acc=1\
     &clientid=c%20%22%26%2B%25%2F%C3%A9%F0%9F%98%80",
];

/// An API that knows no superusers, and allows everything else.
fn api() -> AuthServer {
    AuthServer::answering(|request| {
        let superuser = request.path.to_lowercase().contains("superuser");
        Reply::status(if superuser { 403 } else { 200 })
    })
}

on_every_broker! {
    fn go_auths_requests_byte_by_byte(version) {
        let api = api();
        let broker = start(version, &api, GO_AUTH);
        let client = log_in(&broker, "c 1", "u&<b>\"", "p+w%/é 😀").expect_accepted();
        assert!(may_publish(&client, "a/ü b"));
        client.subscribe("a/+/#").expect_granted();
        client.unsubscribe("a/+/#");
        let name = r#"u\u0026\u003cb\u003e\""#;
        let access = |acc: u8, topic: &str| {
            let body = format!(
                r#"{{"acc":{acc},"clientid":"c 1","topic":"{topic}","username":"{name}"}}"#
            );
            triple("POST /acl", JSON, &body)
        };
        let superuser = triple("POST /superuser", JSON, &format!(r#"{{"username":"{name}"}}"#));
        let login = format!(r#"{{"clientid":"c 1","password":"p+w%/é 😀","username":"{name}"}}"#);
        let expected = [
            triple("POST /api/auth/?check_acl=true", JSON, &login),
            superuser.clone(),
            access(2, "a/ü b"),
            access(4, "a/+/#"),
        ];
        let requests: Vec<_> = api.requests().iter().map(seen).collect();
        assert_eq!(requests, expected, "the superuser is asked about once in a session");
    }

    fn go_auths_forms_byte_by_byte(version) {
        for (method, given) in [("POST", "POST"), ("PUT", "PUT"), ("POST", "PATCH")] {
            let api = api();
            let options = format!(
                "{GO_AUTH}\nhttp_params_mode form\nhttp_method {given}\nhttp_user_agent device-gate"
            );
            let broker = start(version, &api, &options);
            let client = log_in(&broker, "c 1", "u&b", "p+w%/é~").expect_accepted();
            assert!(may_publish(&client, "a/b c"));
            let expected = [
                triple(
                    &format!("{method} /api/auth/?check_acl=true"),
                    FORM,
                    "clientid=c+1&password=p%2Bw%25%2F%C3%A9~&username=u%26b",
                ),
                triple(&format!("{method} /superuser"), FORM, "username=u%26b"),
                triple(
                    &format!("{method} /acl"),
                    FORM,
                    "acc=2&clientid=c+1&topic=a%2Fb+c&username=u%26b",
                ),
            ];
            let requests: Vec<_> = api.requests().iter().map(seen).collect();
            assert_eq!(requests, expected);
            assert_eq!(api.requests()[0].header("user-agent"), Some("device-gate"));
        }
    }

    fn whatever_a_name_holds_is_written_as_they_did(version) {
        for (dialect, options) in [
            (&GO_AUTH_JSON, GO_AUTH.to_owned()),
            (&GO_AUTH_JSON, STACKHERO.to_owned()),
            (&GO_AUTH_FORM, format!("{GO_AUTH}\nhttp_params_mode form")),
            (&AUTH_PLUG_FORM, AUTH_PLUG.to_owned()),
        ] {
            let api = api();
            let broker = start(version, &api, &format!("{options}\ndeny_special_chars false"));
            let name = |first: &str| format!("{first} \"&+%/é😀");
            let client = log_in(&broker, &name("c"), &name("u"), &name("p")).expect_accepted();
            client.subscribe("t \"&%é😀/+/#").expect_granted();
            assert!(may_publish(&client, "t \"&%é😀/a/b"));
            client.expect_message();
            let bodies: Vec<_> = api.requests().iter().map(Request::text).collect();
            assert_eq!(bodies, dialect.map(str::to_owned), "{options}");
        }
    }

    fn the_longest_names_arrive_whole(version) {
        let (password, topic) = ("p".repeat(65_000), "t".repeat(65_000));
        for (options, fields) in [
            (GO_AUTH.to_owned(), [r#""password":""#, r#""topic":""#]),
            (format!("{GO_AUTH}\nhttp_params_mode form"), ["&password=", "&topic="]),
            (AUTH_PLUG.to_owned(), ["&password=", "&topic="]),
        ] {
            let api = api();
            let broker = start(version, &api, &options);
            let client = log_in(&broker, "c", "u", &password).expect_accepted();
            assert!(may_publish(&client, &topic));
            let requests = api.requests();
            assert!(requests[0].text().contains(&format!("{}{password}", fields[0])), "{options}");
            assert!(requests[2].text().contains(&format!("{}{topic}", fields[1])), "{options}");
        }
    }

    fn a_password_that_is_not_utf_8_is_denied_unasked(version) {
        for options in [GO_AUTH, AUTH_PLUG] {
            let api = api();
            let broker = start(version, &api, options);
            let mut client = broker.raw();
            client.send(raw::connect_packet(Protocol::V3_1_1, "c", Some(b"u"), Some(b"p\xff"), true));
            assert_eq!(client.read_connack(), Some(5));
            assert!(api.requests().is_empty());
        }
    }

    fn a_get_has_its_parameters_in_the_body(version) {
        let api = api();
        let broker = start(version, &api, &format!("{GO_AUTH}\nhttp_method GET"));
        log_in(&broker, "c", "u", "p").expect_accepted();
        let login = r#"{"clientid":"c","password":"p","username":"u"}"#;
        let expected = triple("GET /api/auth/?check_acl=true", JSON, login);
        assert_eq!(seen(&api.requests()[0]), expected);
    }

    fn auth_plugs_requests_byte_by_byte(version) {
        let api = api();
        let options = "backends http
            http_ip 127.0.0.1
            http_port PORT
            http_hostname my~host
            http_getuser_uri /auth
            http_superuser_uri /superuser
            http_aclcheck_uri /acl
            http_basic_auth_key Z2F0ZTpvcGVu
            http_getuser_params domain=SITE,other=MISSING
            log_quiet true";
        let config = config(version, api.port(), "auth_plugin", options).env("SITE", "north 1");
        let broker = config.start();
        let client = log_in(&broker, "c 1", "u&b", "p+w%/é~").expect_accepted();
        assert!(may_publish(&client, "a/b c"));
        let expected = [
            triple(
                "POST /auth",
                FORM,
                "domain=north%201&other=NULL&username=u%26b&password=p%2Bw%25%2F%C3%A9~&topic=\
                 &acc=-1&clientid=",
            ),
            triple("POST /superuser", FORM, "username=u%26b&password=&topic=&acc=-1&clientid="),
            triple(
                "POST /acl",
                FORM,
                "username=u%26b&password=&topic=a%2Fb%20c&acc=2&clientid=c%201",
            ),
        ];
        let requests = api.requests();
        assert_eq!(requests.iter().map(seen).collect::<Vec<_>>(), expected);
        for request in &requests {
            assert_eq!(request.header("host"), Some("my~host"));
            assert_eq!(request.header("authorization"), Some("Basic Z2F0ZTpvcGVu"));
        }
    }

    fn fields_that_were_added_follow_those_of_the_old_plugins(version) {
        let added = "http_user_fields clientid,protocol_version\nhttp_acl_fields qos";
        for (options, login, access) in [
            (
                GO_AUTH.to_owned(),
                r#"{"clientid":"c","password":"p","username":"u","protocol_version":5}"#,
                r#"{"acc":2,"clientid":"c","topic":"a","username":"u","qos":1}"#,
            ),
            (
                format!("{GO_AUTH}\nhttp_params_mode form"),
                "clientid=c&password=p&username=u&protocol_version=5",
                "acc=2&clientid=c&topic=a&username=u&qos=1",
            ),
            (
                AUTH_PLUG.to_owned(),
                "username=u&password=p&topic=&acc=-1&clientid=c&protocol_version=5",
                "username=u&password=&topic=a&acc=2&clientid=c&qos=1",
            ),
        ] {
            let api = api();
            let broker = start(version, &api, &format!("{options}\n{added}"));
            let client = log_in(&broker, "c", "u", "p").expect_accepted();
            assert!(may_publish(&client, "a"));
            let requests = api.requests();
            assert_eq!([requests[0].text(), requests[2].text()], [login, access]);
        }
    }

    fn every_success_lets_in_and_every_refusal_keeps_out(version) {
        let api = AuthServer::answering(|request| {
            let status = request.json()["username"].as_str().unwrap().parse().unwrap_or(403);
            Reply::status(status).json(serde_json::json!({"result": "deny", "acl": "nonsense"}))
        });
        let broker = start(version, &api, GO_AUTH);
        for status in ["200", "201", "202", "299"] {
            log_in(&broker, "c", status, "p").expect_accepted();
        }
        for status in ["301", "400", "401", "403", "404", "408", "429"] {
            log_in(&broker, "c", status, "p").expect_refused();
        }
        log_in(&broker, "c", "500", "p").expect_closed();
        log_in(&broker, "c", "503", "p").expect_closed();
    }

    fn the_body_decides_where_a_mode_says_so(version) {
        for (mode, yes, no, broken) in [
            ("json", r#"{"ok":true}"#, r#"{"ok":false,"error":"no such user"}"#, Some("ok")),
            ("text", "ok", "no such user", None),
        ] {
            let bodies = [("yes", Some(yes)), ("no", Some(no)), ("broken", broken)];
            let api = AuthServer::answering(move |request| {
                let name = request.json()["username"].as_str().unwrap().to_owned();
                let body = bodies.iter().find(|(who, _)| *who == name).unwrap().1;
                Reply::status(200).body(body.unwrap_or_default())
            });
            let broker = start(version, &api, &format!("{GO_AUTH}\nhttp_response_mode {mode}"));
            log_in(&broker, "c", "yes", "p").expect_accepted();
            log_in(&broker, "c", "no", "p").expect_refused();
            broker.wait_for_log("no such user");
            if broken.is_some() {
                log_in(&broker, "c", "broken", "p").expect_closed();
            }
        }
    }

    fn a_yes_of_any_route_is_final(version) {
        // What failed is asked again, and may then say yes: no answer of another route stands in for it.
        for (superuser, acl, allowed, asked) in
            [(500, 200, true, 1), (200, 403, true, 0), (500, 401, false, 1), (403, 401, false, 1)]
        {
            let api = AuthServer::answering(move |request| {
                Reply::status(match request.path.as_str() {
                    "/superuser" => superuser,
                    "/acl" => acl,
                    _ => 200,
                })
            });
            let broker = start(version, &api, &format!("{GO_AUTH}\ncache true"));
            let client = log_in(&broker, "c", "u", "p").expect_accepted();
            for _ in 0..2 {
                assert_eq!(may_publish(&client, "t"), allowed, "{superuser} {acl}");
            }
            assert_eq!(api.requests_to("/acl").len(), asked, "{superuser} {acl}");
            let asked = if superuser == 500 { 2 } else { 1 };
            assert_eq!(api.requests_to("/superuser").len(), asked, "{superuser} {acl}");
        }
    }

    fn nothing_is_cached_until_the_cache_is_switched_on(version) {
        for (more, asked) in [("", 2), ("cache true", 1), ("cache true\nauth_cache_seconds 0", 2)] {
            let api = api();
            let broker = start(version, &api, &format!("{GO_AUTH}\n{more}"));
            for _ in 0..2 {
                log_in(&broker, "c", "u", "p").expect_accepted();
            }
            assert_eq!(api.requests().len(), asked, "{more}");
        }
    }

    fn empty_credentials_are_denied_unasked(version) {
        let api = api();
        for options in [GO_AUTH, AUTH_PLUG] {
            let broker = start(version, &api, options);
            log_in(&broker, "c", "u", "").expect_refused();
            broker.client("c").protocol(Protocol::V5).connect().expect_refused();
        }
        assert!(api.requests().is_empty());
        let broker = start(version, &api, &format!("{GO_AUTH}\nallow_empty_credentials true"));
        broker.client("c").protocol(Protocol::V5).connect().expect_accepted();
        let login = r#"{"clientid":"c","password":"","username":""}"#;
        assert_eq!(api.requests()[0].text(), login);
    }

    fn tls_is_as_safe_as_the_configuration_says(version) {
        let certs = Certs::new();
        let api = AuthServer::start_tls(certs.server());
        let tls = format!("{GO_AUTH}\nhttp_with_tls true");
        let failed = config(version, api.port(), "auth_plugin", &tls).start_expecting_failure();
        let log = failed.log;
        assert!(log.contains("http_verify_peer true") && log.contains("http_verify_peer false"));
        let broker = start(version, &api, &format!("{tls}\nhttp_verify_peer true"));
        log_in(&broker, "c", "u", "p").expect_closed();
        broker.wait_for_log("TLS failed");
        let broker = start(version, &api, &format!("{tls}\nhttp_verify_peer false"));
        broker.wait_for_log("the API's certificate is not verified");
        log_in(&broker, "c", "u", "p").expect_accepted();
    }

    fn configurations_of_their_users_start(version) {
        let api = api();
        let carried_along = "backends http
            log_level warning
            http_mode remote
            http_host 127.0.0.1
            http_port PORT
            http_getuser_uri /api/auth/mqtt/
            http_aclcheck_uri /api/auth/mqtt/?check_acl=true
            http_superuser_uri /api/auth/mqtt/?check_superuser=true
            http_host_whitelist *
            http_params_mode json
            cache true
            cache_type go-cache
            cache_reset true
            cache_refresh true
            auth_cache_seconds 300
            acl_cache_seconds 300
            auth_jitter_seconds 5
            acl_jitter_seconds 5";
        let repeating = format!(
            "{GO_AUTH}\nhttp_with_tls false\ncache true\ncache_type go-cache\ncache_reset true
             cache_refresh true\nauth_cache_seconds 60\nacl_cache_seconds 300
             auth_jitter_seconds 5\nacl_jitter_seconds 30\nretry_count 3"
        );
        let add_on = "backends http
            hasher pbkdf2
            cache true
            auth_cache_seconds 300
            auth_jitter_seconds 30
            acl_cache_seconds 300
            acl_jitter_seconds 30
            log_level error
            files_password_path /etc/mosquitto/pw
            files_acl_path /etc/mosquitto/acl
            http_host 127.0.0.1
            http_port PORT
            http_getuser_uri /authentication
            http_superuser_uri /superuser
            http_aclcheck_uri /acl";
        let older_add_on = "backends http
            http_ip 127.0.0.1
            http_port PORT
            http_getuser_uri /login
            http_superuser_uri /superuser
            http_aclcheck_uri /acl
            log_quiet true";
        let uncached = "acl_cacheseconds 0
            backends http
            http_hostname 127.0.0.1
            http_port PORT
            http_basic_auth_key Z2F0ZTpvcGVu
            http_getuser_uri /users
            http_superuser_uri /superusers
            http_aclcheck_uri /acl";
        for directive in ["auth_plugin", "plugin"] {
            for options in
                [STACKHERO, carried_along, &repeating, add_on, older_add_on, uncached]
            {
                let config = config(version, api.port(), directive, options);
                // The broker's own, which the add-on has and no plugin is told.
                let broker = config.line("auth_plugin_deny_special_chars false").start();
                let client = log_in(&broker, "c", "u", "p").expect_accepted();
                assert!(may_publish(&client, "t"), "{options}");
            }
        }
        let broker = start(version, &api, carried_along);
        broker.wait_for_log("option http_mode does nothing here");
        broker.wait_for_log("option http_host_whitelist does nothing here");
        broker.wait_for_log("option cache_refresh does nothing here");
        broker.wait_for_log("option http_getuser_uri is there, so compat is go-auth");
    }

    fn what_is_not_offered_stops_the_start_and_names_what_is(version) {
        let mysql = GO_AUTH.replace("backends http", "backends mysql,http");
        let redis = format!("{GO_AUTH}\ncache true\ncache_type redis");
        let wrong = format!("{GO_AUTH}\nhttp_timeout soon");
        for (options, said) in [
            (mysql, "option backends: mysql is not offered; let a small API ask the database"),
            (redis, "option cache_type redis needs fleet_secret, the same at every broker"),
            (wrong, "option http_timeout: \"soon\" is not allowed"),
        ] {
            let failed = config(version, 1, "auth_plugin", &options).start_expecting_failure();
            assert!(failed.log.contains(said), "{}", failed.log);
        }
    }

    /// Its cache in a Redis becomes a fleet once there is a secret.
    fn a_cache_in_redis_is_shared(version) {
        let redis = Redis::start_with(Engine::beside(version), &["--requirepass", "redis-canary-4713"]);
        let api = AuthServer::answering(|request| {
            Reply::status(if request.path.starts_with("/api/auth/") { 200 } else { 403 })
        });
        let options = format!(
            "{GO_AUTH}\ncache true\ncache_type redis\ncache_host 127.0.0.1\ncache_port {}\n\
             cache_password redis-canary-4713\ncache_db 5\ncache_reset true\n\
             fleet_secret $FLEET_SECRET\nfleet_redis_timeout_ms 5000",
            redis.port()
        );
        let [one, two] = ["one", "two"].map(|name| {
            let options = format!("{options}\nfleet_broker {name}");
            let config = config(version, api.port(), "auth_plugin", &options);
            let broker = config.env("FLEET_SECRET", crate::fleet::SECRET).start();
            broker.wait_for_log(IN_TOUCH);
            broker.wait_for_log("option cache_reset does nothing here");
            assert!(!broker.log_contains("redis-canary"), "{}", broker.log());
            broker
        });
        log_in(&one, "c", "u", "p").expect_accepted();
        // A second database, as mosquitto-go-auth has one of its own.
        let keys = || {
            let keys = ["-a", "redis-canary-4713", "-n", "5", "KEYS", crate::fleet::ANSWERS];
            redis.ask(&keys).into_iter().filter(|key| !key.is_empty()).count()
        };
        eventually("the answer is shared", || keys() == 1);
        let asked = api.requests().len();
        log_in(&two, "c", "u", "p").expect_accepted();
        assert_eq!(api.requests().len(), asked, "{:?}", api.requests().last());
    }
}
