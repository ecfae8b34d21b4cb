//! Sequences of steps that shrink by leaving out whole stretches first, then single steps, then by making steps simpler.

use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// Exactly `length` values of `each`.
#[derive(Debug)]
pub(super) struct Sequence<S> {
    pub(super) each: S,
    pub(super) length: usize,
}

#[derive(Debug)]
pub(super) struct SequenceTree<T> {
    values: Vec<T>,
    is_kept: Vec<bool>,
    /// How many values are left out at once; 0 when it comes to single values.
    stretch: usize,
    at: usize,
    /// What the last step left out.
    left_out: Vec<usize>,
}

impl<S: Strategy> Strategy for Sequence<S> {
    type Tree = SequenceTree<S::Tree>;
    type Value = Vec<S::Value>;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let values = (0..self.length).map(|_| self.each.new_tree(runner)).collect::<Result<Vec<_>, _>>()?;
        let is_kept = vec![true; values.len()];
        Ok(SequenceTree { stretch: values.len().div_ceil(2), values, is_kept, at: 0, left_out: Vec::new() })
    }
}

impl<T: ValueTree> SequenceTree<T> {
    /// Leaves out the next stretch. The last ones go first: what comes after a failure is not needed.
    fn leave_out(&mut self) -> bool {
        while self.stretch > 0 {
            let kept: Vec<usize> = (0..self.values.len()).rev().filter(|at| self.is_kept[*at]).collect();
            if let Some(stretch) = kept.get(self.at..).filter(|rest| !rest.is_empty()) {
                self.left_out = stretch.iter().copied().take(self.stretch).collect();
                self.left_out.iter().for_each(|at| self.is_kept[*at] = false);
                return true;
            }
            self.at = 0;
            self.stretch /= 2;
        }
        self.left_out.clear();
        false
    }
}

impl<T: ValueTree> ValueTree for SequenceTree<T> {
    type Value = Vec<T::Value>;

    fn current(&self) -> Self::Value {
        let kept = self.values.iter().zip(&self.is_kept).filter(|(_, is_kept)| **is_kept);
        kept.map(|(value, _)| value.current()).collect()
    }

    fn simplify(&mut self) -> bool {
        if self.leave_out() {
            return true;
        }
        while self.at < self.values.len() {
            if self.is_kept[self.at] && self.values[self.at].simplify() {
                return true;
            }
            self.at += 1;
        }
        false
    }

    fn complicate(&mut self) -> bool {
        if self.stretch > 0 {
            // They are needed: on to those before them.
            for at in std::mem::take(&mut self.left_out) {
                self.is_kept[at] = true;
            }
            self.at += self.stretch;
            self.leave_out();
            return true;
        }
        if self.at < self.values.len() && !self.values[self.at].complicate() {
            self.at += 1;
        }
        self.at < self.values.len()
    }
}
