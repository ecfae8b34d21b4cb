//! What runs, and what happens when a part of it breaks down.

use std::sync::{Arc, OnceLock};
use std::{io, thread};

use tokio::runtime::Handle;
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

    /// The same on a thread of its own: its steps do not queue behind those of thousands of connections.
    pub(super) fn start_apart(
        &self,
        name: &'static str,
        part: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let alarm = Alarm { name, parts: self.clone() };
        let (runtime, tracked) = (Handle::current(), self.tracker.token());
        let run = move || {
            let _tracked = tracked;
            runtime.block_on(part);
            drop(alarm);
        };
        thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
    }
}

/// Ends the service when it is dropped by a panic.
struct Alarm {
    name: &'static str,
    parts: Parts,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
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

    #[tokio::test]
    async fn the_end_waits_for_a_part_on_a_thread_of_its_own_and_its_panic_ends_the_service() {
        let shutdown = CancellationToken::new();
        let parts = Parts::new(&shutdown);
        let (go, may_break) = tokio::sync::oneshot::channel();
        let part = async {
            may_break.await.unwrap();
            panic!("it breaks");
        };
        parts.start_apart("weak part", part).unwrap();
        parts.tracker.close();
        assert!(!parts.tracker.is_empty());
        go.send(()).unwrap();
        timeout(Duration::from_secs(5), shutdown.cancelled()).await.expect("the others are told to end");
        timeout(Duration::from_secs(5), parts.tracker.wait()).await.expect("it has ended");
        assert_eq!(parts.broken.get(), Some(&"weak part"));
    }
}
