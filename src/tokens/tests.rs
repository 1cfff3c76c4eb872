//! When keys are fetched, and what becomes of tokens meanwhile.

#![forbid(unsafe_code)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

use super::*;
use crate::answer::{SessionGrants, Verdict};
use crate::clock::SystemClock;
use crate::config::TokenUsername;
use crate::question::{Access, Action};
use crate::rules::{Names, Permission, Rules, Syntax, Whom};
use crate::secret::Secret;

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

fn token(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
    let mark = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", BASE64URL.encode(mark))
}

fn own() -> KeySet {
    KeySet::of_secret(&Secret::new(SECRET.to_vec()))
}

fn tokens(jwks_route: Option<&str>, own: &KeySet) -> Tokens {
    let config = TokensConfig {
        jwks_route: jwks_route.map(str::to_owned),
        leeway: Duration::from_secs(5),
        username_claim: "sub".to_owned(),
        ..TokensConfig::default()
    };
    Tokens::new(config, own, Arc::new(SystemClock))
}

fn decided(claims: &str) -> Answer {
    tokens(None, &own()).decide(&token(r#"{"alg":"HS256"}"#, claims), "ann")
}

/// By which name the bearer is known that gave this one; none: it is denied.
fn name(rule: TokenUsername, claims: &str, bearer: &str) -> Option<String> {
    let config = TokensConfig {
        username_claim: "sub".to_owned(),
        username: rule,
        ..TokensConfig::default()
    };
    let tokens = Tokens::new(config, &own(), Arc::new(SystemClock));
    let answer = tokens.decide(&token(r#"{"alg":"HS256"}"#, claims), bearer);
    match answer.why_invalid() {
        None => Some(SessionGrants::known_as(answer.session_grants.as_ref(), bearer).to_owned()),
        Some(InvalidToken::Username) => None,
        Some(other) => panic!("{other:?}"),
    }
}

#[test]
fn what_a_token_grants_is_read_as_in_a_logins_answer() {
    let end = SystemClock.unix_time().as_secs() + 60;
    let answer = decided(&format!(
        r#"{{"sub":"ann","is_superuser":false,"result":"deny","ttl":"x","expire_at":"y","exp":{end},
            "acl":[{{"permission":"allow","action":"publish","topic":"a/#"}}]}}"#
    ));
    assert_eq!(answer.verdict, Verdict::Allow);
    let session_grants = answer.session_grants.unwrap();
    assert_eq!(session_grants.expire_at, Some(end + 5), "and the leeway");
    assert_eq!(
        (session_grants.is_superuser, session_grants.rules.as_ref().unwrap().len()),
        (Some(false), 1)
    );
    for broken in [r#"{"acl":[{}]}"#, r#"{"acl":"all"}"#, r#"{"is_superuser":7}"#] {
        let why = decided(broken).why_invalid().cloned();
        assert!(matches!(why, Some(InvalidToken::Claims(_))), "{broken}: {why:?}");
    }
    let attributes =
        decided(r#"{"sub":"ann","client_attrs":{"tenant":"acme"}}"#).session_grants.unwrap();
    assert_eq!(attributes.attributes.as_ref().unwrap().get("tenant"), Some("acme"));
    assert!(decided(r#"{"sub":["a","b"]}"#).why_invalid().is_some());
}

#[test]
fn the_rules_of_a_token_have_conditions_and_the_configurations_syntax() {
    let claims = r#"{"sub":"ann","acl":[
        {"permission":"deny","action":"all","topic":"a","clientid_re":"^guest-"},
        {"permission":"allow","action":"all","topic":"a","ipaddr":"192.0.2.0/24"},
        {"permission":"allow","action":"all","topic":"b/%u","username_re":"^ann$"}]}"#;
    let rules = |syntax| {
        let config =
            TokensConfig { username_claim: "sub".to_owned(), syntax, ..TokensConfig::default() };
        let tokens = Tokens::new(config, &own(), Arc::new(SystemClock));
        let answer = tokens.decide(&token(r#"{"alg":"HS256"}"#, claims), "ann");
        answer.session_grants.unwrap().rules.clone().unwrap()
    };
    let allows = |rules: &Rules, address: &str, client_id, topic| {
        let whom = Whom { address: address.parse().ok(), username: "ann", client_id };
        let met = rules.met_by(whom);
        let names = Names { conditions: met.as_ref(), ..Names::of("ann", client_id) };
        let action = Action { access: Access::Write, topic, qos: 0, retain: false };
        let ruling = rules.judge(&action, names);
        ruling.is_some_and(|ruling| ruling.permission == Permission::Allow)
    };
    let (own, emqx) = (rules(Syntax::Own), rules(Syntax::Emqx));
    for rules in [&own, &emqx] {
        assert!(allows(rules, "192.0.2.7", "c", "a"));
        assert!(!allows(rules, "192.0.2.7", "guest-1", "a"));
        assert!(!allows(rules, "198.51.100.1", "c", "a"));
        assert!(!allows(rules, "", "c", "a"), "nobody knows where it comes from");
    }
    assert!(allows(&own, "", "c", "b/ann") && !allows(&own, "", "c", "b/%u"));
    assert!(allows(&emqx, "", "c", "b/%u") && !allows(&emqx, "", "c", "b/ann"));
    for broken in [r#""clientid_re":"(""#, r#""ipaddr":"x""#, r#""zone":"z""#] {
        let rule = format!(r#"{{"permission":"allow","action":"all","topic":"a",{broken}}}"#);
        let why = decided(&format!(r#"{{"sub":"ann","acl":[{rule}]}}"#)).why_invalid().cloned();
        assert!(matches!(why, Some(InvalidToken::Claims(_))), "{broken}: {why:?}");
    }
}

#[test]
fn a_token_may_have_lists_of_topics_and_nothing_else_is_allowed_then() {
    let judge = |acl: &str, access, topic| {
        let answer = decided(&format!(r#"{{"sub":"ann","acl":{acl}}}"#));
        assert_eq!(answer.verdict, Verdict::Allow, "{acl}: {:?}", answer.why_invalid());
        let rules = answer.session_grants.unwrap().rules.clone().unwrap();
        assert!(rules.deny_the_rest(), "{acl}");
        let action = Action { access, topic, qos: 0, retain: false };
        rules.judge(&action, Names::of("ann", "c1")).map(|ruling| ruling.permission)
    };
    let lists =
        r##"{"pub":["up/${clientid}","eq up/+"],"sub":["down/%u/#"],"all":["x/${username}"]}"##;
    for (access, topic, may) in [
        (Access::Write, "up/c1", true),
        (Access::Write, "up/c2", false),
        (Access::Write, "down/ann/x", false),
        (Access::Subscribe, "down/ann/#", true),
        (Access::Read, "down/ann/x", true),
        (Access::Subscribe, "down/#", false),
        (Access::Subscribe, "up/c1", false),
        (Access::Write, "x/ann", true),
        (Access::Subscribe, "x/ann", true),
        (Access::Write, "$SYS/x", false),
    ] {
        let allowed = may.then_some(Permission::Allow);
        assert_eq!(judge(lists, access, topic), allowed, "{access:?} {topic}");
    }
    for nothing in ["{}", r#"{"pub":[]}"#, r#"{"sub":null}"#] {
        assert_eq!(judge(nothing, Access::Write, "a"), None, "{nothing}");
    }
    for (broken, said) in [
        (r##"{"pub":["a"],"deny":["#"]}"##, r#""acl" has "deny"; allowed: "pub", "sub", "all""#),
        (r#"{"publish":["a"]}"#, r#""acl" has "publish"; allowed"#),
        (r#"{"pub":["a"],"pub":["b"]}"#, r#""pub" is there twice"#),
        (r#"{"pub":"a"}"#, r#""pub" is "a"; allowed: an array of topic filters"#),
        (r#"{"pub":[7]}"#, r#""pub" is 7; allowed: an array of topic filters"#),
        (r#"{"sub":["a/#/b"]}"#, "is not a topic filter"),
        ("7", "allowed: an array of rules, or an object"),
    ] {
        let answer = decided(&format!(r#"{{"sub":"ann","acl":{broken}}}"#));
        let Some(InvalidToken::Claims(problem)) = answer.why_invalid() else { panic!("{broken}") };
        assert!(problem.contains(said), "{broken}: {problem}");
    }
    let many = vec!["\"a\""; 10_001].join(",");
    // Longer than a token may be, so that nobody but a test gets so far.
    assert!(crate::api::claims(&format!(r#"{{"acl":{{"all":[{many}]}}}}"#), Syntax::Own).is_err());
}

#[test]
fn a_bearer_is_known_by_the_name_that_the_option_says() {
    let ann = r#"{"sub":"ann"}"#;
    for (rule, bearer, known_as) in [
        (TokenUsername::Match, "ann", Some("ann")),
        (TokenUsername::Match, "ben", None),
        (TokenUsername::Match, "", None),
        (TokenUsername::Set, "ann", Some("ann")),
        (TokenUsername::Set, "ben", Some("ann")),
        (TokenUsername::Set, "", Some("ann")),
        (TokenUsername::Any, "ben", Some("ben")),
        (TokenUsername::Any, "", Some("ann")),
    ] {
        assert_eq!(name(rule, ann, bearer).as_deref(), known_as, "{rule:?}, {bearer:?}");
    }
    for nobody in ["{}", r#"{"sub":7}"#, r#"{"sub":""}"#, r#"{"sub":"a/b"}"#, r#"{"sub":"+"}"#] {
        assert_eq!(name(TokenUsername::Match, nobody, "ann"), None, "{nobody}");
        assert_eq!(name(TokenUsername::Set, nobody, "ann"), None, "{nobody}");
        assert_eq!(name(TokenUsername::Any, nobody, ""), None, "{nobody}");
        assert_eq!(name(TokenUsername::Any, nobody, "ann").as_deref(), Some("ann"), "{nobody}");
    }
}

#[test]
fn a_token_whose_key_may_be_at_the_api_is_not_denied_before_that_was_asked() {
    let strange = token(r#"{"alg":"ES256","kid":"new"}"#, "{}");
    let invalid = |why| Looked::Decided(Answer::invalid(why));
    assert_eq!(
        tokens(None, &KeySet::default()).look(&strange, "ann"),
        invalid(InvalidToken::UnknownKey)
    );
    let tokens = tokens(Some("/keys"), &KeySet::default());
    assert!(tokens.want_keys());
    assert_eq!(tokens.look(&strange, "ann"), Looked::NeedsKeys);
    // The API has no secrets, whatever a token names.
    let secretly = [r#"{"alg":"HS256","kid":"new"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"none"}"#];
    for header in secretly {
        let looked = tokens.look(&token(header, "{}"), "ann");
        assert!(matches!(looked, Looked::Decided(_)), "{header}: {looked:?}");
    }
    let note = |ago: u64, failure: Option<Failure>, fetched: Option<KeySet>| {
        let mut state = lock(&tokens.state);
        let at = tokens.clock.now().checked_sub(Duration::from_secs(ago)).unwrap();
        state.last_attempt = Some((at, failure));
        state.fetched = fetched;
        state.combine();
    };
    // The API fails: nobody knows, and before long it is asked again.
    note(1, Some(Failure::Status(503)), None);
    assert_eq!(tokens.look(&strange, "ann"), Looked::Failed(Failure::Status(503)));
    note(3, Some(Failure::Status(503)), None);
    assert_eq!(tokens.look(&strange, "ann"), Looked::NeedsKeys);
    // It has keys, and not this one: that counts for 30 seconds.
    let set = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let keys = jose::read_set(set).unwrap();
    note(29, None, Some(keys.clone()));
    assert_eq!(tokens.look(&strange, "ann"), invalid(InvalidToken::UnknownKey));
    note(31, None, Some(keys.clone()));
    assert_eq!(tokens.look(&strange, "ann"), Looked::NeedsKeys);
    note(29, Some(Failure::TimedOut), Some(keys));
    assert_eq!(tokens.look(&strange, "ann"), Looked::Failed(Failure::TimedOut));
    for other in [r#"{"alg":"ES256","kid":"a"}"#, r#"{"alg":"HS256","kid":"new"}"#] {
        let looked = tokens.look(&token(other, "{}"), "ann");
        assert_eq!(looked, invalid(InvalidToken::Algorithm), "that is no matter of keys: {other}");
    }
}

/// A new public key for ES256, without a `kid` like all keys in PEM.
fn nameless() -> KeySet {
    let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let [x, y] = [x, y].map(|half| BASE64URL.encode(half));
    let set = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}]}}"#);
    jose::read_set(set.as_bytes()).unwrap()
}

/// A secret and the keys in PEM have no `kid`, and may have signed any token: one that none of them has signed may
/// mean a key at the API, unless it claims to be signed with a secret.
#[test]
fn a_key_without_a_name_keeps_no_token_from_its_own_key_at_the_api() {
    let tokens = tokens(Some("/keys"), &own().with(&nameless()));
    let of_own = token(r#"{"alg":"HS256","kid":"new"}"#, r#"{"sub":"ann"}"#);
    let by_other = |token: &str| token[..token.len() - 4].to_owned() + "AAAA";
    let forged = [by_other(&of_own), by_other(&token(r#"{"alg":"HS256"}"#, "{}"))];
    let strange = ["ES256", "EdDSA"]
        .map(|algorithm| token(&format!(r#"{{"alg":"{algorithm}","kid":"new"}}"#), "{}"));
    let invalid = |why| Looked::Decided(Answer::invalid(why));
    let fetched = |ago: u64| {
        let mut state = lock(&tokens.state);
        let at = tokens.clock.now().checked_sub(Duration::from_secs(ago)).unwrap();
        state.last_attempt = Some((at, None));
        state.fetched = Some(KeySet::default());
    };
    for (ago, seen) in [(31, Looked::NeedsKeys), (29, invalid(InvalidToken::UnknownKey))] {
        fetched(ago);
        for strange in &strange {
            assert_eq!(tokens.look(strange, "ann"), seen, "{ago} s after the last time");
        }
        let Looked::Decided(own) = tokens.look(&of_own, "ann") else { panic!("it is known") };
        assert_eq!(own.verdict, Verdict::Allow);
        for forged in &forged {
            assert_eq!(tokens.look(forged, "ann"), invalid(InvalidToken::Signature));
        }
    }
}

#[test]
fn other_keys_begin_a_generation() {
    let tokens = tokens(None, &own());
    let before = tokens.generation();
    assert_eq!(tokens.renew(&own()), None);
    assert_eq!(tokens.generation(), before, "they are the same");
    assert_eq!(tokens.renew(&KeySet::default()), None);
    assert_ne!(tokens.generation(), before);
    let answer = tokens.decide(&token(r#"{"alg":"HS256"}"#, "{}"), "ann");
    assert_eq!(answer.why_invalid(), Some(&InvalidToken::UnknownKey));
}
