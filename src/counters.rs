//! Figures that only grow, counted where things happen and shown by metrics. To count is an addition on an atomic:
//! no lock, no allocation, no order with anything else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One figure for each of some words.
#[derive(Debug)]
pub(crate) struct Counters<const N: usize> {
    words: [&'static str; N],
    counts: [AtomicU64; N],
}

impl<const N: usize> Counters<N> {
    /// Zero for each of the words.
    pub(crate) fn new(words: [&'static str; N]) -> Self {
        Self { words, counts: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// So many more of the word at this place.
    pub(crate) fn add(&self, place: usize, count: u64) {
        self.counts[place].fetch_add(count, Ordering::Relaxed);
    }

    /// Every word with its figure.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        self.words.into_iter().zip(counts)
    }
}

/// Spans of time, counted by how long they are.
#[derive(Debug)]
pub(crate) struct Histogram<const N: usize> {
    /// The longest span that each bucket takes, in microseconds, shortest first.
    bounds: &'static [u64; N],
    buckets: [AtomicU64; N],
    /// What is longer than the last bound.
    beyond: AtomicU64,
    /// Of all spans, in microseconds.
    sum: AtomicU64,
}

/// What a histogram has counted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spans {
    /// The longest span in seconds, and how many were no longer than that.
    pub(crate) up_to: Vec<(f64, u64)>,
    /// How many there were.
    pub(crate) count: u64,
    /// All of them together, in seconds.
    pub(crate) sum: f64,
}

impl<const N: usize> Histogram<N> {
    /// An empty one with these bounds, in microseconds, shortest first.
    pub(crate) fn new(bounds: &'static [u64; N]) -> Self {
        let buckets = std::array::from_fn(|_| AtomicU64::new(0));
        Self { bounds, buckets, beyond: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    /// One more span.
    pub(crate) fn note(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let place = self.bounds.iter().position(|&bound| micros <= bound);
        place.map_or(&self.beyond, |place| &self.buckets[place]).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// All that was noted. While more is, the sum may be of one more or less than the count.
    pub(crate) fn spans(&self) -> Spans {
        let mut count = 0;
        let buckets = self.bounds.iter().zip(&self.buckets);
        let up_to = buckets.map(|(&bound, bucket)| {
            count += bucket.load(Ordering::Relaxed);
            (seconds(bound), count)
        });
        let up_to = up_to.collect();
        count += self.beyond.load(Ordering::Relaxed);
        Spans { up_to, count, sum: seconds(self.sum.load(Ordering::Relaxed)) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 µs are 285 years")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_counts_in_every_bucket_that_takes_it() {
        let histogram = Histogram::new(&[1_000, 2_000, 5_000]);
        for micros in [500, 1_000, 1_001, 5_000, 9_000_000] {
            histogram.note(Duration::from_micros(micros));
        }
        let spans = histogram.spans();
        assert_eq!(spans.up_to, [(0.001, 2), (0.002, 3), (0.005, 4)]);
        assert_eq!((spans.count, spans.sum), (5, 9.007_501));
    }

    #[test]
    fn each_word_has_its_own_figure() {
        let counters = Counters::new(["good", "bad"]);
        counters.add(1, 2);
        counters.add(1, 3);
        assert_eq!(counters.all().collect::<Vec<_>>(), [("good", 0), ("bad", 5)]);
    }
}
