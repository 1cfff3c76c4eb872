//! What a walk through the tree has still to look at.

#![forbid(unsafe_code)]

/// How many are kept without allocating.
const NEAR: usize = 16;

/// Nodes, each with where its part of the topic begins. Only a topic that leads to many of them at
/// once allocates.
#[derive(Default)]
pub(crate) struct WalkStack {
    near: [(u32, u32); NEAR],
    near_count: usize,
    far: Vec<(u32, u32)>,
}

impl WalkStack {
    pub(crate) fn push(&mut self, node: u32, at: u32) {
        match self.near.get_mut(self.near_count) {
            Some(free) => {
                *free = (node, at);
                self.near_count += 1;
            }
            None => self.far.push((node, at)),
        }
    }

    /// The one that was pushed last.
    pub(crate) fn pop(&mut self) -> Option<(u32, u32)> {
        if let Some(last) = self.far.pop() {
            return Some(last);
        }
        self.near_count = self.near_count.checked_sub(1)?;
        Some(self.near[self.near_count])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_the_last_first() {
        let mut stack = WalkStack::default();
        for count in [0, 1, 15, 16, 17, 100] {
            (0..count).for_each(|n| stack.push(n, n + 1));
            for n in (0..count).rev() {
                assert_eq!(stack.pop(), Some((n, n + 1)));
            }
            assert_eq!(stack.pop(), None);
        }
    }

    #[test]
    fn few_need_no_memory() {
        let mut stack = WalkStack::default();
        (0..NEAR as u32).for_each(|n| stack.push(n, n));
        assert_eq!(stack.far.capacity(), 0);
    }
}
