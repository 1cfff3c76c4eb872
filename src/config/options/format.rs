//! How questions are written and answers are read.

#![forbid(unsafe_code)]

use super::Preset::Value;
use super::show;
use super::{Opt, opt};
use crate::config::choices::{COMPAT, METHOD, PARAMS_MODE, PASSWORD_ENCODING, RESPONSE_MODE};
use crate::config::values::choice;

pub(super) static OPTIONS: &[Opt] = &[
    opt!(
        "http_response_mode",
        Value("status"),
        "What decides: `status` (200, and what a JSON object may add), `json` (a 2xx whose body is \
         `{\"ok\": true}`), or `text` (a 2xx whose body is `ok`).",
        |raw, text| raw.api_format.response = choice(text, RESPONSE_MODE)?,
        |config| show::word(RESPONSE_MODE, config.api_format.response)
    ),
    opt!(
        "http_params_mode",
        Value("json"),
        "How the plugin writes a question: `json`, or `form` (the same names, form-encoded).",
        |raw, text| raw.api_format.params = choice(text, PARAMS_MODE)?,
        |config| show::word(PARAMS_MODE, config.api_format.params)
    ),
    opt!(
        "http_method",
        Value("POST"),
        "`POST`, `PUT` or `GET`. The question is in the body with all three.",
        |raw, text| raw.api_format.method = choice(text, METHOD)?,
        |config| show::word(METHOD, config.api_format.method)
    ),
    opt!(
        "password_encoding",
        Value("utf8"),
        "How the plugin writes a password into JSON: `utf8` (it denies other bytes) or `base64`.",
        |raw, text| raw.password_encoding = choice(text, PASSWORD_ENCODING)?,
        |config| show::word(PASSWORD_ENCODING, config.password_encoding)
    ),
    opt!(
        "compat",
        Value("none"),
        "`go-auth` or `auth-plug`: the options and meanings of mosquitto-go-auth's or \
         mosquitto-auth-plug's http backend; see `docs/migrating.md`. Without it, `http_ip`, \
         `http_hostname` or a library file named `auth-plug.so` means `auth-plug`; otherwise, \
         `http_getuser_uri`, `backends` or a library file named `go-auth.so` means `go-auth`. \
         `emqx`: the questions and answers of EMQX's HTTP authentication and authorization; see \
         `docs/coming-from-emqx.md`.",
        |raw, text| raw.api_format.compat = choice(text, COMPAT)?,
        |config| show::word(COMPAT, config.api_format.compat)
    ),
];
