//! How long an answer may be kept, and used past that: `Cache-Control` and `Age`, read as bytes by their grammar
//! (RFC 9110, sections 5.6.1 and 5.6.4; RFC 9111, section 5). What is odd is not kept.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::answer::Freshness;

/// The longest that an answer may be kept, whatever the API says.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The freshness lifetime that `Cache-Control` gives (RFC 9111, section 4.2.1), less the `Age` that the
/// response already has, and for how long a stale response may be used (section 4.2.4); none of what no
/// directive says anything about. Each is all lines of its field, joined.
pub(crate) fn freshness(cache_control: Option<&[u8]>, age: Option<&[u8]>) -> Freshness {
    let Some(cache_control) = cache_control else { return Freshness::default() };
    let Some(directives) = directives(cache_control) else {
        return Freshness { lifetime: Some(Duration::ZERO), stale: Some(Duration::ZERO) };
    };
    let age = age.map_or(Some(Duration::ZERO), oldest);
    let left = |given: Duration| age.map_or(Duration::ZERO, |age| given.saturating_sub(age));
    let lifetime = smallest(&directives, lifetime).map(|given| left(given).min(LONGEST));
    Freshness { lifetime, stale: smallest(&directives, stale) }
}

/// A directive, and its value without quotes.
type Directive<'a> = (&'a [u8], Option<Vec<u8>>);

/// The smallest of what directives say: of two, one is a mistake.
fn smallest(
    directives: &[Directive<'_>],
    says: fn(&Directive<'_>) -> Option<Duration>,
) -> Option<Duration> {
    directives.iter().filter_map(says).min()
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

fn lifetime((name, value): &Directive<'_>) -> Option<Duration> {
    if is_one_of(name, &["no-store", "no-cache"]) {
        return Some(Duration::ZERO);
    }
    is_one_of(name, &["max-age"]).then(|| seconds_or_none(value.as_deref()))
}

fn stale((name, value): &Directive<'_>) -> Option<Duration> {
    if is_one_of(name, &["must-revalidate", "proxy-revalidate", "no-cache", "no-store"]) {
        return Some(Duration::ZERO);
    }
    // RFC 5861, section 4.
    is_one_of(name, &["stale-if-error"]).then(|| seconds_or_none(value.as_deref()))
}

/// Invalid freshness information makes a response stale.
fn seconds_or_none(digits: Option<&[u8]>) -> Duration {
    digits.and_then(seconds).unwrap_or_default()
}

/// The largest of all ages; none if one is odd.
fn oldest(age: &[u8]) -> Option<Duration> {
    let ages = age.split(|byte| *byte == b',').map(|age| seconds(age.trim_ascii()));
    ages.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// `delta-seconds` (RFC 9111, section 1.2.2); one that is too large becomes the largest.
fn seconds(digits: &[u8]) -> Option<Duration> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    is_number.then(|| Duration::from_secs(digits.iter().fold(0, add)))
}

/// All directives; none if anything is not as the grammar has it.
fn directives(mut rest: &[u8]) -> Option<Vec<Directive<'_>>> {
    let mut directives = Vec::new();
    loop {
        rest = blanks(rest);
        // Empty elements of a list say nothing.
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after;
            continue;
        }
        if rest.is_empty() {
            return Some(directives);
        }
        let (name, after) = token(rest)?;
        let (value, after) = match after.strip_prefix(b"=") {
            Some(after) => value(after)?,
            None => (None, after),
        };
        directives.push((name, value));
        rest = blanks(after);
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
}

fn blanks(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
    &text[end.unwrap_or(text.len())..]
}

/// A token and what follows it.
fn token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let end = text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A directive's value, a token or a quoted string, and what follows it.
fn value(text: &[u8]) -> Option<(Option<Vec<u8>>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let (value, rest) = token(text)?;
        return Some((Some(value.to_vec()), rest));
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some((Some(value), &quoted[at + 1..])),
            b'\\' => value.push(*bytes.next()?.1),
            byte => value.push(*byte),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn keeps(cache_control: &[u8], age: &str, seconds: Option<u64>) {
        let age = (!age.is_empty()).then_some(age.as_bytes());
        let found = freshness(Some(cache_control), age).lifetime;
        let shown = String::from_utf8_lossy(cache_control);
        assert_eq!(found, seconds.map(Duration::from_secs), "{shown:?}, {age:?}");
    }

    #[test]
    fn cache_control_says_how_long_an_answer_may_be_kept() {
        for (cache_control, seconds) in [
            (&b"max-age=60"[..], Some(60)),
            (b"private, Max-Age=\"60\" ", Some(60)),
            (b"max-age=60, no-store", Some(0)),
            (b"No-Cache", Some(0)),
            (b"no-cache=\"set-cookie, x\"", Some(0)),
            (b"max-age=soon", Some(0)),
            (b"max-age=99999999999999999999999", Some(LONGEST.as_secs())),
            (b"private", None),
            (b"", None),
            (b" ,, ,", None),
            // The smallest of several, the odd one among them.
            (b"max-age=6, max-age=60", Some(6)),
            (b"max-age=60,max-age=6", Some(6)),
            (b"max-age=60, max-age=soon, max-age=6", Some(0)),
            // Quoted strings.
            (b"max-age=1, x=\"a, max-age=6\"", Some(1)),
            (b"x=\"a, max-age=6\"", None),
            (b"x=\"a\\\", no-store\", max-age=7", Some(7)),
            (b"x=\"\xc3\xa9\", max-age=7", Some(7)),
            (b"x=\"\", max-age=7", Some(7)),
            // What is no number of seconds.
            (b"max-age=+60", Some(0)),
            (b"max-age=-60", Some(0)),
            (b"max-age=6.5", Some(0)),
            (b"max-age", Some(0)),
            (b"max-age=\" 60\"", Some(0)),
            // What is no list of directives.
            (b"max-age=\"60", Some(0)),
            (b"max-age=\"\"60\"\"", Some(0)),
            (b"max-age=", Some(0)),
            (b"max-age =60", Some(0)),
            (b"max-age= 60", Some(0)),
            (b"max-age=60;", Some(0)),
            (b"no-store;", Some(0)),
            (b"no-store max-age=60", Some(0)),
            (b"\xc3\xa9, max-age=60", Some(0)),
            (b"x=\"open, max-age=60", Some(0)),
        ] {
            keeps(cache_control, "", seconds);
        }
    }

    #[test]
    fn what_has_an_age_already_is_kept_for_less() {
        for (age, seconds) in [
            ("20", 40),
            ("80", 0),
            ("6, 1", 54),
            ("1,6", 54),
            ("4294967296", 0),
            ("99999999999999999999", 0),
            ("+6", 0),
            ("old", 0),
            ("6, old", 0),
            (" ", 0),
        ] {
            keeps(b"max-age=60", age, Some(seconds));
        }
        keeps(b"private", "20", None);
        assert_eq!(freshness(None, Some(b"20")), Freshness::default());
    }

    #[test]
    fn cache_control_says_how_long_a_stale_answer_may_serve() {
        for (cache_control, seconds) in [
            (&b"max-age=60"[..], None),
            (b"", None),
            (b"max-age=60, must-revalidate", Some(0)),
            (b"Proxy-Revalidate", Some(0)),
            (b"stale-if-error=600", Some(600)),
            (b"max-age=60, Stale-If-Error=\"600\"", Some(600)),
            (b"stale-if-error=600, stale-if-error=60", Some(60)),
            (b"stale-if-error=600, must-revalidate", Some(0)),
            (b"no-cache, stale-if-error=600", Some(0)),
            (b"no-store", Some(0)),
            (b"stale-if-error", Some(0)),
            (b"stale-if-error=soon", Some(0)),
            (b"stale-while-revalidate=600", None),
            (b"x=\"must-revalidate\"", None),
            (b"stale-if-error=600;", Some(0)),
        ] {
            let found = freshness(Some(cache_control), None).stale;
            let shown = String::from_utf8_lossy(cache_control);
            assert_eq!(found, seconds.map(Duration::from_secs), "{shown}");
        }
    }
}
