//! MQTT topic filters: is it one, which topic names does it match, which filters does it cover.
#![forbid(unsafe_code)]

/// Says what is wrong with a filter, if anything is.
pub fn validate(filter: &str) -> Result<(), &'static str> {
    if filter.is_empty() {
        return Err("it is empty");
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        match level {
            "#" if levels.peek().is_some() => return Err("# must be the last level"),
            "#" | "+" => {}
            _ if level.contains(['#', '+']) => return Err("# and + must be a level of their own"),
            _ => {}
        }
    }
    Ok(())
}

/// Does the filter match this topic name? A name with a wildcard in it is no topic name, and matched by nothing.
pub fn matches(filter: &str, name: &str) -> bool {
    !name.is_empty() && !name.contains(['#', '+']) && covers(filter, name)
}

/// Does the filter match every topic name that `wanted` matches? A name is a filter that matches itself alone.
pub fn covers(filter: &str, wanted: &str) -> bool {
    if filter.is_empty() || validate(wanted).is_err() {
        return false;
    }
    // A wildcard in front does not reach the topics that the broker keeps for itself, such as $SYS.
    if wanted.starts_with('$') && filter.starts_with(['#', '+']) {
        return false;
    }
    // Every topic has a first level, so these two are the same.
    if wanted == "#" && filter == "+/#" {
        return true;
    }
    let mut wanted = wanted.split('/');
    for level in filter.split('/') {
        let covered = match (level, wanted.next()) {
            // All that is left, and also nothing: a/# matches a.
            ("#", _) => return true,
            ("+", Some(other)) => other != "#",
            (own, Some(other)) => own == other,
            (_, None) => false,
        };
        if !covered {
            return false;
        }
    }
    wanted.next().is_none()
}

/// The filter inside a shared subscription, `$share/GROUP/FILTER`; any other filter as it is.
pub fn without_share(filter: &str) -> &str {
    let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    shared.map_or(filter, |(_group, inner)| inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_validated() {
        for good in ["a", "/", "#", "+", "+/#", "a/+/b", "a//b", "$SYS/#", "a/#"] {
            assert_eq!(validate(good), Ok(()), "{good}");
        }
        for bad in ["", "#/a", "a#", "a/b+", "a/#/b", "++", "##", "+a/b"] {
            assert!(validate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_matched() {
        let table = [
            ("a", "a", true),
            ("a", "b", false),
            ("a", "A", false),
            ("a", "a/b", false),
            ("a/b", "a", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("+", "a", true),
            ("+", "a/b", false),
            ("+", "/a", false),
            ("+/+", "/a", true),
            ("/+", "/a", true),
            ("a/+", "a/", true),
            ("a/+", "a", false),
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a/b/d", false),
            ("+/#", "a", true),
            ("#", "/", true),
            ("#", "$SYS/uptime", false),
            ("+/uptime", "$SYS/uptime", false),
            ("$SYS/#", "$SYS/uptime", true),
            ("$SYS/+", "$SYS/uptime", true),
            ("a/+", "a/$b", true),
            ("#", "a/+", false),
            ("#", "#", false),
            ("#", "", false),
            ("", "", false),
        ];
        for (filter, name, expected) in table {
            assert_eq!(matches(filter, name), expected, "{filter} on {name}");
        }
    }

    #[test]
    fn filters_are_covered() {
        let table = [
            ("a/#", "a/#", true),
            ("a/#", "a/+", true),
            ("a/#", "a/b/#", true),
            ("a/#", "a", true),
            ("a/#", "#", false),
            ("a/#", "+/b", false),
            ("a/+", "a/#", false),
            ("a/+", "a/b", true),
            ("a/b", "a/+", false),
            ("+", "#", false),
            ("+/+", "a/+", true),
            ("#", "#", true),
            ("#", "+/#", true),
            ("+/#", "#", true),
            ("a/+/#", "a/#", false),
            ("#", "$SYS/#", false),
            ("+/#", "$SYS/#", false),
            ("$SYS/#", "$SYS/broker/+", true),
            ("$SYS/#", "#", false),
            ("#", "a#", false),
            ("#", "", false),
        ];
        for (filter, wanted, expected) in table {
            assert_eq!(covers(filter, wanted), expected, "{filter} over {wanted}");
        }
    }

    #[test]
    fn a_shared_subscription_is_about_the_filter_in_it() {
        let table = [
            ("$share/group/a/#", "a/#"),
            ("$share/group/$SYS/#", "$SYS/#"),
            ("$share/group/", ""),
            ("$share/group", "$share/group"),
            ("$shared/group/a", "$shared/group/a"),
            ("a/$share/group/b", "a/$share/group/b"),
        ];
        for (filter, inner) in table {
            assert_eq!(without_share(filter), inner);
        }
    }

    /// Every sequence of 1 to `depth` levels.
    fn sequences(levels: &[&str], depth: usize) -> Vec<String> {
        let mut all: Vec<String> = levels.iter().map(|level| (*level).to_owned()).collect();
        let mut longest = all.clone();
        for _ in 1..depth {
            longest = longest
                .iter()
                .flat_map(|start| levels.iter().map(move |level| format!("{start}/{level}")))
                .collect();
            all.extend_from_slice(&longest);
        }
        all
    }

    /// The specification of matching, word for word and without a thought for speed.
    fn matches_by_the_book(filter: &[&str], name: &[&str]) -> bool {
        match (filter, name) {
            ([], []) | (["#"], _) => true,
            (["+", filter @ ..], [_, name @ ..]) => matches_by_the_book(filter, name),
            ([own, filter @ ..], [other, name @ ..]) => {
                own == other && matches_by_the_book(filter, name)
            }
            _ => false,
        }
    }

    #[test]
    fn covering_agrees_with_trying_every_topic() {
        // One level more than the filters have: what a # covers and the same depth of + does not.
        let names = sequences(&["a", "b", "$a"], 4);
        let mut filters = sequences(&["a", "b", "$a", "+", "#"], 3);
        filters.retain(|filter| validate(filter).is_ok());
        let matched: Vec<Vec<bool>> =
            filters.iter().map(|filter| matched_names(filter, &names)).collect();

        for (filter, own) in filters.iter().zip(&matched) {
            for (wanted, other) in filters.iter().zip(&matched) {
                let expected = own.iter().zip(other).all(|(own, other)| *own || !*other);
                assert_eq!(covers(filter, wanted), expected, "{filter} over {wanted}");
            }
        }
    }

    fn matched_names(filter: &str, names: &[String]) -> Vec<bool> {
        let levels: Vec<&str> = filter.split('/').collect();
        let by_the_book = |name: &String| {
            let reserved = name.starts_with('$') && filter.starts_with(['#', '+']);
            !reserved && matches_by_the_book(&levels, &name.split('/').collect::<Vec<_>>())
        };
        let all: Vec<bool> = names.iter().map(by_the_book).collect();
        for (name, expected) in names.iter().zip(&all) {
            assert_eq!(matches(filter, name), *expected, "{filter} on {name}");
        }
        all
    }
}
