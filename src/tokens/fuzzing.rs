//! What an issuer may say of a bearer, whatever it says.

#![forbid(unsafe_code)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a finding is a panic")]

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::hmac;
use serde_json::{Map, Value};

use super::Tokens;
use crate::answer::{SessionGrants, Verdict};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{TokenUsername, TokensConfig};
use crate::jose::KeySet;
use crate::rules::Syntax;
use crate::secret::Secret;

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

/// A token that is good lets in whom its claims name, until they say, and grants what can be read of them.
pub(crate) fn claims(data: &[u8]) {
    let [ways, claims @ ..] = data else { return };
    let rules = [TokenUsername::Match, TokenUsername::Set, TokenUsername::Any];
    let rule = rules[usize::from(*ways) % 3];
    let syntax = if ways / 3 % 2 == 0 { Syntax::Own } else { Syntax::Emqx };
    let config = TokensConfig {
        username_claim: "sub".to_owned(),
        username: rule,
        leeway: Duration::from_secs(5),
        syntax,
        ..TokensConfig::default()
    };
    let keys = KeySet::of_secret(&Secret::new(SECRET.to_vec()));
    let answer = Tokens::new(config, &keys, Arc::new(SystemClock)).decide(&signed(claims), "ann");
    if answer.verdict != Verdict::Allow {
        assert!(answer.why_invalid().is_some() && answer.session_grants.is_none());
        return;
    }
    let claims: Map<String, Value> = serde_json::from_slice(claims).unwrap();
    let subject = claims.get("sub").and_then(Value::as_str);
    let known_as = SessionGrants::known_as(answer.session_grants.as_ref(), "ann");
    let expected = if rule == TokenUsername::Any { Some("ann") } else { subject };
    assert_eq!(Some(known_as), expected, "{rule:?}");
    let grants = answer.session_grants.as_ref().unwrap();
    let has_end = claims.get("exp").is_some_and(|exp| !exp.is_null());
    assert_eq!(grants.expire_at.is_some(), has_end, "it would never end");
    assert!(grants.expire_at.is_none_or(|end| end > SystemClock.unix_time().as_secs() - 1));
    let has_rules = claims.get("acl").is_some_and(|acl| !acl.is_null());
    assert_eq!(grants.rules.is_some(), has_rules, "what they say is lost");
}

fn signed(claims: &[u8]) -> String {
    let signed = format!("{}.{}", BASE64URL.encode(r#"{"alg":"HS256"}"#), BASE64URL.encode(claims));
    let mark = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", BASE64URL.encode(mark))
}
