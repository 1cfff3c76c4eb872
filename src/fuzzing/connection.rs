//! What the API's side of a connection may say, byte by byte.

#![forbid(unsafe_code)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a finding is a panic")]

use std::cell::RefCell;
use std::sync::Arc;

use crate::api::fuzzing::{ELSEWHERE, End, Played, PlayedClient, SECOND};
use crate::clock::SystemClock;
use crate::config::{self, Config};

/// The options of APIs that are read differently.
const WAYS: [&[(&str, &str)]; 4] = [
    &[],
    &[("http_response_mode", "json")],
    &[("http_response_mode", "text")],
    &[("compat", "emqx")],
];

thread_local! {
    static CONFIGS: RefCell<Vec<Config>> = RefCell::new(WAYS.map(config).into());
}

fn config(more: &[(&str, &str)]) -> Config {
    let given = [("http_host", "127.0.0.1"), ("http_user_route", "/user")];
    let given = given.iter().chain(more).map(|(name, value)| ((*name).into(), (*value).into()));
    config::read(&given.collect::<Vec<_>>()).unwrap()
}

/// What came of a question: a failure's details may depend on where it was noticed.
type Outcome = Result<(u16, Option<Vec<u8>>), &'static str>;

/// What comes of two questions.
fn asked(config: &Config, is_event: bool, played: Played) -> (Outcome, Outcome) {
    let client = PlayedClient::new(config, Arc::new(SystemClock), played);
    let ask = || {
        let answer = match is_event {
            true => client.tell(b"{}").map(|status| (status, None)),
            false => client.ask(b"{}"),
        };
        answer.map_err(|failure| failure.name())
    };
    (ask(), ask())
}

/// Four bytes for how it arrives and what is asked, and what arrives.
pub(crate) fn run(data: &[u8]) {
    let [way, at_once, end, cut, first @ ..] = data else { return };
    let end = [End::Silence, End::Close, End::Reset][usize::from(*end) % 3];
    let is_event = way & 0x80 != 0;
    CONFIGS.with_borrow(|configs| {
        let config = &configs[usize::from(way & 0x7f) % configs.len()];
        let ask = |first: &[u8], at_once, end| {
            asked(config, is_event, Played { first: Some(first.into()), at_once, end })
        };
        let (whole, second) = ask(first, usize::MAX, end);
        let (in_pieces, second_in_pieces) = ask(first, 1 + usize::from(*at_once), end);
        let shown = String::from_utf8_lossy(first);
        assert_eq!(whole, in_pieces, "it depends on how it arrives: {at_once} {shown:?}");
        for second in [&second, &second_in_pieces] {
            let (status, _) = second.as_ref().unwrap();
            assert!([SECOND, ELSEWHERE].contains(status), "{status} was never the answer to this");
        }
        // The part of an answer says what all of it says, or nothing.
        let cut = usize::from(*cut) * (1 + first.len() / 256);
        let (part, _) = ask(&first[..cut.min(first.len())], usize::MAX, End::Silence);
        if part.is_ok() {
            assert_eq!(part, ask(first, usize::MAX, End::Silence).0, "it is cut at {cut}");
        }
    });
}
