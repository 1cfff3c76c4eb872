//! What answers that were written for EMQX come to, row by row: rules, HTTP authentication, HTTP authorization.
//! The words are those of its documentation; the decisions are EMQX's, but where a row says `here`.

#![forbid(unsafe_code)]

use ureq::http::header::CONTENT_TYPE;
use ureq::http::{HeaderMap, HeaderValue};

use super::super::*;
use crate::api::response_body::Declared;
use crate::question::{Access, Action};
use crate::rules::{Names, Permission, Whom};

const NOW: Duration = Duration::from_secs(1_700_000_000);

fn response(status: u16, media_type: &str, body: &str) -> Response {
    let mut headers = HeaderMap::new();
    if !media_type.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(media_type).unwrap());
    }
    let body = (status == 200).then(|| body.as_bytes().to_vec());
    Response { status, body, declared: Declared::of(&headers), ..Response::default() }
}

fn answer(kind: Kind, response: &Response) -> Result<Answer, Failure> {
    let api_format = ApiFormat { compat: Compat::Emqx, ..ApiFormat::default() };
    read(kind, response, &api_format, NOW).map(|reply| reply.answer)
}

/// A line that begins with a bracket has rules. Each line below them is a row: what comes of it, and of what.
/// The client is `emqx_c`, its username `emqx_u`, from 127.0.0.1, its tenant `acme`, unless a word says otherwise.
///
/// `+` a rule allows it, `-` a rule denies it, `?` no rule has a say, so that the next one is asked; and `!`
/// the rules break the answer, which is a failure and lets nobody in.
const RULES: &str = include_str!("rules.txt");

/// The answer to a login with these rules, and attributes.
fn with_rules(rules: &str) -> Result<Answer, Failure> {
    let acl = if rules.starts_with('[') { rules.to_owned() } else { format!("[{rules}]") };
    let attributes = r#"{"tenant": "acme", "path": "a/b"}"#;
    let body = format!(r#"{{"result": "allow", "client_attrs": {attributes}, "acl": {acl}}}"#);
    answer(Kind::Login, &response(200, "application/json", &body))
}

/// What comes of an action by the rules of this answer.
fn ruling(answer: &Answer, row: &str) -> char {
    let session_grants = answer.session_grants.as_ref().unwrap();
    let rules = session_grants.rules.as_ref().unwrap();
    let words: Vec<_> = row.split(" here:").next().unwrap().split_whitespace().collect();
    let word = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
    let access = match words[0] {
        "publish" => Access::Write,
        "subscribe" => Access::Subscribe,
        "receive" => Access::Read,
        other => panic!("{other}"),
    };
    let topic = words[1].replace("%20", " ");
    let qos = word("qos=").map_or(0, |qos| qos.parse().unwrap());
    let action = Action { access, topic: &topic, qos, retain: words.contains(&"retain") };
    let address = word("from=").unwrap_or("127.0.0.1");
    let (username, client_id) =
        (word("username=").unwrap_or("emqx_u"), word("clientid=").unwrap_or("emqx_c"));
    let whom = Whom { address: address.parse().ok(), username, client_id };
    let conditions = rules.met_by(whom);
    let names = Names {
        attributes: session_grants.attributes.as_deref(),
        conditions: conditions.as_ref(),
        ..Names::of(username, client_id)
    };
    match rules.judge(&action, names).map(|ruling| ruling.permission) {
        Some(Permission::Allow) => '+',
        Some(Permission::Deny) => '-',
        None => '?',
    }
}

/// Checks each row; how many there are.
fn check_rules() -> usize {
    let (mut rules, mut count) = ("", 0);
    for line in RULES.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with(['{', '[']) {
            rules = line;
            continue;
        }
        count += 1;
        let (expected, row) = line.split_at(1);
        match with_rules(rules) {
            Err(Failure::BrokenAnswer(_)) => assert_eq!(expected, "!", "{rules}{row}"),
            Ok(_) if expected == "!" => panic!("it does not break the answer: {rules}"),
            Ok(answer) => assert_eq!(ruling(&answer, row).to_string(), expected, "{rules}{row}"),
            Err(failure) => panic!("{rules}: {failure}"),
        }
    }
    count
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// A response and what it comes to: `+` yes, `s` yes and a superuser, `-` no, `>` left to others, `!` the API
/// failed.
type Row = (u16, &'static str, &'static str, char);

const LOGINS: &[Row] = &[
    (200, JSON, r#"{"result": "allow"}"#, '+'),
    (200, JSON, r#"{"result": "allow", "is_superuser": false}"#, '+'),
    (200, JSON, r#"{"result": "allow", "is_superuser": true}"#, 's'),
    (200, JSON, r#"{"result": "allow", "is_superuser": "true"}"#, 's'),
    (200, JSON, r#"{"result": "allow", "is_superuser": 1}"#, 's'),
    (200, JSON, r#"{"result": "allow", "is_superuser": "1"}"#, 's'),
    (200, JSON, r#"{"result": "allow", "is_superuser": 0}"#, '+'),
    (200, JSON, r#"{"result": "allow", "is_superuser": "0"}"#, '+'),
    (200, JSON, r#"{"result": "allow", "is_superuser": "false"}"#, '+'),
    (200, JSON, r#"{"result": "allow", "is_superuser": ""}"#, '+'),
    (200, JSON, r#"{"result": "allow", "is_superuser": null}"#, '+'),
    // Here: what EMQX takes for a no is none of the spellings of one.
    (200, JSON, r#"{"result": "allow", "is_superuser": "yes"}"#, '!'),
    (200, JSON, r#"{"result": "allow", "is_superuser": []}"#, '!'),
    // Here: EMQX takes it for a yes.
    (200, JSON, r#"{"result": "allow", "is_superuser": 2}"#, '!'),
    (200, JSON, r#"{"result": "deny"}"#, '-'),
    (200, JSON, r#"{"result": "deny", "is_superuser": true}"#, '-'),
    (200, JSON, r#"{"result": "ignore"}"#, '>'),
    (200, JSON, r#"{"result": "ignore", "is_superuser": true}"#, '>'),
    (200, JSON, "{}", '-'),
    (200, JSON, r#"{"is_superuser": true}"#, '-'),
    (200, JSON, r#"{"result": null}"#, '-'),
    (200, JSON, r#"{"Result": "allow"}"#, '-'),
    (200, JSON, r#"[{"result": "allow"}]"#, '-'),
    (200, JSON, "[]", '-'),
    (200, JSON, "true", '-'),
    (200, JSON, r#""allow""#, '-'),
    (200, JSON, "1", '-'),
    (200, JSON, "null", '-'),
    (200, JSON, "", '-'),
    (200, JSON, " \r\n", '-'),
    (200, "", "", '-'),
    (200, FORM, "", '-'),
    // An answer that is broken is none.
    (200, JSON, "not-json", '!'),
    (200, JSON, r#"{"result": "allow""#, '!'),
    (200, JSON, r#"{"result": "allow"} x"#, '!'),
    (200, JSON, r#"{"result": "unexpected"}"#, '!'),
    (200, JSON, r#"{"result": "ALLOW"}"#, '!'),
    (200, JSON, r#"{"result": true}"#, '!'),
    (200, JSON, r#"{"result": "allow", "result": "deny"}"#, '!'),
    (200, "application/json; charset=utf-8", r#"{"result": "allow"}"#, '+'),
    (200, "application/json;charset=UTF-8", r#"{"result": "deny"}"#, '-'),
    (200, "Application/JSON", r#"{"result": "allow"}"#, '+'),
    (200, "", r#"{"result": "allow"}"#, '-'),
    (200, "text/plain", r#"{"result": "allow"}"#, '-'),
    (200, "text/html", r#"{"result": "allow"}"#, '-'),
    (200, "test/plain", "is_superuser=true", '-'),
    (200, "text/csv", "hi", '-'),
    (200, "application/problem+json", r#"{"result": "allow"}"#, '-'),
    (200, "text/html, application/json", r#"{"result": "allow"}"#, '-'),
    (200, FORM, "is_superuser=true&result=allow", 's'),
    (200, FORM, "result=allow&is_superuser=true", 's'),
    (200, FORM, "result=allow&is_superuser=1", 's'),
    (200, FORM, "result=allow&is_superuser=false", '+'),
    (200, FORM, "result=allow&is_superuser=", '+'),
    (200, FORM, "result=allow", '+'),
    (200, FORM, "r%65sult=a%6Clow", '+'),
    (200, FORM, "result=deny", '-'),
    (200, FORM, "result=ignore", '>'),
    (200, FORM, "is_superuser=true", '-'),
    (200, FORM, "other=1", '-'),
    (200, FORM, "allow", '-'),
    (200, FORM, "result=yes", '!'),
    (200, FORM, "result=allow&result=deny", '!'),
    (200, "application/x-www-form-urlencoded; charset=utf-8", "result=allow", '+'),
    (200, JSON, "result=allow", '!'),
    (200, FORM, r#"{"result": "allow"}"#, '-'),
    (200, "text/plain", "result=allow", '-'),
    (204, "", "", '+'),
    (204, JSON, "", '+'),
    (201, JSON, r#"{"result": "allow"}"#, '-'),
    (202, JSON, r#"{"result": "allow"}"#, '-'),
    (206, JSON, r#"{"result": "allow"}"#, '-'),
    (301, "", "", '-'),
    (400, "text/plain", "Response body", '-'),
    (401, JSON, r#"{"result": "allow"}"#, '-'),
    (403, "", "", '-'),
    (404, JSON, r#"{"result": "allow"}"#, '-'),
    // An API that could not answer has not denied; what is done then, `on_error` says.
    (408, "", "", '!'),
    (429, "", "", '!'),
    (500, "", "", '!'),
    (503, JSON, r#"{"result": "allow"}"#, '!'),
    // As in the table, a session's end.
    (200, JSON, r#"{"result": "allow", "expire_at": 1700000060}"#, '+'),
    (200, JSON, r#"{"result": "allow", "expire_at": 1699999940}"#, '-'),
    (200, JSON, r#"{"result": "allow", "expire_at": 1700000060000}"#, '!'),
    (200, JSON, r#"{"result": "allow", "expire_at": "1700000060"}"#, '!'),
    (200, JSON, r#"{"result": "allow", "expire_at": null}"#, '+'),
    (200, FORM, "result=allow&expire_at=1700000060", '+'),
    (200, JSON, r#"{"result": "allow", "client_attrs": {"alias": "a1"}}"#, '+'),
    (200, JSON, r#"{"result": "allow", "client_attrs": {}}"#, '+'),
    (200, JSON, r#"{"result": "allow", "client_attrs": ["a1"]}"#, '!'),
    (200, JSON, r#"{"result": "allow", "client_attrs": {"alias": 1}}"#, '!'),
    (200, JSON, r#"{"result": "allow", "acl": []}"#, '+'),
    (200, JSON, r#"{"result": "allow", "acl": {}}"#, '!'),
    (200, JSON, r#"{"result": "allow", "acl": [{"permission": "allow"}]}"#, '!'),
    // Here: Mosquitto can do neither.
    (200, JSON, r#"{"result": "allow", "clientid_override": "other"}"#, '!'),
    (200, JSON, r#"{"result": "allow", "zone_override": "zone1"}"#, '!'),
    (200, FORM, "result=allow&clientid_override=other", '!'),
    (200, FORM, "result=allow&zone_override=zone1", '!'),
    (200, JSON, r#"{"result": "allow", "clientid_override": null}"#, '+'),
    (200, JSON, r#"{"result": "allow", "unknown": {"result": "deny"}}"#, '+'),
];

const ACCESSES: &[Row] = &[
    (200, JSON, r#"{"result": "allow"}"#, '+'),
    (200, JSON, r#"{"result": "deny"}"#, '-'),
    (200, JSON, r#"{"result": "ignore"}"#, '>'),
    (200, JSON, "{}", '-'),
    (200, JSON, r#"{"result": null}"#, '-'),
    (200, JSON, "[]", '-'),
    (200, JSON, "true", '-'),
    (200, JSON, r#""allow""#, '-'),
    (200, JSON, "", '-'),
    (200, "", "", '-'),
    (200, JSON, "not-json", '!'),
    (200, JSON, r#"{"result": "unexpected"}"#, '!'),
    (200, JSON, r#"{"result": "allow", "result": "deny"}"#, '!'),
    (200, "application/json; charset=utf-8", r#"{"result": "allow"}"#, '+'),
    // Where it is not said, JSON is meant.
    (200, "", r#"{"result": "allow"}"#, '+'),
    (200, "", r#"{"result": "deny"}"#, '-'),
    (200, "", "result=allow", '!'),
    (200, "text/csv", "hi", '-'),
    (200, "text/plain", r#"{"result": "allow"}"#, '-'),
    (200, FORM, "result=allow", '+'),
    (200, FORM, "result=deny", '-'),
    (200, FORM, "result=ignore", '>'),
    (200, FORM, "other=1", '-'),
    (200, FORM, "result=yes", '!'),
    (204, "", "", '+'),
    (201, JSON, r#"{"result": "allow"}"#, '-'),
    (302, "", "", '-'),
    (400, "text/plain", "Response body", '-'),
    (401, "", "", '-'),
    (403, JSON, r#"{"result": "allow"}"#, '-'),
    (404, "", "", '-'),
    (429, "", "", '!'),
    (500, JSON, r#"{"result": "allow"}"#, '!'),
    (502, "", "", '!'),
    // What only the answer to a login says is passed over.
    (200, JSON, r#"{"result": "allow", "clientid_override": "other", "acl": 7}"#, '+'),
];

/// Checks each row; how many there are.
fn check_answers(kind: Kind, rows: &[Row]) -> usize {
    for (status, media_type, body, expected) in rows {
        let found = match answer(kind, &response(*status, media_type, body)) {
            Err(_) => '!',
            Ok(Answer { verdict: Verdict::Deny, .. }) => '-',
            Ok(Answer { verdict: Verdict::Ignore, .. }) => '>',
            Ok(Answer { session_grants: Some(session_grants), .. })
                if session_grants.is_superuser == Some(true) =>
            {
                's'
            }
            Ok(_) => '+',
        };
        assert_eq!(found, *expected, "{kind:?} {status} {media_type} {body}");
    }
    rows.len()
}

#[test]
fn every_row_comes_to_what_it_says() {
    let counts =
        [check_rules(), check_answers(Kind::Login, LOGINS), check_answers(Kind::Access, ACCESSES)];
    assert!(counts.iter().sum::<usize>() >= 200, "{counts:?}");
}

#[test]
fn a_200_that_says_nothing_says_why_in_the_log() {
    for (media_type, body, why) in [
        (JSON, "", "the answer says nothing"),
        (JSON, "{}", "the answer has no \"result\""),
        (JSON, "[]", "the answer is no JSON object"),
        ("text/plain", "ok", "the answer's Content-Type is neither"),
        ("", "{}", "the answer has no Content-Type"),
    ] {
        let reason = answer(Kind::Login, &response(200, media_type, body)).unwrap().reason;
        let reason = reason.unwrap();
        assert!(reason.starts_with("compat emqx: ") && reason.contains(why), "{reason}");
    }
    let told = answer(Kind::Login, &response(200, JSON, r#"{"result":"deny","reason":"locked"}"#));
    assert_eq!(told.unwrap().reason.as_deref(), Some("locked"));
}
