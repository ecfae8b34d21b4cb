//! The end: a signal asks every part to finish; a second one does not wait for it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The signals that end the process, listened for from the moment this exists.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Listens for SIGTERM, SIGINT and SIGHUP.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Cancels `soft` at the first signal to end and `hard` at the second.
    pub async fn watch(mut self, soft: CancellationToken, hard: CancellationToken) {
        self.ended().await;
        info!("Shutting down: requests that have begun are finished; a second signal does not wait");
        soft.cancel();
        self.ended().await;
        warn!("Second signal: ending at once");
        hard.cancel();
    }

    async fn ended(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => info!("SIGHUP: nothing that is in use can be re-read"),
            }
        }
    }
}
