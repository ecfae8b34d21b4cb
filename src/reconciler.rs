//! Answers that never came: tasks expire, and unconfirmed ones end their wait.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::ingest::Ingest;

/// How often overdue tasks are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Looks after tasks whose time is over.
pub(crate) struct Reconciler {
    pub(crate) ingest: Ingest,
    /// Whether an unconfirmed task is sent again after its give-up time; else it fails.
    pub(crate) resubmit: bool,
}

impl Reconciler {
    /// Sweeps until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(SWEEP_INTERVAL)).await.is_some() {
            match self.ingest.sweep(self.resubmit).await {
                Ok(0) => {}
                Ok(tasks) => info!(tasks, "Ended the wait of {tasks} overdue tasks"),
                Err(error) => warn!(%error, "Could not look for overdue tasks: {error}"),
            }
        }
    }
}
