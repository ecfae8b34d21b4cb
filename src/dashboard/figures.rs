//! Figures of the newest tasks, counted for all who look within a few seconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::chart::{Minutes, scaled};
use super::when::span;
use crate::http::PercentilesBody;
use crate::model::{Status, Timestamp, TokenId, Via};
use crate::store::{Counted, Store, StoreError};

/// How long figures count as of now. `live.js` knows of it.
const AGE: Duration = Duration::from_secs(3);
/// How far back the chart goes.
const HOUR: Duration = Duration::from_secs(3600);
const MICROS_PER_MINUTE: i64 = 60_000_000;

/// The figures of each owner that were counted last. One count runs at a time, whoever asks: each looks at up to
/// 100,000 tasks. What is older than its age goes with the next count, so there are few.
#[derive(Debug, Default)]
pub(super) struct Figures(Mutex<Kept>);

type Kept = HashMap<Option<TokenId>, (Instant, Arc<Counts>)>;

/// What was counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) queued: u64,
    pub(super) submitting: u64,
    /// Also those that may be at the provider.
    pub(super) submitted: u64,
    pub(super) solved: u64,
    /// Also those that were given up on.
    pub(super) failed: u64,
    /// How many answers of 100 came by pingback.
    pub(super) pingback_percent: Option<u64>,
    pub(super) minutes: Minutes,
    /// By type of captcha.
    pub(super) times: Vec<SolveTime>,
}

/// How long tasks of one type took.
#[derive(Clone, Debug)]
pub(super) struct SolveTime {
    pub(super) kind: &'static str,
    pub(super) count: usize,
    pub(super) p50: String,
    pub(super) p95: String,
    /// From 0 to 100, the longest of all types being 100.
    pub(super) width_of_p50: u64,
    pub(super) width_of_p95: u64,
}

impl Figures {
    /// Those of an owner, or everybody's.
    pub(super) async fn of(&self, store: &Store, owner: Option<TokenId>) -> Result<Arc<Counts>, StoreError> {
        let mut known = self.0.lock().await;
        known.retain(|_, (at, _)| at.elapsed() < AGE);
        if let Some((_, counts)) = known.get(&owner) {
            return Ok(Arc::clone(counts));
        }
        let counts = Arc::new(Counts::read(store, owner, Timestamp::now()).await?);
        known.insert(owner, (Instant::now(), Arc::clone(&counts)));
        Ok(counts)
    }
}

impl Counts {
    async fn read(store: &Store, owner: Option<TokenId>, now: Timestamp) -> Result<Self, StoreError> {
        let mut counts = Self::default();
        let (mut by_pingback, mut fetched) = (0, 0);
        for Counted { status, via, tasks, .. } in store.count_tasks(owner).await? {
            let of_status = match status {
                Status::Queued => Some(&mut counts.queued),
                Status::Submitting => Some(&mut counts.submitting),
                Status::Submitted | Status::Unconfirmed => Some(&mut counts.submitted),
                Status::Solved => Some(&mut counts.solved),
                Status::Failed | Status::Expired => Some(&mut counts.failed),
                Status::Cancelled => None,
            };
            if let Some(count) = of_status {
                *count += tasks;
            }
            match via {
                Some(Via::Pingback) => by_pingback += tasks,
                Some(Via::Reconcile) => fetched += tasks,
                None => {}
            }
        }
        counts.pingback_percent = (by_pingback * 100).checked_div(by_pingback + fetched);
        let solved = store.solved_per_minute(owner, now.before(HOUR)).await?;
        counts.minutes = Minutes::new(&solved, now.as_micros() / MICROS_PER_MINUTE);
        let times = store.newest_solve_times(owner).await?;
        let times = times.into_iter().map(|(kind, millis)| (kind.as_str(), PercentilesBody::new(millis)));
        counts.times = solve_times(times.collect());
        Ok(counts)
    }
}

fn solve_times(mut times: Vec<(&'static str, PercentilesBody)>) -> Vec<SolveTime> {
    times.sort_unstable_by_key(|(kind, _)| *kind);
    let longest = times.iter().map(|(_, times)| times.p95).max().unwrap_or_default();
    let row = |(kind, times): (&'static str, PercentilesBody)| SolveTime {
        kind,
        count: times.count,
        p50: span(times.p50),
        p95: span(times.p95),
        width_of_p50: scaled(times.p50, longest),
        width_of_p95: scaled(times.p95, longest),
    };
    times.into_iter().map(row).collect()
}
