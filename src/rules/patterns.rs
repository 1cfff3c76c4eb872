//! Patterns that are compiled already, for all rules that have them.
//!
//! An API usually gives many clients the same patterns, and the broker waits while those of a client that comes
//! in are tried. To compile a pattern takes several times as long as to try it.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Mutex;

use once_cell::sync::Lazy;
use regex_lite::{Error, Regex, RegexBuilder};

use crate::sync::lock;

/// How large a pattern may become, in bytes.
const PATTERN_BYTES: usize = 16 * 1024;

/// How many are kept: as many as the rules of one answer may have. With them, the most memory is 16 MiB; usual
/// patterns take one or two KiB.
pub(super) const MOST: usize = 512;

/// The longest text of one that is kept, in bytes: blanks and comments count for nothing once it is compiled.
const LONGEST: usize = 1024;

/// How many that there is no room for come before all others are forgotten, which may be in use no more. Where
/// they are all different, few are kept in vain.
const PASSED_OVER: usize = 4 * MOST;

static COMPILED: Lazy<Mutex<Compiled>> = Lazy::new(Mutex::default);

#[derive(Default)]
struct Compiled {
    patterns: HashMap<Box<str>, Regex>,
    passed_over: usize,
}

/// A pattern, ready to be tried.
///
/// # Errors
/// It is none, or too large.
pub(super) fn compiled(pattern: &str) -> Result<Regex, Error> {
    // What a pattern takes to try a name may be a hundred times its size. A clone has its own, which goes with it.
    if let Some(known) = lock(&COMPILED).patterns.get(pattern) {
        return Ok(known.clone());
    }
    let regex = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build()?;
    if pattern.len() <= LONGEST {
        lock(&COMPILED).keep(pattern, &regex);
    }
    Ok(regex)
}

impl Compiled {
    fn keep(&mut self, pattern: &str, regex: &Regex) {
        if self.patterns.len() >= MOST {
            self.passed_over += 1;
            if self.passed_over < PASSED_OVER {
                return;
            }
            *self = Self::default();
        }
        self.patterns.insert(pattern.into(), regex.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::fuzzing::most_memory;

    fn is_kept(pattern: &str) -> bool {
        lock(&COMPILED).patterns.contains_key(pattern)
    }

    #[test]
    fn a_pattern_is_compiled_once_unless_it_is_long_or_none() {
        // Other tests may have filled it, or have all forgotten at any time.
        let mut tries = (0..10 * PASSED_OVER).map(|number| format!("^once-{number}$"));
        assert!(tries.any(|pattern| compiled(&pattern).is_ok() && is_kept(&pattern)));
        for _ in 0..2 {
            let known = compiled("^once-[0-9]+$").unwrap();
            assert!(known.is_match("once-7") && !known.is_match("once-x"));
        }
        let long = format!("(?x){}", " ".repeat(LONGEST));
        assert!(compiled(&long).is_ok() && !is_kept(&long));
        for none in ["(", "a{1000}{1000}"] {
            assert!(compiled(none).is_err() && !is_kept(none));
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut own = Compiled::default();
        for number in 0..MOST + PASSED_OVER {
            assert_eq!(own.patterns.len(), MOST.min(number), "those in use stay");
            let pattern = format!("^bounded-{number}$");
            own.keep(&pattern, &Regex::new(&pattern).unwrap());
        }
        assert_eq!(own.patterns.len(), 1, "in the end they make room");
    }

    /// Patterns whose size is near the limit, of several kinds.
    #[test]
    fn no_pattern_takes_more_memory_than_is_said() {
        let kinds: [fn(usize) -> String; 5] = [
            |count| "a".repeat(count),
            |count| format!("a{{{count}}}"),
            |count| "(a)".repeat(count),
            |count| "[a-cx-z]".repeat(count),
            |count| format!("[a-c]{{{count}}}|(?:b|c){{{count}}}"),
        ];
        for kind in kinds {
            let is_one = |count: &usize| {
                let pattern = kind(*count);
                pattern.len() <= LONGEST && compiled(&pattern).is_ok()
            };
            let largest = kind((1..2000).take_while(is_one).last().unwrap());
            let build = || RegexBuilder::new(&largest).size_limit(PATTERN_BYTES).build();
            let took = |count: usize| {
                most_memory(|| (0..count).map(|_| build().unwrap()).collect::<Vec<_>>()).1
            };
            // What building itself takes is there once.
            let each = (took(33) - took(1)) / 32;
            assert!(each <= 32 * 1024 - 2 * LONGEST, "{each} bytes for {largest}");
        }
    }
}
