//! Answers as they are shared: what the API said, when it was asked, and how much had been taken back by
//! then.

#![forbid(unsafe_code)]

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::record::{Epoch, Position};
use crate::answer::{Answer, SessionGrants, Verdict};
use crate::clock::millis;
use crate::rules::{Permission, Rule, Rules, Verb};

/// How large an answer may be that is shared, in bytes.
pub(crate) const MOST_BYTES: usize = 64 * 1024;

/// How far in the future a broker's clock may be that asked.
const FUTURE: Duration = Duration::from_secs(5);

/// Stands for the API's saying nothing about how stale an answer may serve.
const NO_LIMIT: u64 = u64::MAX;

/// How far the log had been applied by whoever asked the API, before it asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    pub epoch: Epoch,
    pub position: Position,
}

/// An answer as Redis has it, once it is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SharedAnswer {
    pub(crate) stamp: Stamp,
    /// When the API was asked, in Unix time.
    pub asked: Duration,
    /// How long it lives from then on.
    pub life: Duration,
    /// Whether the API gave this life, rather than the broker's options.
    pub is_given: bool,
    /// See [`crate::answer::Freshness::stale`].
    pub(crate) stale: Option<Duration>,
    /// What the API said, as it could have said it itself.
    pub json: Vec<u8>,
}

impl SharedAnswer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + self.json.len());
        bytes.extend_from_slice(&self.stamp.epoch);
        bytes.extend_from_slice(&self.stamp.position.ms.to_le_bytes());
        bytes.extend_from_slice(&self.stamp.position.seq.to_le_bytes());
        bytes.extend_from_slice(&millis(self.asked).to_le_bytes());
        bytes.extend_from_slice(&millis(self.life).to_le_bytes());
        bytes.extend_from_slice(&self.stale.map_or(NO_LIMIT, millis).to_le_bytes());
        bytes.push(self.is_given.into());
        bytes.extend_from_slice(&self.json);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (epoch, rest) = bytes.split_first_chunk::<16>()?;
        let (ms, rest) = number(rest)?;
        let (seq, rest) = number(rest)?;
        let (asked, rest) = number(rest)?;
        let (life, rest) = number(rest)?;
        let (stale, rest) = number(rest)?;
        let (is_given, json) = rest.split_first()?;
        Some(Self {
            stamp: Stamp { epoch: *epoch, position: Position { ms, seq } },
            asked: Duration::from_millis(asked),
            life: Duration::from_millis(life),
            is_given: *is_given == 1,
            stale: (stale != NO_LIMIT).then(|| Duration::from_millis(stale)),
            json: json.to_vec(),
        })
    }

    /// How old it is. None: it was asked for in the future, by a clock that is wrong.
    pub(crate) fn age(&self, unix_time: Duration) -> Option<Duration> {
        (self.asked <= unix_time + FUTURE).then(|| unix_time.saturating_sub(self.asked))
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

/// An answer as the API could have said it. None: it holds rules that are not shared.
pub(crate) fn to_json(answer: &Answer) -> Option<Vec<u8>> {
    let word = match answer.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
        Verdict::Ignore => "ignore",
    };
    let mut said = Map::from_iter([("result".to_owned(), json!(word))]);
    let mut add = |name: &str, value: Option<Value>| {
        said.extend(value.map(|value| (name.to_owned(), value)));
    };
    add("reason", answer.reason.as_deref().map(Value::from));
    if let Some(session_grants) = &answer.session_grants {
        let SessionGrants { username, attributes, is_superuser, rules, expire_at } =
            &**session_grants;
        add("username", username.as_deref().map(Value::from));
        add("client_attrs", attributes.as_ref().map(|attributes| json!(attributes.pairs())));
        add("is_superuser", is_superuser.map(Value::from));
        add("expire_at", expire_at.map(Value::from));
        if let Some(rules) = rules {
            add("acl", Some(written(rules)?));
        }
    }
    Some(Value::Object(said).to_string().into_bytes())
}

/// The name that an answer gives its client, if it does.
pub(crate) fn username(json: &[u8]) -> Option<String> {
    let said: Value = serde_json::from_slice(json).ok()?;
    said["username"].as_str().map(str::to_owned)
}

fn written(rules: &Rules) -> Option<Value> {
    Some(rules.written()?.iter().map(rule).collect())
}

fn rule(rule: &Rule) -> Value {
    let permission = match rule.permission {
        Permission::Allow => "allow",
        Permission::Deny => "deny",
    };
    let action = match rule.verb {
        Verb::Publish => "publish",
        Verb::Subscribe => "subscribe",
        Verb::Read => "read",
        Verb::All => "all",
    };
    let mut said = json!({ "permission": permission, "action": action, "topic": rule.topic });
    if let Some(qos) = &rule.qos {
        said["qos"] = json!(qos);
    }
    if let Some(retain) = rule.retain {
        said["retain"] = json!(retain);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::shared_answer;
    use crate::rules::Syntax;

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        for text in [
            r#"{"result":"allow"}"#,
            r#"{"result":"ignore"}"#,
            r#"{"result":"deny","reason":"a \"word\""}"#,
            r#"{"result":"allow","username":"ann","client_attrs":{"a":"1","b":""},"is_superuser":false,
                "expire_at":4102444800,"acl":[
                {"permission":"allow","action":"publish","topic":"a/${username}/+","qos":[0,2],"retain":true},
                {"permission":"deny","action":"subscribe","topic":"eq $SYS/#"},
                {"permission":"allow","action":"read","topic":"b","retain":false},
                {"permission":"deny","action":"all","topic":"c/#"}]}"#,
            r#"{"result":"allow","acl":[],"is_superuser":true}"#,
        ] {
            let answer = shared_answer(text.as_bytes(), Syntax::Own).unwrap();
            let json = to_json(&answer).unwrap();
            assert_eq!(shared_answer(&json, Syntax::Own), Some(answer), "{text}");
            let name = text.contains("ann").then(|| "ann".to_owned());
            assert_eq!(username(&json), name);
        }
    }

    #[test]
    fn rules_as_for_emqx_stay_such() {
        let text = r#"{"result":"allow","acl":[
            {"permission":"deny","action":"all","topic":"eq a/${clientid}/%u"},
            {"permission":"allow","action":"publish","topic":"b/${$}/${foo}/%u/${username}"}]}"#;
        let answer = shared_answer(text.as_bytes(), Syntax::Emqx).unwrap();
        let json = to_json(&answer).unwrap();
        assert_eq!(shared_answer(&json, Syntax::Emqx), Some(answer));
        assert_eq!(shared_answer(&json, Syntax::Own), None, "it would mean something else");
    }

    #[test]
    fn rules_for_some_clients_only_are_not_shared() {
        let text = r#"{"result":"allow","acl":[{"permission":"allow","action":"all","topic":"a","ipaddr":"10.0.0.0/8"}]}"#;
        assert_eq!(to_json(&shared_answer(text.as_bytes(), Syntax::Own).unwrap()), None);
    }

    #[test]
    fn what_is_shared_is_read_as_it_was_written() {
        let position = Position { ms: 1, seq: 2 };
        let shared = SharedAnswer {
            stamp: Stamp { epoch: [7; 16], position },
            asked: Duration::from_millis(3),
            life: Duration::from_millis(4),
            is_given: true,
            stale: Some(Duration::from_secs(5)),
            json: b"{}".to_vec(),
        };
        assert_eq!(SharedAnswer::decode(&shared.encode()), Some(shared.clone()));
        assert_eq!(shared.age(Duration::from_millis(2)), Some(Duration::ZERO));
        assert_eq!(shared.age(Duration::from_millis(5)), Some(Duration::from_millis(2)));
        let without = SharedAnswer { stale: None, ..shared.clone() };
        assert_eq!(SharedAnswer::decode(&without.encode()), Some(without));
        let early = SharedAnswer { asked: Duration::from_secs(9), ..shared };
        assert_eq!(early.age(Duration::from_secs(3)), None, "by a clock that is wrong");
    }
}
