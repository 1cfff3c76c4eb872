//! Tokens whose keys the API has, as a JWK Set.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use mosquitto_test::prelude::*;
use mosquitto_test::tokens::Issuer;
use mosquitto_test::watch::patience;
use serde_json::{Value, json};

use crate::support::{eventually, eventually_within, saying};
use crate::tokens::{claims, connect, of};

const ROUTE: (&str, &str) = ("http_jwks_route", "/keys");

fn set(keys: &[Value]) -> Reply {
    saying(json!({"keys": keys}))
}

/// A key without a `kid`.
fn nameless(issuer: &Issuer) -> Value {
    let mut jwk = issuer.jwk("");
    jwk.as_object_mut().unwrap().remove("kid");
    jwk
}

fn broker_of(version: Version, api: &AuthServer, more: &[(&str, &str)]) -> Broker {
    Broker::config(version).plugin(api.options([&[ROUTE], more].concat())).start()
}

fn is_let_in(broker: &Broker, token: &str) -> bool {
    connect(broker, "c", "ann", token).is_accepted()
}

on_every_broker! {
    fn the_apis_keys_are_there_before_the_first_login(version) {
        let issuer = Issuer::es256();
        let keys = [issuer.jwk("a")];
        let api = AuthServer::answering(move |_| set(&keys));
        let broker = broker_of(version, &api, &[("max_block_ms", "0")]);
        broker.wait_for_log("the API has 1 public keys that verify tokens");
        let request = &api.requests_to("/keys")[0];
        assert_eq!((request.method.as_str(), request.header("accept")), ("GET", Some("application/json")));
        connect(&broker, "c", "ann", &issuer.token_of("a", &of("ann"))).expect_accepted();
        connect(&broker, "c", "ann", &issuer.token_of("a", &of("ben"))).expect_refused();
        assert_eq!(api.requests().len(), 1, "a login asks nobody");
    }

    fn an_unknown_kid_has_the_keys_fetched_once_and_what_is_known_serves_on(version) {
        let (old, new) = (Issuer::es256(), Issuer::eddsa());
        let (keys, more) = ([old.jwk("old")], [old.jwk("old"), new.jwk("new")]);
        let fetched = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&fetched);
        let api = AuthServer::answering(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => set(&keys),
            _ => set(&more),
        });
        let broker = broker_of(version, &api, &[]);
        broker.wait_for_log("the API has 1 public keys");
        let strange = new.token_of("new", &of("ann"));
        let mark = broker.log_mark();
        // Too soon after the keys were fetched: nobody can have them fetched at will.
        for _ in 0..20 {
            assert!(!is_let_in(&broker, &strange));
            assert!(is_let_in(&broker, &old.token_of("old", &of("ann"))));
        }
        broker.wait_for_log_after(mark, "reason=token-key");
        assert_eq!(api.requests_to("/keys").len(), 1);
    }

    fn a_key_that_is_never_tried_is_warned_of_and_one_that_a_token_names_is_tried(version) {
        let issuer = Issuer::es256();
        let others = [(); 5].map(|()| Issuer::es256());
        let keys: Vec<_> = others.iter().map(nameless).chain([issuer.jwk("a")]).collect();
        let api = AuthServer::answering(move |_| set(&keys));
        let broker = broker_of(version, &api, &[]);
        broker.wait_for_log("5 keys without a kid are for ES256, of which the plugin tries 4 at most");
        assert!(is_let_in(&broker, &issuer.token_of("a", &of("ann"))));
        assert!(is_let_in(&broker, &others[3].token_of("b", &of("ann"))));
    }

    fn copies_of_a_key_take_no_place_and_neither_do_keys_of_algorithms_that_are_not_allowed(version) {
        let (copied, last) = (Issuer::es256(), Issuer::es256());
        let more = [(); 5].map(|()| Issuer::eddsa());
        let keys = [&copied; 5].into_iter().chain(&more).chain([&last]).map(nameless).collect();
        let keys: Vec<_> = keys;
        let file = json!({"keys": keys}).to_string();
        let api = AuthServer::answering(move |_| set(&keys));
        let broker = broker_of(version, &api, &[("jwt_algorithms", "ES256")]);
        broker.wait_for_log("the API has 11 public keys");
        assert!(is_let_in(&broker, &last.token(&of("ann"))));
        assert!(!broker.log_contains("keys without a kid"));
        let config = Broker::config(version);
        let file = config.file("keys", file);
        let keys = [("jwt_key_file", file.to_str().unwrap()), ("jwt_algorithms", "ES256")];
        let broker = config.plugin(keys).start();
        assert!(is_let_in(&broker, &last.token(&of("ann"))));
    }

    fn sighup_warns_of_keys_that_are_never_tried(version) {
        let file_of = |issuers: &[Issuer]| {
            json!({"keys": issuers.iter().map(nameless).collect::<Vec<_>>()}).to_string()
        };
        let (first, others) = ([Issuer::es256()], [(); 2].map(|()| Issuer::es256()));
        let keys = [(); 3].map(|()| nameless(&Issuer::es256()));
        let api = AuthServer::answering(move |_| set(&keys));
        let config = Broker::config(version);
        let file = config.file("keys", file_of(&first));
        let own = ("jwt_key_file", file.to_str().unwrap());
        let broker = config.plugin(api.options([ROUTE, own])).start();
        broker.wait_for_log("the API has 3 public keys");
        assert!(!broker.log_contains("keys without a kid"));
        fs::write(&file, file_of(&others)).unwrap();
        broker.reload();
        broker.wait_for_log("5 keys without a kid are for ES256, of which the plugin tries 4 at most");
        assert!(is_let_in(&broker, &others[1].token(&of("ann"))));
    }

    fn keys_are_fetched_anew_when_cache_control_says_so(version) {
        let (old, new) = (Issuer::es256(), Issuer::es256());
        let (keys, others) = ([old.jwk("1")], [new.jwk("2")]);
        let fetched = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&fetched);
        let api = AuthServer::answering(move |_| {
            let nth = count.fetch_add(1, Ordering::SeqCst);
            let reply = if nth == 0 { set(&keys) } else { set(&others) };
            reply.header("Cache-Control", "max-age=31")
        });
        let broker = broker_of(version, &api, &[]);
        broker.wait_for_log("the API has 1 public keys");
        let client = connect(&broker, "c", "ann", &old.token_of("1", &of("ann"))).expect_accepted();
        // Nobody bears a token of the new key meanwhile, which would have the keys fetched as well.
        eventually_within(patience() + Duration::from_secs(31), "they are fetched again", || {
            thread::sleep(Duration::from_millis(50));
            api.requests_to("/keys").len() == 2
        });
        eventually("the new key has come", || is_let_in_as(&broker, "d", &new.token_of("2", &of("ann"))));
        assert!(!is_let_in_as(&broker, "d", &old.token_of("1", &of("ann"))), "it is gone");
        assert!(client.is_connected(), "it is asked about when its token ends");
        assert_eq!(api.requests_to("/keys").len(), 2);
    }

    fn an_api_that_fails_decides_nothing(version) {
        let issuer = Issuer::es256();
        let api = AuthServer::answering(|_| Reply::status(503));
        let broker = broker_of(version, &api, &[("breaker_failures", "1000000")]);
        broker.wait_for_log(" failed: ");
        let token = issuer.token_of("a", &of("ann"));
        for _ in 0..3 {
            connect(&broker, "c", "ann", &token).expect_closed();
        }
        assert!(!broker.log_contains("login denied"), "nobody has denied it");
        for broken in [saying(json!({"keys": []})), Reply::status(404), Reply::status(200).body("x")] {
            let mark = broker.log_mark();
            api.set_handler(move |_| broken.clone());
            broker.wait_for_log_after(mark, "it was asked about the keys that verify tokens");
            connect(&broker, "c", "ann", &token).expect_closed();
        }
        let keys = [issuer.jwk("a")];
        api.set_handler(move |_| set(&keys));
        eventually("the keys have come", || is_let_in(&broker, &token));
        api.stop();
        assert!(is_let_in(&broker, &issuer.token_of("a", &claims("ann", &json!({"n": 1})))));
    }

    fn a_token_that_claims_to_be_signed_with_a_secret_is_no_matter_of_the_apis_keys(version) {
        let (own, forger) = (Issuer::hs256(), Issuer::hs256());
        let api = AuthServer::answering(|_| Reply::status(503));
        let config = Broker::config(version);
        let secret = config.file("secret", own.key_file());
        let more = [("jwt_secret_file", secret.to_str().unwrap()), ("on_error", "allow")];
        let broker = config.plugin(api.options([&[ROUTE], &more[..]].concat())).start();
        broker.wait_for_log("it was asked about the keys that verify tokens");
        connect(&broker, "c", "ann", &own.token_of("x", &of("ann"))).expect_accepted();
        for (forged, reason) in [
            (forger.token(&of("ann")), "token-signature"),
            (forger.token_of("x", &of("ann")), "token-signature"),
            (forger.token_with(&json!({"alg": "none"}), &of("ann")), "token-algorithm"),
        ] {
            let mark = broker.log_mark();
            connect(&broker, "c", "ann", &forged).expect_refused();
            broker.wait_for_log_after(mark, &format!("reason={reason}"));
        }
    }

    /// The claims and the set are as Keycloak documents them: <https://www.keycloak.org/securing-apps/oidc-layers>.
    fn tokens_of_keycloak_let_in(version) {
        let (issuer, encryption) = (Issuer::rs256(), Issuer::rs256());
        let mut signing = issuer.jwk("FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE");
        signing["x5c"] = json!(["MIICmzCCAYMCBgF4HR7HNDANBgkqhkiG9w0BAQsFADARMQ8wDQYDVQQDDAZtYXN0ZXI="]);
        signing["x5t"] = json!("O-J3HcFLEgpOqVWlQLsi4z3CAKs");
        signing["x5t#S256"] = json!("wJHlRRdYXzwVB6sfXGqLIwzRzPO3ZZ3OPiqlYuqCPWw");
        let mut other = encryption.jwk("1SXPyPg6PLeyNm4Fgj2ZpJiXZWrmIZXHC8XQfEVAb5s");
        other["use"] = json!("enc");
        other["alg"] = json!("RSA-OAEP");
        let keys = [other, signing];
        let realm = "https://id.example.com/realms/plant";
        let api = AuthServer::answering(move |request| match request.path.as_str() {
            "/realms/plant/protocol/openid-connect/certs" => set(&keys),
            _ => Reply::status(404),
        });
        let options = [
            ("http_jwks_route", "/realms/plant/protocol/openid-connect/certs"),
            ("jwt_issuer", realm),
            ("jwt_audience", "mqtt,account"),
            ("jwt_username_claim", "preferred_username"),
            ("jwt_username", "set"),
        ];
        let broker = Broker::config(version).plugin(api.options(options)).start();
        broker.wait_for_log("the API has 1 public keys");
        let token = |more: &Value| {
            let claims = claims("f6f1d7a4-9d8b-4b5e-8f0c-0a9c3f5b8c11", &json!({
                "iat": 1_700_000_000, "auth_time": 1_700_000_000,
                "jti": "onrtac:5f3b2f0e-6a2e-4b43-9f5a-1f2f9f4d6b1c",
                "iss": realm, "aud": "account", "typ": "Bearer", "azp": "sensors", "acr": "1",
                "sid": "7d1f9f4e-0d3b-4c3d-9c39-8a0f4d4b1a11",
                "allowed-origins": ["https://app.example.com"],
                "realm_access": {"roles": ["default-roles-plant", "offline_access"]},
                "resource_access": {"account": {"roles": ["manage-account", "view-profile"]}},
                "scope": "openid profile email", "email_verified": true, "name": "Ann Example",
                "preferred_username": "ann", "given_name": "Ann", "family_name": "Example",
            }));
            let mut claims = claims.as_object().unwrap().clone();
            claims.extend(more.as_object().unwrap().clone());
            issuer.token_of("FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE", &Value::Object(claims))
        };
        connect(&broker, "c", "whoever", &token(&json!({}))).expect_accepted();
        connect(&broker, "c", "whoever", &token(&json!({"aud": "web"}))).expect_refused();
        let stranger = json!({"iss": "https://id.example.com/realms/other"});
        connect(&broker, "c", "whoever", &token(&stranger)).expect_refused();
    }
}

fn is_let_in_as(broker: &Broker, id: &str, token: &str) -> bool {
    connect(broker, id, "ann", token).is_accepted()
}
