//! What a walk through the tree has still to look at.

#![forbid(unsafe_code)]

/// How many are kept without allocating.
const INLINE: usize = 16;

/// Nodes, each with where its part of the topic begins. Only a topic that leads to many of them at
/// once allocates.
#[derive(Default)]
pub(crate) struct WalkStack {
    inline: [(u32, u32); INLINE],
    inline_count: usize,
    allocated: Vec<(u32, u32)>,
}

impl WalkStack {
    pub(crate) fn push(&mut self, node: u32, at: u32) {
        match self.inline.get_mut(self.inline_count) {
            Some(free) => {
                *free = (node, at);
                self.inline_count += 1;
            }
            None => self.allocated.push((node, at)),
        }
    }

    /// The one that was pushed last.
    pub(crate) fn pop(&mut self) -> Option<(u32, u32)> {
        if let Some(last) = self.allocated.pop() {
            return Some(last);
        }
        self.inline_count = self.inline_count.checked_sub(1)?;
        Some(self.inline[self.inline_count])
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
        (0..INLINE as u32).for_each(|n| stack.push(n, n));
        assert_eq!(stack.allocated.capacity(), 0);
    }
}
