//! Access lists in Mosquitto's syntax, with the meanings that mosquitto-go-auth gives them.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::HashMap;

use super::Remark;
use super::passwords::{Passwords, is_blank};
use crate::question::{Access, Action};
use crate::rules;

/// Who may do what.
#[derive(Default)]
pub(crate) struct Acl {
    /// For everybody: what stands above the first user, and every `pattern`.
    general: Vec<Record>,
    users: HashMap<String, Vec<Record>>,
}

struct Record {
    grant: Grant,
    topic: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Grant {
    Read,
    Write,
    ReadWrite,
    Subscribe,
    Deny,
}

/// To whom lines belong that follow.
#[derive(Clone, Copy)]
enum Owner<'a> {
    Everybody,
    User(&'a str),
    /// A user that the password file does not know.
    Nobody,
}

impl Acl {
    /// Reads a list. `known` has the users that there are; none: whoever is named.
    ///
    /// # Errors
    /// A line, counted from 1, and what is wrong with it.
    pub(crate) fn parse(
        text: &str,
        known: Option<&Passwords>,
    ) -> Result<(Self, Vec<Remark>), (usize, String)> {
        let mut acl = Self::default();
        let mut remarks = Vec::new();
        let mut owner = Owner::Everybody;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if is_blank(line) {
                continue;
            }
            let line = line.trim();
            let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let rest = rest.trim();
            let record = match keyword {
                _ if rest.is_empty() => Err(()),
                "user" => {
                    owner = Owner::User(rest);
                    if known.is_some_and(|known| !known.knows(rest)) {
                        owner = Owner::Nobody;
                        let remark = "this user is not in files_password_path, and what follows \
                                      for it does nothing";
                        remarks.push((number, remark.to_owned()));
                    }
                    continue;
                }
                "topic" | "pattern" => record(rest),
                _ => Err(()),
            };
            let record = record.map_err(|()| {
                let allowed = "allowed: user NAME, and topic or pattern with read, write, readwrite, \
                               subscribe or deny (or nothing) and a topic filter";
                (number, format!("it is not understood; {allowed}"))
            })?;
            match owner {
                Owner::User(name) if keyword == "topic" => {
                    acl.users.entry(name.to_owned()).or_default().push(record);
                }
                Owner::Nobody if keyword == "topic" => {}
                _ => acl.general.push(record),
            }
        }
        Ok((acl, remarks))
    }

    /// Whether the list allows this: no line denies it, and one allows it.
    pub(crate) fn allows(&self, username: &str, client_id: &str, action: &Action<'_>) -> bool {
        let Some(topic) = asked_for(action) else { return false };
        let own = self.users.get(username).map(Vec::as_slice).unwrap_or_default();
        let names = Names { username, client_id };
        let any = |fits: &dyn Fn(&Record) -> bool| {
            own.iter().any(|record| fits(record) && covers(&record.topic, topic, record.grant))
                || self.general.iter().any(|record| {
                    fits(record)
                        && names
                            .put_into(record)
                            .is_some_and(|filter| covers(&filter, topic, record.grant))
                })
        };
        !any(&|record| record.grant == Grant::Deny)
            && any(&|record| record.grant.includes(action.access, topic))
    }
}

/// The topic, or the filter without the `$share/GROUP/` of a shared subscription.
fn asked_for<'a>(action: &Action<'a>) -> Option<&'a str> {
    if action.access == Access::Subscribe {
        rules::filter_asked(action.topic)
    } else {
        Some(action.topic)
    }
}

/// What follows `topic` or `pattern`: without a word for what is granted, it is reading and writing.
fn record(rest: &str) -> Result<Record, ()> {
    let Some((word, topic)) = rest.split_once(char::is_whitespace) else {
        return Ok(Record { grant: Grant::ReadWrite, topic: rest.to_owned() });
    };
    let grant = match word {
        "read" => Grant::Read,
        "write" => Grant::Write,
        "readwrite" => Grant::ReadWrite,
        "subscribe" => Grant::Subscribe,
        "deny" => Grant::Deny,
        _ => return Err(()),
    };
    Ok(Record { grant, topic: topic.trim_start().to_owned() })
}

impl Grant {
    fn includes(self, access: Access, topic: &str) -> bool {
        match (self, access) {
            (Self::ReadWrite, _) => true,
            (Self::Read, Access::Read) | (Self::Write, Access::Write) => true,
            (Self::Subscribe, Access::Subscribe) => true,
            // Who may read everything may not ask for everything at once.
            (Self::Read, Access::Subscribe) => topic != "#",
            _ => false,
        }
    }
}

struct Names<'a> {
    username: &'a str,
    client_id: &'a str,
}

impl Names<'_> {
    /// The filter of a line for everybody, with the client's names in place of `%u` and `%c`. None: it
    /// grants nothing to a client whose name would be a wildcard in it.
    fn put_into<'a>(&self, record: &'a Record) -> Option<Cow<'a, str>> {
        let filter = record.topic.as_str();
        let names = [("%u", self.username), ("%c", self.client_id)];
        if !names.iter().any(|(placeholder, _)| filter.contains(placeholder)) {
            return Some(Cow::Borrowed(filter));
        }
        let mut text = String::with_capacity(filter.len() + self.username.len());
        let mut rest = filter;
        while let Some(at) = rest.find('%') {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            match names.iter().find(|(placeholder, _)| rest.starts_with(placeholder)) {
                Some((_, name)) if record.grant != Grant::Deny && name.contains(['+', '#']) => {
                    return None;
                }
                Some((placeholder, name)) => {
                    text.push_str(name);
                    rest = &rest[placeholder.len()..];
                }
                None => {
                    text.push('%');
                    rest = &rest[1..];
                }
            }
        }
        text.push_str(rest);
        Some(Cow::Owned(text))
    }
}

/// Whether a filter covers a topic, or a filter that is subscribed to. Wildcards cover `$SYS`, as they did
/// in mosquitto-go-auth; `$CONTROL`, by which a broker takes orders, they cover only to deny it.
fn covers(filter: &str, topic: &str, grant: Grant) -> bool {
    if filter == topic {
        return true;
    }
    let is_order = topic.starts_with("$CONTROL/") && grant != Grant::Deny;
    if is_order && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) => return filter.next().is_none(),
            (Some("+"), Some(_)) => {}
            (Some(level), Some(other)) if level == other => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SaltEncoding;

    fn passwords(names: &[&str]) -> Passwords {
        let line =
            |name: &&str| format!("{name}:PBKDF2$sha256$1$c2FsdA==$c2FsdHNhbHRzYWx0c2FsdA==");
        let text = names.iter().map(line).collect::<Vec<_>>().join("\n");
        let (passwords, remarks) = Passwords::parse(&text, SaltEncoding::Base64);
        assert!(remarks.is_empty(), "{remarks:?}");
        passwords
    }

    fn acl(text: &str) -> Acl {
        Acl::parse(text, None).unwrap().0
    }

    fn action(text: &str) -> Action<'_> {
        let (access, topic) = text.split_once(' ').unwrap();
        let access = match access {
            "read" => Access::Read,
            "write" => Access::Write,
            "subscribe" => Access::Subscribe,
            other => panic!("{other}"),
        };
        Action { access, topic, qos: 0, retain: false }
    }

    #[track_caller]
    fn check(acl: &Acl, who: &str, client_id: &str, rows: &[(&str, bool)]) {
        for (text, expected) in rows {
            assert_eq!(acl.allows(who, client_id, &action(text)), *expected, "{who}: {text}");
        }
    }

    /// mosquitto-go-auth's own test data, and what its tests expect of it.
    #[test]
    fn mosquitto_go_auths_own_list_means_what_it_meant() {
        let text = "topic read test/general\ntopic deny test/general_denied\n\nuser test1\n\
                    topic write test/topic/1\ntopic read test/topic/2\n\
                    topic readwrite readwrite/topic\n\nuser test2\ntopic read test/topic/+\n\n\
                    user test3\ntopic read test/#\ntopic deny test/denied\n\nuser  test with space\n\
                    topic  test/space\ntopic read test/multiple spaces in/topic\n  \
                    topic   read   test/lots   of   spaces   in/topic and borders  \n\n\
                    user not_present\ntopic read only/not_present\n\npattern read test/%u\n\
                    pattern read test/%c";
        let known = passwords(&["test1", "test2", "test3", "test with space"]);
        let (acl, remarks) = Acl::parse(text, Some(&known)).unwrap();
        assert_eq!(remarks.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [21]);
        for who in ["test1", "test2", "test with space"] {
            check(&acl, who, "c", &[("read test/general", true), ("write test/general", false)]);
        }
        check(&acl, "test3", "c", &[("read test/general_denied", false)]);
        check(
            &acl,
            "test1",
            "c",
            &[
                ("write test/topic/1", true),
                ("read test/topic/1", false),
                ("write test/topic/2", false),
                ("read test/topic/2", true),
                ("subscribe test/topic/2", true),
                ("read readwrite/topic", true),
                ("write readwrite/topic", true),
                ("subscribe readwrite/topic", true),
                ("read test/test1", true),
                ("read test/test2", false),
            ],
        );
        check(&acl, "test1", "test_client", &[("read test/test_client", true)]);
        check(&acl, "test2", "c", &[("read test/topic/1", true), ("read test/other/1", false)]);
        check(
            &acl,
            "test3",
            "c",
            &[("read test/other/1", true), ("read other/1", false), ("read test/denied", false)],
        );
        check(
            &acl,
            "test with space",
            "c",
            &[
                ("write test/space", true),
                ("read test/multiple spaces in/topic", true),
                ("write test/multiple spaces in/topic", false),
                ("read test/lots   of   spaces   in/topic and borders", true),
                ("read test/test with space", true),
            ],
        );
        check(&acl, "not_present", "c", &[("read only/not_present", false)]);
    }

    #[test]
    fn without_a_password_file_whoever_is_named_has_what_is_granted() {
        let acl = acl("user ann\ntopic read a/b");
        check(&acl, "ann", "c", &[("read a/b", true), ("write a/b", false)]);
        check(&acl, "ben", "c", &[("read a/b", false)]);
    }

    #[test]
    fn a_line_that_denies_comes_first_wherever_it_stands() {
        let acl = acl("topic deny a/secret\nuser ann\ntopic readwrite a/#\npattern deny b/%u/#");
        let rows = [("read a/b", true), ("read a/secret", false), ("subscribe a/secret", false)];
        check(&acl, "ann", "c", &rows);
        // A client whose name is a wildcard is denied what anybody is.
        let all = super::tests::acl("pattern deny b/%u/x\nuser +\ntopic readwrite b/#");
        check(&all, "+", "c", &[("read b/ben/x", false), ("read b/ben/y", true)]);
    }

    #[test]
    fn no_name_is_a_wildcard_in_what_is_granted() {
        let acl = acl("pattern readwrite a/%u/%c");
        check(&acl, "ann", "c", &[("write a/ann/c", true), ("write a/ben/c", false)]);
        for (who, id) in [("+", "c"), ("#", "c"), ("ann", "#"), ("ann", "+"), ("b/#", "c")] {
            check(&acl, who, id, &[("write a/ben/c", false), ("subscribe a/#", false)]);
        }
        check(&acl, "%c", "x", &[("write a/%c/x", true), ("write a/x/x", false)]);
        check(&acl, "b/c", "d", &[("write a/b/c/d", true)]);
    }

    #[test]
    fn who_may_read_may_subscribe_but_not_to_everything_at_once() {
        let read = acl("topic read #");
        let rows = [("read a", true), ("subscribe a/#", true), ("subscribe #", false)];
        check(&read, "ann", "c", &rows);
        let subscribe = acl("topic subscribe #");
        check(&subscribe, "ann", "c", &[("subscribe #", true), ("read a", false)]);
        check(&acl("topic #"), "ann", "c", &[("subscribe #", true), ("write a/b", true)]);
        check(
            &read,
            "ann",
            "c",
            &[("subscribe $share/g/a/#", true), ("subscribe $share/g/#", false)],
        );
        check(
            &acl("topic write a/+/c"),
            "ann",
            "c",
            &[("write a/b/c", true), ("write a/c", false)],
        );
    }

    #[test]
    fn orders_to_the_broker_are_allowed_by_name_alone() {
        let all = acl("topic readwrite #");
        check(&all, "ann", "c", &[("read $SYS/a", true), ("write $CONTROL/x/v1", false)]);
        let named = acl("topic readwrite $CONTROL/#");
        check(&named, "ann", "c", &[("write $CONTROL/x/v1", true)]);
        let denied = acl("topic deny #\ntopic readwrite $CONTROL/#");
        check(&denied, "ann", "c", &[("write $CONTROL/x/v1", false)]);
    }

    #[test]
    fn a_line_that_is_not_understood_spoils_the_list() {
        for line in
            ["topic", "user", "users ann", "topic readwritee a b", "pattern", " # no comment"]
        {
            let (number, problem) = Acl::parse(&format!("topic a\n{line}"), None).err().unwrap();
            assert_eq!(number, 2, "{line}");
            assert!(problem.contains("readwrite"), "{problem}");
        }
        assert!(Acl::parse("# a comment\n   \n\ntopic a", None).is_ok());
    }
}
