//! On a listener with a `mount_point`, rules and questions are about the broker's own topics, mount
//! point included; the listener's clients name theirs without.

use mosquitto_test::mqtt::ClientBuilder;
use mosquitto_test::prelude::*;

use crate::support::{
    NOT_AUTHORIZED, ROUTES, granting_what_the_password_spells as spelled, may_publish, vanish,
};

/// A broker with a listener for tenants, whose topics all begin with `tenant/`, and one for `root`,
/// who sees everything. The ACL route allows what rules leave open, but for `closed`.
fn broker(version: Version, api: &AuthServer) -> Broker {
    api.set_handler(|request| match request.path.as_str() {
        "/user" => spelled(request),
        _ if request.text().contains("closed") => Reply::status(403),
        _ => Reply::status(200),
    });
    Broker::config(version)
        .plugin(api.options(ROUTES))
        .listener(|listener| listener)
        .listener(|listener| listener.line("mount_point tenant/"))
        .start()
}

fn root(broker: &Broker, filter: &str) -> Client {
    let builder = broker.client("root").protocol(Protocol::V5).credentials("root", "x");
    let root = builder.connect().expect_accepted();
    root.subscribe(filter).expect_granted();
    root
}

fn tenant(broker: &Broker, protocol: Protocol, rules: &str) -> ClientBuilder {
    let builder = broker.client("c").port(broker.port_of(1)).protocol(protocol);
    builder.credentials("ann", rules)
}

/// A message as a tenant sees it. Mosquitto 2.0.11 leaves the mount point on.
fn seen(broker: &Broker, topic: &str, payload: &str) -> (String, String) {
    let mount_point = if broker.version() == Version::V2_0_11 { "tenant/" } else { "" };
    (format!("{mount_point}{topic}"), payload.to_owned())
}

on_every_broker! {
    fn rules_name_the_mount_point(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api);
        let root = root(&broker, "#");
        let rules = "allow publish tenant/up/#; deny read tenant/down/secret; \
                     allow subscribe tenant/down/#; deny all #";
        for protocol in Protocol::BOTH {
            let ann = tenant(&broker, protocol, rules).connect().expect_accepted();
            for denied in ["down/1", "tenant/up/1", "other"] {
                let code = ann.publish(denied, "dropped");
                assert_eq!(code, if protocol == Protocol::V5 { NOT_AUTHORIZED } else { 0 });
            }
            ann.publish("up/1", "hello");
            assert_eq!(root.expect_message(), ("tenant/up/1".into(), "hello".into()));
            for refused in ["#", "+", "up/#", "tenant/down/#", "+/down/#"] {
                assert!(matches!(ann.subscribe(refused), Subscription::Refused(_)), "{refused}");
            }
            ann.subscribe("down/#").expect_granted();
            for (topic, payload) in [
                ("down/1", "of nobody"), ("tenant/down/secret", "not for ann"),
                ("tenant/down/1", "for ann"),
            ] {
                root.publish(topic, payload);
                assert_eq!(root.expect_message().1, payload);
            }
            assert_eq!(ann.expect_message(), seen(&broker, "down/1", "for ann"));
        }
        assert!(api.requests_to("/acl").is_empty());
    }

    fn rules_without_the_mount_point_are_about_other_topics(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api);
        let rules = "allow all a/#; allow all +; deny all #";
        let ann = tenant(&broker, Protocol::V5, rules).connect().expect_accepted();
        assert!(!may_publish(&ann, "a/b") && !may_publish(&ann, "a"));
        for filter in ["a/b", "a/#", "+"] {
            ann.subscribe(filter).expect_refused();
        }
        assert!(api.requests_to("/acl").is_empty());
    }

    fn a_will_is_judged_under_the_mount_point(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api);
        let root = root(&broker, "#");
        for protocol in Protocol::BOTH {
            for (rules, published) in [
                ("allow publish wills/c; deny all #", false),
                ("allow publish tenant/wills/c; deny all #", true),
            ] {
                let builder = tenant(&broker, protocol, rules).will("wills/c", "gone");
                vanish(&broker, "c", builder.connect().expect_accepted());
                if published {
                    assert_eq!(root.expect_message(), ("tenant/wills/c".into(), "gone".into()));
                }
                root.publish("marker", "seen");
                assert_eq!(root.expect_message(), ("marker".into(), "seen".into()));
            }
        }
        assert!(api.requests_to("/acl").is_empty());
    }

    fn the_acl_route_is_asked_about_the_brokers_own_topics(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api);
        let ann = tenant(&broker, Protocol::V5, "allow publish other").connect().expect_accepted();
        ann.subscribe("open/#").expect_granted();
        ann.subscribe("closed/#").expect_refused();
        assert!(!may_publish(&ann, "closed/1") && may_publish(&ann, "open/1"));
        assert_eq!(ann.expect_message(), seen(&broker, "open/1", "x"));
        let checks: Vec<_> = api.requests_to("/acl").iter().map(|check| {
            let check = check.json();
            (check["acc"].as_u64().unwrap(), check["topic"].as_str().unwrap().to_owned())
        }).collect();
        let expected = [
            (4, "tenant/open/#"), (4, "tenant/closed/#"), (2, "tenant/closed/1"),
            (2, "tenant/open/1"), (1, "tenant/open/1"),
        ];
        assert_eq!(checks, expected.map(|(acc, topic)| (acc, topic.to_owned())));
    }

    // Mosquitto puts the mount point before `$share`, so that nothing is shared: the subscription
    // is to topics below the mount point whose next level really is `$share`.
    fn a_shared_subscription_is_no_way_around_a_mount_point(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api);
        let root = root(&broker, "marker");
        for protocol in Protocol::BOTH {
            let rules = "allow subscribe tenant/jobs/#; allow subscribe jobs/#; deny all #";
            let ann = tenant(&broker, protocol, rules).connect().expect_accepted();
            for refused in ["$share/g/jobs/1", "$share/g/jobs/#", "$share/g/#", "$share/jobs/#"] {
                assert!(matches!(ann.subscribe(refused), Subscription::Refused(_)), "{refused}");
            }
            ann.disconnect();

            let rules = "deny subscribe tenant/secret/#; allow subscribe tenant/#; deny all #";
            let ann = tenant(&broker, protocol, rules).connect().expect_accepted();
            for filter in ["g/secret/#", "g/tenant/secret/#", "tenant/secret/1"] {
                ann.subscribe(&format!("$share/{filter}")).expect_granted();
            }
            ann.subscribe("marker").expect_granted();
            for topic in ["secret/1", "tenant/secret/1", "tenant/tenant/secret/1"] {
                root.publish(topic, "not for ann");
            }
            root.publish("tenant/marker", "seen");
            assert_eq!(ann.expect_message(), seen(&broker, "marker", "seen"));
        }
        assert!(api.requests_to("/acl").is_empty());
    }
}
