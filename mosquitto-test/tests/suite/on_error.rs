//! What follows when the API fails: `on_error` denies, defers to the broker's other means or
//! allows. An answer of the API is final whatever it says.

use mosquitto_test::prelude::*;

use crate::support::{
    EVERY_QUESTION, PASSWORD, ROUTES, broker_on_port, broker_with, log_in, logged_in, may_publish,
};

const DEFER: (&str, &str) = ("on_error", "defer");
const ALLOW: (&str, &str) = ("on_error", "allow");
const WARNING: &str = "on_error allow: while the API fails, everyone may log in and do everything";

/// A broker with files of its own to defer to: `ann` may log in, and use `hers/#`.
fn deferring(version: Version, api: &AuthServer) -> Broker {
    Broker::config(version)
        .password_file(&[("ann", PASSWORD), ("bob", "another")])
        .acl_file("user ann\ntopic readwrite hers/#\n")
        .plugin(api.options([&ROUTES, &EVERY_QUESTION[..], &[DEFER]].concat()))
        .start()
}

on_every_broker! {
    fn deny_is_the_default_whatever_files_the_broker_has(version) {
        let api = AuthServer::answering(|_| Reply::status(503));
        let broker = Broker::config(version)
            .password_file(&[("ann", PASSWORD)])
            .plugin(api.options(ROUTES))
            .start();
        for protocol in Protocol::BOTH {
            log_in(&broker, protocol, "ann").expect_closed();
        }
    }

    fn defer_leaves_logins_to_the_password_file(version) {
        let api = AuthServer::answering(|_| Reply::status(503));
        let broker = deferring(version, &api);
        for protocol in Protocol::BOTH {
            log_in(&broker, protocol, "ann").expect_accepted();
            assert_eq!(log_in(&broker, protocol, "bob").expect_refused(), protocol.refusal());
            assert_eq!(log_in(&broker, protocol, "eve").expect_refused(), protocol.refusal());
        }
        assert_eq!(api.requests().len(), 6);
        broker.wait_for_log(" failed: status 503; ");
    }

    fn defer_leaves_acl_checks_to_the_acl_file(version) {
        let api = AuthServer::answering(|_| Reply::status(503));
        let broker = deferring(version, &api);
        let client = logged_in(&broker, Protocol::V5, "ann");
        assert!(may_publish(&client, "hers/t") && !may_publish(&client, "his/t"));
        api.set_handler(|_| Reply::status(200));
        assert!(may_publish(&client, "his/t"), "nothing of it is remembered");
    }

    fn defer_with_nothing_to_defer_to_is_a_refusal(version) {
        let broker = broker_on_port(version, refused_port(), &[DEFER]);
        for protocol in Protocol::BOTH {
            let code = log_in(&broker, protocol, "ann").expect_refused();
            assert_eq!(code, protocol.refusal());
        }
    }

    fn what_is_left_to_the_broker_is_said_at_the_start_and_denied_where_it_has_no_means(version) {
        let api = AuthServer::start();
        let broker = |route| Broker::config(version).allow_anonymous(true).plugin(api.options([route])).start();
        let (logins, topics) = ("http_user_route is unset: logins are left to", "http_acl_route is unset: without rules");
        let users = broker(("http_user_route", "/user"));
        users.wait_for_log(topics);
        assert!(!users.log_contains(logins));
        assert!(!may_publish(&logged_in(&users, Protocol::V5, "ann"), "t"));
        let acls = broker(("http_acl_route", "/acl"));
        acls.wait_for_log(logins);
        assert!(!acls.log_contains(topics));
        for protocol in Protocol::BOTH {
            assert_eq!(log_in(&acls, protocol, "ann").expect_refused(), protocol.refusal());
        }
        assert!(api.requests_to("/acl").is_empty());
    }

    fn a_denial_is_never_deferred(version) {
        let api = AuthServer::answering(|_| Reply::status(401));
        let broker = deferring(version, &api);
        log_in(&broker, Protocol::V5, "ann").expect_refused();
    }

    fn allow_lets_everyone_in_while_the_api_fails(version) {
        let api = AuthServer::answering(|_| Reply::close());
        let broker = broker_with(version, &api, &[ALLOW]);
        for protocol in Protocol::BOTH {
            let client = logged_in(&broker, protocol, "eve");
            client.subscribe("t").expect_granted();
            client.publish("t", "hello");
            assert_eq!(client.expect_message(), ("t".into(), "hello".into()));
        }
        broker.wait_for_log(" failed: connection lost; ");
    }

    fn what_allow_allowed_is_not_remembered(version) {
        let api = AuthServer::answering(|_| Reply::status(503));
        let broker = broker_with(version, &api, &[ALLOW]);
        let client = logged_in(&broker, Protocol::V5, "eve");
        assert!(may_publish(&client, "t"));
        api.set_handler(|_| Reply::status(403));
        assert!(!may_publish(&client, "t"));
        log_in(&broker, Protocol::V5, "eve").expect_refused();
    }

    fn allow_warns_at_every_start_and_the_others_do_not(version) {
        let mut broker = broker_on_port(version, refused_port(), &[ALLOW]);
        broker.wait_for_log(WARNING);
        // Between its line "running" and its main loop the broker loses a signal.
        broker.wait_until_idle();
        broker.restart();
        broker.wait_for_log(WARNING);
        for quiet in [DEFER, ("on_error", "deny")] {
            let broker = broker_on_port(version, refused_port(), &[quiet]);
            assert!(!broker.log_contains("on_error"));
        }
    }
}
