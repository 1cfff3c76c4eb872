//! Rules against the model: every short filter, and any rules.

#![forbid(unsafe_code)]

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::{Condition, Names, Network, Permission, Rule, Rules, Syntax, Verb, Whom, model};
use crate::question::{Access, Action, Attributes};

const NAMES: Names<'_> = Names::of("u", "c");

fn rule(topic: &str) -> Rule {
    let (permission, verb) = (Permission::Allow, Verb::All);
    Rule {
        permission,
        verb,
        topic: topic.into(),
        qos: None,
        retain: None,
        condition: Condition::NONE,
    }
}

fn allows(rules: &Rules, access: Access, topic: &str) -> bool {
    rules.judge(&Action { access, topic, qos: 0, retain: false }, NAMES).is_some()
}

/// Every filter of up to three levels and a `#`.
fn filters() -> Vec<String> {
    let mut filters = vec!["#".to_owned()];
    for levels in model::names(&["a", "b", "", "$x", "+"], 3) {
        let filter = levels.join("/");
        filters.push(filter.clone() + "/#");
        filters.push(filter);
    }
    // The one level that is empty is no filter, but it is one with a `#` behind it.
    filters.push("/#".into());
    filters
}

#[test]
fn every_short_filter_matches_and_covers_what_the_model_says() {
    // One level more than the filters have, and one text more than they know: what is covered here
    // is covered altogether.
    let names = model::names(&["a", "b", "", "$x", "other"], 4);
    let filters = filters();
    assert!(filters.len() == 310 && names.len() == 779, "{} {}", filters.len(), names.len());
    let matched: Vec<Vec<bool>> = filters
        .iter()
        .map(|filter| {
            let levels: Vec<_> = filter.split('/').collect();
            names.iter().map(|name| model::matches(&levels, name)).collect()
        })
        .collect();
    for (filter, matched_by_filter) in filters.iter().zip(&matched) {
        let rules = Rules::compile(vec![rule(filter)]).unwrap();
        for (name, expected) in names.iter().zip(matched_by_filter) {
            let name = name.join("/");
            assert_eq!(allows(&rules, Access::Write, &name), *expected, "{filter}: {name}");
        }
        for (asked, matched_by_asked) in filters.iter().zip(&matched) {
            let covered = matched_by_asked.iter().zip(matched_by_filter).all(|(a, f)| !a || *f);
            assert_eq!(allows(&rules, Access::Subscribe, asked), covered, "{filter}: {asked}");
        }
    }
}

/// A topic of these levels, with something in front and, at times, a `#` behind.
fn topic(levels: &'static [&str], fronts: &'static [&str]) -> impl Strategy<Value = String> {
    let levels = vec(select(levels), 1..=3);
    (select(fronts), levels, 0..4u8).prop_map(|(front, levels, end)| {
        let end = if end == 0 { "/#" } else { "" };
        format!("{front}{}{end}", levels.join("/"))
    })
}

const LEVELS: &[&str] = &[
    "a",
    "b",
    "",
    "$x",
    "+",
    "+",
    "%u",
    "${clientid}",
    "d-%c",
    "${username}${clientid}",
    "${client_attrs.a}",
    "d-${client_attrs.a}%c",
    "${client_attrs.b}",
];

/// The same as EMQX writes it, and what is plain text there.
const EMQX_LEVELS: &[&str] = &[
    "a",
    "b",
    "",
    "${$}x",
    "+",
    "+",
    "${username}",
    "${clientid}",
    "%u",
    "d-%c",
    "${username}${clientid}",
    "${client_attrs.a}",
    "d-${client_attrs.a}${clientid}",
    "${other}",
    "${$}",
    "${$}{clientid}",
];

fn rules(syntax: Syntax) -> impl Strategy<Value = Vec<Rule>> {
    let levels: &'static [&str] = match syntax {
        Syntax::Own => LEVELS,
        Syntax::Emqx => EMQX_LEVELS,
    };
    let any_topic = prop_oneof![
        9 => topic(levels, &["", "", "", "eq "]),
        1 => select(&["#", "+", "eq #", "/#"][..]).prop_map(String::from),
    ];
    let rule = (
        select(&[Permission::Allow, Permission::Deny][..]),
        select(&[Verb::Publish, Verb::Subscribe, Verb::Read, Verb::All][..]),
        any_topic.prop_filter("no filter", |topic| !matches!(topic.as_str(), "" | "eq ")),
        proptest::option::weighted(0.2, vec(0..=2u8, 1..3)),
        proptest::option::weighted(0.2, any::<bool>()),
        condition(),
    );
    let rule = rule.prop_map(|(permission, verb, topic, qos, retain, condition)| Rule {
        permission,
        verb,
        topic,
        qos,
        retain,
        condition,
    });
    vec(rule, 0..12)
}

/// Mostly none.
fn condition() -> impl Strategy<Value = Condition> {
    use proptest::option::weighted;
    let network = select(&["192.0.2.7", "192.0.2.0/24", "198.51.100.0/24", "::/0"][..]);
    let network = network.prop_map(|text| Network::read(text).unwrap());
    let pattern = || select(&["^u$", "c", "a|b", "."][..]).prop_map(String::from);
    (weighted(0.15, network), weighted(0.15, pattern()), weighted(0.15, pattern()))
        .prop_map(|(network, username, client_id)| Condition { network, username, client_id })
}

/// Some of the attributes that stand in the rules, with values of which some may not.
fn attributes() -> impl Strategy<Value = Attributes> {
    let value = select(&["u", "c", "a", "$x", "+", "a/b", "#", "", "%c"][..]);
    let pairs = btree_map(select(&["a", "b", "other"][..]), value, 0..3);
    pairs.prop_map(|pairs| {
        let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Attributes::new(pairs.collect()).unwrap()
    })
}

/// An access and a topic that is often, but not always, what it should be.
fn access_and_topic() -> impl Strategy<Value = (Access, String)> {
    let levels = &[
        "a",
        "b",
        "",
        "$x",
        "+",
        "u",
        "c",
        "d-c",
        "uc",
        "%u",
        "#",
        "d-",
        "other",
        "$",
        "d-%c",
        "${clientid}",
        "${other}",
    ];
    let topic = prop_oneof![
        8 => topic(levels, &["", "", "", "$share/g/"]),
        1 => select(&["", "#", "$share/g", "$share/g/#", "a+"][..]).prop_map(String::from),
    ];
    (select(&[Access::Write, Access::Read, Access::Subscribe, Access::Unsubscribe][..]), topic)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn rules_say_what_the_model_says(
        (syntax, rules) in select(&[Syntax::Own, Syntax::Emqx][..])
            .prop_flat_map(|syntax| (Just(syntax), rules(syntax))),
        actions in vec((access_and_topic(), 0..=2u8, any::<bool>()), 1..4),
        username in select(&["u", "u", "u", "a", "$x", "%c", "+", "a/b", ""][..]),
        client_id in select(&["c", "c", "c", "a", "#", "%u"][..]),
        attributes in proptest::option::of(attributes()),
        address in select(&[None, Some("192.0.2.7"), Some("192.0.2.8"), Some("2001:db8::1")][..]),
    ) {
        let compiled = Rules::compile_as(rules.clone(), syntax).unwrap();
        let address = address.map(|text| text.parse().unwrap());
        let whom = Whom { address, username, client_id };
        let (attributes, conditions) = (attributes.as_ref(), compiled.met_by(whom));
        let names = Names { username, client_id, attributes, conditions: conditions.as_ref() };
        for ((access, topic), qos, retain) in &actions {
            let action = Action { access: *access, topic, qos: *qos, retain: *retain };
            let expected = model::judge((&rules, syntax), &action, names, whom);
            prop_assert_eq!(compiled.judge(&action, names), expected, "{:?}", action);
        }
    }

    #[test]
    fn any_text_matches_what_the_model_says(filter in "[ab/+#$é]{1,8}", name in "[ab/+#$é]{1,8}") {
        if let Ok(rules) = Rules::compile(vec![rule(&filter)]) {
            let (levels, name_levels): (Vec<_>, Vec<_>) =
                (filter.split('/').collect(), name.split('/').collect());
            let expected = model::matches(&levels, &name_levels);
            prop_assert_eq!(allows(&rules, Access::Write, &name), expected);
        }
    }

    #[test]
    fn any_literal_text_is_itself_to_anybody(text in ".{0,12}", other in ".{0,12}") {
        let Ok(rules) = Rules::compile(vec![rule(&format!("eq {text}"))]) else { return Ok(()) };
        let has_names = text.contains("%u") || text.contains("%c") || text.contains("${");
        for access in [Access::Write, Access::Subscribe] {
            prop_assert!(has_names || allows(&rules, access, &text));
            prop_assert!(has_names || other == text || !allows(&rules, access, &other));
        }
    }
}
