//! Whether a topic name matches a rule, asked of the broker's own library too.
//!
//! Left out, because only one of the two defines it: topic names with `+` or `#` in them, which the
//! library refuses and rules take as text; and filters that rules read as more than filters, since
//! they begin with `eq ` or have placeholders.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::ffi::{CString, c_char, c_int};

use mosquitto_http_auth::question::{Access, Action};
use mosquitto_http_auth::rules::{Condition, Names, Permission, Rule, Rules, Verb};

// Without the library this does not link, so that nothing passes untried.
#[link(name = "mosquitto")]
#[allow(unsafe_code, reason = "the library is C")]
unsafe extern "C" {
    fn mosquitto_topic_matches_sub(
        filter: *const c_char,
        name: *const c_char,
        result: *mut bool,
    ) -> c_int;
    fn mosquitto_sub_topic_check(filter: *const c_char) -> c_int;
}

const SUCCESS: c_int = 0;

fn c_string(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn library_takes(filter: &str) -> bool {
    let filter = c_string(filter);
    #[allow(unsafe_code, reason = "the library is C")]
    // SAFETY: the string ends with a NUL and outlives the call.
    let code = unsafe { mosquitto_sub_topic_check(filter.as_ptr()) };
    code == SUCCESS
}

fn library_matches(filter: &str, name: &str) -> bool {
    let (c_filter, c_name) = (c_string(filter), c_string(name));
    let mut result = false;
    #[allow(unsafe_code, reason = "the library is C")]
    // SAFETY: the strings end with a NUL and the result is writable; all outlive the call.
    let code =
        unsafe { mosquitto_topic_matches_sub(c_filter.as_ptr(), c_name.as_ptr(), &raw mut result) };
    assert_eq!(code, SUCCESS, "the library refuses {filter:?} or {name:?}");
    result
}

fn compiled(filter: &str) -> Option<Rules> {
    let (permission, verb) = (Permission::Allow, Verb::Publish);
    let rule = Rule {
        permission,
        verb,
        topic: filter.into(),
        qos: None,
        retain: None,
        condition: Condition::NONE,
    };
    Rules::compile(vec![rule]).ok()
}

fn rules_match(rules: &Rules, name: &str) -> bool {
    let action = Action { access: Access::Write, topic: name, qos: 0, retain: false };
    rules.judge(&action, Names::of("ann", "one")).is_some()
}

/// Numbers that are the same in each run: Marsaglia's xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % limit
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// A text of so many parts at most, and one at least.
    fn text(&mut self, parts: &[&str], longest: usize, between: &str) -> String {
        let count = 1 + self.below(longest);
        (0..count).map(|_| self.one_of(parts)).collect::<Vec<_>>().join(between)
    }

    /// A filter that is always valid, unless it is empty.
    fn filter(&mut self) -> String {
        let levels = ["a", "b", "ab", "", "+", "+", "$x", "$", "é", " "];
        let end = self.one_of(&["", "", "/#"]);
        self.text(&levels, 5, "/") + end
    }

    /// A name like a filter, with its wildcards filled in and, at times, something changed.
    fn name_like(&mut self, filter: &str) -> String {
        let levels = ["a", "b", "ab", "", "$x", "$", "é", " "];
        let mut name = Vec::new();
        for level in filter.split('/') {
            let other = self.below(8) == 0;
            match level {
                "#" => (0..self.below(3)).for_each(|_| name.push(self.one_of(&levels))),
                "+" => name.push(self.one_of(&levels)),
                _ if other => name.push(self.one_of(&levels)),
                _ => name.push(level),
            }
        }
        match self.below(12) {
            0 => name.push(self.one_of(&levels)),
            1 => drop(name.pop()),
            _ => (),
        }
        name.join("/")
    }
}

#[test]
fn rules_match_the_names_that_the_broker_matches() {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let (mut tried, mut matching) = (0, 0);
    while tried < 100_000 {
        let filter = dice.filter();
        let name = dice.name_like(&filter);
        if filter.is_empty() || name.is_empty() {
            continue;
        }
        let rules = compiled(&filter).unwrap_or_else(|| panic!("{filter:?} is a filter"));
        let expected = library_matches(&filter, &name);
        assert_eq!(rules_match(&rules, &name), expected, "{filter:?}: {name:?}");
        tried += 1;
        matching += usize::from(expected);
    }
    assert!((20_000..80_000).contains(&matching), "{matching} of {tried} match");
}

#[test]
fn rules_take_the_filters_that_the_broker_takes() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut tried, mut taken) = (0, 0);
    while tried < 100_000 {
        let filter = dice.text(&["a", "/", "/", "+", "#", "$", "é"], 6, "");
        let expected = library_takes(&filter);
        let rules = compiled(&filter);
        assert_eq!(rules.is_some(), expected, "{filter:?}");
        tried += 1;
        if let Some(rules) = rules {
            let name = dice.text(&["a", "/", "/", "$", "é"], 6, "");
            assert_eq!(
                rules_match(&rules, &name),
                library_matches(&filter, &name),
                "{filter:?}: {name:?}"
            );
            taken += 1;
        }
    }
    assert!((20_000..80_000).contains(&taken), "{taken} of {tried} are filters");
}
