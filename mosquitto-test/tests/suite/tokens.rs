//! Logins by a JSON Web Token that the plugin itself decides, by keys from files.

use std::fs;
use std::path::{Path, PathBuf};

use mosquitto_test::prelude::*;
use mosquitto_test::tokens::Issuer;
use serde_json::{Value, json};

use crate::support::{EVERY_QUESTION, ROUTES, eventually, may_publish, rules, unix_time};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Claims that are good for an hour.
pub fn of(user: &str) -> Value {
    json!({"sub": user, "exp": unix_time() + 3600})
}

/// The same, and more.
pub fn claims(user: &str, more: &Value) -> Value {
    let mut claims = of(user);
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims
}

/// A broker that lets in whoever has a token of this issuer, and has nobody to ask.
fn broker_of(version: Version, issuer: &Issuer, more: &[(&str, &str)]) -> (Broker, PathBuf) {
    let config = Broker::config(version);
    let file = config.file("keys", issuer.key_file());
    let option = if issuer.algorithm() == "HS256" { "jwt_secret_file" } else { "jwt_key_file" };
    let options = [&[(option, text(&file))], more].concat();
    (config.plugin(options).start(), file)
}

pub fn connect(broker: &Broker, id: &str, user: &str, token: &str) -> Login {
    broker.client(id).protocol(Protocol::V5).credentials(user, token).connect()
}

fn is_let_in(broker: &Broker, user: &str, token: &str) -> bool {
    connect(broker, "c", user, token).is_accepted()
}

/// What a client comes to whose token is refused, and by which reason.
fn expect_denied(broker: &Broker, token: &str, reason: &str) {
    let mark = broker.log_mark();
    assert_eq!(connect(broker, "c", "ann", token).expect_refused(), Protocol::V5.refusal());
    broker.wait_for_log_after(mark, &format!("reason={reason}"));
}

on_every_broker! {
    fn a_token_lets_its_bearer_in_without_a_question(version) {
        for issuer in [Issuer::hs256(), Issuer::es256(), Issuer::eddsa(), Issuer::rs256()] {
            let (broker, _) = broker_of(version, &issuer, &[]);
            for protocol in [Protocol::V3_1_1, Protocol::V5] {
                let token = issuer.token(&of("ann"));
                let client = broker.client("c").protocol(protocol).credentials("ann", &token);
                client.connect().expect_accepted();
            }
            let other = match &issuer {
                Issuer::Hs256(_) => Issuer::hs256(),
                Issuer::EdDsa(_) => Issuer::eddsa(),
                _ => Issuer::es256(),
            };
            assert!(!is_let_in(&broker, "ann", &other.token(&of("ann"))));
        }
    }

    fn the_rules_of_a_token_may_be_for_some_clients_only(version) {
        let rule = |permission: &str, topic: &str, condition: (&str, &str)| {
            let (name, value) = condition;
            json!({"permission": permission, "action": "all", "topic": topic, name: value})
        };
        let acl = json!([
            rule("deny", "locked", ("clientid_re", "^guest-[0-9]+$")),
            rule("allow", "locked", ("ipaddr", "127.0.0.0/8")),
            rule("allow", "elsewhere", ("ipaddr", "192.0.2.0/24")),
            rule("allow", "named", ("username_re", "^ann$")),
            rule("allow", "given", ("username_re", "^somebody$")),
        ]);
        let issuer = Issuer::es256();
        let (broker, _) = broker_of(version, &issuer, &[("jwt_username", "set")]);
        let token = issuer.token(&claims("ann", &json!({"acl": acl})));
        // One token, so that what it grants is known when the second client comes.
        for (id, given, locked) in
            [("guest-7", "ann", false), ("c", "ann", true), ("guest-8", "somebody", false)]
        {
            let client = connect(&broker, id, given, &token).expect_accepted();
            for (topic, may) in [
                ("locked", locked), ("elsewhere", false), ("named", true), ("given", false),
            ] {
                assert_eq!(may_publish(&client, topic), may, "{id} {topic}");
            }
            client.subscribe("named").expect_granted();
            client.publish("named", "x");
            assert_eq!(client.expect_message(), ("named".into(), "x".into()));
        }
        for (name, broken) in [("clientid_re", "("), ("ipaddr", "nowhere"), ("zone", "z")] {
            let acl = json!([rule("allow", "a", (name, broken))]);
            let token = issuer.token(&claims("ann", &json!({"acl": acl})));
            assert!(!is_let_in(&broker, "ann", &token), "{name}");
        }
    }

    fn what_is_wrong_with_a_token_stands_in_the_log_and_the_token_does_not(version) {
        let (issuer, other) = (Issuer::es256(), Issuer::es256());
        let checks = [("jwt_issuer", "https://idp"), ("jwt_audience", "mqtt"), ("log_level", "trace")];
        let (broker, _) = broker_of(version, &issuer, &checks);
        let good = json!({"iss": "https://idp", "aud": ["mqtt", "web"]});
        let claims = |more: Value| {
            let mut claims = claims("ann", &good);
            claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            claims
        };
        let token = issuer.token(&claims(json!({})));
        assert!(is_let_in(&broker, "ann", &token));
        let now = unix_time();
        let mut tokens = vec![token];
        for (reason, more) in [
            ("token-expired", json!({"exp": now - 60})),
            ("token-not-yet-valid", json!({"nbf": now + 600})),
            ("token-issuer", json!({"iss": "https://other"})),
            ("token-audience", json!({"aud": "web"})),
            ("token-claims", json!({"exp": "tomorrow"})),
            ("token-claims", json!({"acl": [{"permission": "allow"}]})),
            ("token-username", json!({"sub": "ben"})),
        ] {
            let token = issuer.token(&claims(more));
            expect_denied(&broker, &token, reason);
            tokens.push(token);
        }
        let mine = claims(json!({}));
        let Issuer::Es256(_) = &issuer else { unreachable!() };
        let public = issuer.key_file();
        let confused = Issuer::Hs256(public).token(&mine);
        let unsigned = issuer.token_with(&json!({"alg": "none"}), &mine);
        let unsigned = unsigned.rsplit_once('.').unwrap().0.to_owned() + ".";
        let critical = json!({"alg": "ES256", "crit": ["b64"], "b64": false});
        let huge = issuer.token(&claims(json!({"x": "y".repeat(40_000)})));
        for (reason, token) in [
            ("token-signature", other.token(&mine)),
            ("token-algorithm", confused),
            ("token-algorithm", unsigned),
            ("token-malformed", issuer.token_with(&critical, &mine)),
            ("token-malformed", huge),
            ("token-key", issuer.token_of("2", &mine)),
        ] {
            expect_denied(&broker, &token, reason);
            tokens.push(token);
        }
        let log = broker.log();
        for token in tokens {
            let payload = token.split('.').nth(1).unwrap();
            assert!(!log.contains(&token) && !log.contains(payload), "a token is in the log");
        }
    }

    fn a_password_that_is_no_token_is_asked_about_unless_only_tokens_will_do(version) {
        let issuer = Issuer::hs256();
        let api = AuthServer::start();
        let start = |more: &[(&str, &str)]| {
            let config = Broker::config(version);
            let file = config.file("secret", issuer.key_file());
            let keys = [("jwt_secret_file", text(&file))];
            config.plugin(api.options([&ROUTES, &EVERY_QUESTION[..], &keys, more].concat())).start()
        };
        let broker = start(&[]);
        assert!(is_let_in(&broker, "ann", "a.pass.word"));
        assert_eq!(api.requests_to("/user").len(), 1);
        assert!(is_let_in(&broker, "ann", &issuer.token(&of("ann"))));
        assert!(!is_let_in(&broker, "ann", &Issuer::hs256().token(&of("ann"))), "nor asked about");
        assert_eq!(api.requests_to("/user").len(), 1);
        let broker = start(&[("jwt_only", "true")]);
        assert!(!is_let_in(&broker, "ann", "a.pass.word"));
        broker.wait_for_log("reason=token-missing");
        assert!(is_let_in(&broker, "ann", &issuer.token(&of("ann"))));
        assert_eq!(api.requests_to("/user").len(), 1);
    }

    fn a_tokens_claims_grant_what_a_logins_answer_does(version) {
        let issuer = Issuer::eddsa();
        let (broker, _) = broker_of(version, &issuer, &[]);
        let acl = json!({"acl": rules(&["allow publish up/${username}/#", "allow subscribe down/#"])});
        let ann = connect(&broker, "a", "ann", &issuer.token(&claims("ann", &acl))).expect_accepted();
        assert!(may_publish(&ann, "up/ann/x") && !may_publish(&ann, "up/ben/x"));
        ann.subscribe("down/#").expect_granted();
        let root = json!({"is_superuser": true});
        let root = connect(&broker, "r", "root", &issuer.token(&claims("root", &root)));
        let root = root.expect_accepted();
        assert!(may_publish(&root, "down/x"));
        assert_eq!(ann.expect_message(), ("down/x".to_owned(), "x".to_owned()));
        let tenant = json!({
            "acl": rules(&["allow publish ${client_attrs.tenant}/#"]), "client_attrs": {"tenant": "acme"}
        });
        let ben = connect(&broker, "b", "ben", &issuer.token(&claims("ben", &tenant))).expect_accepted();
        assert!(may_publish(&ben, "acme/x") && !may_publish(&ben, "other/x"));
    }

    fn lists_of_topics_allow_what_they_say_and_nothing_else(version) {
        let issuer = Issuer::es256();
        let api = AuthServer::start();
        let config = Broker::config(version);
        let keys = config.file("keys", issuer.key_file());
        let options = api.options([&ROUTES, &EVERY_QUESTION[..], &[("jwt_key_file", text(&keys))]].concat());
        let broker = config.plugin(options).start();
        let acl = json!({"acl": {
            "pub": ["up/${username}/#"], "sub": ["down/%c", "news/#"], "all": ["chat/${clientid}"],
        }});
        let token = issuer.token(&claims("ann", &acl));
        let client = connect(&broker, "c", "ann", &token).expect_accepted();
        for (topic, may) in [
            ("up/ann/x", true), ("up/ben/x", false), ("down/c", false), ("chat/c", true),
            ("other", false), ("$SYS/x", false),
        ] {
            assert_eq!(may_publish(&client, topic), may, "{topic}");
        }
        for filter in ["down/c", "news/#", "chat/c"] {
            client.subscribe(filter).expect_granted();
        }
        for filter in ["#", "down/#", "up/ann/#", "other", "$SYS/#"] {
            client.subscribe(filter).expect_refused();
        }
        client.publish("chat/c", "x");
        assert_eq!(client.expect_message(), ("chat/c".into(), "x".into()));
        assert!(api.requests().is_empty(), "there is a route for what rules do not say, and nobody is asked");
        // Others are asked about, and so is a client whose token has rules.
        let acl = json!({"acl": rules(&["allow publish up/#"])});
        let ben = connect(&broker, "b", "ben", &issuer.token(&claims("ben", &acl))).expect_accepted();
        assert!(may_publish(&ben, "other"));
        assert_eq!(api.requests_to("/acl").len(), 1);
        for broken in [json!({"publish": ["#"]}), json!({"pub": ["#"], "deny": ["#"]}), json!({"pub": "#"})] {
            let token = issuer.token(&claims("ann", &json!({"acl": broken})));
            expect_denied(&broker, &token, "token-claims");
        }
    }

    fn no_token_gives_the_name_of_a_user_of_mosquittos_own(version) {
        let issuer = Issuer::es256();
        let config = Broker::config(version).password_file(&[("admin", "s3cret-of-admin")]);
        let local = config.password_path().display().to_string();
        let keys = config.file("keys", issuer.key_file());
        let options =
            [("jwt_key_file", text(&keys)), ("jwt_username", "set"), ("local_users_file", &local)];
        let broker = config.plugin(options).start();
        let mark = broker.log_mark();
        assert!(!is_let_in(&broker, "ann", &issuer.token(&of("admin"))));
        broker.wait_for_log_after(mark, "reason=token-username");
        assert!(is_let_in(&broker, "ann", &issuer.token(&of("ben"))));
        assert!(is_let_in(&broker, "admin", "s3cret-of-admin"));
    }

    fn whoever_is_known_by_its_token_stays_when_it_is_looked_at_again(version) {
        let issuer = Issuer::es256();
        let options = [("jwt_username", "set"), ("cache_revalidate", "1"), ("jwt_leeway", "0")];
        let (broker, _) = broker_of(version, &issuer, &options);
        let stays = connect(&broker, "c", "other", &issuer.token(&of("ann"))).expect_accepted();
        // Before this one ends, the other has been looked at.
        let end = json!({"exp": unix_time() + 4});
        let ends = connect(&broker, "d", "other", &issuer.token(&claims("ann", &end)));
        ends.expect_accepted().wait_disconnected();
        assert!(stays.is_connected());
        assert!(!broker.log_contains("gives it another name"));
    }

    fn whoever_bears_a_token_is_known_by_the_name_that_jwt_username_says(version) {
        let issuer = Issuer::hs256();
        let acl = json!({"acl": rules(&["allow publish of/${username}", "deny all #"]), "name": "ben"});
        let token = issuer.token(&claims("ann", &acl));
        // The name that is given, and the one that the client is known by; none: it is not let in.
        for (how, claim, expected) in [
            ("match", "sub", [("ann", Some("ann")), ("other", None)]),
            ("match", "name", [("ann", None), ("ben", Some("ben"))]),
            ("set", "sub", [("ann", Some("ann")), ("other", Some("ann"))]),
            ("set", "missing", [("ann", None), ("other", None)]),
            ("any", "sub", [("ann", Some("ann")), ("other", Some("other"))]),
        ] {
            let options = [("jwt_username", how), ("jwt_username_claim", claim)];
            let (broker, _) = broker_of(version, &issuer, &options);
            for (given, known) in expected {
                let login = connect(&broker, "c", given, &token);
                let Some(known) = known else {
                    login.expect_refused();
                    continue;
                };
                let client = login.expect_accepted();
                for name in ["ann", "ben", "other"] {
                    let may = may_publish(&client, &format!("of/{name}"));
                    assert_eq!(may, name == known, "{how} {claim}: {given} is known as {name}");
                }
            }
        }
        let (broker, _) = broker_of(version, &issuer, &[("jwt_username", "set")]);
        for odd in ["a/b", "a+b", "#", "", "a\nb"] {
            assert!(!is_let_in(&broker, "ann", &issuer.token(&of(odd))), "{odd:?}");
        }
    }

    fn a_client_that_is_known_by_its_token_stays_so_over_sighup(version) {
        let issuer = Issuer::hs256();
        let acl = json!({"acl": rules(&["allow publish of/${username}", "deny all #"])});
        let token = issuer.token(&claims("ann", &acl));
        let (broker, _) = broker_of(version, &issuer, &[("jwt_username", "set")]);
        let client = connect(&broker, "c", "other", &token).expect_accepted();
        broker.reload();
        broker.wait_until_idle();
        assert!(client.is_connected());
        assert!(may_publish(&client, "of/ann") && !may_publish(&client, "of/other"));
    }

    fn a_session_ends_with_its_token(version) {
        let issuer = Issuer::es256();
        let (broker, _) = broker_of(version, &issuer, &[("jwt_leeway", "0")]);
        let ends = json!({"exp": unix_time() + 4});
        let token = issuer.token(&claims("ann", &ends));
        let (short, long) = (
            connect(&broker, "short", "ann", &token).expect_accepted(),
            connect(&broker, "long", "ann", &issuer.token(&of("ann"))).expect_accepted(),
        );
        short.wait_disconnected();
        broker.wait_for_log("disconnected \"short\": its token is no longer good: token-expired");
        assert!(unix_time() >= ends["exp"].as_u64().unwrap(), "not before");
        assert!(long.is_connected());
        assert!(!is_let_in(&broker, "ann", &token), "what is remembered has ended as well");
    }

    fn sighup_reads_the_keys_again(version) {
        let (old, new) = (Issuer::es256(), Issuer::es256());
        let (broker, file) = broker_of(version, &old, &[]);
        let (a, b) = (old.token(&of("ann")), new.token(&of("ann")));
        let client = connect(&broker, "stays", "ann", &a).expect_accepted();
        assert!(is_let_in(&broker, "ann", &a) && !is_let_in(&broker, "ann", &b));
        fs::write(&file, "nothing").unwrap();
        broker.reload();
        broker.wait_for_log("what held before stays");
        assert!(client.is_connected() && is_let_in(&broker, "ann", &a));
        fs::write(&file, new.key_file()).unwrap();
        broker.reload();
        broker.wait_for_log("the keys that verify tokens have changed");
        eventually("the new key counts", || is_let_in(&broker, "ann", &b));
        assert!(!is_let_in(&broker, "ann", &a), "though it was remembered");
        client.wait_disconnected();
        broker.wait_for_log("disconnected \"stays\": its token is no longer good: token-signature");
    }

    fn sighup_reads_the_secret_again(version) {
        let (old, new) = (Issuer::hs256(), Issuer::hs256());
        let (broker, file) = broker_of(version, &old, &[]);
        let (a, b) = (old.token(&of("ann")), new.token(&of("ann")));
        let client = connect(&broker, "stays", "ann", &a).expect_accepted();
        fs::write(&file, new.key_file()).unwrap();
        broker.reload();
        eventually("the new secret counts", || is_let_in(&broker, "ann", &b));
        assert!(!is_let_in(&broker, "ann", &a));
        client.wait_disconnected();
    }

    fn the_options_say_which_algorithms_will_do_and_how_far_clocks_may_differ(version) {
        let (ec, ed) = (Issuer::es256(), Issuer::eddsa());
        let start = |more: &[(&str, &str)]| {
            let config = Broker::config(version);
            let keys = json!({"keys": [ec.jwk("1"), ed.jwk("2")]}).to_string();
            let file = config.file("keys", keys);
            config.plugin([&[("jwt_key_file", text(&file))], more].concat()).start()
        };
        let broker = start(&[]);
        assert!(is_let_in(&broker, "ann", &ec.token_of("1", &of("ann"))));
        assert!(is_let_in(&broker, "ann", &ed.token_of("2", &of("ann"))));
        let over = claims("ann", &json!({"exp": unix_time() - 60}));
        let to_come = claims("ann", &json!({"nbf": unix_time() + 60}));
        expect_denied(&broker, &ec.token_of("1", &over), "token-expired");
        expect_denied(&broker, &ec.token_of("1", &to_come), "token-not-yet-valid");
        let broker = start(&[("jwt_algorithms", "EdDSA, RS256"), ("jwt_leeway", "600")]);
        expect_denied(&broker, &ec.token_of("1", &of("ann")), "token-algorithm");
        for claims in [of("ann"), over, to_come] {
            assert!(is_let_in(&broker, "ann", &ed.token_of("2", &claims)), "{claims}");
        }
    }

    fn mistakes_in_the_options_stop_the_start(version) {
        let start = |options: &dyn Fn(&BrokerConfig) -> Vec<(String, String)>| {
            let config = Broker::config(version);
            let options = options(&config);
            config.plugin(options).start_expecting_failure().log
        };
        let one = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let log = start(&|_| one("jwt_key_file", "/nowhere"));
        assert!(log.contains("option jwt_key_file: \"/nowhere\" is not allowed"), "{log}");
        let log = start(&|config| {
            one("jwt_secret_file", text(&config.file("short", "s3cret-s3cret")))
        });
        assert!(log.contains("32 bytes or more") && !log.contains("s3cret"), "{log}");
        let log = start(&|config| {
            let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
            one("jwt_key_file", text(&config.file("private.pem", private)))
        });
        assert!(log.contains("it holds a private key"), "{log}");
        let log = start(&|config| {
            let mut keys = [(); 5].map(|()| Issuer::es256().jwk(""));
            keys.iter_mut().for_each(|key| drop(key.as_object_mut().unwrap().remove("kid")));
            one("jwt_key_file", text(&config.file("keys", json!({"keys": keys}).to_string())))
        });
        let many = "(5 keys without a kid are for ES256, of which the plugin tries 4 at most)";
        assert!(log.contains("option jwt_key_file: ") && log.contains(many), "{log}");
        let log = start(&|_| {
            [one("http_host", "a"), one("http_user_route", "/u"), one("jwt_only", "true")].concat()
        });
        assert!(log.contains("option jwt_only needs keys"), "{log}");
        let log = start(&|config| {
            let file = config.file("keys", Issuer::es256().key_file());
            [one("jwt_key_file", text(&file)), one("jwt_algorithms", "ES256,HS256")].concat()
        });
        assert!(log.contains("option jwt_algorithms: HS256 needs jwt_secret_file"), "{log}");
    }
}
