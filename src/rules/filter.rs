//! What text is a topic filter (MQTT 5.0, section 4.7), and what a subscription asks for.

#![forbid(unsafe_code)]

const MAX_BYTES: usize = 65_535;

/// Why a text is no topic filter; none when it is one.
#[must_use]
pub(crate) fn problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > MAX_BYTES {
        return Some("it is longer than 65535 bytes");
    }
    if text.contains('\0') {
        return Some("it contains a NUL");
    }
    let mut levels = text.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('+') && level != "+" {
            return Some("+ must be alone in its level");
        }
        if level.contains('#') && level != "#" {
            return Some("# must be alone in its level");
        }
        if level == "#" && levels.peek().is_some() {
            return Some("# must be the last level");
        }
    }
    None
}

/// The filter that a subscription asks for, without the `$share/GROUP/` of a shared one; none when
/// that is no topic filter.
///
/// Whatever stands for the group is passed over: which groups there may be is the broker's to say,
/// and one that it lets pass must not hide the filter from the rules.
#[must_use]
pub(crate) fn asked(text: &str) -> Option<&str> {
    let filter = match text.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/')?.1,
        None => text,
    };
    problem(filter).is_none().then_some(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_its_wildcards_alone_in_a_level_and_the_many_level_one_last() {
        let longest = "x".repeat(MAX_BYTES);
        for text in [
            "a", "/", "//", "/a", "a/", "+", "#", "+/+", "/#", "a/#", "a/+/b", "+/#", "$SYS/#",
            "$", " ", "a b", "é/+", &longest,
        ] {
            assert_eq!(problem(text), None, "{text}");
        }
        let too_long = "x".repeat(MAX_BYTES + 1);
        for (text, expected) in [
            ("", "it is empty"),
            (too_long.as_str(), "it is longer than 65535 bytes"),
            ("a\0b", "it contains a NUL"),
            ("a+", "+ must be alone in its level"),
            ("+a", "+ must be alone in its level"),
            ("++", "+ must be alone in its level"),
            ("a/b+/c", "+ must be alone in its level"),
            ("+#", "+ must be alone in its level"),
            ("a#", "# must be alone in its level"),
            ("a/#b", "# must be alone in its level"),
            ("##", "# must be alone in its level"),
            ("#/", "# must be the last level"),
            ("a/#/b", "# must be the last level"),
        ] {
            assert_eq!(problem(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_shared_subscription_asks_for_what_follows_its_group() {
        for (text, expected) in [
            ("a/+", Some("a/+")),
            ("$share/g/a", Some("a")),
            ("$share/g/#", Some("#")),
            ("$share/g//a", Some("/a")),
            ("$share/g/$share/h/a", Some("$share/h/a")),
            ("$share//a", Some("a")),
            ("$share/+/a", Some("a")),
            ("$share/g", None),
            ("$share/g/", None),
            ("$share/", None),
            ("$share/g/a/#/b", None),
            ("$share", Some("$share")),
            ("$shared/g/a", Some("$shared/g/a")),
            ("a/$share/g/b", Some("a/$share/g/b")),
            ("a#", None),
            ("", None),
        ] {
            assert_eq!(asked(text), expected, "{text}");
        }
    }
}
