//! What was recalled for one client never passes a gate that stops another.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::Builder;

use super::{AccessReply, Check, HostCapabilities, Plugin};
use crate::answer::{Decision, SessionGrants};
use crate::clock::ManualClock;
use crate::decide::Reason;
use crate::fake::{self, FakeBroker, FakeClient};
use crate::question::{Access, Action, Client, RawAclCheck};
use crate::rules::{Condition, Permission, Rule, Rules, Verb};
use crate::sessions::SessionKey;

pub(super) fn check<'a>(
    broker: &'a FakeBroker,
    client: &'a dyn Client,
    username: Option<&'a str>,
    action: Action<'a>,
) -> Check<'a> {
    Check { client, username, action, message: None, broker: Some(broker) }
}

pub(super) fn connected(handle: usize, id: &str) -> FakeClient {
    FakeClient { handle: Some(handle), id: id.to_owned(), ..FakeClient::default() }
}

/// A plugin whose API is not there, and a file of local users that has this in it.
fn plugin(local_users: &str) -> (Plugin, PathBuf) {
    let name = format!("mosquitto-http-auth-gates-{}-{}", std::process::id(), fastrand::u64(..));
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, local_users).unwrap();
    let options = [
        ("http_host", "127.0.0.1"),
        ("http_port", "1"),
        ("http_user_route", "/user"),
        ("local_users_file", file.to_str().unwrap()),
        ("local_users_acl", "defer"),
    ];
    let capabilities =
        HostCapabilities::of(true, |name, body| Builder::new().name(name).spawn(body));
    let config = fake::config(&options);
    (Plugin::start(config, ManualClock::new(), capabilities).unwrap(), file)
}

/// Rules that allow everybody everything but one topic, which is for one user.
fn session_grants() -> Arc<SessionGrants> {
    let rule = |permission, topic: &str| Rule {
        permission,
        verb: Verb::All,
        topic: topic.to_owned(),
        qos: None,
        retain: None,
        condition: Condition::NONE,
    };
    let list = vec![
        rule(Permission::Allow, "own/${username}"),
        rule(Permission::Deny, "own/+"),
        rule(Permission::Allow, "#"),
    ];
    let rules = Some(Arc::new(Rules::compile(list).unwrap()));
    Arc::new(SessionGrants {
        is_superuser: None,
        rules,
        expire_at: None,
        ..SessionGrants::default()
    })
}

pub(super) fn begin(
    plugin: &Plugin,
    client: &FakeClient,
    username: &str,
    session_grants: &Arc<SessionGrants>,
) {
    let session_key = SessionKey::from_number(client.handle(), &client.id, 1);
    plugin.services.sessions.begin(session_key, username, None, Some(session_grants), None, None);
}

pub(super) fn recalls(
    plugin: &Plugin,
    client: &FakeClient,
    username: &str,
    action: Action<'_>,
) -> bool {
    plugin.recall(&RawAclCheck {
        handle: client.handle(),
        client_id: client.id.as_bytes(),
        username: username.as_bytes(),
        topic: action.topic.as_bytes(),
        access: action.access,
        flags: action.flags(),
    })
}

const TOPICS: [&str; 2] = ["news", "own/ann"];
const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::Subscribe];

/// Has `ann` on the first handle, and another with the same rules on the second, do everything, often
/// enough for all of it to be recalled.
fn make_memos(plugin: &Plugin, session_grants: &Arc<SessionGrants>) {
    let broker = FakeBroker::default();
    for (handle, name) in [(1, "ann"), (2, "ann")] {
        let client = connected(handle, "c1");
        begin(plugin, &client, name, session_grants);
        for action in actions() {
            for _ in 0..2 {
                assert_eq!(
                    plugin.access(&check(&broker, &client, Some(name), action)),
                    AccessReply::Allow
                );
            }
            let is_recalled = matches!(action.access, Access::Read | Access::Write);
            assert_eq!(recalls(plugin, &client, name, action), is_recalled);
        }
    }
}

fn actions() -> impl Iterator<Item = Action<'static>> {
    ACCESSES.into_iter().flat_map(|access| {
        TOPICS.into_iter().map(move |topic| Action { access, topic, qos: 0, retain: false })
    })
}

#[test]
fn no_memo_serves_a_client_that_a_gate_stops() {
    let broker = FakeBroker::default();
    let (plugin, file) = plugin("filey:$7$x\n");
    let session_grants = session_grants();
    let placeholder = plugin.authenticator.placeholder("ann");
    // Who comes next on the handle, whether it has the same rules, and what must become of it.
    let table = [
        ("c1", Some("a#b+c"), true, [Reason::SpecialChars, Reason::SpecialChars]),
        ("c#1", Some("ann"), true, [Reason::SpecialChars, Reason::SpecialChars]),
        ("c1", Some("filey"), true, [Reason::LocalUser, Reason::LocalUser]),
        ("c1", Some(&*placeholder), true, [Reason::NotLetIn, Reason::NotLetIn]),
        ("c1", None, true, [Reason::NoUsername, Reason::NoUsername]),
        ("c1", Some("ben"), true, [Reason::Rule(2), Reason::Rule(1)]),
        ("c1", Some("carl"), false, [Reason::NoAccessRoute, Reason::NoAccessRoute]),
        ("c2", Some("ann"), false, [Reason::NoAccessRoute, Reason::NoAccessRoute]),
    ];
    for (id, username, has_rules, reasons) in table {
        for is_new_handle in [false, true] {
            make_memos(&plugin, &session_grants);
            let handle = if is_new_handle { 3 } else { 1 };
            let client = connected(handle, id);
            if has_rules {
                begin(&plugin, &client, username.unwrap_or_default(), &session_grants);
            } else {
                plugin.services.sessions.end(handle, 0);
            }
            for (action, reason) in actions().zip(reasons.iter().cycle()) {
                // The last of it is what was allowed last to somebody with the same rules.
                let ann = connected(2, "c1");
                plugin.access(&check(&broker, &ann, Some("ann"), action));
                if let Some(name) = username {
                    assert!(
                        !recalls(&plugin, &client, name, action) || *reason == Reason::Rule(2),
                        "{id} {username:?} {action:?}"
                    );
                }
                let (decision, why) =
                    plugin.explain_access(&check(&broker, &client, username, action));
                assert_eq!(why, *reason, "{id} {username:?} {action:?}");
                assert_eq!(decision == Decision::Allow, why == Reason::Rule(2));
            }
        }
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn whoever_becomes_a_local_user_is_one_from_the_next_message_on() {
    let broker = FakeBroker::default();
    let (plugin, file) = plugin("filey:$7$x\n");
    make_memos(&plugin, &session_grants());
    std::fs::write(&file, "ann:$7$x\n").unwrap();
    plugin.reload();
    let client = connected(1, "c1");
    for action in actions() {
        assert!(!recalls(&plugin, &client, "ann", action));
        let judged = plugin.explain_access(&check(&broker, &client, Some("ann"), action));
        assert_eq!(judged, (Decision::Defer, Reason::LocalUser));
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn an_unsubscribe_is_not_taken_for_anything_that_was_allowed() {
    let (plugin, file) = plugin("");
    make_memos(&plugin, &session_grants());
    let client = connected(1, "c1");
    let action = Action { access: Access::Unsubscribe, topic: "news", qos: 0, retain: false };
    assert!(!recalls(&plugin, &client, "ann", action));
    std::fs::remove_file(file).unwrap();
}
