//! What follows while nobody has decided: who waits for how long, and what is done then.

#![forbid(unsafe_code)]

use super::Preset::Value;
use super::plain_values::percent;
use super::show;
use super::{Opt, opt};
use crate::config::choices::{ACL_UNAVAILABLE, ON_ERROR, UNAVAILABLE_REPLY};
use crate::config::values::{self, choice, flag, millis};

pub(super) static OPTIONS: &[Opt] = &[
    opt!(
        "max_block_ms",
        Value("1000"),
        "The longest that one question may hold up the broker, in milliseconds, where Mosquitto \
         offers no way to answer later. After that the plugin closes a login without an answer \
         (the client tries again, and the answer is cached by then), and decides a check by \
         `acl_unavailable`. 0: not at all.",
        |raw, text| raw.max_block = millis(text, 0..=60_000)?,
        |config| show::millis(config.max_block)
    ),
    opt!(
        "max_block_percent",
        Value("50"),
        "The share of the time that all such waits for logins together may take, in bursts of \
         `max_block_ms`; beyond it, the plugin handles a login as if `max_block_ms` had passed. \
         The plugin counts waits for topics for each client alone: 5 seconds in a row, of which \
         the client gets back a twentieth of the time. 100: only `max_block_ms` limits both; 0: \
         the broker waits for nothing.",
        |raw, text| raw.max_block_percent = percent(text)?,
        |config| Some(config.max_block_percent.to_string())
    ),
    opt!(
        "hold_ms",
        Value("10000"),
        "Milliseconds that a delivery waits for the API's answer before the plugin gives it up. \
         The broker does not wait meanwhile, and the plugin asks the API again if it fails.",
        |raw, text| raw.hold = millis(text, 0..=600_000)?,
        |config| show::millis(config.hold)
    ),
    opt!(
        "hold_max_bytes",
        Value("16 MiB"),
        "Memory for deliveries that wait for an answer, in bytes, KiB, MiB or GiB; one client may \
         hold no more than remains free. 0: none; the broker waits instead, up to `max_block_ms`.",
        |raw, text| raw.hold_max_bytes = values::bytes(text, &(0..=1 << 40))?,
        |config| Some(show::bytes(config.hold_max_bytes))
    ),
    opt!(
        "on_error",
        Value("deny"),
        "What happens when the API fails and no answer is cached: `deny` (the plugin closes a \
         login without an answer, so that the client tries again), `defer` (the broker's other \
         means decide, except that a denial by the API stands while its superuser route fails), or \
         `allow` (warns at every start).",
        |raw, text| raw.on_error = choice(text, ON_ERROR)?,
        |config| show::word(ON_ERROR, config.on_error)
    ),
    opt!(
        "acl_unavailable",
        Value("close"),
        "What happens to a subscription, or a publish with QoS 1 or 2, that nobody could decide, \
         with `on_error deny`: `close` (the plugin closes the connection, so that the client \
         connects again and asks again; a publish with QoS 0 is dropped), or `deny` (the default \
         with `compat`).",
        |raw, text| raw.acl_unavailable = choice(text, ACL_UNAVAILABLE)?,
        |config| show::word(ACL_UNAVAILABLE, config.acl_unavailable)
    ),
    opt!(
        "delayed_login",
        Value("true"),
        "On Mosquitto 2.1, answer logins later instead of holding up the broker; `false` for \
         clients that send packets before they have received the CONNACK. Has no effect with \
         `on_error defer`, since the plugin can only ask the broker's other means at once.",
        |raw, text| raw.delayed_login = flag(text)?,
        |config| Some(config.delayed_login.to_string())
    ),
    opt!(
        "unavailable_reply",
        Value("close"),
        "What a client sees when nobody could decide its login: `close` (the connection is closed \
         without a CONNACK, so that clients try again; Mosquitto 2.1 sends DISCONNECT 0x98 first to an \
         MQTT 5 client whose login it answers later), or `reason` (MQTT 5 clients of Mosquitto 2.1 get \
         CONNACK 0x88, after which some try again and some do not; the plugin does not answer their \
         logins later, since the broker can send this code only at once).",
        |raw, text| raw.unavailable_reply = choice(text, UNAVAILABLE_REPLY)?,
        |config| show::word(UNAVAILABLE_REPLY, config.unavailable_reply)
    ),
];
