//! Forgets answers, then tasks, when they are old enough, in small batches.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::ingest::{IDEMPOTENCY_WINDOW, Ingest};
use crate::model::Timestamp;
use crate::store::{Retired, RetirementPlan};

/// How often there is a look for what is old.
const INTERVAL: Duration = Duration::from_secs(60);
/// Rows of each kind that one commit forgets, so that pingbacks are not held up.
const BATCH: u32 = 100;

/// Forgets what is old.
pub(crate) struct Retention {
    pub(crate) ingest: Ingest,
    /// Age at which answers, images and parked pingbacks go.
    pub(crate) answers: Duration,
    /// Age at which tasks go.
    pub(crate) tasks: Duration,
}

impl Retention {
    /// Forgets until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            while !shutdown.is_cancelled() && self.forget_batch(Timestamp::now()).await {}
        }
    }

    /// Forgets one batch; whether there may be more.
    async fn forget_batch(&self, now: Timestamp) -> bool {
        let plan = RetirementPlan {
            // An answer does not outlive its task.
            answers_before: now.before(self.answers.min(self.tasks)),
            tasks_before: now.before(self.tasks),
            keys_before: now.before(IDEMPOTENCY_WINDOW),
            limit: BATCH,
        };
        match self.ingest.retire(plan).await {
            Ok(Retired { answers, tasks, pingbacks, keys }) => {
                debug!(answers, tasks, pingbacks, keys, "Forgot what is old");
                [answers, tasks, pingbacks, keys].iter().any(|&rows| rows >= u64::from(BATCH))
            }
            Err(error) => {
                warn!(%error, "Could not forget what is old: {error}");
                false
            }
        }
    }
}
