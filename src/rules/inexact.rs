//! The levels that are not literal, while filters are added to a tree: looked up, so that adding many takes
//! no more than each of them takes, and bounded, since a check compares with each of them.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// How many may hang from one node.
const MOST: usize = 1000;

/// The nodes by the node above and their text.
#[derive(Default, Debug)]
pub(crate) struct Inexact(HashMap<u32, HashMap<String, u32>>);

impl Inexact {
    /// The node that this level has already, or else `new`, which it has from now on.
    ///
    /// # Errors
    /// Too many hang from the node above.
    pub(crate) fn find_or_add(&mut self, above: u32, level: &str, new: u32) -> Result<u32, String> {
        let known = self.0.entry(above).or_default();
        let is_full = known.len() >= MOST;
        match known.entry(level.to_owned()) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(_) if is_full => {
                Err(format!("more than {MOST} levels with placeholders stand in one place"))
            }
            Entry::Vacant(free) => Ok(*free.insert(new)),
        }
    }
}
