//! What runs, and what happens when a part of it breaks down.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Everything that runs. When one of them panics the service ends, to be started again whole.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) tracker: TaskTracker,
    /// The part that broke down.
    pub(super) broken: Arc<OnceLock<&'static str>>,
    shutdown: CancellationToken,
}

impl Parts {
    pub(super) fn new(shutdown: &CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), broken: Arc::default(), shutdown: shutdown.clone() }
    }

    pub(super) fn start(&self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        let alarm = Alarm { name, parts: self.clone() };
        self.tracker.spawn(async move {
            part.await;
            drop(alarm);
        });
    }
}

/// Ends the service when it is dropped by a panic.
struct Alarm {
    name: &'static str,
    parts: Parts,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The first to break down is the one to look at.
            self.parts.broken.get_or_init(|| self.name);
            self.parts.shutdown.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_part_that_panics_ends_the_service() {
        let shutdown = CancellationToken::new();
        let parts = Parts::new(&shutdown);
        parts.start("sound part", shutdown.clone().cancelled_owned());
        parts.start("weak part", async { panic!("it breaks") });
        timeout(Duration::from_secs(5), shutdown.cancelled()).await.expect("the others are told to end");
        assert_eq!(parts.broken.get(), Some(&"weak part"));
    }
}
