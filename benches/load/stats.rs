//! Latencies and medians.

use std::time::Duration;

use serde_json::{Value, json};

/// Latencies, sorted; never none.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    /// `None` if there are none.
    pub(crate) fn of(mut samples: Vec<Duration>) -> Option<Self> {
        samples.sort_unstable();
        (!samples.is_empty()).then_some(Self(samples))
    }

    /// The latency that `permille` of them do not exceed.
    pub(crate) fn at(&self, permille: usize) -> Duration {
        let rank = (self.0.len() * permille).div_ceil(1000);
        self.0[rank.saturating_sub(1)]
    }

    pub(crate) fn p50(&self) -> Duration {
        self.at(500)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.at(990)
    }

    pub(crate) fn max(&self) -> Duration {
        self.at(1000)
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
