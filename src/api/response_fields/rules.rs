//! The rules in a login's answer. One that is malformed breaks all of them.

#![forbid(unsafe_code)]

use serde::de::{Error, MapAccess, SeqAccess};

use super::field_path::{FieldPath, flag, one_of};
use crate::json::{self, Members, Read, Seed, Whole};
use crate::rules::{Condition, MAX_RULES, Network, Permission, Rule, Rules, Syntax, Verb};

/// The rules of an array; none of `null`.
pub(crate) struct ReadRules {
    pub(crate) syntax: Syntax,
    /// Whether lists of topics will do, as EMQX has them in a token.
    pub(crate) takes_lists: bool,
}

const RULES: &str = "an array of rules";
const RULES_OR_LISTS: &str =
    "an array of rules, or an object of arrays of topic filters: \"pub\", \"sub\", \"all\"";

impl ReadRules {
    fn path() -> FieldPath {
        FieldPath { name: "acl", rule: None }
    }

    fn allowed(&self) -> &'static str {
        if self.takes_lists { RULES_OR_LISTS } else { RULES }
    }
}

impl<'de> Read<'de> for ReadRules {
    type Value = Option<Rules>;

    fn whole<E: Error>(self, value: Whole<'de>) -> Result<Option<Rules>, E> {
        match value {
            Whole::Null => Ok(None),
            value => Err(Self::path().problem(&value, self.allowed())),
        }
    }

    /// Whoever has lists of topics may do what they say and nothing else. A list of another name breaks them:
    /// it may be one that denies.
    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Option<Rules>, A::Error> {
        if !self.takes_lists {
            return Err(Self::path().problem(&Whole::Object, self.allowed()));
        }
        let (mut rules, mut names) = (Vec::new(), Vec::new());
        while let Some(name) = object.next_key::<String>()? {
            let Some((name, verb)) = LISTS.iter().find(|(known, _)| *known == name) else {
                let allowed = "\"pub\", \"sub\", \"all\"";
                return Err(A::Error::custom(format_args!(
                    "\"acl\" has {name:?}; allowed: {allowed}"
                )));
            };
            if names.contains(name) {
                return Err(A::Error::custom(json::twice(name)));
            }
            names.push(*name);
            let topics =
                object.next_value_seed(Seed(ReadTopics(FieldPath { name, rule: None })))?;
            rules.extend(topics.unwrap_or_default().into_iter().map(|topic| allow(*verb, topic)));
            if rules.len() > MAX_RULES {
                return Err(A::Error::custom(too_many()));
            }
        }
        let rules = Rules::compile_as(rules, self.syntax);
        let rules =
            rules.map_err(|bad| A::Error::custom(format_args!("\"acl\": {}", bad.problem)))?;
        Ok(Some(rules.and_nothing_else()))
    }

    fn array<A: SeqAccess<'de>>(self, mut array: A) -> Result<Option<Rules>, A::Error> {
        let (mut rules, mut numbers) = (Vec::new(), Vec::new());
        let mut number = 1;
        while let Some(some) = array.next_element_seed(Seed(ReadRule(number)))? {
            rules.extend(some);
            if rules.len() > MAX_RULES {
                return Err(A::Error::custom(too_many()));
            }
            // One with several topics is several rules here, and still one to whoever wrote it.
            numbers.resize(rules.len(), number);
            number += 1;
        }
        Rules::compile_as(rules, self.syntax).map(Some).map_err(|bad| {
            let number = numbers.get(bad.position).copied().unwrap_or(bad.position + 1);
            A::Error::custom(format_args!("rule {number}: {}", bad.problem))
        })
    }
}

/// The lists of topics that there may be, and what they allow.
const LISTS: [(&str, Verb); 3] =
    [("pub", Verb::Publish), ("sub", Verb::Subscribe), ("all", Verb::All)];

fn allow(verb: Verb, topic: String) -> Rule {
    let (permission, condition) = (Permission::Allow, Condition::NONE);
    Rule { permission, verb, topic, qos: None, retain: None, condition }
}

fn too_many() -> String {
    format!("there are more than {MAX_RULES} rules")
}

/// The rule of this number, or one for each of its topics. One that has `topic` and `topics` is about both if it
/// denies, and about `topic` alone if it allows: EMQX never looks at `topics` there, so that whoever wrote the
/// rule for EMQX has allowed no more.
struct ReadRule(usize);

impl<'de> Read<'de> for ReadRule {
    type Value = Vec<Rule>;

    fn whole<E: Error>(self, value: Whole<'de>) -> Result<Vec<Rule>, E> {
        Err(FieldPath { name: "acl", rule: Some(self.0) }.problem(&value, "objects in the array"))
    }

    fn object<A: MapAccess<'de>>(self, object: A) -> Result<Vec<Rule>, A::Error> {
        let mut fields = RuleFields { number: self.0, ..RuleFields::default() };
        json::members(object, &mut fields)?;
        let path = |name| FieldPath { name, rule: Some(self.0) };
        let missing = |name, allowed| path(name).problem(&Whole::Null, allowed);
        let permission = fields.permission.ok_or_else(|| missing("permission", PERMISSIONS))?;
        let verb = fields.verb.ok_or_else(|| missing("action", ACTIONS))?;
        if fields.topic.is_none() && fields.topics.is_none() {
            return Err(missing("topic", "a topic filter"));
        }
        let more =
            fields.topics.filter(|_| fields.topic.is_none() || permission == Permission::Deny);
        let topics = fields.topic.into_iter().chain(more.into_iter().flatten());
        // Whether a subscription is retained is no question.
        let retain = match (verb, fields.retain) {
            (Verb::Subscribe, _) | (_, None) => None,
            (_, Some(retain)) => {
                retain.map_err(|shown| path("retain").problem(&Whole::Shown(shown), RETAIN))?
            }
        };
        let (qos, condition) = (fields.qos, fields.condition);
        let rule = |topic| {
            let (qos, condition) = (qos.clone(), condition.clone());
            Rule { permission, verb, topic, qos, retain, condition }
        };
        Ok(topics.map(rule).collect())
    }
}

/// What a rule says so far.
#[derive(Default)]
struct RuleFields {
    number: usize,
    permission: Option<Permission>,
    verb: Option<Verb>,
    topic: Option<String>,
    /// In its place, or beside it.
    topics: Option<Vec<String>>,
    qos: Option<Vec<u8>>,
    /// None: either. As what it is shown, if it is none.
    retain: Option<Result<Option<bool>, String>>,
    condition: Condition,
}

const RULE_NAMES: &[&str] = &[
    "permission",
    "action",
    "topic",
    "topics",
    "qos",
    "retain",
    "ipaddr",
    "username_re",
    "clientid_re",
];

/// Conditions that other brokers know and this one does not. A rule that has one would hold for
/// more than it was written for.
pub(crate) const UNSUPPORTED: [&str; 4] = ["zone", "zone_re", "listener", "listener_re"];

const PERMISSIONS: &str = "\"allow\", \"deny\"";
const ACTIONS: &str = "\"publish\", \"subscribe\", \"read\", \"all\"";
const LEVELS: &str = "0, 1, 2, or an array of them";
const NETWORK: &str = "an address, or one with /BITS, as in 192.0.2.0/24";
const PATTERN: &str = "a regular expression that is not empty";
const RETAIN: &str = "true, false, \"all\"";

impl<'de> Members<'de> for RuleFields {
    fn known(&self, name: &str) -> Option<&'static str> {
        one_of(RULE_NAMES, name).or(one_of(&UNSUPPORTED, name))
    }

    fn take<A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        object: &mut A,
    ) -> Result<(), A::Error> {
        let path = FieldPath { name, rule: Some(self.number) };
        match name {
            "permission" => self.permission = path.take(object, PERMISSIONS, permission)?,
            "action" => self.verb = path.take(object, ACTIONS, verb)?,
            "topic" => {
                self.topic = path.take(object, "a topic filter", text)?;
            }
            "topics" => self.topics = object.next_value_seed(Seed(ReadTopics(path)))?,
            "qos" => self.qos = object.next_value_seed(Seed(ReadLevels(path)))?,
            "retain" => {
                let read = |value: &Whole<'_>| Some(retain(value).ok_or_else(|| value.to_string()));
                self.retain = path.take(object, RETAIN, read)?;
            }
            // None of them may be `null`: a program that failed to look a value up writes that.
            "ipaddr" => {
                let read = |value: &Whole<'_>| Network::read(value.text()?);
                self.condition.network = Some(object.next_value_seed(path.one(NETWORK, read))?);
            }
            "username_re" => {
                self.condition.username = Some(object.next_value_seed(path.one(PATTERN, pattern))?);
            }
            "clientid_re" => {
                self.condition.client_id =
                    Some(object.next_value_seed(path.one(PATTERN, pattern))?);
            }
            condition => {
                let rule = self.number;
                return Err(A::Error::custom(format_args!(
                    "rule {rule}: the condition {condition:?} is not supported"
                )));
            }
        }
        Ok(())
    }
}

/// An array of topic filters; none of `null`.
struct ReadTopics(FieldPath);

const TOPICS: &str = "an array of topic filters";

impl<'de> Read<'de> for ReadTopics {
    type Value = Option<Vec<String>>;

    fn whole<E: Error>(self, value: Whole<'de>) -> Result<Option<Vec<String>>, E> {
        match value {
            Whole::Null => Ok(None),
            value => Err(self.0.problem(&value, TOPICS)),
        }
    }

    fn array<A: SeqAccess<'de>>(self, mut array: A) -> Result<Option<Vec<String>>, A::Error> {
        let mut topics = Vec::new();
        while let Some(topic) = array.next_element_seed(self.0.one(TOPICS, text))? {
            topics.push(topic);
            if topics.len() > MAX_RULES {
                return Err(A::Error::custom(too_many()));
            }
        }
        Ok(Some(topics))
    }
}

/// A level of QoS, an array of levels, or levels with commas between them; none of `null`.
struct ReadLevels(FieldPath);

impl<'de> Read<'de> for ReadLevels {
    type Value = Option<Vec<u8>>;

    fn whole<E: Error>(self, value: Whole<'de>) -> Result<Option<Vec<u8>>, E> {
        let levels = match &value {
            Whole::Null => return Ok(None),
            Whole::Text(text) => text.split(',').map(level_in_text).collect(),
            value => level(value).map(|level| vec![level]),
        };
        levels.map(Some).ok_or_else(|| self.0.problem(&value, LEVELS))
    }

    fn array<A: SeqAccess<'de>>(self, mut array: A) -> Result<Option<Vec<u8>>, A::Error> {
        let mut levels = Vec::new();
        while let Some(level) = array.next_element_seed(self.0.one(LEVELS, level))? {
            // More of the same say no more.
            if !levels.contains(&level) {
                levels.push(level);
            }
        }
        Ok(Some(levels))
    }
}

fn text(value: &Whole<'_>) -> Option<String> {
    value.text().map(str::to_owned)
}

/// One that is empty would hold for everybody.
fn pattern(value: &Whole<'_>) -> Option<String> {
    text(value).filter(|pattern| !pattern.is_empty())
}

fn permission(value: &Whole<'_>) -> Option<Permission> {
    match value.text()? {
        "allow" => Some(Permission::Allow),
        "deny" => Some(Permission::Deny),
        _ => None,
    }
}

fn verb(value: &Whole<'_>) -> Option<Verb> {
    match value.text()? {
        "publish" | "pub" | "write" => Some(Verb::Publish),
        "subscribe" | "sub" => Some(Verb::Subscribe),
        "read" => Some(Verb::Read),
        "all" => Some(Verb::All),
        _ => None,
    }
}

/// Whether only what is retained is meant, or only what is not; none: either.
fn retain(value: &Whole<'_>) -> Option<Option<bool>> {
    match value.text() {
        Some("all") => Some(None),
        _ => flag(value).map(Some),
    }
}

/// A level of QoS, as a number or as the very text of one.
fn level(value: &Whole<'_>) -> Option<u8> {
    match value {
        Whole::Text(text) => level_in_text(text),
        value => value.natural().and_then(|number| u8::try_from(number).ok()).filter(|n| *n <= 2),
    }
}

fn level_in_text(text: &str) -> Option<u8> {
    ["0", "1", "2"].iter().position(|level| *level == text).map(|level| level as u8)
}
