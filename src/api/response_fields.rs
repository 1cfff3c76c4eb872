//! The JSON object in the body of a 200.
//!
//! A body that is no JSON object says nothing, and neither do keys that are not known. But what is
//! said with a known key must be well-formed: half an answer is none, since a rule that is left
//! out may be the one that denies.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use serde::de::value::{Error as FormError, MapDeserializer};
use serde::de::{Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use crate::answer::{SessionGrants, Verdict};
use crate::json::{self, Members, Object, Problem, Read, Seed, Whole};
use crate::question::{Attributes, Kind};
use crate::rules::{Rules, Syntax};

mod attributes;
mod field_path;
mod reasons;
mod rules;

pub(crate) use field_path::cut;
pub(crate) use reasons::{ok, reason, reason_or_error};

use attributes::ReadAttributes;
use field_path::{
    FieldPath, NAME, name as as_name, one_of, reason as as_reason, seconds, yes_or_no,
};
use rules::ReadRules;

const VERDICTS: &str = "\"allow\", \"deny\", \"ignore\"";

/// What a body says; none of what it does not mention.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct ResponseFields {
    pub verdict: Option<Verdict>,
    pub ttl: Option<Duration>,
    pub session_grants: Option<SessionGrants>,
    /// Why it says so.
    pub reason: Option<String>,
}

impl ResponseFields {
    /// Reads the body of an answer to this kind of question. Grants are a login's; to the question
    /// whether somebody is a superuser, `is_superuser` may say no as well.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(body: &[u8], kind: Kind, syntax: Syntax) -> Result<Self, Problem> {
        let Some(object) = json::object(body)? else { return Ok(Self::default()) };
        let mut fields = FieldsRead::about(kind, syntax);
        json::read(object, Object(&mut fields))?;
        Ok(Self::of(fields, kind))
    }

    /// Reads the pairs of a form. A number is written in digits there.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn of_form(
        pairs: Vec<(String, String)>,
        kind: Kind,
        syntax: Syntax,
    ) -> Result<Self, Problem> {
        let pairs = pairs.into_iter().map(|(name, value)| (name, FormValue(value)));
        let mut fields = FieldsRead::about(kind, syntax);
        json::members(MapDeserializer::<_, FormError>::new(pairs), &mut fields)
            .map_err(|error| error.to_string())?;
        Ok(Self::of(fields, kind))
    }

    fn of(fields: FieldsRead, kind: Kind) -> Self {
        let FieldsRead { verdict, ttl, reason, .. } = fields;
        let FieldsRead { is_superuser, expire_at, rules, username, attributes, .. } = fields;
        if kind == Kind::Superuser {
            let verdict = if is_superuser == Some(false) { Some(Verdict::Deny) } else { verdict };
            let ttl = ttl.map(Duration::from_secs);
            return Self { verdict, ttl, reason, session_grants: None };
        }
        let (rules, attributes) = (rules.map(Arc::new), attributes.map(Arc::new));
        let session_grants = SessionGrants { username, attributes, is_superuser, rules, expire_at };
        Self {
            verdict,
            ttl: ttl.map(Duration::from_secs),
            reason,
            session_grants: (session_grants != SessionGrants::default()).then_some(session_grants),
        }
    }
}

/// A value in a form.
struct FormValue(String);

impl<'de> IntoDeserializer<'de, FormError> for FormValue {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for FormValue {
    type Error = FormError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
        let is_number = self.0.bytes().all(|byte| byte.is_ascii_digit());
        match self.0.parse().ok().filter(|_| is_number) {
            Some(number) => visitor.visit_u64(number),
            None => visitor.visit_string(self.0),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Reads what the claims of a token grant, written as in a login's answer; `acl` may be lists of topics, too.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn claims(json: &str, syntax: Syntax) -> Result<SessionGrants, Problem> {
    let mut fields = FieldsRead {
        names: &["is_superuser", "acl", "client_attrs"],
        takes_lists: true,
        ..FieldsRead::about(Kind::Login, syntax)
    };
    json::read(json, Object(&mut fields))?;
    let (rules, attributes) = (fields.rules.map(Arc::new), fields.attributes.map(Arc::new));
    Ok(SessionGrants {
        attributes,
        is_superuser: fields.is_superuser,
        rules,
        ..SessionGrants::default()
    })
}

/// Reads the body of a batch's answer.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn batch(body: &[u8], count: usize) -> Result<Vec<Verdict>, Problem> {
    let object = json::object(body)?.ok_or("the batch route did not answer with a JSON object")?;
    let mut results = Results { count, verdicts: None };
    json::read(object, Object(&mut results))?;
    Ok(results.verdicts.ok_or(NO_RESULTS)?)
}

/// Whether a body is a complete object, so that nothing of what it says can be missing.
#[must_use]
pub(crate) fn is_whole(body: &[u8]) -> bool {
    let object = json::object(body).ok().flatten();
    object.is_some_and(|object| json::read(object, Object(&mut Anything)).is_ok())
}

/// Nothing of what an object says.
struct Anything;

impl<'de> Members<'de> for Anything {
    fn known(&self, _: &str) -> Option<&'static str> {
        None
    }

    fn take<A: MapAccess<'de>>(&mut self, _: &'static str, _: &mut A) -> Result<(), A::Error> {
        Ok(())
    }
}

/// What a single question's answer says so far.
#[derive(Default)]
struct FieldsRead {
    /// What may be said.
    names: &'static [&'static str],
    more_names: &'static [&'static str],
    /// How rules are written.
    syntax: Syntax,
    takes_lists: bool,
    verdict: Option<Verdict>,
    ttl: Option<u64>,
    reason: Option<String>,
    is_superuser: Option<bool>,
    expire_at: Option<u64>,
    rules: Option<Rules>,
    username: Option<String>,
    attributes: Option<Attributes>,
}

impl FieldsRead {
    fn about(kind: Kind, syntax: Syntax) -> Self {
        let names: &[_] = match kind {
            Kind::Login => LOGIN_NAMES,
            Kind::Superuser => &["result", "ttl", "reason", "is_superuser"],
            Kind::Access => &["result", "ttl", "reason"],
        };
        let more_names: &[_] = match (kind, syntax) {
            (Kind::Login, Syntax::Emqx) => EMQX_NAMES,
            _ => &[],
        };
        Self { names, more_names, syntax, ..Self::default() }
    }
}

/// What an answer to a login may say.
const LOGIN_NAMES: &[&str] = &[
    "result",
    "ttl",
    "reason",
    "is_superuser",
    "expire_at",
    "acl",
    "username",
    "client_attrs",
    "clientid_override",
];

/// What one that was written for EMQX may say beside that.
const EMQX_NAMES: &[&str] = &["zone_override"];

impl<'de> Members<'de> for FieldsRead {
    fn known(&self, name: &str) -> Option<&'static str> {
        one_of(self.names, name).or_else(|| one_of(self.more_names, name))
    }

    fn take<A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        object: &mut A,
    ) -> Result<(), A::Error> {
        let path = FieldPath { name, rule: None };
        match name {
            "result" => self.verdict = path.take(object, VERDICTS, verdict)?,
            "ttl" => {
                self.ttl = path.take(object, "a number of seconds, 0 or more", seconds)?;
            }
            "reason" => self.reason = path.take(object, "", as_reason)?.flatten(),
            "is_superuser" => {
                let allowed = "true, false";
                self.is_superuser = Some(object.next_value_seed(path.one(allowed, yes_or_no))?);
            }
            "expire_at" => {
                self.expire_at = path.take(object, "seconds of Unix time", seconds)?;
            }
            "username" => self.username = path.take(object, NAME, as_name)?,
            "client_attrs" => {
                self.attributes = object.next_value_seed(Seed(ReadAttributes(path)))?;
            }
            // Rules with `${clientid}` would be about the one that the client chose.
            "clientid_override" | "zone_override" => {
                path.take(object, "null, as Mosquitto cannot do it", |_| None::<()>)?;
            }
            _ => {
                self.rules = object.next_value_seed(Seed(ReadRules {
                    syntax: self.syntax,
                    takes_lists: self.takes_lists,
                }))?
            }
        }
        Ok(())
    }
}

/// What a batch's answer says so far.
struct Results {
    count: usize,
    verdicts: Option<Vec<Verdict>>,
}

const NO_RESULTS: &str = "the batch route's answer has no array \"results\"";

impl<'de> Members<'de> for Results {
    fn known(&self, name: &str) -> Option<&'static str> {
        one_of(&["results"], name)
    }

    fn take<A: MapAccess<'de>>(&mut self, _: &'static str, object: &mut A) -> Result<(), A::Error> {
        self.verdicts = Some(object.next_value_seed(Seed(ReadResults { count: self.count }))?);
        Ok(())
    }
}

struct ReadResults {
    count: usize,
}

impl<'de> Read<'de> for ReadResults {
    type Value = Vec<Verdict>;

    fn whole<E: Error>(self, _: Whole<'de>) -> Result<Vec<Verdict>, E> {
        Err(E::custom(NO_RESULTS))
    }

    fn array<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<Verdict>, A::Error> {
        let path = FieldPath { name: "results", rule: None };
        let mut verdicts = Vec::new();
        let (mut got, count) = (0, self.count);
        while let Some(verdict) = array.next_element_seed(path.one(VERDICTS, verdict))? {
            got += 1;
            if got <= count {
                verdicts.push(verdict);
            }
        }
        if got == count {
            return Ok(verdicts);
        }
        Err(A::Error::custom(format_args!(
            "\"results\" holds {got} words for {count} checks; allowed: one each"
        )))
    }
}

fn verdict(value: &Whole<'_>) -> Option<Verdict> {
    match value.text()? {
        "allow" => Some(Verdict::Allow),
        "deny" => Some(Verdict::Deny),
        "ignore" => Some(Verdict::Ignore),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<ResponseFields, Problem> {
        ResponseFields::read(body.as_bytes(), Kind::Login, Syntax::Own)
    }

    fn rules(body: &str) -> usize {
        read(body).unwrap().session_grants.unwrap().rules.unwrap().len()
    }

    #[test]
    fn what_is_no_object_says_nothing() {
        for body in ["", " ", "OK", "\"ok\"", "true", "null", "[1,2]", "12", "{}", r#"{"user":1}"#]
        {
            assert_eq!(read(body), Ok(ResponseFields::default()), "{body}");
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
        let fields = read(
            r##"{ "result": "allow", "is_superuser": false, "ttl": 300, "expire_at": 1790000000,
                 "acl": [ {"permission": "allow", "action": "publish", "topic": "d/${clientid}/up/#"},
                          {"permission": "allow", "action": "subscribe", "topic": "d/%c/down/#"},
                          {"permission": "deny", "action": "all", "topic": "#"} ] }"##,
        )
        .unwrap();
        assert_eq!(fields.verdict, Some(Verdict::Allow));
        assert_eq!(fields.ttl, Some(Duration::from_secs(300)));
        let session_grants = fields.session_grants.unwrap();
        assert_eq!(
            (session_grants.is_superuser, session_grants.expire_at),
            (Some(false), Some(1_790_000_000))
        );
        assert_eq!(session_grants.rules.unwrap().len(), 3);
    }

    #[test]
    fn a_login_may_name_the_client() {
        let named = |value: &str| read(&format!(r#"{{"username":{value}}}"#));
        for good in ["ann", "a b", "é", "$x", "${clientid}", &"x".repeat(65_535)] {
            let session_grants = named(&format!("{good:?}")).unwrap().session_grants.unwrap();
            assert_eq!(session_grants.username.as_deref(), Some(good));
        }
        assert_eq!(named("null").unwrap().session_grants, None);
        let long = format!("{:?}", "x".repeat(65_536));
        for bad in [
            "\"\"",
            "\"+\"",
            "\"a#\"",
            "\"a/b\"",
            "\"a\\n\"",
            "\"a\\u0000\"",
            "\"\\u0085\"",
            "7",
            "true",
            "{}",
            "[\"ann\"]",
            &long,
        ] {
            let problem = named(bad).unwrap_err().to_string();
            assert!(problem.starts_with("\"username\" is "), "{bad}: {problem}");
        }
        assert!(read(r#"{"username":"a","username":"a"}"#).is_err());
        for kind in [Kind::Superuser, Kind::Access] {
            let body = br#"{"username":7,"client_attrs":7,"result":"deny"}"#;
            let verdict = ResponseFields::read(body, kind, Syntax::Own).unwrap().verdict;
            assert_eq!(verdict, Some(Verdict::Deny), "{kind:?} has no such keys");
        }
    }

    #[test]
    fn a_login_may_give_the_client_attributes() {
        let given = |value: &str| read(&format!(r#"{{"client_attrs":{value}}}"#));
        let known = |value: &str| given(value).unwrap().session_grants.unwrap().attributes.unwrap();
        let attributes = known(r#"{"tenant":"acme","x y":"","ü":"a/b"}"#);
        let pairs: Vec<_> = attributes.pairs().iter().map(|(a, b)| (&**a, &**b)).collect();
        assert_eq!(pairs, [("tenant", "acme"), ("x y", ""), ("ü", "a/b")]);
        assert_eq!(attributes.get("tenant"), Some("acme"));
        assert_eq!(attributes.get("Tenant"), None);
        assert_eq!(known("{}").pairs().len(), 0);
        assert_eq!(given("null").unwrap().session_grants, None);
        let many = |count: usize| {
            let pairs: Vec<_> = (0..count).map(|number| format!("\"{number}\":\"\"")).collect();
            format!("{{{}}}", pairs.join(","))
        };
        let long = |count: usize| "x".repeat(count);
        assert_eq!(known(&many(32)).pairs().len(), 32);
        known(&format!("{{{:?}:{:?}}}", long(255), long(255)));
        for bad in [
            "7",
            "[]",
            "\"a\"",
            r#"{"a":7}"#,
            r#"{"a":null}"#,
            r#"{"a":{}}"#,
            r#"{"":"a"}"#,
            r#"{"a":"1","a":"1"}"#,
            &many(33),
            &format!("{{{:?}:\"\"}}", long(256)),
            &format!("{{\"a\":{:?}}}", long(256)),
        ] {
            let problem = given(bad).unwrap_err().to_string();
            assert!(problem.starts_with("\"client_attrs\" "), "{bad}: {problem}");
        }
    }

    #[test]
    fn a_reason_is_cut_and_never_breaks_an_answer() {
        let told = |value: &str, kind| {
            let body = format!(r#"{{"result":"deny","reason":{value}}}"#);
            let fields = ResponseFields::read(body.as_bytes(), kind, Syntax::Own).unwrap();
            assert_eq!(fields.verdict, Some(Verdict::Deny), "{value}");
            assert_eq!(reason(body.as_bytes()), fields.reason, "{value}");
            fields.reason
        };
        for kind in [Kind::Login, Kind::Superuser, Kind::Access] {
            assert_eq!(told(r#""locked""#, kind).as_deref(), Some("locked"));
            for nothing in ["null", "7", "[1]", r#"{"a":1}"#, "true"] {
                assert_eq!(told(nothing, kind), None, "{nothing}");
            }
            let long = format!("{:?}", "x".repeat(200) + "y");
            assert_eq!(told(&long, kind), Some("x".repeat(200)));
            let wide = format!("{:?}", "x".to_owned() + &"é".repeat(200));
            assert_eq!(told(&wide, kind).map(|text| text.len()), Some(199));
        }
        for body in ["", "[]", "no", r#"{"reason":"a""#, r#"{"reason":"a","reason":"b"}"#] {
            assert_eq!(reason(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn null_says_nothing() {
        let body =
            r#"{"result":null,"ttl":null,"acl":null,"expire_at":null,"clientid_override":null}"#;
        assert_eq!(read(body), Ok(ResponseFields::default()));
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
            r#""qos":"2""#,
            r#""qos":["0","1",2]"#,
            r#""retain":true"#,
            r#""retain":"true""#,
            r#""retain":"0""#,
            r#""retain":1"#,
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
        for (both, allowed, denied) in [
            (r#""topic":"a","topics":["b","c"]"#, 3, 5),
            (r#""topics":["b"],"topic":"a""#, 3, 4),
            (r#""topic":"a","topics":[]"#, 3, 3),
            (r#""topic":"a","topics":null"#, 3, 3),
            (r#""topic":null,"topics":["b"]"#, 3, 3),
        ] {
            assert_eq!(rules(&with(both)), allowed, "{both}");
            let denying = with(both).replace("allow", "deny");
            assert_eq!(rules(&denying), denied, "{both}");
        }
        is_wrong(&with(r#""topic":null,"topics":null"#), r#"rule 2: "topic" is null"#);
        is_wrong(&with(r#""topics":"a""#), r#"rule 2: "topics" is "a""#);
        is_wrong(&with(r#""topics":["a",7]"#), r#"rule 2: "topics" is"#);
        is_wrong(&with(r##""topics":["a","#/b"]"##), "rule 2: the topic");
    }

    #[test]
    fn seconds_may_have_a_fraction_which_does_not_count() {
        let fields = read(r#"{"ttl":2.9,"expire_at":1790000000.75}"#).unwrap();
        assert_eq!(fields.ttl, Some(Duration::from_secs(2)));
        assert_eq!(fields.session_grants.unwrap().expire_at, Some(1_790_000_000));
        assert_eq!(read(r#"{"ttl":1e300}"#).unwrap().ttl, Some(Duration::from_secs(u64::MAX)));
        is_wrong(r#"{"ttl":-0.5}"#, r#""ttl" is -0.5"#);
    }

    #[test]
    fn whether_somebody_is_a_superuser_may_be_denied_in_two_ways() {
        let verdict = |body: &str| {
            ResponseFields::read(body.as_bytes(), Kind::Superuser, Syntax::Own).unwrap().verdict
        };
        assert_eq!(verdict(r#"{"is_superuser":false}"#), Some(Verdict::Deny));
        assert_eq!(verdict(r#"{"result":"allow","is_superuser":false}"#), Some(Verdict::Deny));
        assert_eq!(verdict(r#"{"result":"deny","is_superuser":true}"#), Some(Verdict::Deny));
        assert_eq!(verdict(r#"{"is_superuser":true,"acl":"unread"}"#), None);
        assert!(
            ResponseFields::read(br#"{"is_superuser":"no"}"#, Kind::Superuser, Syntax::Own)
                .is_err()
        );
        for (text, is_one) in [
            ("1", true),
            ("\"1\"", true),
            ("\"true\"", true),
            ("true", true),
            ("0", false),
            ("\"0\"", false),
            ("\"false\"", false),
            ("\"\"", false),
            ("null", false),
            ("false", false),
        ] {
            let denied = (!is_one).then_some(Verdict::Deny);
            let body = format!(r#"{{"is_superuser":{text}}}"#);
            assert_eq!(verdict(&body), denied, "{text}");
            assert_eq!(
                read(&body).unwrap().session_grants.unwrap().is_superuser,
                Some(is_one),
                "{text}"
            );
        }
    }

    #[test]
    fn an_object_is_whole_when_it_has_ended() {
        for body in ["{}", "{\"a\":[1]} ", "\u{feff}{}"] {
            assert!(is_whole(body.as_bytes()), "{body}");
        }
        for body in ["", "{", "{\"a\":1", "[]", "{} x", "OK"] {
            assert!(!is_whole(body.as_bytes()), "{body}");
        }
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
        is_wrong(r#"{"is_superuser":2}"#, r#""is_superuser" is 2"#);
        is_wrong(r#"{"is_superuser":"yes"}"#, r#""is_superuser" is "yes""#);
        is_wrong(r#"{"clientid_override":"x"}"#, r#""clientid_override" is "x""#);
        is_wrong(r#"{"acl":{}}"#, r#""acl" is an object; allowed: an array of rules"#);
        is_wrong(r#"{"acl":[[]]}"#, r#"rule 1: "acl" is an array; allowed: objects"#);
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
        is_wrong(&with(r#"{"permission":"deny","action":"put","topic":"a"}"#), r#""put""#);
        is_wrong(&with(r#"{"permission":"deny","action":"all"}"#), r#"rule 2: "topic" is null"#);
        is_wrong(&with(r#"{"permission":"deny","action":"all","topic":"a/#/b"}"#), "rule 2");
        let narrowed = |by: &str| {
            with(&format!(r#"{{"permission":"allow","action":"all","topic":"a",{by}}}"#))
        };
        is_wrong(&narrowed(r#""qos":3"#), r#"rule 2: "qos" is 3"#);
        for qos in [r#""1, 2""#, r#""+1""#, r#""01""#, r#"" 1""#, r#""""#, r#"[0,"01"]"#, "[3]"] {
            is_wrong(&narrowed(&format!(r#""qos":{qos}"#)), "rule 2: \"qos\"");
        }
        for retain in [r#""yes""#, "2", r#""""#] {
            is_wrong(&narrowed(&format!(r#""retain":{retain}"#)), "rule 2: \"retain\"");
        }
        for network in [r#""""#, "null", "7", r#""localhost""#, r#""192.0.2.0/33""#, r#"["::1"]"#] {
            is_wrong(&narrowed(&format!(r#""ipaddr":{network}"#)), "rule 2: \"ipaddr\" is ");
        }
        for name in ["username_re", "clientid_re"] {
            for pattern in [r#""""#, "null", "7", r#"["a"]"#] {
                is_wrong(
                    &narrowed(&format!(r#""{name}":{pattern}"#)),
                    &format!("rule 2: \"{name}\" is "),
                );
            }
            let named = |pattern: &str| narrowed(&format!(r#""{name}":"{pattern}""#));
            is_wrong(
                &named("("),
                &format!(r#"rule 2: the pattern "(" of {name} cannot be used: "#),
            );
            is_wrong(&named("a{999}{999}"), "rule 2: the pattern ");
            is_wrong(
                &narrowed(&format!(r#""{name}":"a","{name}":"a""#)),
                &format!("\"{name}\" is there twice"),
            );
        }
        for condition in rules::UNSUPPORTED {
            let named = format!("rule 2: the condition \"{condition}\"");
            is_wrong(&narrowed(&format!(r#""{condition}":"127.0.0.1""#)), &named);
            is_wrong(&narrowed(&format!(r#""{condition}":null"#)), &named);
        }
    }

    #[test]
    fn a_rule_may_have_conditions() {
        let fields = read(
            r#"{"acl":[{"permission":"deny","action":"all","topics":["a","b"],"ipaddr":"192.0.2.7",
                        "username_re":"^ann$","clientid_re":"\\d+"},
                       {"permission":"allow","action":"all","topic":"a","ipaddr":"2001:db8::/32"}]}"#,
        );
        let rules = fields.unwrap().session_grants.unwrap().rules.unwrap();
        let conditions = "ipaddr 192.0.2.7/32, username_re ^ann$, clientid_re \\\\d+)";
        for (position, expected) in [
            (0, format!("rule 1 (deny all a, {conditions}")),
            (1, format!("rule 2 (deny all b, {conditions}")),
            (2, "rule 3 (allow all a, ipaddr 2001:db8::/32)".to_owned()),
        ] {
            assert_eq!(rules.describe(position), Some(expected));
        }
    }

    #[test]
    fn rules_in_other_brokers_words_mean_the_same() {
        let read_rules = |rule: &str| {
            let rules = format!(r#"{{"acl":[{{"permission":"allow","topic":"a",{rule}}}]}}"#);
            read(&rules).unwrap().session_grants.unwrap().rules.unwrap()
        };
        for (own, other) in [
            (r#""action":"publish""#, r#""action":"pub""#),
            (r#""action":"subscribe""#, r#""action":"sub""#),
            (r#""action":"publish","retain":true"#, r#""action":"publish","retain":"1""#),
            (r#""action":"publish","retain":false"#, r#""action":"pub","retain":0"#),
            (r#""action":"all","qos":[0,2]"#, r#""action":"all","qos":["0","2"]"#),
            // A subscription is not retained.
            (r#""action":"subscribe""#, r#""retain":true,"action":"sub""#),
            (r#""action":"subscribe""#, r#""action":"subscribe","retain":"whatever""#),
        ] {
            assert_eq!(read_rules(own), read_rules(other), "{other}");
        }
    }

    #[test]
    fn too_many_rules_are_refused_before_they_take_memory() {
        let rule = r#"{"permission":"allow","action":"all","topic":"a"}"#;
        let body = |count| format!(r#"{{"acl":[{}]}}"#, vec![rule; count].join(","));
        assert_eq!(rules(&body(10_000)), 10_000);
        is_wrong(&body(10_001), "more than 10000 rules");
        let topics = format!(r#"["a"{}]"#, r#","a""#.repeat(10_000));
        is_wrong(
            &format!(r#"{{"acl":[{{"permission":"allow","action":"all","topics":{topics}}}]}}"#),
            "more than 10000 rules",
        );
    }

    #[test]
    fn what_is_said_twice_is_not_said() {
        is_wrong(r#"{"result":"deny","result":"allow"}"#, r#""result" is there twice"#);
        is_wrong(r#"{"acl":[],"ttl":1,"acl":null}"#, r#""acl" is there twice"#);
        let rule = r#""permission":"deny","action":"all","topic":"a","permission":"allow""#;
        is_wrong(&format!(r#"{{"acl":[{{{rule}}}]}}"#), r#""permission" is there twice"#);
        assert!(ok(br#"{"OK":true,"ok":false}"#).unwrap_err().contains(r#""ok" is there twice"#));
        assert!(batch(br#"{"results":["deny"],"results":["allow"]}"#, 1).is_err());
        // What nobody asked for may be said as often as anybody likes.
        assert_eq!(read(r#"{"x":1,"x":{"result":"deny"}}"#), Ok(ResponseFields::default()));
        let access = ResponseFields::read(
            br#"{"acl":1,"acl":2,"result":"deny"}"#,
            Kind::Access,
            Syntax::Own,
        )
        .unwrap();
        assert_eq!(access.verdict, Some(Verdict::Deny));
    }

    #[test]
    fn a_no_is_seen_behind_a_byte_order_mark_and_in_no_other_encoding() {
        let denial = r#" {"result":"deny"}"#;
        assert_eq!(read(&format!("\u{feff}{denial}")).unwrap().verdict, Some(Verdict::Deny));
        let wide = |order: fn(u16) -> [u8; 2]| denial.encode_utf16().flat_map(order).collect();
        let wide: [Vec<u8>; 2] = [wide(u16::to_be_bytes), wide(u16::to_le_bytes)];
        let marked = [b"\xfe\xff", b"\xff\xfe"].map(|mark| mark.to_vec());
        let marked = [[&*marked[0], &wide[0]].concat(), [&*marked[1], &wide[1]].concat()];
        let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00".to_vec();
        for body in wide.iter().chain(&marked).chain([&gzip]) {
            let problem = ResponseFields::read(body, Kind::Login, Syntax::Own).unwrap_err();
            assert_eq!(problem, "its JSON is broken: it is not UTF-8");
        }
    }

    #[test]
    fn a_long_value_is_not_shown_whole() {
        let problem = read(&format!(r#"{{"result":"{}"}}"#, "x".repeat(10_000))).unwrap_err();
        assert!(problem.len() < 200, "{problem}");
    }
}
