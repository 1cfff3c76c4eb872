//! What a token says and grants (RFC 7519, section 4), once it is certain who says it, and that it is good
//! now and here.

#![forbid(unsafe_code)]

use std::time::Duration;

use serde_json::{Map, Value};

use crate::answer::{Answer, InvalidToken, SessionGrants};
use crate::api;
use crate::config::{TokenUsername, TokensConfig};
use crate::rules::is_username;

/// Reads the claims at this Unix time; whoever bears the token gave this name.
///
/// # Errors
/// Why the token lets nobody in all the same.
pub(crate) fn read(
    json: &str,
    bearer: &str,
    config: &TokensConfig,
    now: Duration,
) -> Result<Answer, InvalidToken> {
    let broken = |problem: serde_json::Error| InvalidToken::Claims(problem.to_string());
    let claims: Map<String, Value> = serde_json::from_str(json).map_err(broken)?;
    let exp = claims.get("exp").and_then(seconds);
    let expire_at = exp.map(|exp| exp.saturating_add(config.leeway.as_secs()));
    // The session ends by this, so that this must have the last word.
    if expire_at.is_some_and(|end| now.as_secs() >= end) {
        return Err(InvalidToken::Expired);
    }
    let session_grants = api::claims(json, config.syntax).map_err(InvalidToken::Claims)?;
    let user = claims.get(&config.username_claim).and_then(Value::as_str);
    let name = name(config.username, user, bearer).ok_or(InvalidToken::Username)?;
    let username = (name != bearer).then(|| name.to_owned());
    Ok(Answer::of_token(SessionGrants { username, expire_at, ..session_grants }))
}

/// By which name the bearer is known, which gave one that may be empty; none: the token does not let it in.
fn name<'a>(rule: TokenUsername, user: Option<&'a str>, bearer: &'a str) -> Option<&'a str> {
    match rule {
        TokenUsername::Match => user.filter(|user| *user == bearer && !bearer.is_empty()),
        TokenUsername::Any if !bearer.is_empty() => Some(bearer),
        // Whoever gives no name has the token's.
        TokenUsername::Any | TokenUsername::Set => user.filter(|user| is_username(user)),
    }
}

/// Seconds of Unix time, perhaps with a fraction (RFC 7519, section 2), rounded as `jsonwebtoken` does.
fn seconds(value: &Value) -> Option<u64> {
    // A cast keeps to what the type can hold.
    value.as_u64().or_else(|| Some(value.as_f64()?.round() as u64))
}
