//! mosquitto-go-auth's `backends files,http`: its password files and access lists come first, and the API
//! is asked about the rest.

use std::fs;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mosquitto_test::prelude::*;
use ring::pbkdf2;

use crate::support::{eventually, may_publish};

/// mosquitto-go-auth's own test data: the password is `test1`.
const TEST1: &str = "test1:PBKDF2$sha512$100000$2WQHK5rjNN+oOT+TZAsWAw==$TDf4Y6J+9BdnjucFQ0ZUWlTwzncTjOO\
                     eE00W4Qm8lfPQyPCZACCjgfdK353jdGFwJjAf6vPAYaba9+z4GWK7Gg==";

/// A line of a password file as mosquitto-go-auth's `pw` makes its hash.
fn hashed(name: &str, password: &str) -> String {
    hashed_by(name, password, 1000)
}

fn hashed_by(name: &str, password: &str, iterations: u32) -> String {
    let salt = b"0123456789abcdef";
    let mut hash = [0; 64];
    let rounds = iterations.try_into().unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, rounds, salt, password.as_bytes(), &mut hash);
    let [salt, hash] = [BASE64.encode(salt), BASE64.encode(hash)];
    format!("{name}:PBKDF2$sha512${iterations}${salt}${hash}\n")
}

/// The lines that the Home Assistant add-on writes, but for where things are and how long Mosquitto 2.0 waits.
const OPTIONS: &str = "backends files,http
    hasher pbkdf2
    cache true
    auth_cache_seconds 300
    auth_jitter_seconds 30
    acl_cache_seconds 300
    acl_jitter_seconds 30
    log_level debug
    max_block_ms 60000
    max_block_percent 100
    files_password_path PASSWORDS
    files_acl_path ACL
    http_host 127.0.0.1
    http_port PORT
    http_getuser_uri /authentication
    http_superuser_uri /superuser
    http_aclcheck_uri /acl";

const ACL: &str = "topic read news/#\n\nuser filey\ntopic readwrite filey/#\ntopic deny filey/secret\n\
                   pattern write up/%u\n";

fn config(version: Version, port: u16, options: &str, passwords: &str, acl: &str) -> BrokerConfig {
    let config = Broker::config(version);
    let passwords = config.file("pw", passwords).display().to_string();
    let acl = config.file("acl", acl).display().to_string();
    let config = config.line(&format!("auth_plugin {}", plugin_path().display()));
    let options = options.lines().map(str::trim).filter(|line| !line.is_empty());
    options.fold(config, |config, option| {
        let option = option.replace("PORT", &port.to_string());
        let option = option.replace("PASSWORDS", &passwords).replace("ACL", &acl);
        config.line(&format!("auth_opt_{option}"))
    })
}

fn start(version: Version, api: &AuthServer, passwords: &str) -> Broker {
    config(version, api.port(), OPTIONS, passwords, ACL).start()
}

/// An API that knows `ann`, whose password is `hers`, and lets her publish to `ann/…`.
fn api() -> AuthServer {
    AuthServer::answering(|request| {
        let body = request.json();
        let is_hers = match request.path.as_str() {
            "/authentication" => body["username"] == "ann" && body["password"] == "hers",
            "/acl" => body["username"] == "ann" && body["topic"] == "ann/t",
            _ => false,
        };
        Reply::status(if is_hers { 200 } else { 401 })
    })
}

fn log_in(broker: &Broker, user: &str, password: &str) -> Login {
    broker.client(user).protocol(Protocol::V5).credentials(user, password).connect()
}

/// A login with the right password that may be closed for a while, since it takes too long.
fn eventually_in(broker: &Broker, user: &str) -> Client {
    let mut client = None;
    eventually("the right password lets in", || {
        client = match log_in(broker, user, "his") {
            Login::Accepted(client) => Some(client),
            Login::Refused(code) => panic!("{user} was refused with {code:#x}"),
            Login::Closed => None,
        };
        client.is_some()
    });
    client.unwrap()
}

fn asked_to_log_in(api: &AuthServer) -> usize {
    api.requests_to("/authentication").len()
}

on_every_broker! {
    fn a_password_of_the_file_lets_in_and_nobody_asks_the_api(version) {
        let api = api();
        let broker = start(version, &api, &format!("# users\n{TEST1}\n{}", hashed("filey", "his")));
        broker.wait_for_log("files_password_path: 2 users");
        log_in(&broker, "test1", "test1").expect_accepted();
        log_in(&broker, "filey", "his").expect_accepted();
        assert_eq!(asked_to_log_in(&api), 0);
        // As mosquitto-go-auth asked its next backend.
        log_in(&broker, "filey", "hers").expect_refused();
        log_in(&broker, "ann", "hers").expect_accepted();
        log_in(&broker, "nobody", "his").expect_refused();
        assert_eq!(asked_to_log_in(&api), 3);
        assert!(!broker.log_contains("PBKDF2$") && !broker.log_contains("MDEyMzQ1"));
    }

    fn the_access_list_comes_before_the_api(version) {
        let api = api();
        let broker = start(version, &api, &hashed("filey", "his"));
        let filey = log_in(&broker, "filey", "his").expect_accepted();
        assert!(may_publish(&filey, "filey/a") && may_publish(&filey, "up/filey"));
        filey.subscribe("news/#").expect_granted();
        assert!(api.requests_to("/acl").is_empty() && api.requests_to("/superuser").is_empty());
        // What the list does not allow is for the API, whoever asks.
        assert!(!may_publish(&filey, "filey/secret") && !may_publish(&filey, "ann/t"));
        assert_eq!(api.requests_to("/acl").len(), 2);
        let ann = log_in(&broker, "ann", "hers").expect_accepted();
        assert!(may_publish(&ann, "ann/t") && may_publish(&ann, "up/ann"));
        assert!(!may_publish(&ann, "news/a") && !may_publish(&ann, "filey/a"));
        assert_eq!(api.requests_to("/acl").len(), 5);
    }

    fn users_of_the_file_come_in_while_the_api_is_down(version) {
        let port = AuthServer::answering(|_| Reply::status(200)).port();
        let broker = config(version, port, OPTIONS, &hashed("filey", "his"), ACL).start();
        // Often enough for the API to be out of service.
        for attempt in 0..8 {
            log_in(&broker, "ann", &format!("{attempt}")).expect_closed();
        }
        let filey = log_in(&broker, "filey", "his").expect_accepted();
        assert!(may_publish(&filey, "filey/a"));
        log_in(&broker, "filey", "hers").expect_closed();
    }

    fn a_hash_does_not_hold_the_broker_up(version) {
        let began = Instant::now();
        let slow = hashed_by("slow", "his", 20_000);
        let one_hash = began.elapsed();
        let options = OPTIONS.replace("max_block_ms 60000", "max_block_ms 20");
        let api = api();
        let passwords = format!("{}{slow}", hashed("filey", "his"));
        let broker = config(version, api.port(), &options, &passwords, ACL).start();
        // Past the 20 ms, the first try ends before even a short hash may.
        let filey = eventually_in(&broker, "filey");
        filey.subscribe("filey/a").expect_granted();
        let guess = |number: usize| {
            let client = broker.client(&format!("guess-{number}"));
            drop(client.credentials("slow", &format!("guess {number}")).connect());
        };
        let took = std::thread::scope(|scope| {
            let guesses: Vec<_> = (0..2).map(|number| scope.spawn(move || guess(number))).collect();
            let began = Instant::now();
            filey.publish("filey/a", "hello");
            assert_eq!(filey.expect_message(), ("filey/a".into(), "hello".into()));
            let took = began.elapsed();
            guesses.into_iter().for_each(|guess| guess.join().unwrap());
            took
        });
        assert!(took < one_hash, "a message took {took:?}, and a hash takes {one_hash:?}");
        // On 2.0 a try ends before the hash does, and a later one finds what came of it.
        eventually_in(&broker, "slow");
    }

    fn sighup_reads_both_files_again(version) {
        let api = api();
        let broker = start(version, &api, &format!("{}{}", hashed("filey", "his"), hashed("ben", "b")));
        let filey = log_in(&broker, "filey", "his").expect_accepted();
        let ben = log_in(&broker, "ben", "b").expect_accepted();
        let file = |name: &str| broker.dir().join(name);
        fs::write(file("pw"), hashed("filey", "his") + &hashed("new", "n")).unwrap();
        fs::write(file("acl"), "user filey\ntopic write other/#\n").unwrap();
        broker.reload();
        // Whoever is gone from the file is asked about, and the API says no.
        ben.wait_disconnected();
        log_in(&broker, "new", "n").expect_accepted();
        log_in(&broker, "ben", "b").expect_refused();
        assert!(may_publish(&filey, "other/a"));
        assert!(!may_publish(&filey, "filey/x"));
        // A list that is not understood changes nothing.
        fs::write(file("acl"), "topic everything a b\n").unwrap();
        let mark = broker.log_mark();
        broker.reload();
        broker.wait_for_log_after(mark, "what held before stays");
        assert!(may_publish(&filey, "other/b"));
    }

    fn without_a_route_for_logins_the_file_has_the_last_word(version) {
        let api = api();
        let options = format!("{OPTIONS}\nhttp_register acl");
        let passwords = hashed("filey", "his");
        let broker = config(version, api.port(), &options, &passwords, ACL).start();
        log_in(&broker, "filey", "his").expect_accepted();
        log_in(&broker, "filey", "hers").expect_refused();
        log_in(&broker, "ann", "hers").expect_refused();
        broker.wait_for_log("reason=password-file");
        assert_eq!(asked_to_log_in(&api), 0);
        let options = format!("{OPTIONS}\nhttp_register user");
        let broker = config(version, api.port(), &options, &passwords, ACL).start();
        let filey = log_in(&broker, "filey", "his").expect_accepted();
        assert!(may_publish(&filey, "filey/a") && !may_publish(&filey, "ann/t"));
        broker.wait_for_log("reason=acl-file");
        assert!(api.requests_to("/acl").is_empty());
    }

    fn what_is_wrong_with_the_files_is_said_with_its_line(version) {
        let with = |passwords: &str, acl: &str| config(version, 1, OPTIONS, passwords, acl);
        let failed = with(&hashed("filey", "his"), "topic a\ntopix b\n").start_expecting_failure();
        assert!(failed.log.contains("acl:2: it is not understood"), "{}", failed.log);
        let missing = OPTIONS.replace("PASSWORDS", "/does/not/exist");
        let failed = config(version, 1, &missing, "", ACL).start_expecting_failure();
        assert!(failed.log.contains("option files_password_path: \"/does/not/exist\""));
        let bcrypt = "ben:$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\n";
        let broker = with(bcrypt, "user ben\ntopic a\n").start();
        broker.wait_for_log("pw:1: its hash is one of argon2 or bcrypt, and only pbkdf2 is offered");
        broker.wait_for_log("acl:1: this user is not in files_password_path");
        log_in(&broker, "ben", "any").expect_closed();
        let failed = config(version, 1, &OPTIONS.replace("pbkdf2", "bcrypt"), "", ACL)
            .start_expecting_failure();
        assert!(failed.log.contains("option hasher: bcrypt is not offered"), "{}", failed.log);
    }

    fn the_file_of_mosquitto_go_auth_itself_can_be_this_library(version) {
        let api = api();
        let config = Broker::config(version);
        let library = config.path("go-auth.so");
        fs::copy(plugin_path(), &library).unwrap();
        let config = config.line(&format!("auth_plugin {}", library.display()));
        let broker = config
            .line("auth_opt_http_host 127.0.0.1")
            .line(&format!("auth_opt_http_port {}", api.port()))
            .line("auth_opt_http_user_route /authentication")
            .line("auth_opt_cache_reset true")
            .start();
        broker.wait_for_log("the library's file is go-auth.so, so compat is go-auth");
        broker.wait_for_log("option cache_reset does nothing here");
        log_in(&broker, "ann", "hers").expect_accepted();
    }

    fn without_http_the_files_do_it_alone(version) {
        let alone = "backends files\nlog_level debug\nmax_block_ms 60000\nfiles_password_path PASSWORDS";
        let passwords = hashed("filey", "his");
        let with_acl = format!("{alone}\nfiles_acl_path ACL");
        let broker = config(version, 1, &with_acl, &passwords, ACL).start();
        let filey = log_in(&broker, "filey", "his").expect_accepted();
        log_in(&broker, "filey", "hers").expect_refused();
        log_in(&broker, "ann", "hers").expect_refused();
        assert!(may_publish(&filey, "filey/a") && !may_publish(&filey, "ann/t"));
        filey.subscribe("#").expect_refused();
        let broker = config(version, 1, alone, &passwords, ACL).start();
        let filey = log_in(&broker, "filey", "his").expect_accepted();
        assert!(may_publish(&filey, "ann/t"));
    }
}
