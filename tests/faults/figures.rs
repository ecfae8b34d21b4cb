//! Figures, for whoever runs a test for them.

use std::time::Duration;

/// What the harness shows when a test fails, or when it is asked to.
#[expect(clippy::print_stdout, reason = "figures are what it is run for")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// How long something took each time.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn of(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        Self(took)
    }

    /// What `permille` of them do not exceed; zero if there are none.
    fn at(&self, permille: usize) -> Duration {
        let rank = (self.0.len() * permille).div_ceil(1000);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    pub(crate) fn show(&self) -> String {
        let [half, nearly_all, longest] = [500, 990, 1000].map(|permille| self.at(permille));
        format!("{} times, p50 {half:.1?}, p99 {nearly_all:.1?}, longest {longest:.1?}", self.0.len())
    }
}

/// Bytes in MiB.
pub(crate) fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// How many a second.
pub(crate) fn per_second(count: usize, time: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / time.as_secs_f64()
}
