//! The JSON object in the body of a 200.
//!
//! A body that is no JSON object says nothing, and neither do keys that are not known. But what is
//! said with a known key must be well-formed: half an answer is none, since a rule that is left
//! out may be the one that denies.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::answer::{Terms, Verdict};
use crate::question::Kind;
use crate::rules::{Permission, Rule, Rules, Verb};

/// What a body says; none of what it does not mention.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Statement {
    pub verdict: Option<Verdict>,
    pub ttl: Option<Duration>,
    pub terms: Option<Terms>,
}

/// What is wrong with a body, naming the key and what is allowed.
type Problem = String;

impl Statement {
    /// Reads the body of an answer to this kind of question. Terms are a login's; to the question
    /// whether somebody is a superuser, `is_superuser` may say no as well.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(body: &[u8], kind: Kind) -> Result<Self, Problem> {
        let Some(object) = object(body)? else { return Ok(Self::default()) };
        let ttl = known(&object, "ttl").map(|value| {
            seconds(value).ok_or_else(|| problem("ttl", value, "a number of seconds, 0 or more"))
        });
        let ttl = ttl.transpose()?;
        let mut verdict =
            known(&object, "result").map(|value| verdict("result", value)).transpose()?;
        if kind == Kind::Superuser && is_superuser(&object)? == Some(false) {
            verdict = Some(Verdict::Deny);
        }
        let terms = if kind == Kind::Login { terms(&object)? } else { None };
        Ok(Self { verdict, ttl: ttl.map(Duration::from_secs), terms })
    }
}

/// Reads the body of a batch's answer.
///
/// # Errors
/// What is wrong with it.
pub fn batch(body: &[u8], count: usize) -> Result<Vec<Verdict>, Problem> {
    let object = object(body)?.ok_or("the batch route did not answer with a JSON object")?;
    let results = known(&object, "results").and_then(Value::as_array);
    let results = results.ok_or("the batch route's answer has no array \"results\"")?;
    if results.len() != count {
        let got = results.len();
        return Err(format!("\"results\" holds {got} words for {count} checks; allowed: one each"));
    }
    results.iter().map(|value| verdict("results", value)).collect()
}

/// Reads the body of an answer in the mode `json`: whether it is a yes, and if not, why.
///
/// # Errors
/// What is wrong with it.
pub fn ok(body: &[u8]) -> Result<(bool, Option<String>), Problem> {
    let object = object(body)?.ok_or("the answer is no JSON object")?;
    // Whoever wrote for these APIs could spell it in any case.
    let named =
        object.iter().find(|(key, value)| key.eq_ignore_ascii_case("ok") && !value.is_null());
    let ok = match named {
        None => false,
        Some((_, value)) => value.as_bool().ok_or_else(|| problem("ok", value, "true, false"))?,
    };
    let reason = known(&object, "error").and_then(Value::as_str);
    Ok((ok, reason.map(|reason| reason.chars().take(100).collect())))
}

/// Whether a body is a complete object, so that nothing of what it says can be missing.
#[must_use]
pub fn is_whole(body: &[u8]) -> bool {
    matches!(object(body), Ok(Some(_)))
}

/// The object; none if the body does not even begin like one. A mark of the byte order, which some
/// servers put in front, is passed over (RFC 8259, section 8.1).
fn object(body: &[u8]) -> Result<Option<Map<String, Value>>, Problem> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if !body.trim_ascii_start().starts_with(b"{") {
        return Ok(None);
    }
    serde_json::from_slice(body).map(Some).map_err(|error| format!("its JSON is broken: {error}"))
}

/// The value of a key; `null` says nothing.
fn known<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

/// Whole seconds: those that have passed, of a number with a fraction.
fn seconds(value: &Value) -> Option<u64> {
    // A number that is too large becomes the largest.
    let whole = |number: f64| (number >= 0.0).then_some(number as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(whole))
}

fn verdict(key: &str, value: &Value) -> Result<Verdict, Problem> {
    match value.as_str() {
        Some("allow") => Ok(Verdict::Allow),
        Some("deny") => Ok(Verdict::Deny),
        Some("ignore") => Ok(Verdict::Ignore),
        _ => Err(problem(key, value, "\"allow\", \"deny\", \"ignore\"")),
    }
}

fn is_superuser(object: &Map<String, Value>) -> Result<Option<bool>, Problem> {
    let value = known(object, "is_superuser");
    let flag = |value: &Value| {
        value.as_bool().ok_or_else(|| problem("is_superuser", value, "true, false"))
    };
    value.map(flag).transpose()
}

fn terms(object: &Map<String, Value>) -> Result<Option<Terms>, Problem> {
    let expire_at = known(object, "expire_at").map(|value| {
        seconds(value).ok_or_else(|| problem("expire_at", value, "seconds of Unix time"))
    });
    let rules = known(object, "acl").map(|value| {
        let list = value.as_array().ok_or_else(|| problem("acl", value, "an array of rules"))?;
        compile(list).map(Arc::new)
    });
    let terms = Terms {
        is_superuser: is_superuser(object)?,
        rules: rules.transpose()?,
        expire_at: expire_at.transpose()?,
    };
    let says_something =
        terms.is_superuser.is_some() || terms.rules.is_some() || terms.expire_at.is_some();
    Ok(says_something.then_some(terms))
}

fn compile(list: &[Value]) -> Result<Rules, Problem> {
    let (mut rules, mut numbers) = (Vec::with_capacity(list.len()), Vec::new());
    for (value, number) in list.iter().zip(1..) {
        rules.extend(rule(number, value)?);
        // One with several topics is several rules here, and still one to whoever wrote it.
        numbers.resize(rules.len(), number);
    }
    Rules::compile(rules).map_err(|bad| match numbers.get(bad.position) {
        Some(number) => format!("rule {number}: {}", bad.problem),
        None => bad.problem,
    })
}

/// Conditions that other brokers know and this one does not. A rule that has one would hold for
/// more than it was written for.
const CONDITIONS: [&str; 7] =
    ["ipaddr", "username_re", "clientid_re", "zone", "zone_re", "listener", "listener_re"];

/// A rule, or one for each of its topics.
fn rule(number: usize, value: &Value) -> Result<Vec<Rule>, Problem> {
    let within = |key: &str, value: &Value, allowed: &str| {
        format!("rule {number}: {}", problem(key, value, allowed))
    };
    let object = value.as_object().ok_or_else(|| within("acl", value, "objects in the array"))?;
    if let Some(condition) = CONDITIONS.iter().find(|key| known(object, key).is_some()) {
        return Err(format!("rule {number}: the condition {condition:?} is not supported"));
    }
    let text = |key: &str, allowed: &str| {
        let value = object.get(key).unwrap_or(&Value::Null);
        value.as_str().ok_or_else(|| within(key, value, allowed))
    };
    let permissions = "\"allow\", \"deny\"";
    let permission = match text("permission", permissions)? {
        "allow" => Permission::Allow,
        "deny" => Permission::Deny,
        other => return Err(within("permission", &other.into(), permissions)),
    };
    let actions = "\"publish\", \"subscribe\", \"read\", \"all\"";
    let verb = match text("action", actions)? {
        "publish" | "write" => Verb::Publish,
        "subscribe" => Verb::Subscribe,
        "read" => Verb::Read,
        "all" => Verb::All,
        other => return Err(within("action", &other.into(), actions)),
    };
    let qos = known(object, "qos").map(|value| {
        qos(value).ok_or_else(|| within("qos", value, "0, 1, 2, or an array of them"))
    });
    let retain = known(object, "retain").map(|value| match value.as_str() {
        Some("all") => Ok(None),
        _ => {
            value.as_bool().map(Some).ok_or_else(|| within("retain", value, "true, false, \"all\""))
        }
    });
    let (qos, retain) = (qos.transpose()?, retain.transpose()?.flatten());
    let topics = match known(object, "topics").filter(|_| known(object, "topic").is_none()) {
        None => vec![text("topic", "a topic filter")?],
        Some(topics) => {
            texts(topics).ok_or_else(|| within("topics", topics, "an array of topic filters"))?
        }
    };
    let rule = |topic: &str| {
        let (topic, qos) = (topic.to_owned(), qos.clone());
        Rule { permission, verb, topic, qos, retain }
    };
    Ok(topics.into_iter().map(rule).collect())
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

/// A level, an array of levels, or levels with commas between them.
fn qos(value: &Value) -> Option<Vec<u8>> {
    let level = |number: u64| u8::try_from(number).ok().filter(|level| *level <= 2);
    match value {
        Value::Array(list) => list.iter().map(|value| value.as_u64().and_then(level)).collect(),
        Value::String(text) => {
            text.split(',').map(|part| part.trim().parse().ok().and_then(level)).collect()
        }
        _ => Some(vec![value.as_u64().and_then(level)?]),
    }
}

/// A value may be anything, so only its beginning is shown.
fn problem(key: &str, value: &Value, allowed: &str) -> Problem {
    let shown: String = value.to_string().chars().take(60).collect();
    format!("\"{key}\" is {shown}; allowed: {allowed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Statement, Problem> {
        Statement::read(body.as_bytes(), Kind::Login)
    }

    fn rules(body: &str) -> usize {
        read(body).unwrap().terms.unwrap().rules.unwrap().len()
    }

    #[test]
    fn what_is_no_object_says_nothing() {
        for body in ["", " ", "OK", "\"ok\"", "true", "null", "[1,2]", "12", "{}", r#"{"user":1}"#]
        {
            assert_eq!(read(body), Ok(Statement::default()), "{body}");
        }
    }

    #[test]
    fn what_begins_as_an_object_must_be_one() {
        for body in ["{", r#"{"acl":[{"permission":"deny""#, r#"{"a":1} x"#, "{a:1}"] {
            let problem = read(body).unwrap_err();
            assert!(problem.starts_with("its JSON is broken"), "{body}: {problem}");
        }
    }

    #[test]
    fn everything_that_the_contract_knows_is_read() {
        let statement = read(
            r##"{ "result": "allow", "is_superuser": false, "ttl": 300, "expire_at": 1790000000,
                 "acl": [ {"permission": "allow", "action": "publish", "topic": "d/${clientid}/up/#"},
                          {"permission": "allow", "action": "subscribe", "topic": "d/%c/down/#"},
                          {"permission": "deny", "action": "all", "topic": "#"} ] }"##,
        )
        .unwrap();
        assert_eq!(statement.verdict, Some(Verdict::Allow));
        assert_eq!(statement.ttl, Some(Duration::from_secs(300)));
        let terms = statement.terms.unwrap();
        assert_eq!((terms.is_superuser, terms.expire_at), (Some(false), Some(1_790_000_000)));
        assert_eq!(terms.rules.unwrap().len(), 3);
    }

    #[test]
    fn null_says_nothing() {
        let body = r#"{"result":null,"ttl":null,"acl":null,"is_superuser":null,"expire_at":null}"#;
        assert_eq!(read(body), Ok(Statement::default()));
    }

    #[test]
    fn an_empty_list_of_rules_is_a_list_of_rules() {
        assert_eq!(rules(r#"{"acl":[]}"#), 0);
    }

    #[test]
    fn rules_in_every_spelling_of_other_apis_are_read() {
        for narrowed in [
            r#""qos":1"#,
            r#""qos":[0,1,2]"#,
            r#""qos":"0,1""#,
            r#""qos":null"#,
            r#""retain":true"#,
            r#""retain":"all""#,
            r#""comment":"unknown""#,
        ] {
            let rule = r#""permission":"allow","action":"write","topic":"eq a/#""#;
            assert_eq!(rules(&format!(r#"{{"acl":[{{{rule},{narrowed}}}]}}"#)), 1, "{narrowed}");
        }
    }

    #[test]
    fn a_rule_may_have_several_topics() {
        let with = |topics: &str| {
            let rule = format!(r#"{{"permission":"allow","action":"all",{topics}}}"#);
            let first = r#"{"permission":"deny","action":"all","topics":["x","y"]}"#;
            format!(r#"{{"acl":[{first},{rule}]}}"#)
        };
        assert_eq!(rules(&with(r##""topics":["a","eq b/#","c/%c"]"##)), 5);
        assert_eq!(rules(&with(r#""topics":[]"#)), 2);
        assert_eq!(rules(&with(r#""topic":"a","topics":["b","c"]"#)), 3, "the one goes first");
        is_wrong(&with(r#""topics":"a""#), r#"rule 2: "topics" is "a""#);
        is_wrong(&with(r#""topics":["a",7]"#), r#"rule 2: "topics" is"#);
        is_wrong(&with(r##""topics":["a","#/b"]"##), "rule 2: the topic");
    }

    #[test]
    fn seconds_may_have_a_fraction_which_does_not_count() {
        let statement = read(r#"{"ttl":2.9,"expire_at":1790000000.75}"#).unwrap();
        assert_eq!(statement.ttl, Some(Duration::from_secs(2)));
        assert_eq!(statement.terms.unwrap().expire_at, Some(1_790_000_000));
        assert_eq!(read(r#"{"ttl":1e300}"#).unwrap().ttl, Some(Duration::from_secs(u64::MAX)));
        is_wrong(r#"{"ttl":-0.5}"#, r#""ttl" is -0.5"#);
    }

    #[test]
    fn a_mark_of_the_byte_order_does_not_hide_a_no() {
        assert_eq!(read("\u{feff}{\"result\":\"deny\"}").unwrap().verdict, Some(Verdict::Deny));
        assert!(read("\u{feff}{\"result\":").is_err());
    }

    #[test]
    fn whether_somebody_is_a_superuser_may_be_denied_in_two_ways() {
        let verdict =
            |body: &str| Statement::read(body.as_bytes(), Kind::Superuser).unwrap().verdict;
        assert_eq!(verdict(r#"{"is_superuser":false}"#), Some(Verdict::Deny));
        assert_eq!(verdict(r#"{"result":"allow","is_superuser":false}"#), Some(Verdict::Deny));
        assert_eq!(verdict(r#"{"result":"deny","is_superuser":true}"#), Some(Verdict::Deny));
        assert_eq!(verdict(r#"{"is_superuser":true,"acl":"unread"}"#), None);
        assert!(Statement::read(br#"{"is_superuser":"no"}"#, Kind::Superuser).is_err());
    }

    #[track_caller]
    fn is_wrong(body: &str, named: &str) {
        let problem = read(body).unwrap_err();
        assert!(problem.contains(named), "{problem}");
    }

    #[test]
    fn a_known_key_with_another_value_breaks_the_answer() {
        is_wrong(r#"{"result":"yes"}"#, r#""result" is "yes"; allowed: "allow""#);
        is_wrong(r#"{"result":true}"#, r#""result" is true"#);
        is_wrong(r#"{"ttl":-1}"#, r#""ttl" is -1"#);
        is_wrong(r#"{"ttl":"300"}"#, r#""ttl" is "300""#);
        is_wrong(r#"{"expire_at":"soon"}"#, r#""expire_at" is "soon""#);
        is_wrong(r#"{"is_superuser":1}"#, r#""is_superuser" is 1"#);
        is_wrong(r#"{"acl":{}}"#, r#""acl" is {}"#);
    }

    #[test]
    fn one_malformed_rule_breaks_all_of_them() {
        let with = |rule: &str| {
            let good = r#"{"permission":"allow","action":"all","topic":"a"}"#;
            format!(r#"{{"acl":[{good},{rule}]}}"#)
        };
        is_wrong(&with("7"), "rule 2");
        is_wrong(&with(r#"{"action":"all","topic":"a"}"#), r#"rule 2: "permission" is null"#);
        is_wrong(&with(r#"{"permission":"Allow","action":"all","topic":"a"}"#), r#""Allow""#);
        is_wrong(&with(r#"{"permission":"deny","action":"pub","topic":"a"}"#), r#""pub""#);
        is_wrong(&with(r#"{"permission":"deny","action":"all"}"#), r#"rule 2: "topic" is null"#);
        is_wrong(&with(r#"{"permission":"deny","action":"all","topic":"a/#/b"}"#), "rule 2");
        let narrowed = |by: &str| {
            with(&format!(r#"{{"permission":"allow","action":"all","topic":"a",{by}}}"#))
        };
        is_wrong(&narrowed(r#""qos":3"#), r#"rule 2: "qos" is 3"#);
        is_wrong(&narrowed(r#""qos":[0,"1"]"#), "rule 2: \"qos\"");
        is_wrong(&narrowed(r#""retain":"yes""#), "rule 2: \"retain\"");
        for condition in CONDITIONS {
            let named = format!("rule 2: the condition \"{condition}\"");
            is_wrong(&narrowed(&format!(r#""{condition}":"127.0.0.1""#)), &named);
        }
    }

    #[test]
    fn a_long_value_is_not_shown_whole() {
        let problem = read(&format!(r#"{{"result":"{}"}}"#, "x".repeat(10_000))).unwrap_err();
        assert!(problem.len() < 200, "{problem}");
    }
}
