//! Topic filters as a tree of levels, in which one walk finds the first that matches.
//!
//! A literal level is found through one hash table for the whole tree, whose key is the node above
//! together with the level's text. A `+` and levels with placeholders hang in a list from the node
//! above, since any of them may match. Everything refers to everything by number, so that a tree
//! is a handful of allocations, however many filters it holds.

#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};

use super::action_mask::ActionMask;
use super::condition::{ConditionsMet, RuleRef};
use super::inexact::Inexact;
use super::placeholder::{self, Names, Syntax};
use super::walk_stack::WalkStack;

/// The end of a list, an empty slot, a position that is behind all others.
const NONE: u32 = u32::MAX;

/// Where a text goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meaning {
    /// Its wildcards are wildcards.
    Filter,
    /// Its wildcards are text like any other.
    Literal,
}

impl Meaning {
    fn root(self) -> u32 {
        match self {
            Self::Filter => 0,
            Self::Literal => 1,
        }
    }
}

/// What is looked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Never empty.
    pub topic: &'a str,
    /// Whether the topic is a filter, and has to be covered, rather than a name.
    pub is_filter: bool,
    pub(crate) action_mask: ActionMask,
    pub names: Names<'a>,
    /// Which conditions hold; none: there are none.
    pub met: Option<&'a ConditionsMet>,
}

/// A walk through the tree: what it has come to so far, and where it has still to go.
struct Walk {
    best: u32,
    stack: WalkStack,
}

/// A level of one or more filters.
#[derive(Debug)]
struct Node {
    above: u32,
    /// The level's text.
    text: u32,
    text_bytes: u16,
    has_literals: bool,
    /// The first node below that is not literal.
    inexact: u32,
    /// The next node that is not literal, beside this one.
    beside: u32,
    /// The first entry of the filters that end here.
    here: u32,
    /// The first entry of the filters that go on with `#` and end.
    below: u32,
    /// The first position at or below this node.
    first: u32,
}

/// A filter's end.
#[derive(Debug)]
struct Entry {
    rule: RuleRef,
    action_mask: ActionMask,
    next: u32,
}

/// The filters, and the text that they are made of.
#[derive(Debug)]
pub(crate) struct Tree {
    syntax: Syntax,
    text: String,
    nodes: Vec<Node>,
    entries: Vec<Entry>,
    /// Literal nodes by the hash of their key; a power of two, at most half of it used.
    slots: Vec<u32>,
    literals: usize,
    /// How long literal levels are at most. A client's longer ones need no looking up.
    longest: usize,
    keys: [u64; 2],
    /// While filters are added: what hangs in each node's list.
    inexact_below: Inexact,
}

impl Tree {
    #[must_use]
    pub(crate) fn new(syntax: Syntax) -> Self {
        let root = || Node::new(NONE, 0, 0, NONE);
        Self {
            syntax,
            text: String::new(),
            nodes: vec![root(), root()],
            entries: Vec::new(),
            slots: Vec::new(),
            literals: 0,
            longest: 0,
            keys: [0, 1].map(|key| RandomState::new().hash_one(key)),
            inexact_below: Inexact::default(),
        }
    }

    /// All texts, one after the other.
    #[must_use]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Appends a text; where it begins.
    pub(crate) fn add_text(&mut self, text: &str) -> u32 {
        let begin = self.text.len() as u32;
        self.text.push_str(text);
        begin
    }

    /// Adds the filter whose text was added at `begin`, in which names may stand or may not. Positions come
    /// in ascending order.
    ///
    /// # Errors
    /// Too many levels with placeholders would hang from one node.
    pub(crate) fn insert(
        &mut self,
        meaning: Meaning,
        (filter, has_names): (&str, bool),
        begin: u32,
        rule: RuleRef,
        action_mask: ActionMask,
    ) -> Result<(), String> {
        let position = u32::from(rule.position);
        let mut node = meaning.root();
        let first = &mut self.nodes[node as usize].first;
        *first = position.min(*first);
        let mut at = begin;
        for level in filter.split('/') {
            if meaning == Meaning::Filter && level == "#" {
                let head = self.nodes[node as usize].below;
                self.nodes[node as usize].below = self.append(head, rule, action_mask);
                return Ok(());
            }
            let wildcard = meaning == Meaning::Filter && level == "+";
            let next = Node::new(node, at, level.len() as u16, position);
            node = if wildcard || has_names && placeholder::stands_in(level, self.syntax) {
                self.inexact_or_insert(level, next)?
            } else {
                self.literal_or_insert(level, next)
            };
            at += level.len() as u32 + 1;
        }
        let head = self.nodes[node as usize].here;
        self.nodes[node as usize].here = self.append(head, rule, action_mask);
        Ok(())
    }

    /// Adds to the end of a list and returns its head. What earlier entries settle is left out, so
    /// that no list has more entries than there are action_mask, for each condition.
    fn append(&mut self, head: u32, rule: RuleRef, action_mask: ActionMask) -> u32 {
        let mut unsettled = action_mask;
        let mut last = NONE;
        let mut at = head;
        while let Some(entry) = self.entries.get(at as usize) {
            if [0, rule.condition].contains(&entry.rule.condition) {
                unsettled = unsettled.without(entry.action_mask);
            }
            (last, at) = (at, entry.next);
        }
        if unsettled == ActionMask::NONE {
            return head;
        }
        let new = self.entries.len() as u32;
        self.entries.push(Entry { rule, action_mask: unsettled, next: NONE });
        match self.entries.get_mut(last as usize) {
            Some(entry) => entry.next = new,
            None => return new,
        }
        head
    }

    fn inexact_or_insert(&mut self, level: &str, node: Node) -> Result<u32, String> {
        let (above, new) = (node.above, self.nodes.len() as u32);
        let index = self.inexact_below.find_or_add(above, level, new)?;
        if index != new {
            return Ok(index);
        }
        self.add(node);
        self.nodes[index as usize].beside = self.nodes[above as usize].inexact;
        self.nodes[above as usize].inexact = index;
        Ok(index)
    }

    fn literal_or_insert(&mut self, level: &str, node: Node) -> u32 {
        if let Some(index) = self.literal(node.above, level) {
            return index;
        }
        self.longest = self.longest.max(level.len());
        self.nodes[node.above as usize].has_literals = true;
        let index = self.add(node);
        self.literals += 1;
        if self.literals * 2 > self.slots.len() {
            self.resize(self.literals.next_power_of_two() * 2);
        }
        self.occupy(index);
        index
    }

    fn add(&mut self, node: Node) -> u32 {
        self.nodes.push(node);
        self.nodes.len() as u32 - 1
    }

    fn resize(&mut self, size: usize) {
        let old = std::mem::replace(&mut self.slots, vec![NONE; size]);
        for index in old.into_iter().filter(|index| *index != NONE) {
            self.occupy(index);
        }
    }

    /// Puts a node that is not in the table into it.
    fn occupy(&mut self, index: u32) {
        let node = &self.nodes[index as usize];
        let mut slot = self.slot(node.above, self.text_of(node));
        while self.slots[slot] != NONE {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = index;
    }

    /// Where a key would be best. The table must not be empty.
    ///
    /// The hash is a quick one, since it is most of the work. Its own random keys see to it that
    /// nobody can have many levels end up in one entry.
    fn slot(&self, above: u32, level: &str) -> usize {
        let [mut state, key] = self.keys;
        state ^= u64::from(above);
        let mut words = level.as_bytes().chunks_exact(8);
        for word in &mut words {
            state =
                mix(state ^ word.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)), key);
        }
        let last = words.remainder().iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        mix(state ^ last, key) as usize & (self.slots.len() - 1)
    }

    fn text_of(&self, node: &Node) -> &str {
        let begin = node.text as usize;
        &self.text[begin..begin + usize::from(node.text_bytes)]
    }

    /// The literal node with this text under another.
    fn literal(&self, above: u32, level: &str) -> Option<u32> {
        if !self.nodes[above as usize].has_literals || level.len() > self.longest {
            return None;
        }
        let mut slot = self.slot(above, level);
        while let Some(node) = self.nodes.get(self.slots[slot] as usize) {
            if node.above == above && self.text_of(node) == level {
                return Some(self.slots[slot]);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        None
    }

    /// The nodes under another that are not literal, with their texts.
    fn inexact(&self, above: &Node) -> impl Iterator<Item = (u32, &str)> {
        let mut index = above.inexact;
        std::iter::from_fn(move || {
            let node = self.nodes.get(index as usize)?;
            let found = (index, self.text_of(node));
            index = node.beside;
            Some(found)
        })
    }

    /// Gives back what growing took too much; nothing is added after that.
    pub(crate) fn shrink(&mut self) {
        self.inexact_below = Inexact::default();
        self.text.shrink_to_fit();
        self.nodes.shrink_to_fit();
        self.entries.shrink_to_fit();
        self.slots.shrink_to_fit();
    }

    /// The bytes that it takes beside itself, with what an allocator usually adds.
    #[must_use]
    pub(crate) fn heap_bytes(&self) -> usize {
        const ALLOCATIONS: usize = 4;
        self.text.capacity()
            + self.nodes.capacity() * size_of::<Node>()
            + self.entries.capacity() * size_of::<Entry>()
            + self.slots.capacity() * size_of::<u32>()
            + ALLOCATIONS * super::ALLOCATOR_BYTES
    }

    /// The position of the first filter that matches.
    #[must_use]
    pub(crate) fn first(&self, asked: &Asked<'_>) -> Option<u32> {
        let mut walk = Walk { best: NONE, stack: WalkStack::default() };
        walk.stack.push(Meaning::Literal.root(), 0);
        walk.stack.push(Meaning::Filter.root(), 0);
        while let Some((index, at)) = walk.stack.pop() {
            let node = &self.nodes[index as usize];
            if node.first >= walk.best {
                continue;
            }
            // A `#` stands for no further level, too.
            match asked.topic.get(at as usize..) {
                None => {
                    walk.best = self.earliest(node.here, asked, walk.best);
                    walk.best = self.earliest(node.below, asked, walk.best);
                }
                Some(rest) => {
                    let end = rest.bytes().position(|byte| byte == b'/').unwrap_or(rest.len());
                    self.descend(index, (at, &rest[..end]), asked, &mut walk);
                }
            }
        }
        (walk.best != NONE).then_some(walk.best)
    }

    /// Notes every node below that a level leads to, and sees to the `#` among them.
    fn descend(&self, index: u32, (at, level): (u32, &str), asked: &Asked<'_>, walk: &mut Walk) {
        let node = &self.nodes[index as usize];
        let next = at + level.len() as u32 + 1;
        let hidden = at == 0 && level.starts_with('$');
        let is_rest = asked.is_filter && level == "#";
        if !hidden {
            walk.best = self.earliest(node.below, asked, walk.best);
        }
        for (inexact, text) in self.inexact(node) {
            if text != "+" {
                // It cannot stand for a wildcard, since no name with one in it is put in. And no
                // name leads to the broker's own topics, such as `$CONTROL/…`: that would let a
                // client into them by what it calls itself.
                let leads_astray = hidden && placeholder::stands_in_front(text, self.syntax);
                if !leads_astray && placeholder::matches(text, level, asked.names, self.syntax) {
                    walk.stack.push(inexact, next);
                }
            } else if is_rest && at <= 1 {
                // No topic is without a level or empty altogether, so that `+/#` is as much as
                // `#`, and `/+/#` as much as `/#`.
                walk.best = self.earliest(self.nodes[inexact as usize].below, asked, walk.best);
            } else if !is_rest && !hidden {
                walk.stack.push(inexact, next);
            }
        }
        // No filter has a wildcard for a literal level, so none is taken for a wildcard asked for.
        if let Some(literal) = self.literal(index, level) {
            walk.stack.push(literal, next);
        }
    }

    /// The earlier of a position and the first one in a list that has a say.
    fn earliest(&self, list: u32, asked: &Asked<'_>, best: u32) -> u32 {
        let mut at = list;
        while let Some(entry) = self.entries.get(at as usize) {
            let position = u32::from(entry.rule.position);
            if position >= best {
                break;
            }
            if entry.rule.counts(asked.met) && entry.action_mask.meets(asked.action_mask) {
                return position;
            }
            at = entry.next;
        }
        best
    }
}

/// Every bit of the result depends on all of both.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

impl Node {
    fn new(above: u32, text: u32, text_bytes: u16, first: u32) -> Self {
        let (inexact, beside, here, below) = (NONE, NONE, NONE, NONE);
        let has_literals = false;
        Self { above, text, text_bytes, has_literals, inexact, beside, here, below, first }
    }
}
