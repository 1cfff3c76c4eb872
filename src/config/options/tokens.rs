//! Tokens that are decided without asking: keys, and whom a token lets in.

#![forbid(unsafe_code)]

use super::Preset::{Value, Words};
use super::plain_values::name;
use super::show;
use super::{Opt, opt};
use crate::config::choices::TOKEN_USERNAME;
use crate::config::tokens;
use crate::config::values::{choice, flag, route, seconds};

pub(super) static OPTIONS: &[Opt] = &[
    opt!(
        "jwt_key_file",
        Words("unset"),
        "A file with the public keys of the issuer of tokens, as PEM or as a JWK Set (RFC 7517). A \
         token alone then decides about a password that has the form of a JSON Web Token, and the \
         plugin asks nobody. At most four keys without a `kid`, as all of a PEM file are, may be for \
         one algorithm. Read again on SIGHUP.",
        |raw, text| raw.sources.jwt_key_file = Some(name(text)?),
        |config| config.sources.jwt_key_file.clone()
    ),
    opt!(
        "jwt_secret_file",
        Words("unset"),
        "The same, with the secret of tokens that are signed by HMAC: the file's bytes, less one line \
         end. Read again on SIGHUP.",
        |raw, text| raw.sources.jwt_secret_file = Some(name(text)?),
        |config| config.sources.jwt_secret_file.clone()
    ),
    opt!(
        "http_jwks_route",
        Words("unset"),
        "The same, with a path at the API that has the JWK Set. The plugin fetches it in the \
         background, keeps it as `Cache-Control` says (else 5 minutes), and fetches it again for a \
         token whose `kid` is not in it: at most every 30 seconds, or every 2 seconds while it has no \
         set yet.",
        |raw, text| raw.tokens.jwks_route = Some(route(text)?),
        |config| show::route(config.tokens.jwks_route.as_deref())
    ),
    opt!(
        "jwt_algorithms",
        Words("what the keys permit"),
        "The allowed algorithms: a comma list out of `HS256`, `HS384`, `HS512` (with \
         `jwt_secret_file` only), `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, \
         `ES384`, `EdDSA`.",
        |raw, text| raw.tokens.algorithms = Some(tokens::algorithms(text)?),
        |config| {
            let usual = || "what the keys permit".to_owned();
            let known = config.tokens().map(|tokens| tokens.algorithms_in_words(config));
            Some(known.unwrap_or_else(usual))
        }
    ),
    opt!(
        "jwt_issuer",
        Words("unset"),
        "What the claim `iss` must be. Unset: the plugin ignores it.",
        |raw, text| raw.tokens.issuer = Some(name(text)?),
        |config| config.tokens.issuer.clone()
    ),
    opt!(
        "jwt_audience",
        Words("unset"),
        "What the claim `aud` must be, or contain if it is a list: one of this comma list. Unset: \
         the plugin ignores it, and a token that was issued for another service lets its bearer \
         in.",
        |raw, text| raw.tokens.audience = tokens::audience(text)?,
        |config| Some(config.tokens.audience.join(",")).filter(|all| !all.is_empty())
    ),
    opt!(
        "jwt_leeway",
        Value("5"),
        "Seconds by which the issuer's clock may differ: a token is good for that long after \
         `exp`, and from that long before `nbf`.",
        |raw, text| raw.tokens.leeway = seconds(text, 0..=3600)?,
        |config| show::seconds(config.tokens.leeway)
    ),
    opt!(
        "jwt_username_claim",
        Value("sub"),
        "The claim that names the token's user.",
        |raw, text| raw.tokens.username_claim = tokens::claim(text)?,
        |config| Some(config.tokens.username_claim.clone())
    ),
    opt!(
        "jwt_username",
        Value("match"),
        "`match` (the client must give that name as its username), `set` (the client has that name \
         from then on, whatever it gave), or `any` (the client keeps the name that it gave, which \
         the token need not confirm).",
        |raw, text| raw.tokens.username = choice(text, TOKEN_USERNAME)?,
        |config| show::word(TOKEN_USERNAME, config.tokens.username)
    ),
    opt!(
        "jwt_only",
        Value("false"),
        "What happens to a password that does not have the form of a token: `false` (the plugin \
         asks the API, if there is `http_user_route`), or `true` (the plugin denies it).",
        |raw, text| raw.tokens.only = flag(text)?,
        |config| Some(config.tokens.only.to_string())
    ),
];
