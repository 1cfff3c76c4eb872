//! Who may do what in a soak: a world of groups of five, small enough to judge every message by.
//!
//! | topic | written by | read by |
//! | --- | --- | --- |
//! | `g/N/open` | members | members |
//! | `g/N/secret` | members | the first two members |
//! | `g/N/closed` | nobody | members |
//! | `g/N/changing` | members of odd groups, at times | members |
//! | `all/news` | the first client of all | every other client |
//!
//! Members subscribe to all of their group and of `all`. The API grants even groups their rules
//! with the login, and is asked about each topic of the others.

use serde_json::{Value, json};

pub const GROUP: usize = 5;
pub const NEWS: &str = "all/news";
pub const NEWS_FILTER: &str = "all/#";

/// Whose turn it is at times.
pub const GUEST: &str = "guest";

/// A user that is let in and may do nothing; its password is its name.
pub const HOSTILE: &str = "hostile";

/// What a client may want to do with a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Read,
    Write,
    Subscribe,
}

/// A right: it is there or not, or it comes and goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    Yes,
    No,
    AtTimes,
}

impl From<bool> for Right {
    fn from(yes: bool) -> Right {
        if yes { Right::Yes } else { Right::No }
    }
}

pub fn username(number: usize) -> String {
    format!("u{number}")
}

pub fn password(number: usize) -> String {
    format!("right-{number}")
}

pub fn group(number: usize) -> usize {
    number / GROUP
}

pub fn topic(group: usize, name: &str) -> String {
    format!("g/{group}/{name}")
}

pub fn filter(group: usize) -> String {
    topic(group, "#")
}

/// The number in a user's name.
pub fn number(username: &str) -> Option<usize> {
    username.strip_prefix('u')?.parse().ok()
}

pub fn has_rules(number: usize) -> bool {
    group(number) % 2 == 0
}

pub fn may_log_in(username: &str, given: &str) -> Right {
    if username.starts_with(GUEST) {
        return Right::AtTimes;
    }
    if username == HOSTILE {
        return (given == HOSTILE).into();
    }
    number(username).is_some_and(|number| given == password(number)).into()
}

pub fn may(number: usize, access: Access, topic: &str) -> Right {
    if topic == NEWS {
        return match access {
            Access::Read => number % 2 == 0,
            Access::Write => number == 0,
            Access::Subscribe => false,
        }
        .into();
    }
    if topic == NEWS_FILTER {
        return (access == Access::Subscribe).into();
    }
    let own = self::topic(group(number), "");
    let Some(name) = topic.strip_prefix(&own) else { return Right::No };
    match (access, name) {
        (Access::Read, "secret") => (number % GROUP < 2).into(),
        (Access::Write, "changing") if !has_rules(number) => Right::AtTimes,
        (Access::Subscribe, "#") | (Access::Read | Access::Write, "open") => Right::Yes,
        (Access::Read, "closed" | "changing") | (Access::Write, "secret") => Right::Yes,
        _ => Right::No,
    }
}

/// The same, as rules in a login's answer.
pub fn rules(number: usize) -> Value {
    let group = group(number);
    let mut rules = Vec::new();
    let mut rule = |permission: &str, action: &str, topic: &str| {
        rules.push(json!({"permission": permission, "action": action, "topic": topic}));
    };
    if number % GROUP >= 2 {
        rule("deny", "read", &topic(group, "secret"));
    }
    if number % 2 == 1 {
        rule("deny", "read", NEWS);
    }
    rule("allow", "subscribe", &filter(group));
    rule("allow", "subscribe", NEWS_FILTER);
    rule("allow", "publish", &topic(group, "open"));
    rule("allow", "publish", &topic(group, "secret"));
    if number == 0 {
        rule("allow", "publish", NEWS);
    }
    rule("deny", "all", "#");
    rules.into()
}
