//! What others write may cost time and memory in proportion to its length, and not more.
//!
//! A piece of a text is repeated until the text is long, and until it is eight times as long. Whoever reads both
//! must not take much more than eight times as much of the processor's time for the second, nor of memory more
//! than so many bytes for each byte of it.

#![forbid(unsafe_code)]
#![allow(clippy::panic, reason = "a finding is a panic")]

use std::time::Duration;

use crate::api::fuzzing::{Response, read, read_batch};
use crate::api_format::{ApiFormat, Compat, ResponseMode};
use crate::ffi::fuzzing::{most_memory, thread_time};
use crate::fleet;
use crate::jose::{self, Checks};
use crate::plugin::fuzzing::read_commands;
use crate::question::{Access, Action, Kind};
use crate::rules::{Names, Rules, Syntax, Whom};

/// How long a text is made, in bytes, and how many times as long.
const LENGTH: usize = 32 * 1024;
const TIMES: usize = 8;

/// How many times as long as in proportion it may take: what is larger is farther from the processor.
const TOLERANCE: u32 = 3;

/// What is too short to be measured.
const MOMENT: Duration = Duration::from_millis(3);

/// How often what took too long is measured again: somebody else may have been at work.
const TRIES: usize = 5;

/// How much memory a reader may take at one time, for each byte that it reads and in any case.
const BYTES_FOR_EACH: usize = 64;
const BYTES_FOR_NONE: usize = 256 * 1024;

/// A reader's name, and the reader.
type Reader = (&'static str, fn(&[u8]));

const READERS: [Reader; 12] = [
    ("an answer to a login", |text| answer(text, Kind::Login, Compat::None, ResponseMode::Status)),
    ("an answer for EMQX", |text| answer(text, Kind::Login, Compat::Emqx, ResponseMode::Status)),
    ("an answer about a topic", |text| {
        answer(text, Kind::Access, Compat::None, ResponseMode::Status)
    }),
    ("an answer in json mode", |text| answer(text, Kind::Login, Compat::None, ResponseMode::Json)),
    ("an answer in text mode", |text| answer(text, Kind::Login, Compat::None, ResponseMode::Text)),
    ("a denial", |text| {
        let _ = read(Kind::Login, &Response::of(403, text), &ApiFormat::default(), NOW);
    }),
    ("the answer to a batch", |text| {
        let _ = read_batch(&Response::of(200, text), 500);
    }),
    ("rules", rules),
    ("a set of keys", |text| {
        let _ = jose::read_set(text);
    }),
    ("a token", token),
    ("a command", read_commands),
    ("what a fleet shares", fleet::fuzzing::open),
];

const NOW: Duration = Duration::from_secs(1_700_000_000);

fn answer(text: &[u8], kind: Kind, compat: Compat, response: ResponseMode) {
    let api_format = ApiFormat { compat, response, ..ApiFormat::default() };
    let Ok(reply) = read(kind, &Response::of(200, text), &api_format, NOW) else { return };
    // What a login's answer says is used at once.
    if let Some(rules) = reply.answer.session_grants.and_then(|grants| grants.rules.clone()) {
        use_once(&rules);
    }
}

/// A client with these rules comes in, and does something.
fn use_once(rules: &Rules) {
    let whom = Whom { address: None, username: "ann", client_id: "c1" };
    let met = rules.met_by(whom);
    let names = Names { conditions: met.as_ref(), ..Names::of("ann", "c1") };
    for (access, topic) in [
        (Access::Write, "devices/c1/up/1"),
        (Access::Read, "a/b"),
        (Access::Subscribe, "devices/c1/#"),
    ] {
        let action = Action { access, topic, qos: 0, retain: false };
        let _ = rules.judge(&action, names);
    }
}

/// Rules, one in a line, as for the target `rules`.
fn rules(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let rules: Vec<_> =
        text.lines().filter_map(super::rule).take(crate::rules::MAX_RULES).collect();
    for syntax in [Syntax::Own, Syntax::Emqx] {
        if let Ok(compiled) = Rules::compile_as(rules.clone(), syntax) {
            use_once(&compiled);
        }
    }
}

fn token(text: &[u8]) {
    if let Some(token) = jose::token_in(text) {
        let checks = Checks { algorithms: None, issuer: None, audience: &[], leeway: 5 };
        let _ = jose::verify(token, &jose::KeySet::default(), checks);
    }
}

/// Four bytes, and a text: who reads it, where the piece begins that is repeated, how long it is, and whether
/// the numbers in it count up.
pub(crate) fn run(data: &[u8]) {
    let [reader, begin, length, ways, seed @ ..] = data else { return };
    let (name, reader) = READERS[usize::from(*reader) % READERS.len()];
    let begin = snapped(seed, usize::from(*begin) * (1 + seed.len() / 256), ways & 1 != 0);
    let end = snapped(seed, begin + usize::from(*length), ways & 2 != 0);
    let piece = &seed[begin..end];
    if piece.is_empty() {
        return;
    }
    let counts = ways & 4 != 0;
    let texts = [LENGTH, LENGTH * TIMES].map(|length| {
        let tail = &seed[end..];
        repeated(&seed[..begin], piece, tail, length, counts)
    });
    check(name, reader, &texts);
}

/// A place in a text; or the next one that is behind what separates.
fn snapped(text: &[u8], at: usize, snaps: bool) -> usize {
    let at = at.min(text.len());
    let separates = |byte: &u8| b",[{\n&/:\" ".contains(byte);
    let next = text[at..].iter().position(separates).map(|ahead| at + ahead + 1);
    if snaps { next.unwrap_or(text.len()) } else { at }
}

fn repeated(head: &[u8], piece: &[u8], tail: &[u8], length: usize, counts: bool) -> Vec<u8> {
    let mut text = head.to_vec();
    let mut number = 0;
    while text.len() + tail.len() < length {
        if counts {
            count_up(piece, number, &mut text)
        } else {
            text.extend_from_slice(piece)
        }
        number += 1;
    }
    text.extend_from_slice(tail);
    text
}

/// Adds a piece, with this number behind each word in it: no two pieces are the same.
fn count_up(piece: &[u8], number: usize, text: &mut Vec<u8>) {
    let mut before = b' ';
    for byte in piece {
        let ends_word = before.is_ascii_digit() && !byte.is_ascii_digit();
        if ends_word {
            text.extend(number.to_string().into_bytes());
        }
        text.push(*byte);
        before = *byte;
    }
}

fn check(name: &str, reader: fn(&[u8]), texts: &[Vec<u8>; 2]) {
    let [short, long] = texts;
    let ((), most) = most_memory(|| reader(long));
    let allowed = BYTES_FOR_NONE + BYTES_FOR_EACH * long.len();
    assert!(
        most <= allowed,
        "{name}: {} bytes take {most} of memory\n{}",
        long.len(),
        shown(short)
    );
    let took = |text: &[u8]| {
        let began = thread_time();
        reader(text);
        thread_time() - began
    };
    let (mut least, mut most) = (Duration::MAX, Duration::MAX);
    for _ in 0..TRIES {
        least = least.min(took(short));
        most = most.min(took(long));
        if most <= MOMENT + least * TIMES as u32 * TOLERANCE {
            return;
        }
    }
    panic!("{name}: {least:?} for {}, {most:?} for {}\n{}", short.len(), long.len(), shown(short));
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(2000)]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    /// Whether a reader is found to take too much.
    fn is_found(reader: fn(&[u8])) -> bool {
        let texts = [LENGTH, LENGTH * TIMES].map(|length| repeated(b"", b"a1,", b"", length, true));
        let checked = std::panic::catch_unwind(|| check("a reader", reader, &texts));
        checked.is_err()
    }

    #[test]
    fn whoever_takes_more_than_in_proportion_is_found() {
        assert!(!is_found(|_| {}));
        assert!(!is_found(|text| drop(black_box(text.to_vec()))));
        assert!(!is_found(|text| assert!(
            text.iter().map(|byte| u64::from(*byte)).sum::<u64>() > 0
        )));
        assert!(is_found(|text| drop(black_box(vec![0_u64; text.len() * 9]))));
        assert!(is_found(|text| {
            let pieces = text.chunks(2048);
            let count = |piece: &[u8]| text.iter().filter(|byte| **byte == piece[0]).count();
            assert!(pieces.map(count).sum::<usize>() > 0);
        }));
    }

    #[test]
    fn pieces_count_up() {
        assert_eq!(repeated(b"[", b"x1,", b"]", 14, true), b"[x10,x11,x12,]");
        assert_eq!(repeated(b"", b"ab", b"c", 5, false), b"ababc");
    }
}
