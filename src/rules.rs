//! The rules that the API gave for one login, compiled once and judged in memory from then on.
//!
//! The first rule that matches decides. Rules are not bound to a client: the names that their
//! placeholders stand for are passed in, so that many clients can share one set.

#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::question::{Access, Action};

mod action_mask;
mod condition;
mod filter;
mod inexact;
mod last_delivery;
mod patterns;
mod placeholder;
mod rule_set_interner;
mod tree;
mod walk_stack;
mod written;

#[cfg(any(test, fuzzing))]
mod model;
#[cfg(test)]
mod properties;

use action_mask::{ActionMask, QosSet};
pub use condition::{Condition, ConditionsMet, Network, Whom};
use condition::{Conditions, RuleRef};
pub(crate) use filter::asked as filter_asked;
pub(crate) use last_delivery::LastDelivery;
pub use placeholder::Names;
pub(crate) use placeholder::{Syntax, is_username};
pub(crate) use rule_set_interner::RuleSetInterner;
use tree::{Asked, Meaning, Tree};

/// What a fuzzer may reach.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing {
    pub(crate) use super::model::judge as first_match;
}

/// How many rules an answer may have, each topic counted.
pub(crate) const MAX_RULES: usize = 10_000;
// A rule's position is a number of 16 bits.
const _: () = assert!(MAX_RULES <= u16::MAX as usize);

/// How much text rules may have together, so that every number in a [`Tree`] fits 32 bits.
const MAX_TEXT: usize = 256 * 1024 * 1024;

/// What an allocator takes for itself and for alignment, about.
const ALLOCATOR_BYTES: usize = 16;

/// What a rule says of what it matches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Permission {
    Allow,
    Deny,
}

/// What a rule is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verb {
    Publish,
    /// To subscribe, and to be sent what was subscribed to.
    Subscribe,
    /// To be sent messages.
    Read,
    All,
}

/// A rule as the API wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    pub permission: Permission,
    pub verb: Verb,
    /// A topic filter that may have placeholders, or `eq ` and one whose wildcards are plain text.
    pub topic: String,
    /// Only for these levels of quality of service, each 0, 1 or 2.
    pub qos: Option<Vec<u8>>,
    /// Only for messages that are, or are not, retained.
    pub retain: Option<bool>,
    /// Only for clients for which this holds.
    pub condition: Condition,
}

/// What the rules say to an action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ruling {
    pub permission: Permission,
    /// Which rule it is, counted from 0.
    pub position: usize,
}

/// A rule that cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadRule {
    /// Which rule it is, counted from 0.
    pub position: usize,
    pub problem: String,
}

impl fmt::Display for BadRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}: {}", self.position + 1, self.problem)
    }
}

impl std::error::Error for BadRule {}

/// What is kept of a rule beside the tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Kept {
    /// Where its topic begins; it ends where the next one begins.
    topic: u32,
    permission: Permission,
    verb: Verb,
    qos: QosSet,
    retain: Option<bool>,
}

/// Rules in their order.
pub struct Rules {
    syntax: Syntax,
    kept: Vec<Kept>,
    tree: Tree,
    conditions: Conditions,
    /// The positions of those that have a placeholder or a condition.
    by_client: Vec<u16>,
    /// Whether what none of them matches is denied, and nobody is asked about it.
    deny_the_rest: bool,
}

impl Rules {
    /// # Errors
    /// There are more than [`MAX_RULES`], a topic is no topic filter or has an unknown placeholder, there
    /// are too many levels with placeholders, a level of quality of service is none, a pattern is none, or
    /// there are too many conditions. One bad rule spoils them all, since the rest may mean something else
    /// without it.
    pub fn compile(rules: Vec<Rule>) -> Result<Self, BadRule> {
        Self::compile_as(rules, Syntax::Own)
    }

    /// The same of rules that are written in a certain way.
    ///
    /// # Errors
    /// As [`Rules::compile`].
    pub(crate) fn compile_as(rules: Vec<Rule>, syntax: Syntax) -> Result<Self, BadRule> {
        if rules.len() > MAX_RULES {
            let problem = format!("there are more than {MAX_RULES} rules");
            return Err(BadRule { position: MAX_RULES, problem });
        }
        let kept = Vec::with_capacity(rules.len());
        let (conditions, by_client) = (Conditions::default(), Vec::new());
        let (tree, deny_the_rest) = (Tree::new(syntax), false);
        let mut compiled = Self { syntax, kept, tree, conditions, by_client, deny_the_rest };
        for (position, rule) in rules.into_iter().enumerate() {
            compiled.add(&rule).map_err(|problem| BadRule { position, problem })?;
        }
        compiled.tree.shrink();
        compiled.conditions.shrink();
        compiled.by_client.shrink_to_fit();
        Ok(compiled)
    }

    /// The same rules, beyond which nothing is allowed.
    #[must_use]
    pub(crate) fn and_nothing_else(self) -> Self {
        Self { deny_the_rest: true, ..self }
    }

    /// Whether what none of them matches is denied, and nobody is to be asked about it.
    #[must_use]
    pub(crate) fn deny_the_rest(&self) -> bool {
        self.deny_the_rest
    }

    fn add(&mut self, rule: &Rule) -> Result<(), String> {
        let (written, filter) = reading(&rule.topic);
        let has_names = (written, self.syntax) != (Meaning::Literal, Syntax::Emqx);
        check(rule, self.syntax, has_names)?;
        if self.tree.text().len() + rule.topic.len() > MAX_TEXT {
            return Err("the rules are too long altogether".into());
        }
        let position = self.kept.len() as u16;
        let topic = self.tree.add_text(&rule.topic);
        let qos = rule.qos.as_deref().map_or(QosSet::ANY, QosSet::of);
        let Rule { permission, verb, retain, .. } = *rule;
        let condition =
            self.conditions.add(position, &rule.condition, permission == Permission::Deny)?;
        let kept = Kept { topic, permission, verb, qos, retain };
        self.kept.push(kept);
        let stands_in = has_names && placeholder::stands_in(filter, self.syntax);
        if stands_in || rule.condition != Condition::NONE {
            self.by_client.push(position);
        }
        let begin = topic + (rule.topic.len() - filter.len()) as u32;
        for meaning in [Meaning::Filter, Meaning::Literal] {
            let action_mask = kept.action_mask(&rule.topic, meaning);
            if action_mask != ActionMask::NONE {
                let rule = RuleRef { position, condition };
                self.tree.insert(meaning, (filter, has_names), begin, rule, action_mask)?;
            }
        }
        Ok(())
    }

    /// What the first rule that matches says; none when no rule does, or when the action is none
    /// for rules to judge.
    #[must_use]
    pub fn judge(&self, action: &Action<'_>, names: Names<'_>) -> Option<Ruling> {
        let is_filter = action.access == Access::Subscribe;
        let topic = if is_filter { filter::asked(action.topic) } else { Some(action.topic) };
        let (Some(action_mask), Some(topic)) = (ActionMask::of(action), topic) else {
            return None;
        };
        if topic.is_empty() {
            return None;
        }
        let Names { username, client_id, conditions, .. } = names;
        let by_names = || self.met_by(Whom { address: None, username, client_id });
        let by_names = if conditions.is_none() { by_names() } else { None };
        let met = conditions.or(by_names.as_ref());
        let position =
            self.tree.first(&Asked { topic, is_filter, action_mask, names, met })? as usize;
        let permission = self.kept.get(position)?.permission;
        Some(Ruling { permission, position })
    }

    /// Which of the rules' conditions a client meets, for [`Names::conditions`]; none: they have none.
    #[must_use]
    pub fn met_by(&self, whom: Whom<'_>) -> Option<ConditionsMet> {
        self.conditions.met_by(whom)
    }

    /// Whether the rule at this position, which matches a delivery for one client, is the first that matches
    /// for every client that has these rules. False where it takes long to find out.
    #[must_use]
    pub(crate) fn is_for_everybody(&self, position: usize, topic_name: &str) -> bool {
        const FEW: usize = 16;
        let mut by_client = self.by_client.iter().map(|at| usize::from(*at));
        // What stands before the first placeholder, or wildcard, has to stand in the topic name as well.
        let may_match = |at| {
            let filter = reading(self.topic(at).unwrap_or_default()).1;
            topic_name.starts_with(filter.split(['$', '%', '+', '#']).next().unwrap_or_default())
        };
        self.by_client.len() <= FEW && !by_client.any(|at| at <= position && may_match(at))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// About how much memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let kept = self.kept.capacity() * size_of::<Kept>() + ALLOCATOR_BYTES;
        let by_client = self.by_client.capacity() * size_of::<u16>() + ALLOCATOR_BYTES;
        let heap = self.tree.heap_bytes() + self.conditions.heap_bytes();
        size_of::<Self>() + kept + by_client + heap
    }

    /// A rule in an operator's words, such as `rule 2 (allow publish devices/${clientid}/up/#)`,
    /// counted from 1.
    #[must_use]
    pub fn describe(&self, position: usize) -> Option<String> {
        let kept = self.kept.get(position)?;
        let permission = match kept.permission {
            Permission::Allow => "allow",
            Permission::Deny => "deny",
        };
        let verb = match kept.verb {
            Verb::Publish => "publish",
            Verb::Subscribe => "subscribe",
            Verb::Read => "read",
            Verb::All => "all",
        };
        let topic = shown(self.topic(position)?);
        let mut text = format!("rule {} ({permission} {verb} {topic}", position + 1);
        if kept.qos != QosSet::ANY {
            let levels = (0..=2).filter(|qos| kept.qos.contains(*qos));
            let levels: Vec<_> = levels.map(|qos| qos.to_string()).collect();
            text = format!("{text}, qos {}", levels.join(" or "));
        }
        if let Some(retain) = kept.retain {
            text = format!("{text}, retain {retain}");
        }
        Some(format!("{text}{})", self.conditions.of(position)))
    }

    fn topic(&self, position: usize) -> Option<&str> {
        let begin = self.kept.get(position)?.topic as usize;
        let next = self.kept.get(position + 1).map(|next| next.topic as usize);
        self.tree.text().get(begin..next.unwrap_or(self.tree.text().len()))
    }
}

/// Rules that were written alike are alike.
impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        (self.syntax, self.deny_the_rest) == (other.syntax, other.deny_the_rest)
            && self.kept == other.kept
            && self.tree.text() == other.tree.text()
            && self.conditions == other.conditions
    }
}

impl Eq for Rules {}

impl Hash for Rules {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.syntax.hash(state);
        self.deny_the_rest.hash(state);
        self.kept.hash(state);
        self.tree.text().hash(state);
        self.conditions.hash(state);
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries((0..self.len()).filter_map(|at| self.describe(at))).finish()
    }
}

impl Kept {
    /// Where the rule has a say when its topic is taken in this meaning.
    fn action_mask(self, topic: &str, meaning: Meaning) -> ActionMask {
        let (written, _) = reading(topic);
        let publishes = matches!(self.verb, Verb::Publish | Verb::All);
        let subscribes = matches!(self.verb, Verb::Subscribe | Verb::All);
        let mut action_mask = ActionMask::NONE;
        if meaning == written && publishes {
            action_mask = ActionMask::narrowed(Access::Write, self.qos, self.retain);
        }
        if meaning == written && subscribes {
            action_mask = action_mask.or(ActionMask::narrowed(Access::Subscribe, self.qos, None));
        }
        if meaning == written && self.verb == Verb::Read {
            action_mask = ActionMask::narrowed(Access::Read, self.qos, self.retain);
        }
        // Who may subscribe to literally `a/#` must be sent what arrives there, with any QoS. Who may not
        // can have other subscriptions, whose messages that denial is not about.
        let (delivered, qos) = match self.permission {
            Permission::Allow => (Meaning::Filter, QosSet::ANY),
            Permission::Deny => (written, self.qos),
        };
        if meaning == delivered && subscribes {
            action_mask = action_mask.or(ActionMask::narrowed(Access::Read, qos, None));
        }
        action_mask
    }
}

/// What a rule's topic means, and the filter in it.
fn reading(topic: &str) -> (Meaning, &str) {
    match topic.strip_prefix("eq ") {
        Some(filter) => (Meaning::Literal, filter),
        None => (Meaning::Filter, topic),
    }
}

fn check(rule: &Rule, syntax: Syntax, has_names: bool) -> Result<(), String> {
    let topic = shown(&rule.topic);
    if let Some(unknown) = syntax.unknown(&rule.topic).filter(|_| has_names) {
        let unknown = shown(unknown);
        let problem = "is unknown: there are ${username}, ${clientid} and ${client_attrs.NAME}";
        return Err(format!("the topic \"{topic}\" has a placeholder, and {unknown} {problem}"));
    }
    if let Some(problem) = filter::problem(reading(&rule.topic).1) {
        return Err(format!("the topic \"{topic}\" is not a topic filter: {problem}"));
    }
    if let Some(qos) = &rule.qos {
        if qos.is_empty() {
            return Err("its list of qos is empty, so that it could not match".into());
        }
        if let Some(wrong) = qos.iter().find(|level| **level > 2) {
            return Err(format!("qos {wrong} is none of 0, 1 and 2"));
        }
    }
    Ok(())
}

/// A text that is safe to put on one line, and not too long for it.
fn shown(text: &str) -> String {
    const MAX_CHARS: usize = 200;
    let cut = text.char_indices().nth(MAX_CHARS).map(|(at, _)| at);
    let shown = text[..cut.unwrap_or(text.len())].escape_debug().to_string();
    if cut.is_some() { shown + "…" } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'_> = Names::of("ann", "c1");

    /// A rule from `deny publish a/#`.
    fn rule(text: &str) -> Rule {
        let mut words = text.splitn(3, ' ');
        let permission = match words.next().unwrap() {
            "allow" => Permission::Allow,
            "deny" => Permission::Deny,
            other => panic!("{other}"),
        };
        let verb = match words.next().unwrap() {
            "publish" => Verb::Publish,
            "subscribe" => Verb::Subscribe,
            "read" => Verb::Read,
            "all" => Verb::All,
            other => panic!("{other}"),
        };
        let topic = words.next().unwrap().into();
        Rule { permission, verb, topic, qos: None, retain: None, condition: Condition::NONE }
    }

    fn rules(texts: &[&str]) -> Rules {
        Rules::compile(texts.iter().map(|text| rule(text)).collect()).unwrap()
    }

    /// An action from `write a/b`.
    fn action(text: &str) -> Action<'_> {
        let (access, topic) = text.split_once(' ').unwrap();
        let access = match access {
            "write" => Access::Write,
            "read" => Access::Read,
            "subscribe" => Access::Subscribe,
            "unsubscribe" => Access::Unsubscribe,
            other => panic!("{other}"),
        };
        Action { access, topic, qos: 0, retain: false }
    }

    #[track_caller]
    fn check(rows: &[(&str, &str, bool)]) {
        for (rule, action_text, expected) in rows {
            let found = rules(&[rule]).judge(&action(action_text), NAMES);
            assert_eq!(found.is_some(), *expected, "{rule}: {action_text}");
        }
    }

    /// A filter, a topic name, and whether it matches.
    const NAMES_MATCHED: &[(&str, &str, bool)] = &[
        ("a", "a", true),
        ("a", "b", false),
        ("a", "A", false),
        ("a", "a/", false),
        ("a", "/a", false),
        ("a", "aa", false),
        ("a/b", "a/b", true),
        ("a/b", "a", false),
        ("a/b", "a/b/c", false),
        ("/a", "/a", true),
        ("/a", "a", false),
        ("/", "/", true),
        ("/", "//", false),
        ("+", "a", true),
        ("+", "/", false),
        ("+", "a/b", false),
        ("+/+", "/", true),
        ("+/+", "/a", true),
        ("+/+", "a", false),
        ("/+", "/a", true),
        ("/+", "a", false),
        ("+/a", "b/a", true),
        ("+/a", "/a", true),
        ("a/+", "a/b", true),
        ("a/+", "a/", true),
        ("a/+", "a", false),
        ("a/+", "a/b/c", false),
        ("a/+/c", "a/b/c", true),
        ("a/+/c", "a//c", true),
        ("a/+/c", "a/b/d", false),
        ("#", "a", true),
        ("#", "/", true),
        ("#", "a/b/c", true),
        ("a/#", "a", true),
        ("a/#", "a/", true),
        ("a/#", "a/b/c", true),
        ("a/#", "b", false),
        ("a/#", "aa", false),
        ("/#", "/", true),
        ("/#", "/a/b", true),
        ("/#", "a", false),
        ("+/#", "a", true),
        ("+/#", "/", true),
        ("a/+/#", "a", false),
        ("a/+/#", "a/b", true),
        ("a/+/#", "a/b/c/d", true),
        ("é/+", "é/ü", true),
        ("a b/%d", "a b/%d", true),
    ];

    #[test]
    fn names_match_filters() {
        for (filter, name, expected) in NAMES_MATCHED.iter().copied() {
            for access in ["write", "read"] {
                check(&[(&format!("allow all {filter}"), &format!("{access} {name}"), expected)]);
            }
        }
    }

    #[test]
    fn a_leading_wildcard_keeps_away_from_topics_of_the_broker() {
        check(&[
            ("deny all #", "write $SYS/a", false),
            ("deny all #", "write $", false),
            ("deny all +", "write $a", false),
            ("deny all +/a", "write $SYS/a", false),
            ("deny all +/#", "write $SYS", false),
            ("deny all $SYS/#", "write $SYS", true),
            ("deny all $SYS/#", "write $SYS/a/b", true),
            ("deny all $SYS/+", "write $SYS/a", true),
            ("deny all #", "write a/$b", true),
            ("deny all a/+", "write a/$b", true),
            ("deny all #", "write /$b", true),
            ("deny all #", "subscribe $SYS/#", false),
            ("deny all #", "subscribe $SYS", false),
            ("deny all +/a", "subscribe $SYS/a", false),
            ("deny all $SYS/#", "subscribe $SYS/#", true),
            ("deny all $SYS/#", "subscribe $SYS/+/a", true),
            ("deny all $SYS/#", "subscribe +/a", false),
            ("deny all #", "subscribe a/$b/#", true),
        ]);
    }

    #[test]
    fn wildcards_in_a_topic_name_are_text() {
        check(&[
            ("allow all +", "write +", true),
            ("allow all +", "write #", true),
            ("allow all a/+", "write a/#", true),
            ("allow all a/b", "write a/+", false),
            ("allow all a/b", "read a/#", false),
            ("allow all a/#", "write a/#/b", true),
            ("allow all +/#", "write #", true),
            ("allow all a/b", "write #", false),
        ]);
    }

    /// A filter, another that is asked for, and whether all of it is covered.
    const FILTERS_COVERED: &[(&str, &str, bool)] = &[
        ("a", "a", true),
        ("a", "b", false),
        ("a", "+", false),
        ("a", "#", false),
        ("a", "a/#", false),
        ("+", "a", true),
        ("+", "+", true),
        ("+", "#", false),
        ("+", "+/#", false),
        ("#", "#", true),
        ("#", "a/+/b/#", true),
        ("+/#", "#", true),
        ("+/#", "+/#", true),
        ("#", "+/#", true),
        ("+/+/#", "#", false),
        ("+/+/#", "+/#", false),
        ("/#", "#", false),
        ("/#", "/#", true),
        ("/+/#", "/#", true),
        ("/+/+/#", "/#", false),
        ("//+/#", "//#", false),
        ("a/#", "a", true),
        ("a/#", "a/+", true),
        ("a/#", "a/#", true),
        ("a/#", "a/b/+/#", true),
        ("a/#", "#", false),
        ("a/#", "+/b", false),
        ("a/+", "a/b", true),
        ("a/+", "a/", true),
        ("a/+", "a/+", true),
        ("a/+", "a/#", false),
        ("a/+", "a/+/#", false),
        ("a/+/#", "a/#", false),
        ("a/+/#", "a/+/#", true),
        ("a/+/#", "a/b/#", true),
        ("a/+/#", "a/b", true),
        ("+/b", "+/b", true),
        ("+/b", "+/+", false),
        ("+/+/c", "a/+/c", true),
        ("a/b/c", "a/+/c", false),
    ];

    #[test]
    fn a_subscription_matches_when_all_of_it_is_covered() {
        for (filter, asked, expected) in FILTERS_COVERED.iter().copied() {
            for permission in ["allow", "deny"] {
                check(&[(
                    &format!("{permission} subscribe {filter}"),
                    &format!("subscribe {asked}"),
                    expected,
                )]);
            }
        }
    }

    #[test]
    fn a_shared_subscription_is_judged_by_what_it_shares() {
        check(&[
            ("allow subscribe a/#", "subscribe $share/g/a/+", true),
            ("allow subscribe a/#", "subscribe $share/g/b", false),
            ("allow subscribe #", "subscribe $share/g/$SYS/a", false),
            ("allow subscribe $share/g/a", "subscribe $share/g/a", false),
            ("allow subscribe eq a/#", "subscribe $share/g/a/#", true),
            ("allow subscribe #", "subscribe $share/g", false),
            ("allow subscribe #", "subscribe $share/g/", false),
            ("allow subscribe #", "subscribe $share/g/a#", false),
            ("allow publish $share/g/a", "write $share/g/a", true),
        ]);
    }

    #[test]
    fn what_is_no_topic_matches_nothing() {
        check(&[
            ("allow all #", "write ", false),
            ("allow all #", "read ", false),
            ("allow all +", "subscribe ", false),
            ("allow all #", "subscribe a/#/b", false),
            ("allow all #", "subscribe a+", false),
            ("allow all eq a", "write ", false),
        ]);
    }

    #[test]
    fn a_verb_has_its_accesses() {
        for (verb, writes, reads, subscribes) in [
            ("publish", true, false, false),
            ("read", false, true, false),
            ("subscribe", false, true, true),
            ("all", true, true, true),
        ] {
            for permission in ["allow", "deny"] {
                for topic in ["a/+", "eq a/+"] {
                    let rule = format!("{permission} {verb} {topic}");
                    check(&[
                        (&rule, "write a/+", writes),
                        (&rule, "read a/+", reads),
                        (&rule, "subscribe a/+", subscribes),
                        (&rule, "unsubscribe a/+", false),
                    ]);
                }
            }
        }
    }

    #[test]
    fn a_literal_topic_has_no_wildcards() {
        check(&[
            ("deny all eq a/b", "write a/b", true),
            ("deny all eq a/+", "write a/+", true),
            ("deny all eq a/+", "write a/b", false),
            ("deny all eq #", "write #", true),
            ("deny all eq #", "write a", false),
            ("deny all eq #", "subscribe #", true),
            ("deny all eq #", "subscribe +/#", false),
            ("deny all eq #", "subscribe a", false),
            ("deny all eq a/#", "subscribe a/#", true),
            ("deny all eq a/#", "subscribe a", false),
            ("deny all eq a/#", "subscribe a/+", false),
            ("deny all eq a/+/#", "subscribe a/b/#", false),
            ("deny all eq  a", "write  a", true),
            ("deny all eq  a", "write a", false),
            ("deny all EQ a", "write EQ a", true),
            ("deny all eq", "write eq", true),
            ("deny all eq/ a", "write eq/ a", true),
            ("deny all eq eq a", "write eq a", true),
        ]);
    }

    #[test]
    fn a_literal_subscription_is_sent_what_it_brings_and_denied_no_more_than_itself() {
        check(&[
            ("allow subscribe eq a/#", "read a/b", true),
            ("allow all eq a/#", "read a", true),
            ("allow all eq a/#", "read b", false),
            ("allow all eq #", "read $SYS/a", false),
            ("allow all eq ${clientid}/+", "read c1/a", true),
            ("allow all eq ${clientid}/+", "read c2/a", false),
            ("allow read eq a/#", "read a/b", false),
            ("allow read eq a/#", "read a/#", true),
            ("allow publish eq a/#", "read a/b", false),
            ("allow all eq a/#", "write a/b", false),
            ("allow all eq a/#", "subscribe a/b", false),
            ("deny subscribe eq #", "read a", false),
            ("deny all eq #", "read a", false),
            ("deny all eq #", "read #", true),
            ("deny read eq a/#", "read a/b", false),
        ]);
    }

    #[test]
    fn placeholders_stand_for_the_client() {
        check(&[
            ("allow all ${clientid}/up", "write c1/up", true),
            ("allow all ${clientid}/up", "write c2/up", false),
            ("allow all ${clientid}/up", "write ${clientid}/up", false),
            ("allow all %u/%c/#", "write ann/c1", true),
            ("allow all %u/%c/#", "subscribe ann/c1/+", true),
            ("allow all %u/%c/#", "subscribe ann/+/x", false),
            ("allow all dev-${clientid}/${username}", "write dev-c1/ann", true),
            ("allow all dev-${clientid}/${username}", "write dev-/ann", false),
            ("allow all dev-${clientid}", "subscribe +", false),
            ("allow all eq ${username}/#", "subscribe ann/#", true),
            ("allow all eq ${username}/#", "subscribe bob/#", false),
            ("allow all %d/%", "write %d/%", true),
        ]);
    }

    #[test]
    fn a_name_with_wildcards_or_levels_matches_nothing() {
        for name in ["", "+", "#", "a/b", "x+"] {
            let names = Names::of(name, "c1");
            let rules = rules(&["allow all u/%u", "allow all eq u/%u", "allow all u/%c"]);
            let topic = format!("u/{name}");
            for access in [Access::Write, Access::Read, Access::Subscribe] {
                let action = Action { access, topic: &topic, qos: 0, retain: false };
                assert_eq!(rules.judge(&action, names), None, "{action:?}");
            }
            let found = rules.judge(&action("write u/c1"), names);
            assert_eq!(found.map(|ruling| ruling.position), Some(2));
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = rules(&[
            "deny publish a/secret",
            "allow publish a/+",
            "deny subscribe eq #",
            "allow all ${username}/#",
            "deny all a/#",
            "allow publish a/+",
            "allow read #",
        ]);
        for (action_text, expected) in [
            ("write a/secret", Some((Permission::Deny, 0))),
            ("write a/b", Some((Permission::Allow, 1))),
            ("write a/b/c", Some((Permission::Deny, 4))),
            ("read a/b", Some((Permission::Deny, 4))),
            ("read b", Some((Permission::Allow, 6))),
            ("write b", None),
            ("write ann/a", Some((Permission::Allow, 3))),
            ("subscribe #", Some((Permission::Deny, 2))),
            ("subscribe +", None),
            ("subscribe ann/#", Some((Permission::Allow, 3))),
        ] {
            let found = rules.judge(&action(action_text), NAMES);
            let expected = expected.map(|(permission, position)| Ruling { permission, position });
            assert_eq!(found, expected, "{action_text}");
        }
    }

    #[test]
    fn a_rule_is_for_everybody_unless_one_up_to_it_may_be_about_some() {
        let rules = rules(&[
            "allow all own/${clientid}/#",
            "allow all news/#",
            "deny all eq news/%u",
            "allow all +/%c",
            "allow all last",
        ]);
        for (position, topic_name, expected) in [
            (0, "own/c1/x", false),
            (1, "news/x", true),
            (1, "own/x", false),
            (2, "news/ann", false),
            (4, "last", false),
        ] {
            assert_eq!(rules.is_for_everybody(position, topic_name), expected, "{topic_name}");
        }
    }

    #[test]
    fn literal_topics_and_filters_have_one_order() {
        let rules = rules(&["deny all eq a", "allow all a", "deny all b", "allow all eq b"]);
        for (topic, expected) in [("write a", 0), ("subscribe a", 0), ("read b", 2)] {
            assert_eq!(rules.judge(&action(topic), NAMES).unwrap().position, expected, "{topic}");
        }
        assert_eq!(rules.len(), 4);
    }

    #[test]
    fn qos_and_retain_narrow_what_they_are_about() {
        let narrow = |verb: &str| {
            let rule = rule(&format!("{verb} a"));
            Rules::compile(vec![Rule { qos: Some(vec![0, 2]), retain: Some(true), ..rule }])
        };
        for (verb, access, qos_counts, retain_counts) in [
            ("allow publish", Access::Write, true, true),
            ("allow all", Access::Write, true, true),
            ("allow all", Access::Subscribe, true, false),
            ("allow subscribe", Access::Subscribe, true, false),
            // A subscription brings whatever is published.
            ("allow subscribe", Access::Read, false, false),
            ("allow all", Access::Read, false, false),
            ("allow read", Access::Read, true, true),
            ("deny all", Access::Subscribe, true, false),
            ("deny subscribe", Access::Subscribe, true, false),
            ("deny subscribe", Access::Read, true, false),
            ("deny all", Access::Read, true, false),
            ("deny read", Access::Read, true, true),
        ] {
            let rules = narrow(verb).unwrap();
            for qos in 0..=2 {
                for retain in [false, true] {
                    let action = Action { access, topic: "a", qos, retain };
                    let expected = (!qos_counts || qos != 1) && (!retain_counts || retain);
                    let found = rules.judge(&action, NAMES).is_some();
                    assert_eq!(found, expected, "{verb} {action:?}");
                }
            }
        }
    }

    #[test]
    fn equal_topics_that_are_narrowed_take_turns() {
        let narrowed = |permission, qos: &[u8], retain| Rule {
            qos: Some(qos.into()),
            retain,
            ..rule(&format!("{permission} publish a/+"))
        };
        let rules = Rules::compile(vec![
            narrowed("allow", &[0], None),
            narrowed("deny", &[0, 1], Some(true)),
            narrowed("allow", &[1, 2], Some(false)),
            rule("deny publish a/+"),
            rule("allow publish a/b"),
        ])
        .unwrap();
        for (qos, retain, expected) in
            [(0, false, 0), (0, true, 0), (1, true, 1), (1, false, 2), (2, false, 2), (2, true, 3)]
        {
            let action = Action { access: Access::Write, topic: "a/b", qos, retain };
            assert_eq!(rules.judge(&action, NAMES).unwrap().position, expected, "{action:?}");
        }
    }

    #[test]
    fn a_bad_rule_is_named_with_its_problem() {
        let rows = [
            ("", "the topic \"\" is not a topic filter: it is empty"),
            ("eq ", "the topic \"eq \" is not a topic filter: it is empty"),
            ("a/#/b", "the topic \"a/#/b\" is not a topic filter: # must be the last level"),
            ("eq #/b", "the topic \"eq #/b\" is not a topic filter: # must be the last level"),
            ("a+", "the topic \"a+\" is not a topic filter: + must be alone in its level"),
            (
                "${clientid}#",
                "the topic \"${clientid}#\" is not a topic filter: # must be alone in its level",
            ),
            ("a\0\nb", "the topic \"a\\0\\nb\" is not a topic filter: it contains a NUL"),
            (
                "a/${tenant}",
                "the topic \"a/${tenant}\" has a placeholder, and ${tenant} is unknown: \
                 there are ${username}, ${clientid} and ${client_attrs.NAME}",
            ),
        ];
        for (topic, expected) in rows {
            let bad = Rule { topic: topic.into(), ..rule("allow all a") };
            let error = Rules::compile(vec![rule("allow all a"), rule("deny all #"), bad]);
            let error = error.unwrap_err();
            assert_eq!(error.position, 2);
            assert_eq!(error.to_string(), format!("rule 3: {expected}"));
        }
    }

    #[test]
    fn odd_levels_of_quality_are_bad_and_what_is_too_long_is_cut() {
        for (qos, expected) in [
            (vec![], "rule 1: its list of qos is empty, so that it could not match"),
            (vec![0, 3], "rule 1: qos 3 is none of 0, 1 and 2"),
        ] {
            let bad = Rule { qos: Some(qos), ..rule("allow all a") };
            assert_eq!(Rules::compile(vec![bad]).unwrap_err().to_string(), expected);
        }
        let long = Rule { topic: "x".repeat(70_000), ..rule("allow all a") };
        assert!(Rules::compile(vec![long]).unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn rules_are_described_for_an_operator() {
        let narrowed = Rule {
            qos: Some(vec![1, 0, 1]),
            retain: Some(false),
            ..rule("deny all eq ${clientid}/#")
        };
        let odd = Rule { topic: "a\nb\u{7}".into(), ..rule("allow read a") };
        let long = Rule { topic: "é".repeat(5000), ..rule("deny subscribe a") };
        let first = rule("allow publish devices/${clientid}/up/#");
        let rules = Rules::compile(vec![first, narrowed, odd, long]).unwrap();
        for (position, expected) in [
            (0, "rule 1 (allow publish devices/${clientid}/up/#)"),
            (1, "rule 2 (deny all eq ${clientid}/#, qos 0 or 1, retain false)"),
            (2, "rule 3 (allow read a\\nb\\u{7})"),
            (3, &format!("rule 4 (deny subscribe {}…)", "é".repeat(200))),
        ] {
            assert_eq!(rules.describe(position).as_deref(), Some(expected));
        }
        assert_eq!(rules.describe(4), None);
        assert!(format!("{rules:?}").contains("rule 1 (allow publish devices"));
    }

    #[test]
    fn rules_are_equal_when_they_were_written_alike() {
        let texts = ["allow publish a/+", "deny all eq b/${clientid}"];
        assert_eq!(rules(&texts), rules(&texts));
        assert_ne!(rules(&texts), rules(&texts[..1]));
        for other in ["allow publish a/#", "deny publish a/+", "allow all a/+"] {
            assert_ne!(rules(&["allow publish a/+"]), rules(&[other]), "{other}");
        }
        for (qos, retain) in [(Some(vec![1]), None), (None, Some(true))] {
            let narrowed = Rule { qos, retain, ..rule("allow publish a/+") };
            assert_ne!(rules(&["allow publish a/+"]), Rules::compile(vec![narrowed]).unwrap());
        }
        assert_ne!(
            rules(&["allow all a", "allow all bc"]),
            rules(&["allow all ab", "allow all c"])
        );
    }

    #[test]
    fn no_rules_say_nothing() {
        let rules = Rules::compile(Vec::new()).unwrap();
        assert!(rules.is_empty() && rules.bytes() < 500);
        for text in ["write a", "read a", "subscribe a", "subscribe #"] {
            assert_eq!(rules.judge(&action(text), NAMES), None);
        }
    }

    #[test]
    fn many_rules_are_told_apart_and_take_little_memory() {
        let texts: Vec<_> = (0..10_000).map(|n| format!("allow publish d/dev-{n}/up/#")).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let rules = rules(&texts);
        assert_eq!(rules.len(), 10_000);
        for n in (0..10_000).step_by(7) {
            let action_text = format!("write d/dev-{n}/up/x");
            let found = rules.judge(&action(&action_text), NAMES);
            assert_eq!(found.map(|ruling| ruling.position), Some(n));
        }
        assert_eq!(rules.judge(&action("write d/dev-10000/up/x"), NAMES), None);
        assert_eq!(rules.judge(&action("write d/dev-1/down/x"), NAMES), None);
        let each = rules.bytes() / rules.len();
        assert!((60..180).contains(&each), "{each} bytes for each rule");
    }

    #[test]
    fn rules_that_others_settle_take_next_to_nothing() {
        let bytes = |count| rules(&vec!["allow all a"; count]).bytes();
        assert!(bytes(10_000) - bytes(1) < 10_000 * 10, "a letter and what is kept beside it");
    }

    #[test]
    fn rules_with_placeholders_are_bounded() {
        let compile = |topics: &mut dyn Iterator<Item = String>| {
            let rules = topics.map(|topic| rule(&format!("allow all {topic}"))).collect();
            Rules::compile(rules).map(|rules| rules.len()).map_err(|bad| bad.to_string())
        };
        assert_eq!(compile(&mut (0..1000).map(|n| format!("%c{n}"))), Ok(1000));
        // The same level in many filters is one level.
        assert_eq!(compile(&mut (0..10_000).map(|n| format!("%c/{n}/%u"))), Ok(10_000));
        let problem = compile(&mut (0..1001).map(|n| format!("a/%c{n}/b"))).unwrap_err();
        assert_eq!(
            problem,
            "rule 1001: more than 1000 levels with placeholders stand in one place"
        );
        let problem = compile(&mut (0..10_001).map(|n| n.to_string())).unwrap_err();
        assert_eq!(problem, "rule 10001: there are more than 10000 rules");
    }

    #[test]
    fn the_deepest_topic_is_judged() {
        let deep = "a/".repeat(32_767) + "a";
        let rules = rules(&[&format!("allow all {deep}"), &format!("allow all +{}", &deep[1..])]);
        let found = rules.judge(&action(&format!("write {deep}")), NAMES);
        assert_eq!(found.map(|ruling| ruling.position), Some(0));
        assert_eq!(rules.judge(&action(&format!("write {}/b", &deep[..65_000])), NAMES), None);
    }

    #[test]
    fn a_topic_that_leads_many_ways_finds_the_first() {
        // One wildcard in each level of a long topic: every rule matches.
        let mut stairs: Vec<_> = (0..40)
            .map(|n| format!("allow all {}+{}", "a/".repeat(n), "/a".repeat(39 - n)))
            .collect();
        let topic = format!("subscribe {}a", "a/".repeat(39));
        // Every way to write ten levels as `a` or `+`: only the last rule matches.
        let ways = (0..1024).map(|way| {
            let levels = (0..10).map(|bit| if way >> bit & 1 == 0 { "+" } else { "a" });
            let end = if way == 1023 { "" } else { "/b" };
            format!("deny all {}{end}", levels.collect::<Vec<_>>().join("/"))
        });
        let ways: Vec<_> = ways.collect();
        for _ in 0..stairs.len() {
            stairs.rotate_left(1);
            let texts: Vec<_> = ways.iter().chain(&stairs).map(String::as_str).collect();
            let rules = rules(&texts);
            let position = |text| rules.judge(&action(text), NAMES).map(|ruling| ruling.position);
            assert_eq!(position(&topic), Some(1024));
            assert_eq!(position("write a/a/a/a/a/a/a/a/a/a"), Some(1023));
        }
    }

    #[test]
    fn threads_may_share_rules() {
        fn shared<T: Send + Sync>(_: &T) {}
        shared(&rules(&["allow all #"]));
    }

    #[test]
    fn no_name_leads_to_the_brokers_own_topics() {
        let names = Names::of("$CONTROL", "$SYS");
        for (rule, action_text, expected) in [
            ("allow all ${username}/#", "write $CONTROL/http-auth/v1", false),
            ("allow all %c/#", "subscribe $SYS/#", false),
            ("allow all eq ${clientid}/#", "subscribe $SYS/#", false),
            ("allow all eq %c/#", "read $SYS/a", false),
            ("allow all users/${username}/#", "write users/$CONTROL/a", true),
            ("allow all /%c", "write /$SYS", true),
        ] {
            let found = rules(&[rule]).judge(&action(action_text), names);
            assert_eq!(found.is_some(), expected, "{rule}: {action_text}");
        }
    }
}
