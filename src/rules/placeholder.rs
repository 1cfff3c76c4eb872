//! Placeholders in a rule's text: the names of the client that is judged.

#![forbid(unsafe_code)]

use super::condition::ConditionsMet;
use crate::question::Attributes;

/// What the placeholders stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Names<'a> {
    pub username: &'a str,
    pub client_id: &'a str,
    pub(crate) attributes: Option<&'a Attributes>,
    /// Which conditions of its rules the client meets; none: they are judged by its names alone.
    pub(crate) conditions: Option<&'a ConditionsMet>,
}

impl<'a> Names<'a> {
    /// Those of a client of which no more is known.
    #[must_use]
    pub const fn of(username: &'a str, client_id: &'a str) -> Self {
        Self { username, client_id, attributes: None, conditions: None }
    }
}

/// How rules write what is no plain text.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Syntax {
    /// `${username}` or `%u`, and so on; names are put in behind `eq ` as well. Any other `${…}` is an error.
    #[default]
    Own,
    /// As EMQX has it: no `%u` and `%c`, `${$}` is a dollar, and what stands behind `eq ` is plain text. So is
    /// any other `${…}`, but for those that mean something to EMQX and nothing here.
    Emqx,
}

#[derive(Clone, Copy)]
enum Part<'a> {
    /// A text that is never empty and has a `$` or `%` only where it begins.
    Text(&'a str),
    /// A `$` that is plain text.
    Dollar,
    Username,
    ClientId,
    /// By its name.
    Attribute(&'a str),
}

/// What stands before and after an attribute's name.
const ATTRIBUTE: (&str, char) = ("${client_attrs.", '}');

const OWN: &[(&str, Part<'static>)] = &[
    ("${username}", Part::Username),
    ("%u", Part::Username),
    ("${clientid}", Part::ClientId),
    ("%c", Part::ClientId),
];

const EMQX: &[(&str, Part<'static>)] =
    &[("${username}", Part::Username), ("${clientid}", Part::ClientId), ("${$}", Part::Dollar)];

/// What EMQX puts something in for that is not known here: a rule that has one would mean something else.
const ONLY_EMQX: [&str; 2] = ["${cert_common_name}", "${zone}"];

impl Syntax {
    fn placeholders(self) -> &'static [(&'static str, Part<'static>)] {
        match self {
            Self::Own => OWN,
            Self::Emqx => EMQX,
        }
    }

    /// The first `${…}` that stands for nothing here, where that is an error: whoever wrote it meant
    /// something by it.
    #[must_use]
    pub(crate) fn unknown(self, text: &str) -> Option<&str> {
        text.match_indices("${").find_map(|(at, _)| {
            let rest = &text[at..];
            let is_in = |known: &str| rest.starts_with(known);
            let is_known = match self {
                Self::Own => OWN.iter().any(|(known, _)| is_in(known)) || attribute(rest).is_some(),
                Self::Emqx => !ONLY_EMQX.into_iter().any(is_in),
            };
            (!is_known).then(|| rest.split_inclusive('}').next().unwrap_or(rest))
        })
    }
}

/// A text, taken apart from the left.
struct Pieces<'a>(&'a str, Syntax);

impl<'a> Iterator for Pieces<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let begin = self.0.chars().next()?;
        if begin == '$' || begin == '%' {
            for (text, piece) in self.1.placeholders() {
                if let Some(rest) = self.0.strip_prefix(text) {
                    self.0 = rest;
                    return Some(*piece);
                }
            }
            if let Some((name, rest)) = attribute(self.0) {
                self.0 = rest;
                return Some(Part::Attribute(name));
            }
        }
        let after = begin.len_utf8();
        let end = self.0[after..].find(['$', '%']).map_or(self.0.len(), |found| after + found);
        let (text, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(Part::Text(text))
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
pub(crate) fn stands_in(text: &str, syntax: Syntax) -> bool {
    Pieces(text, syntax).any(|piece| !matches!(piece, Part::Text(_)))
}

/// Whether a text begins with a placeholder for a name.
#[must_use]
pub(crate) fn stands_in_front(text: &str, syntax: Syntax) -> bool {
    let first = Pieces(text, syntax).next();
    first.is_some_and(|piece| !matches!(piece, Part::Text(_) | Part::Dollar))
}

/// Whether a topic's level is what this text stands for.
///
/// A name that is empty or has a wildcard or a `/` in it stands for nothing at all: in a rule's
/// place it would mean more than one level of one client. Neither does an attribute that is not set.
#[must_use]
pub(crate) fn matches(text: &str, level: &str, names: Names<'_>, syntax: Syntax) -> bool {
    let mut rest = level;
    for piece in Pieces(text, syntax) {
        let plain = |name: &'_ &str| is_plain(name);
        let part = match piece {
            Part::Text(part) => Some(part),
            Part::Dollar => Some("$"),
            Part::Username => Some(names.username).filter(plain),
            Part::ClientId => Some(names.client_id).filter(plain),
            Part::Attribute(name) => {
                names.attributes.and_then(|known| known.get(name)).filter(plain)
            }
        };
        match part.and_then(|part| rest.strip_prefix(part)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

/// Whether a name stands for one level of a topic.
#[must_use]
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.bytes().any(|byte| matches!(byte, b'+' | b'#' | b'/'))
}

/// Whether a client may be given this name: one that would be put in for `${username}`, and that MQTT can
/// carry (MQTT 5.0, section 1.5.4).
#[must_use]
pub(crate) fn is_username(name: &str) -> bool {
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
            assert!(stands_in(text, Syntax::Own), "{text}");
            assert_eq!(Syntax::Own.unknown(text), None, "{text}");
            assert!(matches(text, level, NAMES, Syntax::Own), "{text}");
            for other in ["", "x", text, &level[1..], &format!("{level}x"), &format!("x{level}")] {
                assert!(!matches(text, other, NAMES, Syntax::Own), "{text} is not {other}");
            }
        }
    }

    #[test]
    fn text_that_resembles_a_placeholder_is_text() {
        for text in ["", "a", "%", "%d", "%C", "%U", "$", "$username", "{username}", "$ {clientid}"]
        {
            assert!(!stands_in(text, Syntax::Own), "{text}");
            assert_eq!(Syntax::Own.unknown(text), None, "{text}");
            assert!(matches(text, text, NAMES, Syntax::Own), "{text}");
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
            assert_eq!(Syntax::Own.unknown(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn an_attribute_stands_for_its_value_and_one_that_is_not_set_for_nothing() {
        let pairs = [("tenant", "acme"), ("a.b c", "x"), ("up", "a/b"), ("none", "")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let attributes = Attributes::new(pairs.into()).unwrap();
        let names = Names { attributes: Some(&attributes), ..NAMES };
        assert!(matches("${client_attrs.tenant}", "acme", names, Syntax::Own));
        assert!(matches("d-${client_attrs.tenant}-%u", "d-acme-ann", names, Syntax::Own));
        assert!(matches("${client_attrs.a.b c}", "x", names, Syntax::Own));
        assert!(!matches("${client_attrs.tenant}", "acme", NAMES, Syntax::Own));
        for (text, level) in [
            ("${client_attrs.other}", ""),
            ("x${client_attrs.other}", "x"),
            ("${client_attrs.other}", "${client_attrs.other}"),
            ("${client_attrs.none}", ""),
            ("${client_attrs.up}", "a/b"),
            ("${client_attrs.tenant}", "Acme"),
        ] {
            assert!(
                stands_in(text, Syntax::Own) && !matches(text, level, names, Syntax::Own),
                "{text}"
            );
        }
        assert!(stands_in_front("${client_attrs.tenant}x", Syntax::Own));
        assert!(!stands_in_front("x${client_attrs.tenant}", Syntax::Own));
    }

    #[test]
    fn an_attribute_without_a_name_is_an_error() {
        for text in
            ["${client_attrs}", "${client_attrs.}", "${client_attrs.a", "${client_attrs.a$}"]
        {
            assert!(Syntax::Own.unknown(text).is_some(), "{text}");
        }
        assert_eq!(Syntax::Own.unknown("${client_attrs.a}"), None);
        assert_eq!(Syntax::Own.unknown("${client_attrs.a}${b}c"), Some("${b}"));
    }

    #[test]
    fn a_name_that_means_more_than_itself_stands_for_nothing() {
        for name in ["", "+", "#", "a+", "#a", "a/b", "/"] {
            let names = Names::of(name, name);
            for text in ["%u", "${username}", "%c", "${clientid}", "x%ux", "%u%c"] {
                let level = text.replace("%u", name).replace("%c", name);
                let level = level.replace("${username}", name).replace("${clientid}", name);
                assert!(!matches(text, &level, names, Syntax::Own), "{text} for {name}");
            }
            assert!(matches("%u", "ann", Names::of("ann", name), Syntax::Own));
        }
    }

    #[test]
    fn emqx_has_its_own_placeholders() {
        let pairs = [("tenant".to_owned(), "acme".to_owned())];
        let attributes = Attributes::new(pairs.into()).unwrap();
        let names = Names { attributes: Some(&attributes), ..NAMES };
        for (text, level, has_any, in_front) in [
            ("${username}", "ann", true, true),
            ("${clientid}", "c1", true, true),
            ("x${client_attrs.tenant}", "xacme", true, false),
            ("${$}", "$", true, false),
            ("${$}{clientid}", "${clientid}", true, false),
            ("${$}${clientid}", "$c1", true, false),
            ("%u", "%u", false, false),
            ("%c", "%c", false, false),
            ("${foo}", "${foo}", false, false),
            ("${Username}", "${Username}", false, false),
            ("${client_attrs}", "${client_attrs}", false, false),
            ("${clientid", "${clientid", false, false),
            ("$", "$", false, false),
        ] {
            assert_eq!(stands_in(text, Syntax::Emqx), has_any, "{text}");
            assert_eq!(stands_in_front(text, Syntax::Emqx), in_front, "{text}");
            assert_eq!(Syntax::Emqx.unknown(text), None, "{text}");
            assert!(matches(text, level, names, Syntax::Emqx), "{text}");
            assert!(!matches(text, &format!("{level}x"), names, Syntax::Emqx), "{text}");
        }
        assert!(!matches("${client_attrs.x}", "${client_attrs.x}", names, Syntax::Emqx));
        assert!(!matches("${username}", "a/b", Names::of("a/b", "c1"), Syntax::Emqx));
        for unknown in ["${zone}", "${cert_common_name}"] {
            assert_eq!(Syntax::Emqx.unknown(&format!("a/x{unknown}y/b")), Some(unknown));
        }
    }
}
