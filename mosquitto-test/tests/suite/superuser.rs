//! A superuser may do everything; of everyone else the ACL route is asked.

use mosquitto_test::prelude::*;
use serde_json::json;

/// An API whose superuser route answers `superuser`, and whose ACL route answers `acl`.
fn api(superuser: u16, acl: u16) -> AuthServer {
    AuthServer::answering(move |request| {
        Reply::status(match request.path.as_str() {
            "/superuser" => superuser,
            "/acl" => acl,
            _ => 200,
        })
    })
}

fn client(version: Version, api: &AuthServer, acl_route: bool) -> (Broker, Client) {
    let mut options = vec![("http_user_route", "/login"), ("http_superuser_route", "/superuser")];
    if acl_route {
        options.push(("http_acl_route", "/acl"));
    }
    let broker = Broker::config(version).plugin(api.options(options)).start();
    let login = broker.client("c").protocol(Protocol::V5).credentials("ann", "x").connect();
    let client = login.expect_accepted();
    (broker, client)
}

on_every_broker! {
    fn a_superuser_may_do_everything_and_is_asked_about_by_name_alone(version) {
        let api = api(200, 403);
        let (_broker, client) = client(version, &api, true);
        client.subscribe("#").expect_granted();
        assert_eq!(client.publish("a/b", "hello"), 0);
        client.expect_message();
        let asked = api.requests_to("/superuser");
        assert_eq!(asked.len(), 1, "the answer is cached for every topic");
        assert_eq!(asked[0].json(), json!({"username": "ann"}));
        assert!(api.requests_to("/acl").is_empty());
    }

    fn an_answer_that_says_who_is_no_superuser_is_believed(version) {
        for said in [json!({"is_superuser": false}), json!({"result": "deny"}),
                     json!({"result": "allow", "is_superuser": false})] {
            let api = api(200, 403);
            api.set_handler(move |request| match request.path.as_str() {
                "/superuser" => Reply::status(200).json(said.clone()),
                "/acl" => Reply::status(403),
                _ => Reply::status(200),
            });
            let (_broker, client) = client(version, &api, true);
            assert_eq!(client.publish("a/b", "hello"), 0x87);
        }
    }

    fn of_anyone_else_the_acl_route_is_asked(version) {
        for (acl, code) in [(200, 0x10), (403, 0x87)] {
            let api = api(403, acl);
            let (_broker, client) = client(version, &api, true);
            // 0x10: nobody subscribes, but the publish is allowed.
            assert_eq!(client.publish("a/b", "hello"), code);
            assert_eq!(api.requests_to("/acl").len(), 1);
        }
    }

    fn a_yes_is_final_even_where_the_other_route_fails(version) {
        for (superuser, acl) in [(500, 200), (200, 500)] {
            let api = api(superuser, acl);
            let (_broker, client) = client(version, &api, true);
            assert_eq!(client.publish("a/b", "hello"), 0x10);
        }
    }

    fn a_superuser_route_that_fails_is_not_a_denial(version) {
        let api = api(500, 403);
        let (broker, client) = client(version, &api, true);
        assert_eq!(client.publish("a/b", "hello"), 0x87);
        broker.wait_for_log("status 500");
        // The failure was not stored: now that the route answers, it is asked again and believed.
        api.set_handler(|_| Reply::status(200));
        assert_eq!(client.publish("a/b", "hello"), 0x10);
    }

    fn without_an_acl_route_others_are_left_to_the_broker(version) {
        let api = api(403, 500);
        let (_broker, client) = client(version, &api, false);
        // Every plugin deferred and there is no acl_file: denied.
        assert_eq!(client.publish("a/b", "hello"), 0x87);
        assert!(api.requests_to("/acl").is_empty());
    }
}
