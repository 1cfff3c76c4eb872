//! What rules mean, written to be obviously right rather than fast: what the tests compare with.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "it is a test that panics")]

use super::{Names, Permission, Rule, Ruling, Syntax, Verb, Whom};
use crate::question::{Access, Action};

/// Whether a topic name matches a filter, both given as levels.
pub(super) fn matches(filter: &[&str], name: &[&str]) -> bool {
    fn levels_match(filter: &[&str], name: &[&str]) -> bool {
        match (filter, name) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, name @ ..]) => levels_match(filter, name),
            ([same, filter @ ..], [level, name @ ..]) => {
                same == level && levels_match(filter, name)
            }
            ([], _) | (_, []) => false,
        }
    }
    let hidden = name[0].starts_with('$') && matches!(filter[0], "+" | "#");
    !hidden && levels_match(filter, name)
}

/// All topic names of up to so many levels, each one of these.
pub(super) fn names<'a>(levels: &[&'a str], depth: usize) -> Vec<Vec<&'a str>> {
    let mut names = vec![vec![]];
    let mut longest: Vec<Vec<&str>> = names.clone();
    for _ in 0..depth {
        longest = longest
            .iter()
            .flat_map(|name| levels.iter().map(move |level| [&name[..], &[level]].concat()))
            .collect();
        names.extend(longest.iter().cloned());
    }
    names.retain(|name| !name.join("/").is_empty());
    names
}

/// Whether each name that one filter matches is matched by another.
///
/// Names of one level more than either filter has, made of their levels and of others that neither
/// has, tell: in a longer name the level too many could be left out.
fn covers(filter: &[&str], asked: &[&str]) -> bool {
    let mut levels = [filter, asked, &["~", "$~"]].concat();
    levels.retain(|level| !matches!(*level, "+" | "#"));
    levels.sort_unstable();
    levels.dedup();
    names(&levels, filter.len().max(asked.len()) + 1)
        .iter()
        .all(|name| !matches(asked, name) || matches(filter, name))
}

fn is_filter(text: &str) -> bool {
    let levels: Vec<_> = text.split('/').collect();
    let (last, others) = levels.split_last().unwrap();
    let plain = |level: &str| level == "+" || !level.contains(['+', '#']);
    let is_text = !text.is_empty() && !text.contains('\0');
    is_text && (plain(last) || *last == "#") && others.iter().all(|level| plain(level))
}

/// A text with the names put in; none when a name may not be.
fn substituted(text: &str, names: Names<'_>, syntax: Syntax) -> Option<String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let attribute = |name| names.attributes.and_then(|known| known.get(name)).unwrap_or("");
        let placeholders = [
            ("${client_attrs.a}", attribute("a")),
            ("${client_attrs.b}", attribute("b")),
            ("${username}", names.username),
            ("${clientid}", names.client_id),
            ("%u", names.username),
            ("%c", names.client_id),
        ];
        let placeholders = match syntax {
            Syntax::Own => &placeholders[..],
            Syntax::Emqx => &placeholders[..4],
        };
        if let (Syntax::Emqx, Some(after)) = (syntax, rest.strip_prefix("${$}")) {
            result.push('$');
            rest = after;
        } else if let Some((placeholder, name)) =
            placeholders.iter().find(|p| rest.starts_with(p.0))
        {
            let leads_astray = result.is_empty() && name.starts_with('$');
            if leads_astray || name.is_empty() || name.contains(['+', '#', '/']) {
                return None;
            }
            result += name;
            rest = &rest[placeholder.len()..];
        } else {
            result.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    Some(result)
}

fn rule_matches(rule: &Rule, syntax: Syntax, action: &Action<'_>, names: Names<'_>) -> bool {
    let (literal, filter) = match rule.topic.strip_prefix("eq ") {
        Some(filter) => (true, filter),
        None => (false, rule.topic.as_str()),
    };
    let substituted = match (literal, syntax) {
        (true, Syntax::Emqx) => Some(filter.to_owned()),
        _ => substituted(filter, names, syntax),
    };
    let Some(filter) = substituted else { return false };
    let filter_levels: Vec<_> = filter.split('/').collect();
    let topic_levels: Vec<_> = action.topic.split('/').collect();
    let qos = rule.qos.as_ref().is_none_or(|list| list.contains(&action.qos));
    let retain = rule.retain.is_none_or(|only| only == action.retain);
    let name_matches = !action.topic.is_empty() && matches(&filter_levels, &topic_levels);
    let same = filter == action.topic;
    match (action.access, rule.verb) {
        (Access::Write, Verb::Publish | Verb::All) | (Access::Read, Verb::Read) => {
            qos && retain && if literal { same } else { name_matches }
        }
        (Access::Read, Verb::Subscribe | Verb::All) => match rule.permission {
            Permission::Allow => name_matches,
            Permission::Deny => qos && if literal { same } else { name_matches },
        },
        (Access::Subscribe, Verb::Subscribe | Verb::All) => {
            let asked = match action.topic.strip_prefix("$share/") {
                Some(shared) => shared.split_once('/').map_or("", |(_, filter)| filter),
                None => action.topic,
            };
            let asked_levels: Vec<_> = asked.split('/').collect();
            let covered = || covers(&filter_levels, &asked_levels);
            qos && is_filter(asked) && if literal { filter == asked } else { covered() }
        }
        _ => false,
    }
}

/// What the first rule that matches says.
pub(crate) fn judge(
    (rules, syntax): (&[Rule], Syntax),
    action: &Action<'_>,
    names: Names<'_>,
    whom: Whom<'_>,
) -> Option<Ruling> {
    let applies = |rule: &Rule| rule.is_for(whom) && rule_matches(rule, syntax, action, names);
    let position = rules.iter().position(applies)?;
    Some(Ruling { permission: rules[position].permission, position })
}
