//! Placeholders in a rule's text: the names of the client that is judged.

#![forbid(unsafe_code)]

use super::condition::ConditionsMet;
use crate::question::Attributes;

/// What the placeholders stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Names<'a> {
    pub username: &'a str,
    pub client_id: &'a str,
    pub attributes: Option<&'a Attributes>,
    /// Which conditions of its rules the client meets; none: they are judged by its names alone.
    pub conditions: Option<&'a ConditionsMet>,
}

impl<'a> Names<'a> {
    /// Those of a client of which no more is known.
    #[must_use]
    pub const fn of(username: &'a str, client_id: &'a str) -> Self {
        Self { username, client_id, attributes: None, conditions: None }
    }
}

#[derive(Clone, Copy)]
enum Piece<'a> {
    /// A text that is never empty and has a `$` or `%` only where it begins.
    Text(&'a str),
    Username,
    ClientId,
    /// By its name.
    Attribute(&'a str),
}

/// What stands before and after an attribute's name.
const ATTRIBUTE: (&str, char) = ("${client_attrs.", '}');

const PLACEHOLDERS: [(&str, Piece<'static>); 4] = [
    ("${username}", Piece::Username),
    ("%u", Piece::Username),
    ("${clientid}", Piece::ClientId),
    ("%c", Piece::ClientId),
];

/// A text, taken apart from the left.
struct Pieces<'a>(&'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let begin = self.0.chars().next()?;
        if begin == '$' || begin == '%' {
            for (text, piece) in PLACEHOLDERS {
                if let Some(rest) = self.0.strip_prefix(text) {
                    self.0 = rest;
                    return Some(piece);
                }
            }
            if let Some((name, rest)) = attribute(self.0) {
                self.0 = rest;
                return Some(Piece::Attribute(name));
            }
        }
        let after = begin.len_utf8();
        let end = self.0[after..].find(['$', '%']).map_or(self.0.len(), |found| after + found);
        let (text, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(Piece::Text(text))
    }
}

/// The name of the attribute that a text begins with, and what follows.
fn attribute(text: &str) -> Option<(&str, &str)> {
    let (before, after) = ATTRIBUTE;
    let (name, rest) = text.strip_prefix(before)?.split_once(after)?;
    (!name.is_empty() && !name.contains(['/', '{', '$'])).then_some((name, rest))
}

/// Whether a text has any placeholder.
#[must_use]
pub fn stands_in(text: &str) -> bool {
    Pieces(text).any(|piece| !matches!(piece, Piece::Text(_)))
}

/// Whether a text begins with a placeholder.
#[must_use]
pub fn stands_in_front(text: &str) -> bool {
    Pieces(text).next().is_some_and(|piece| !matches!(piece, Piece::Text(_)))
}

/// The first `${…}` that stands for nothing here. It is a mistake rather than plain text, since
/// whoever wrote it meant something by it.
#[must_use]
pub fn unknown(text: &str) -> Option<&str> {
    text.match_indices("${").find_map(|(at, _)| {
        let rest = &text[at..];
        let known = PLACEHOLDERS.iter().any(|(placeholder, _)| rest.starts_with(placeholder));
        (!known && attribute(rest).is_none())
            .then(|| rest.split_inclusive('}').next().unwrap_or(rest))
    })
}

/// Whether a topic's level is what this text stands for.
///
/// A name that is empty or has a wildcard or a `/` in it stands for nothing at all: in a rule's
/// place it would mean more than one level of one client. Neither does an attribute that is not set.
#[must_use]
pub fn matches(text: &str, level: &str, names: Names<'_>) -> bool {
    let mut rest = level;
    for piece in Pieces(text) {
        let name = match piece {
            Piece::Text(part) => match rest.strip_prefix(part) {
                Some(after) => {
                    rest = after;
                    continue;
                }
                None => return false,
            },
            Piece::Username => Some(names.username),
            Piece::ClientId => Some(names.client_id),
            Piece::Attribute(name) => names.attributes.and_then(|known| known.get(name)),
        };
        let after = name.filter(|name| is_plain(name)).and_then(|name| rest.strip_prefix(name));
        match after {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

/// Whether a name stands for one level of a topic.
#[must_use]
pub fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.bytes().any(|byte| matches!(byte, b'+' | b'#' | b'/'))
}

/// Whether a client may be given this name: one that would be put in for `${username}`, and that MQTT can
/// carry (MQTT 5.0, section 1.5.4).
#[must_use]
pub fn is_username(name: &str) -> bool {
    is_plain(name) && name.len() <= 65_535 && !name.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'_> = Names::of("ann", "c1");

    #[test]
    fn a_text_stands_for_one_level() {
        for (text, level) in [
            ("${username}", "ann"),
            ("%u", "ann"),
            ("${clientid}", "c1"),
            ("%c", "c1"),
            ("dev-${clientid}", "dev-c1"),
            ("${clientid}-dev", "c1-dev"),
            ("${username}${clientid}", "annc1"),
            ("%u-%c-%u", "ann-c1-ann"),
            ("$${username}", "$ann"),
            ("%%c", "%c1"),
            ("100%é%c", "100%éc1"),
            ("%cc", "c1c"),
        ] {
            assert!(stands_in(text), "{text}");
            assert_eq!(unknown(text), None, "{text}");
            assert!(matches(text, level, NAMES), "{text}");
            for other in ["", "x", text, &level[1..], &format!("{level}x"), &format!("x{level}")] {
                assert!(!matches(text, other, NAMES), "{text} is not {other}");
            }
        }
    }

    #[test]
    fn text_that_resembles_a_placeholder_is_text() {
        for text in ["", "a", "%", "%d", "%C", "%U", "$", "$username", "{username}", "$ {clientid}"]
        {
            assert!(!stands_in(text), "{text}");
            assert_eq!(unknown(text), None, "{text}");
            assert!(matches(text, text, NAMES), "{text}");
        }
    }

    #[test]
    fn an_unknown_placeholder_is_found() {
        for (text, expected) in [
            ("${tenant}", "${tenant}"),
            ("a/${clientid}/${tenant}/b", "${tenant}"),
            ("${Username}", "${Username}"),
            ("${ username}", "${ username}"),
            ("${}", "${}"),
            ("${clientid", "${clientid"),
            ("${a/b}", "${a/b}"),
            ("$${x}", "${x}"),
            ("${${username}}", "${${username}"),
        ] {
            assert_eq!(unknown(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn an_attribute_stands_for_its_value_and_one_that_is_not_set_for_nothing() {
        let pairs = [("tenant", "acme"), ("a.b c", "x"), ("up", "a/b"), ("none", "")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let attributes = Attributes::new(pairs.into()).unwrap();
        let names = Names { attributes: Some(&attributes), ..NAMES };
        assert!(matches("${client_attrs.tenant}", "acme", names));
        assert!(matches("d-${client_attrs.tenant}-%u", "d-acme-ann", names));
        assert!(matches("${client_attrs.a.b c}", "x", names));
        assert!(!matches("${client_attrs.tenant}", "acme", NAMES));
        for (text, level) in [
            ("${client_attrs.other}", ""),
            ("x${client_attrs.other}", "x"),
            ("${client_attrs.other}", "${client_attrs.other}"),
            ("${client_attrs.none}", ""),
            ("${client_attrs.up}", "a/b"),
            ("${client_attrs.tenant}", "Acme"),
        ] {
            assert!(stands_in(text) && !matches(text, level, names), "{text}");
        }
        assert!(stands_in_front("${client_attrs.tenant}x"));
        assert!(!stands_in_front("x${client_attrs.tenant}"));
    }

    #[test]
    fn an_attribute_without_a_name_is_a_mistake() {
        for text in
            ["${client_attrs}", "${client_attrs.}", "${client_attrs.a", "${client_attrs.a$}"]
        {
            assert!(unknown(text).is_some(), "{text}");
        }
        assert_eq!(unknown("${client_attrs.a}"), None);
        assert_eq!(unknown("${client_attrs.a}${b}c"), Some("${b}"));
    }

    #[test]
    fn a_name_that_means_more_than_itself_stands_for_nothing() {
        for name in ["", "+", "#", "a+", "#a", "a/b", "/"] {
            let names = Names::of(name, name);
            for text in ["%u", "${username}", "%c", "${clientid}", "x%ux", "%u%c"] {
                let level = text.replace("%u", name).replace("%c", name);
                let level = level.replace("${username}", name).replace("${clientid}", name);
                assert!(!matches(text, &level, names), "{text} for {name}");
            }
            assert!(matches("%u", "ann", Names::of("ann", name)));
        }
    }
}
