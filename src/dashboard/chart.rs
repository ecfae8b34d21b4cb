//! What charts are drawn from: whole numbers, placed here, drawn by the templates.

use std::collections::HashMap;

/// Minutes that the chart shows.
const MINUTES: i64 = 60;
/// The height of the tallest bar.
const HEIGHT: u64 = 100;

/// One bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) x: i64,
    /// From 0 to 100.
    pub(super) height: u64,
}

impl Bar {
    /// Where it begins, from above.
    pub(super) fn y(self) -> u64 {
        HEIGHT - self.drawn()
    }

    /// A minute without any has a line, so that one sees that it was looked at.
    pub(super) fn drawn(self) -> u64 {
        self.height.max(1)
    }
}

/// How many were solved in each minute of the last hour.
#[derive(Clone, Debug, Default)]
pub(super) struct Minutes {
    /// Oldest first.
    pub(super) bars: Vec<Bar>,
    /// In all of them.
    pub(super) total: u64,
    /// In the best one.
    pub(super) most: u64,
    /// In the one that has just begun.
    pub(super) last: u64,
}

impl Minutes {
    /// Up to the minute `last`, by the number of each since 1970.
    pub(super) fn new(solved: &[(i64, u64)], last: i64) -> Self {
        let solved: HashMap<i64, u64> = solved.iter().copied().collect();
        let counts: Vec<u64> = (last - MINUTES + 1..=last)
            .map(|minute| solved.get(&minute).copied().unwrap_or_default())
            .collect();
        let most = counts.iter().copied().max().unwrap_or_default();
        let bar = |(index, count): (i64, &u64)| Bar { x: index * 10 + 1, height: scaled(*count, most) };
        Self {
            bars: (0..).zip(&counts).map(bar).collect(),
            total: counts.iter().sum(),
            most,
            last: counts.last().copied().unwrap_or_default(),
        }
    }
}

/// `value` of `most` as a number from 0 to 100; what is something is seen.
pub(super) fn scaled(value: u64, most: u64) -> u64 {
    if value == 0 || most == 0 { 0 } else { (value.saturating_mul(HEIGHT) / most).clamp(3, HEIGHT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_bar_for_each_minute_of_the_hour_and_none_before_it() {
        let minutes = Minutes::new(&[(940, 9), (941, 1), (999, 4), (1000, 2)], 1000);
        assert_eq!((minutes.bars.len(), minutes.total, minutes.most, minutes.last), (60, 7, 4, 2));
        let bar = |index: usize| (minutes.bars[index].x, minutes.bars[index].height);
        assert_eq!((bar(0), bar(1), bar(58), bar(59)), ((1, 25), (11, 0), (581, 100), (591, 50)));
    }

    #[test]
    fn what_is_something_is_seen_and_nothing_is_a_line() {
        assert_eq!((scaled(1, 1_000_000), scaled(0, 7), scaled(7, 7), scaled(0, 0)), (3, 0, 100, 0));
        let bar = Bar { x: 1, height: 0 };
        assert_eq!((bar.y(), bar.drawn()), (99, 1));
    }
}
