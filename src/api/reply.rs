//! What a response means: its status, its headers, and what its body says.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::freshness::{self, LONGEST};
use super::response::Response;
use super::response_body::{self, ResponseBody};
use super::response_fields::{self, ResponseFields};
use crate::answer::{Answer, Failure, Freshness, Verdict};
use crate::api_format::{ApiFormat, Compat, ResponseMode};
use crate::json::Problem;
use crate::question::Kind;
use crate::rules::Syntax;

mod emqx;

/// How far ahead an `expire_at` may lie, and how large it may be: milliseconds, as JavaScript's
/// `Date.now()` has them, are a mistake that would let a client stay for good.
const FARTHEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
const LARGEST: u64 = 999_999_999_999;

/// In Unix time, 2026-01-01. A machine without a clock of its own is at 1970 when it starts.
const CLOCK_IS_SET: Duration = Duration::from_secs(1_767_225_600);

/// An answer, and for how long the API lets it be kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub answer: Answer,
    pub freshness: Freshness,
}

/// Reads a response to one question. `unix_time` is now.
///
/// # Errors
/// The response is no answer: its status says that the server failed, or its body is not what the
/// contract asks for.
pub(crate) fn read(
    kind: Kind,
    response: &Response,
    api_format: &ApiFormat,
    unix_time: Duration,
) -> Result<Reply, Failure> {
    let verdict = verdict(response.status, api_format)?;
    let is_predecessor = api_format.compat.is_predecessor();
    // The plugins that came before knew nothing of it.
    let freshness = if is_predecessor { Freshness::default() } else { freshness(response) };
    let reply = Reply { answer: Answer::new(verdict), freshness };
    if verdict != Verdict::Allow {
        let reason = match api_format.response {
            ResponseMode::Json => response_fields::reason_or_error(&response.beginning),
            ResponseMode::Status | ResponseMode::Text => {
                response_fields::reason(&response.beginning)
            }
        };
        return Ok(Reply { answer: reply.answer.because(reason), ..reply });
    }
    let body = response.body.as_deref().unwrap_or_default();
    match api_format.response {
        ResponseMode::Json => {
            let (ok, reason) = response_fields::ok(body).map_err(Failure::BrokenAnswer)?;
            let answer = if ok { Answer::ALLOW } else { Answer::DENY.because(reason) };
            Ok(Reply { answer, ..reply })
        }
        ResponseMode::Text if body == b"ok" => Ok(reply),
        ResponseMode::Text => {
            if !is_predecessor {
                response_body::check_json(response.declared, body)
                    .map_err(Failure::BrokenAnswer)?;
            }
            let text = || response_fields::cut(&String::from_utf8_lossy(body));
            let reason = response.body.is_some().then(text);
            Ok(Reply { answer: Answer::DENY.because(reason), ..reply })
        }
        ResponseMode::Status => match api_format.compat {
            Compat::None => with_body(reply, fields(kind, response), unix_time),
            // A 204 is a yes that says no more.
            Compat::Emqx if response.status == 200 => {
                with_body(reply, emqx::fields(kind, response), unix_time)
            }
            Compat::Emqx | Compat::GoAuth | Compat::AuthPlug => Ok(reply),
        },
    }
}

/// Reads a response of the batch route: one reply for each of `count` questions, in their order.
///
/// # Errors
/// As [`read`]; and any status but 200, which would be the answer to no question in particular.
pub(crate) fn read_batch(response: &Response, count: usize) -> Result<Vec<Reply>, Failure> {
    if response.status != 200 {
        return Err(Failure::Status(response.status));
    }
    let json = response.body.as_deref().unwrap_or_default();
    let verdicts = response_fields::batch(json, count).map_err(Failure::BrokenAnswer)?;
    let freshness = freshness(response);
    let reply = |verdict| Reply { answer: Answer::new(verdict), freshness };
    Ok(verdicts.into_iter().map(reply).collect())
}

/// Reads a document that is no answer to a question, and for how long it may be kept.
///
/// # Errors
/// There is none: any status but 200, or `read` does not understand it.
pub(crate) fn document<D>(
    response: &Response,
    read: impl FnOnce(&[u8]) -> Result<D, String>,
) -> Result<(D, Option<Duration>), Failure> {
    if response.status != 200 {
        return Err(Failure::Status(response.status));
    }
    let body = response.body.as_deref().unwrap_or_default();
    Ok((read(body).map_err(Failure::BrokenAnswer)?, freshness(response).lifetime))
}

/// What a status means, by itself: 200 allows (where the body decides, any success may); a status by
/// which a server says that it could not answer is a failure (RFC 9110: 408, 425, 429 and 5xx); every
/// other one denies. The plugins that came before took every success as a yes, and failures of the
/// class 4xx as a no.
fn verdict(status: u16, api_format: &ApiFormat) -> Result<Verdict, Failure> {
    let is_own = !api_format.compat.is_predecessor();
    match status {
        200 => Ok(Verdict::Allow),
        204 if api_format.compat == Compat::Emqx => Ok(Verdict::Allow),
        201..=299 if !is_own || api_format.needs_body() => Ok(Verdict::Allow),
        408 | 425 | 429 if is_own => Err(Failure::Status(status)),
        500..=599 => Err(Failure::Status(status)),
        _ => Ok(Verdict::Deny),
    }
}

/// What the body of a 200 says.
fn fields(kind: Kind, response: &Response) -> Result<ResponseFields, Problem> {
    let body = response.body.as_deref().unwrap_or_default();
    match response_body::read(response.declared, body)? {
        ResponseBody::Unrelated => Ok(ResponseFields::default()),
        ResponseBody::Object => ResponseFields::read(body, kind, Syntax::Own),
        ResponseBody::Form(pairs) => ResponseFields::of_form(pairs, kind, Syntax::Own),
    }
}

/// What the body adds to a 200; for a login also the grants of the session.
fn with_body(
    reply: Reply,
    read: Result<ResponseFields, Problem>,
    unix_time: Duration,
) -> Result<Reply, Failure> {
    let fields = read.map_err(Failure::BrokenAnswer)?;
    let expire_at =
        fields.session_grants.as_ref().and_then(|session_grants| session_grants.expire_at);
    let has_expired = expire_at.is_some_and(|expire_at| expire_at <= unix_time.as_secs());
    if let Some(expire_at) = expire_at {
        check_end(expire_at, unix_time).map_err(Failure::BrokenAnswer)?;
    }
    let answer = match fields.verdict {
        // A yes until a time that is over.
        Some(Verdict::Allow) | None if has_expired => Answer::DENY.because(fields.reason),
        Some(Verdict::Allow) | None => {
            Answer { session_grants: fields.session_grants.map(Into::into), ..reply.answer }
        }
        Some(Verdict::Deny) => Answer::DENY.because(fields.reason),
        Some(Verdict::Ignore) => Answer::IGNORE,
    };
    let lifetime = fields.ttl.map(|ttl| ttl.min(LONGEST)).or(reply.freshness.lifetime);
    Ok(Reply { answer, freshness: Freshness { lifetime, ..reply.freshness } })
}

fn check_end(expire_at: u64, unix_time: Duration) -> Result<(), String> {
    let farthest = unix_time.max(CLOCK_IS_SET) + FARTHEST;
    if expire_at <= farthest.as_secs().min(LARGEST) {
        return Ok(());
    }
    Err(format!(
        "\"expire_at\" is {expire_at}; allowed: seconds of Unix time, ten years ahead at most"
    ))
}

fn freshness(response: &Response) -> Freshness {
    freshness::freshness(response.cache_control.as_deref(), response.age.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn response(status: u16, body: &str) -> Response {
        Response { status, body: Some(body.as_bytes().to_vec()), ..Response::default() }
    }

    fn own(kind: Kind, response: &Response) -> Result<Reply, Failure> {
        read(kind, response, &ApiFormat::default(), NOW)
    }

    fn login(body: &str) -> Result<Reply, Failure> {
        own(Kind::Login, &response(200, body))
    }

    #[test]
    fn only_200_allows_and_only_a_server_error_is_a_failure() {
        let statuses = |wanted: fn(&Result<Verdict, Failure>) -> bool| -> Vec<u16> {
            (100..=999).filter(|status| wanted(&verdict(*status, &ApiFormat::default()))).collect()
        };
        assert_eq!(statuses(|verdict| *verdict == Ok(Verdict::Allow)), [200]);
        let failures: Vec<_> = [408, 425, 429].into_iter().chain(500..=599).collect();
        assert_eq!(statuses(Result::is_err), failures);
        assert_eq!(verdict(503, &ApiFormat::default()), Err(Failure::Status(503)));
    }

    #[test]
    fn the_body_of_a_200_may_take_it_back() {
        assert_eq!(login(r#"{"result":"allow"}"#).unwrap().answer, Answer::ALLOW);
        assert_eq!(login(r#"{"result":"deny"}"#).unwrap().answer, Answer::DENY);
        assert_eq!(login(r#"{"result":"ignore"}"#).unwrap().answer, Answer::IGNORE);
    }

    #[test]
    fn the_body_of_any_other_status_changes_nothing() {
        let denied = own(Kind::Login, &response(403, r#"{"result":"allow"}"#)).unwrap();
        assert_eq!(denied.answer, Answer::DENY);
        let failed = own(Kind::Login, &response(503, r#"{"result":"allow"}"#));
        assert_eq!(failed, Err(Failure::Status(503)));
    }

    #[test]
    fn a_no_may_say_why_with_any_status() {
        let why = |status, body: &str| {
            let beginning = body.as_bytes().to_vec();
            let reply = own(Kind::Login, &Response { beginning, ..response(status, body) });
            reply.unwrap().answer.reason.as_deref().map(str::to_owned)
        };
        let body = r#"{"result":"deny","reason":"locked"}"#;
        for status in [200, 204, 301, 401, 403, 404] {
            assert_eq!(why(status, body).as_deref(), Some("locked"), "{status}");
        }
        assert_eq!(why(401, r#"{"reason":"locked","ttl":"broken"}"#).as_deref(), Some("locked"));
        for silent in ["", "locked", "[]", r#"{"reason":"#, r#"{"error":"locked"}"#] {
            assert_eq!(why(403, silent), None, "{silent}");
        }
        assert_eq!(why(200, r#"{"reason":"fine"}"#), None, "it is a yes");
        assert_eq!(why(200, r#"{"result":"ignore","reason":"fine"}"#), None);
    }

    #[test]
    fn a_yes_until_a_time_that_is_over_is_a_no() {
        let until = |expire_at: u64| {
            login(&format!(r#"{{"result":"allow","expire_at":{expire_at}}}"#)).unwrap().answer
        };
        assert_eq!(until(NOW.as_secs()).verdict, Verdict::Deny);
        assert_eq!(until(NOW.as_secs() + 1).verdict, Verdict::Allow);
    }

    #[test]
    fn session_grants_are_for_logins_only() {
        let body = r#"{"is_superuser":true,"acl":"broken","ttl":7}"#;
        assert!(login(body).is_err());
        let reply = own(Kind::Access, &response(200, body)).unwrap();
        assert_eq!(reply.answer, Answer::ALLOW);
        assert_eq!(reply.freshness.lifetime, Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_session_does_not_end_in_more_than_ten_years() {
        let ends = |expire_at: u64| login(&format!(r#"{{"expire_at":{expire_at}}}"#)).is_ok();
        let ten_years = (CLOCK_IS_SET + FARTHEST).as_secs();
        assert!(ends(1) && ends(ten_years));
        for broken in [ten_years + 1, 1_795_883_368_000, 1_000_000_000_000, u64::MAX] {
            assert!(!ends(broken), "{broken}");
        }
        let later = Duration::from_secs(2_000_000_000);
        assert!(check_end(2_000_000_000, Duration::ZERO).is_ok(), "a clock that is not set");
        assert!(check_end((later + FARTHEST).as_secs(), later).is_ok());
        assert!(check_end((later + FARTHEST).as_secs() + 1, later).is_err());
    }

    #[test]
    fn a_form_says_what_an_object_says() {
        let form = |kind, body: &str| {
            let response = Response { status: 200, body: Some(body.into()), ..Response::default() };
            own(kind, &response)
        };
        let verdict = |body: &str| form(Kind::Login, body).unwrap().answer.verdict;
        assert_eq!(verdict("result=deny"), Verdict::Deny);
        assert_eq!(verdict("result=ignore&x=1"), Verdict::Ignore);
        assert_eq!(verdict("result=allow&is_superuser=false&ttl=5"), Verdict::Allow);
        assert_eq!(verdict("a=b"), Verdict::Allow);
        for broken in ["result=no", "result=deny&result=allow", "result=", "ttl=-1", "acl=x"] {
            assert!(form(Kind::Login, broken).is_err(), "{broken}");
        }
        let superuser = form(Kind::Superuser, "is_superuser=0").unwrap();
        assert_eq!(superuser.answer, Answer::DENY);
    }

    #[test]
    fn the_body_goes_before_the_header() {
        let mut response = response(200, r#"{"ttl":300}"#);
        response.cache_control = Some(b"max-age=1, stale-if-error=2".to_vec());
        let reply = own(Kind::Access, &response).unwrap();
        assert_eq!(reply.freshness.lifetime, Some(Duration::from_secs(300)));
        assert_eq!(reply.freshness.stale, Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_batch_is_answered_as_a_whole_or_not_at_all() {
        let verdicts = |status, body: &str| {
            read_batch(&response(status, body), 2)
                .map(|replies| replies.into_iter().map(|reply| reply.answer.verdict).collect())
        };
        let both: Vec<_> = verdicts(200, r#"{"results":["allow","deny"]}"#).unwrap();
        assert_eq!(both, [Verdict::Allow, Verdict::Deny]);
        for body in ["", "[]", r#"{"results":["allow"]}"#, r#"{"results":["allow","yes"]}"#] {
            assert!(matches!(verdicts(200, body), Err(Failure::BrokenAnswer(_))), "{body}");
        }
        let no = verdicts(403, r#"{"results":["allow","deny"]}"#);
        assert_eq!(no, Err(Failure::Status(403)));
    }

    /// What an answer comes to: `+` allowed, `-` denied, `!` failed.
    fn comes_to(api_format: &ApiFormat, status: u16, body: &str) -> char {
        match read(Kind::Login, &response(status, body), api_format, NOW) {
            Ok(reply) if reply.answer == Answer::ALLOW => '+',
            Ok(reply) if reply.answer.verdict == Verdict::Deny => '-',
            Ok(reply) => panic!("{reply:?}"),
            Err(_) => '!',
        }
    }

    #[test]
    fn the_plugins_that_came_before_take_every_success_as_a_yes() {
        for compat in [Compat::GoAuth, Compat::AuthPlug] {
            let api_format = ApiFormat { compat, ..ApiFormat::default() };
            for (status, expected) in [
                (200, '+'),
                (201, '+'),
                (204, '+'),
                (301, '-'),
                (401, '-'),
                (404, '-'),
                (408, '-'),
                (429, '-'),
                (500, '!'),
                (503, '!'),
            ] {
                let body = r#"{"result":"deny","ttl":"broken"}"#;
                assert_eq!(comes_to(&api_format, status, body), expected, "{status}");
            }
        }
    }

    #[test]
    fn in_json_mode_ok_decides() {
        for compat in [Compat::None, Compat::GoAuth] {
            let api_format =
                ApiFormat { compat, response: ResponseMode::Json, ..ApiFormat::default() };
            for (status, body, expected) in [
                (200, r#"{"ok":true}"#, '+'),
                (201, r#" {"OK": true, "more": 1} "#, '+'),
                (200, r#"{"ok":false,"error":"why"}"#, '-'),
                (200, "{}", '-'),
                (200, r#"{"ok":true,"reason":"a","reason":"b","error":"c","error":"d"}"#, '+'),
                (200, r#"{"ok":true,"ok":true}"#, '!'),
                (200, r#"{"ok":"true"}"#, '!'),
                (200, "ok", '!'),
                (200, "", '!'),
                (200, "[]", '!'),
                (401, r#"{"ok":true}"#, '-'),
                (500, r#"{"ok":true}"#, '!'),
            ] {
                assert_eq!(comes_to(&api_format, status, body), expected, "{status} {body}");
            }
            for (status, body) in [
                (200, r#"{"ok":false,"error":"why"}"#),
                (200, r#"{"ok":false,"reason":"why"}"#),
                (200, r#"{"reason":"why","error":"other"}"#),
                (200, r#"{"reason":null,"error":"why"}"#),
                (200, r#"{"ok":false,"reason":"","error":"why"}"#),
                (200, r#"{"ok":false,"reason":"why","reason":"other"}"#),
                (401, r#"{"ok":false,"reason":"why"}"#),
                (401, r#"{"ok":false,"error":"why"}"#),
                (404, r#"{"ok":7,"ok":8,"reason":"","error":"why","error":"other"}"#),
            ] {
                let denied = Response { beginning: body.into(), ..response(status, body) };
                let denied = read(Kind::Login, &denied, &api_format, NOW).unwrap();
                assert_eq!(denied.answer.reason.as_deref(), Some("why"), "{body}");
            }
        }
    }

    #[test]
    fn in_text_mode_ok_decides() {
        let api_format = ApiFormat { response: ResponseMode::Text, ..ApiFormat::default() };
        for (status, body, expected) in [
            (200, "ok", '+'),
            (202, "ok", '+'),
            (200, "ok\n", '-'),
            (200, "OK", '-'),
            (200, "", '-'),
            (204, "", '-'),
            (200, "{", '!'),
            (200, "{}", '-'),
            (403, "ok", '-'),
            (502, "ok", '!'),
            (429, "ok", '!'),
        ] {
            assert_eq!(comes_to(&api_format, status, body), expected, "{status} {body:?}");
        }
        for (body, reason) in
            [("x".repeat(201), "x".repeat(200)), ("é".repeat(150), "é".repeat(100))]
        {
            let denied = read(Kind::Login, &response(200, &body), &api_format, NOW).unwrap();
            assert_eq!(denied.answer.reason.as_deref(), Some(reason.as_str()));
        }
    }

    /// The table of `docs/http-protocol.md`.
    #[test]
    fn every_status_body_and_mode() {
        let api_format = |compat, response| ApiFormat { compat, response, ..ApiFormat::default() };
        let columns = [
            api_format(Compat::None, ResponseMode::Status),
            api_format(Compat::None, ResponseMode::Json),
            api_format(Compat::None, ResponseMode::Text),
            api_format(Compat::GoAuth, ResponseMode::Status),
        ];
        let broken = r#"{"acl":[{}]}"#;
        for (statuses, body, expected) in [
            (200..=200, "", "+!-+"),
            (200..=200, "[1]", "!!-+"),
            (200..=200, "[]", "+!-+"),
            (200..=200, "deny", "!!-+"),
            (200..=200, "false", "!!-+"),
            (200..=200, "denied", "+!-+"),
            (200..=200, "result=deny", "-!-+"),
            (200..=200, r#"{"result":"deny"}"#, "---+"),
            (200..=200, "{\"result\":", "!!!+"),
            (200..=200, broken, "!--+"),
            (200..=200, r#"{"ok":true}"#, "++-+"),
            (200..=200, r#"{"ok":false,"error":"why"}"#, "+--+"),
            (200..=200, "ok", "+!++"),
            (201..=299, r#"{"ok":true}"#, "-+-+"),
            (201..=299, "ok", "-!++"),
            (300..=407, "ok", "----"),
            (408..=408, "ok", "!!!-"),
            (409..=424, "ok", "----"),
            (425..=425, "ok", "!!!-"),
            (426..=428, "ok", "----"),
            (429..=429, "ok", "!!!-"),
            (430..=499, "ok", "----"),
            (500..=599, "ok", "!!!!"),
        ] {
            for status in statuses {
                let found: String =
                    columns.iter().map(|api_format| comes_to(api_format, status, body)).collect();
                assert_eq!(found, expected, "{status} {body}");
            }
        }
    }
}
