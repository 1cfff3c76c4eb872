//! Commands as they are written.

#![forbid(unsafe_code)]

use serde_json::{Map, Value};

use super::json;

use crate::cache::InvalidationScope;
use crate::question::Access;

/// How many commands one message may hold.
const MOST: usize = 1000;

/// How many bytes a name or a topic may have.
const LONGEST: usize = 65_535;

/// How many clients one response may list, and lists where nobody says how many.
const LONGEST_PAGE: usize = 1000;
const USUAL_PAGE: usize = 100;

/// A command, and how its response is told from others.
pub(crate) struct Given {
    pub name: String,
    pub(crate) correlation: Option<Value>,
    /// What is wrong with it, where it cannot be obeyed.
    pub command: Result<Command, String>,
}

pub(crate) enum Command {
    GetStatus,
    /// The second: only at this broker.
    Invalidate(InvalidationScope, bool),
    Kick(Target, bool),
    CheckAccess(Check),
    ListClients(Listing),
}

/// Which of the connected clients to list.
pub(crate) struct Listing {
    /// The identifier behind which the list goes on; none: it begins.
    pub after: Option<String>,
    pub count: usize,
}

/// Whom to disconnect.
pub(crate) enum Target {
    ClientId(String),
    Username(String),
}

impl Target {
    /// What is meant, as other commands say it.
    pub(crate) fn scope(&self) -> InvalidationScope {
        let (client_id, username) = match self {
            Self::ClientId(id) => (Some(id.clone()), None),
            Self::Username(name) => (None, Some(name.clone())),
        };
        InvalidationScope { client_id, username, topic: None }
    }
}

/// A question to answer as the broker's would be.
pub(crate) struct Check {
    pub username: String,
    pub client_id: String,
    pub access: Access,
    pub topic: String,
}

/// Reads a message.
///
/// # Errors
/// It is no list of commands.
pub(crate) fn read(payload: &[u8]) -> Result<Vec<Given>, String> {
    let message = json::read(payload).map_err(|error| format!("Payload is not JSON: {error}"))?;
    let commands = message.get("commands").and_then(Value::as_array);
    let commands = commands.ok_or("\"commands\" is missing; allowed: an array of commands")?;
    if commands.is_empty() || commands.len() > MOST {
        let count = commands.len();
        return Err(format!("\"commands\" holds {count} commands; allowed: 1 to {MOST}"));
    }
    Ok(commands.iter().map(given).collect())
}

fn given(value: &Value) -> Given {
    let none = Map::new();
    let object = value.as_object().unwrap_or(&none);
    let name = object.get("command").and_then(Value::as_str);
    let command = match name {
        Some("getStatus") => only(object, &[]).map(|()| Command::GetStatus),
        Some("invalidate") => invalidate(object),
        Some("kick") => kick(object),
        Some("checkAccess") => check_access(object).map(Command::CheckAccess),
        Some("listClients") => list_clients(object).map(Command::ListClients),
        _ => Err("allowed: getStatus, invalidate, kick, checkAccess, listClients".to_owned()),
    };
    Given {
        name: name.unwrap_or("Unknown command").to_owned(),
        correlation: object.get("correlationData").cloned(),
        command,
    }
}

/// A misspelt key must not turn a command about one client into one about all.
fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    let is_known = |key: &str| key == "command" || key == "correlationData" || known.contains(&key);
    match object.keys().find(|key| !is_known(key)) {
        None => Ok(()),
        Some(key) if known.is_empty() => Err(format!("{key:?} is not known; allowed: nothing")),
        Some(key) => Err(format!("{key:?} is not known; allowed: {}", known.join(", "))),
    }
}

/// Whether it can be a name or a topic (MQTT 5.0, section 1.5.4).
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0') && text.len() <= LONGEST
}

fn text(object: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match object.get(key) {
        None => Ok(None),
        Some(Value::String(text)) if is_name(text) => Ok(Some(text.clone())),
        Some(_) => Err(format!(
            "{key:?} is not a text; allowed: a text that is not empty, has no U+0000 and at most {LONGEST} bytes"
        )),
    }
}

fn required(object: &Map<String, Value>, key: &str) -> Result<String, String> {
    text(object, key)?.ok_or_else(|| format!("{key:?} is missing"))
}

fn invalidate(object: &Map<String, Value>) -> Result<Command, String> {
    only(object, &["username", "clientid", "topic", "all", "here"])?;
    let scope = InvalidationScope {
        username: text(object, "username")?,
        client_id: text(object, "clientid")?,
        topic: text(object, "topic")?,
    };
    let is_all = switch(object, "all")?;
    let here = switch(object, "here")?;
    match (is_all, scope == InvalidationScope::default()) {
        (true, false) => Err("\"all\" goes with nothing else".to_owned()),
        (false, true) => {
            Err("nothing is named; allowed: username, clientid, topic, or all".to_owned())
        }
        _ => Ok(Command::Invalidate(scope, here)),
    }
}

fn switch(object: &Map<String, Value>, key: &str) -> Result<bool, String> {
    match object.get(key) {
        None => Ok(false),
        Some(Value::Bool(true)) => Ok(true),
        Some(_) => Err(format!("{key:?} is something else; allowed: true")),
    }
}

fn kick(object: &Map<String, Value>) -> Result<Command, String> {
    only(object, &["username", "clientid", "here"])?;
    let here = switch(object, "here")?;
    let kick = |target| Ok(Command::Kick(target, here));
    match (text(object, "clientid")?, text(object, "username")?) {
        (Some(id), None) => kick(Target::ClientId(id)),
        (None, Some(username)) => kick(Target::Username(username)),
        _ => Err("one client is to be named; allowed: clientid, or username".to_owned()),
    }
}

fn check_access(object: &Map<String, Value>) -> Result<Check, String> {
    only(object, &["username", "clientid", "topic", "acc"])?;
    let access = match object.get("acc").map(|acc| (acc.as_u64(), acc.as_str())) {
        Some((Some(1), _) | (_, Some("read"))) => Access::Read,
        Some((Some(2), _) | (_, Some("write" | "publish"))) => Access::Write,
        Some((Some(4), _) | (_, Some("subscribe"))) => Access::Subscribe,
        _ => {
            return Err(
                "\"acc\" is missing or unknown; allowed: 1 or \"read\", 2 or \"write\", 4 \
                        or \"subscribe\""
                    .to_owned(),
            );
        }
    };
    Ok(Check {
        username: required(object, "username")?,
        client_id: required(object, "clientid")?,
        topic: required(object, "topic")?,
        access,
    })
}

fn list_clients(object: &Map<String, Value>) -> Result<Listing, String> {
    only(object, &["count", "after"])?;
    let count = match object.get("count") {
        None => USUAL_PAGE,
        Some(count) => count
            .as_u64()
            .and_then(|count| usize::try_from(count).ok())
            .filter(|count| (1..=LONGEST_PAGE).contains(count))
            .ok_or_else(|| format!("\"count\" is something else; allowed: 1 to {LONGEST_PAGE}"))?,
    };
    Ok(Listing { after: text(object, "after")?, count })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(command: &Value) -> Result<Command, String> {
        let payload = json!({ "commands": [command] }).to_string();
        read(payload.as_bytes()).unwrap().remove(0).command
    }

    #[track_caller]
    fn is_wrong(command: &Value, problem: &str) {
        let said = one(command).err().unwrap();
        assert!(said.contains(problem), "{said}");
    }

    #[test]
    fn what_is_no_list_of_commands_is_said_to_be_none() {
        for payload in ["", "x", "[]", "{}", r#"{"commands":{}}"#, r#"{"commands":[]}"#] {
            assert!(read(payload.as_bytes()).is_err(), "{payload}");
        }
        let many = json!({ "commands": vec![0; MOST + 1] }).to_string();
        assert!(read(many.as_bytes()).err().unwrap().contains("1001"));
    }

    #[test]
    fn one_bad_command_does_not_spoil_the_others() {
        let payload = json!({ "commands": [7, {"command": "getStatus", "correlationData": 9}] });
        let given = read(payload.to_string().as_bytes()).unwrap();
        assert!(given[0].command.is_err() && given[1].command.is_ok());
        assert_eq!(given[1].correlation, Some(json!(9)));
    }

    #[test]
    fn an_invalidation_names_what_it_means() {
        let scope = |command: Value| match one(&command) {
            Ok(Command::Invalidate(scope, _)) => scope,
            _ => panic!("{command}"),
        };
        let ann = scope(json!({"command": "invalidate", "username": "ann", "topic": "a/#"}));
        assert_eq!((ann.username.as_deref(), ann.topic.as_deref()), (Some("ann"), Some("a/#")));
        assert_eq!(
            scope(json!({"command": "invalidate", "all": true})),
            InvalidationScope::default()
        );
        is_wrong(&json!({"command": "invalidate"}), "nothing is named");
        is_wrong(&json!({"command": "invalidate", "user": "ann"}), "\"user\" is not known");
        is_wrong(&json!({"command": "invalidate", "username": ""}), "\"username\"");
        is_wrong(&json!({"command": "invalidate", "all": true, "topic": "a"}), "\"all\"");
        is_wrong(&json!({"command": "invalidate", "all": false}), "\"all\"");
    }

    #[test]
    fn no_name_has_a_character_that_none_can_have() {
        for key in ["username", "clientid"] {
            is_wrong(&json!({"command": "kick", key: "a\u{0}b"}), "no U+0000");
            is_wrong(&json!({"command": "invalidate", key: "a\u{0}b"}), "no U+0000");
        }
        is_wrong(&json!({"command": "invalidate", "topic": "a\u{0}b"}), "no U+0000");
        let longest = "a".repeat(LONGEST);
        assert!(one(&json!({"command": "kick", "username": longest})).is_ok());
        is_wrong(&json!({"command": "kick", "username": longest + "a"}), "at most 65535 bytes");
    }

    #[test]
    fn what_is_said_twice_is_not_obeyed() {
        for payload in [
            r#"{"commands":[{"command":"kick","clientid":"a","clientid":"b"}]}"#,
            r#"{"commands":[{"command":"kick","clientid":"a","client\u0069d":"a"}]}"#,
            r#"{"commands":[{"command":"getStatus"}],"commands":[{"command":"getStatus"}]}"#,
            r#"{"commands":[{"command":"getStatus","correlationData":{"a":1,"a":2}}]}"#,
        ] {
            let problem = read(payload.as_bytes()).err().unwrap();
            assert!(problem.contains("is there twice; allowed: once"), "{problem}");
        }
    }

    #[test]
    fn a_kick_names_one_client() {
        assert!(one(&json!({"command": "kick", "clientid": "c"})).is_ok());
        is_wrong(&json!({"command": "kick"}), "one client");
        is_wrong(&json!({"command": "kick", "clientid": "c", "username": "u"}), "one client");
    }

    #[test]
    fn a_list_has_a_bounded_length() {
        let page = |command: Value| match one(&command) {
            Ok(Command::ListClients(Listing { after, count })) => (after, count),
            _ => panic!("{command}"),
        };
        assert_eq!(page(json!({"command": "listClients"})), (None, USUAL_PAGE));
        let more = json!({"command": "listClients", "after": "c", "count": LONGEST_PAGE});
        assert_eq!(page(more), (Some("c".to_owned()), LONGEST_PAGE));
        for count in [json!(0), json!(1001), json!(-1), json!(1.5), json!("1"), json!(null)] {
            is_wrong(&json!({"command": "listClients", "count": count}), "allowed: 1 to 1000");
        }
        is_wrong(&json!({"command": "listClients", "after": ""}), "\"after\"");
        is_wrong(&json!({"command": "listClients", "offset": 1}), "\"offset\" is not known");
    }

    #[test]
    fn a_check_says_who_wants_what() {
        let check = |acc: Value| {
            one(&json!({"command": "checkAccess", "username": "u", "clientid": "c", "topic": "t",
                        "acc": acc}))
        };
        for acc in [json!(1), json!(2), json!(4), json!("read"), json!("publish")] {
            assert!(check(acc).is_ok());
        }
        for acc in [json!(3), json!(8), json!("all"), json!(null)] {
            assert!(check(acc).is_err());
        }
        is_wrong(&json!({"command": "checkAccess", "acc": 1}), "\"username\" is missing");
    }
}
