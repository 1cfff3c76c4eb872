//! Mosquitto's own password file comes first: its users are never asked of the API.

use mosquitto_test::prelude::*;

/// An API that knows `ann`, and would let `filey` in with any password.
fn api() -> AuthServer {
    AuthServer::answering(|request| {
        let body = request.json();
        let known = body["username"] == "filey" || body["username"] == "ann";
        Reply::status(if known { 200 } else { 403 })
    })
}

const ROUTES: [(&str, &str); 2] = [("http_user_route", "/login"), ("http_acl_route", "/acl")];

fn config(version: Version, api: &AuthServer, acl: &str) -> BrokerConfig {
    let config = Broker::config(version).password_file(&[("filey", "right")]);
    let file = config.password_path().display().to_string();
    let local = [("local_users_file", file.as_str()), ("local_users_acl", acl)];
    config.plugin(api.options(ROUTES.into_iter().chain(local)))
}

fn names_asked_about(api: &AuthServer) -> Vec<String> {
    let names = api.requests().into_iter().map(|request| request.json()["username"].to_string());
    names.collect()
}

on_every_broker! {
    fn a_local_users_password_is_the_files(version) {
        let api = api();
        let broker = config(version, &api, "allow").start();
        for protocol in Protocol::BOTH {
            let builder = broker.client("c").protocol(protocol);
            builder.clone().credentials("filey", "right").connect().expect_accepted();
            builder.clone().credentials("filey", "wrong").connect().expect_refused();
            builder.clone().credentials("ann", "any").connect().expect_accepted();
            builder.credentials("nobody", "any").connect().expect_refused();
        }
        assert!(!names_asked_about(&api).contains(&"\"filey\"".to_owned()));
    }

    fn local_users_may_do_everything_by_default(version) {
        let api = api();
        let broker = config(version, &api, "allow").start();
        let client = broker.client("c").credentials("filey", "right").connect().expect_accepted();
        client.subscribe("a/#").expect_granted();
        client.publish("a/b", "hello");
        assert_eq!(client.expect_message(), ("a/b".into(), "hello".into()));
        assert!(api.requests().is_empty());
    }

    fn local_users_may_be_left_to_the_acl_file(version) {
        let api = api();
        let acl = "user filey\ntopic readwrite open/#\n";
        let broker = config(version, &api, "defer").acl_file(acl).start();
        let client = broker.client("c").credentials("filey", "right").connect().expect_accepted();
        client.subscribe("#").expect_granted();
        client.publish("closed/a", "dropped by the file");
        client.publish("open/a", "hello");
        assert_eq!(client.expect_message(), ("open/a".into(), "hello".into()));
        assert!(api.requests().is_empty());
    }

    fn a_user_added_or_changed_or_removed_takes_effect_with_sighup(version) {
        let api = api();
        let broker = config(version, &api, "allow").start();
        let login = |name: &str, password: &str| {
            broker.client(&format!("{name}-{password}")).credentials(name, password).connect()
        };
        let stays = login("ann", "any").expect_accepted();
        let moves = login("filey", "right").expect_accepted();

        broker.set_password("added", "new");
        broker.set_password("filey", "changed");
        broker.reload();
        broker.wait_for_log("2 local users");
        login("added", "new").expect_accepted();
        login("added", "old").expect_refused();
        login("filey", "changed").expect_accepted();
        login("filey", "right").expect_refused();
        moves.wait_disconnected();

        broker.remove_user("added");
        broker.reload();
        broker.wait_for_log("1 local users");
        // Now the API is asked, and it knows nobody of this name.
        login("added", "new").expect_refused();
        assert!(names_asked_about(&api).contains(&"\"added\"".to_owned()));

        assert!(stays.is_connected());
        assert_eq!(stays.publish("a/b", "still here"), 0);
    }

    fn nobody_who_is_still_allowed_is_disconnected_by_sighup(version) {
        let api = api();
        let broker = config(version, &api, "allow").start();
        let local = broker.client("l").credentials("filey", "right").connect().expect_accepted();
        let remote = broker.client("r").credentials("ann", "any").connect().expect_accepted();
        for _ in 0..3 {
            broker.reload();
        }
        for client in [&local, &remote] {
            client.subscribe("a/#").expect_granted();
        }
        local.publish("a/b", "hello");
        assert_eq!(remote.expect_message(), ("a/b".into(), "hello".into()));
        // The files are still checked: a RELOAD answered wrongly would have removed them on 2.0.
        broker.client("l2").credentials("filey", "right").connect().expect_accepted();
        broker.client("l3").credentials("filey", "wrong").connect().expect_refused();
    }

    fn a_file_that_went_missing_keeps_the_old_names(version) {
        let api = api();
        let config = Broker::config(version).password_file(&[("filey", "right")]);
        // Mosquitto ends where its own file is missing, so the plugin reads a copy here.
        let copy = config.file("names", "filey:x\n");
        let file = copy.display().to_string();
        let options = ROUTES.into_iter().chain([("local_users_file", file.as_str())]);
        let broker = config.plugin(api.options(options)).start();
        std::fs::remove_file(copy).unwrap();
        broker.reload();
        broker.wait_for_log("the names that it held before stay");
        broker.client("c").credentials("filey", "right").connect().expect_accepted();
        assert!(api.requests().is_empty());
    }
}

#[test]
fn the_file_plugins_of_2_1_work_beside_it() {
    let version = Version::V2_1_2;
    let api = api();
    let config = Broker::config(version);
    // `password_file` writes the file but also the option; the plugin reads it on its own here.
    let source = Broker::config(version).password_file(&[("filey", "right")]);
    let passwords = config.file("pw", std::fs::read(source.password_path()).unwrap());
    let acls = config.file("acls", "user filey\ntopic readwrite open/#\n");
    let (passwords, acls) = (passwords.display().to_string(), acls.display().to_string());
    let plugins = version
        .bin("mosquitto")
        .parent()
        .unwrap()
        .join("../root/usr/lib/x86_64-linux-gnu/mosquitto");
    let local = [("local_users_file", passwords.as_str()), ("local_users_acl", "defer")];
    let broker = config
        .plugin(api.options(ROUTES.into_iter().chain(local)))
        .plugin_at(&plugins.join("mosquitto_password_file.so"), [("password_file", &passwords)])
        .plugin_at(&plugins.join("mosquitto_acl_file.so"), [("acl_file", &acls)])
        .start();
    for _ in 0..2 {
        let client = broker.client("c").credentials("filey", "right").connect().expect_accepted();
        broker.client("d").credentials("filey", "wrong").connect().expect_refused();
        broker.client("e").credentials("ann", "any").connect().expect_accepted();
        client.subscribe("#").expect_granted();
        client.publish("closed/a", "dropped by the file");
        client.publish("open/a", "hello");
        assert_eq!(client.expect_message(), ("open/a".into(), "hello".into()));
        broker.reload();
    }
    assert!(!names_asked_about(&api).contains(&"\"filey\"".to_owned()));
}
