//! Latencies and medians.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The longest latency that is told apart; a longer one counts as this.
const LONGEST: Duration = Duration::from_secs(100);
/// What is told apart at best, in nanoseconds.
const RESOLUTION: u64 = 128;
/// A latency of 123.4 ms is kept as 123 ms.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latencies, counted in a histogram (HDR): its size depends on their range, not on how many there are.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u32>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(RESOLUTION, nanos(LONGEST), SIGNIFICANT_DIGITS);
        Self(histogram.expect("the bounds are constant"))
    }
}

impl Latencies {
    /// `None` if there are none.
    pub(crate) fn of(samples: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut latencies = Self::default();
        samples.into_iter().for_each(|sample| latencies.record(sample));
        (!latencies.is_empty()).then_some(latencies)
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(nanos(latency));
    }

    /// Counts another's latencies too.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latency that so many of them do not exceed: 0.99 is p99.
    pub(crate) fn at(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }

    pub(crate) fn p50(&self) -> Duration {
        self.at(0.5)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.at(0.99)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The latencies of several runs: each quantile of each run.
pub(crate) struct Spread {
    p50: Runs,
    p90: Runs,
    p99: Runs,
    p999: Runs,
    max: Runs,
}

impl Spread {
    /// # Panics
    /// When there is no run.
    pub(crate) fn of(runs: &[&Latencies]) -> Self {
        let at = |quantile| Runs::of_micros(runs.iter().map(|latencies| latencies.at(quantile)));
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }

    /// p50, p99 and the longest of all, in microseconds.
    pub(crate) fn cells(&self) -> [String; 3] {
        [self.p50.show(0), self.p99.show(0), format!("{:.0}", self.max.max())]
    }

    /// Writes them down beside other figures.
    pub(crate) fn write(&self, figures: &mut Value) {
        let named = [("p50_us", &self.p50), ("p90_us", &self.p90), ("p99_us", &self.p99)];
        for (name, runs) in named.into_iter().chain([("p999_us", &self.p999), ("max_us", &self.max)]) {
            figures[name] = runs.json();
        }
    }
}

/// What came out in several runs; never none.
#[derive(Clone, Debug)]
pub(crate) struct Runs(Vec<f64>);

impl Runs {
    /// # Panics
    /// When there is none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        assert!(!values.is_empty(), "there is at least one run");
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }

    /// In microseconds.
    pub(crate) fn of_micros(values: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(values.into_iter().map(micros))
    }

    /// The lower one of two.
    pub(crate) fn median(&self) -> f64 {
        self.0[(self.0.len() - 1) / 2]
    }

    pub(crate) fn min(&self) -> f64 {
        self.0[0]
    }

    pub(crate) fn max(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    /// The median, and the range if there were several runs.
    pub(crate) fn show(&self, digits: usize) -> String {
        let median = format!("{:.digits$}", self.median());
        if self.0.len() == 1 {
            return median;
        }
        format!("{median} [{:.digits$}-{:.digits$}]", self.min(), self.max())
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "median": self.median(), "min": self.min(), "max": self.max() })
    }
}

pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// `items` in `elapsed`, a second.
pub(crate) fn rate(items: usize, elapsed: Duration) -> f64 {
    f64::from(u32::try_from(items).unwrap_or(u32::MAX)) / elapsed.as_secs_f64()
}
