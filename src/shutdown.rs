//! Signals. One to end asks every part to finish; a second one does not wait for it. SIGHUP has files
//! read again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The signals that are acted on, listened for from the moment this exists: from then on SIGHUP does not
/// end the process.
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

    /// Cancels `soft` at the first signal to end and `hard` at the second; tells whoever subscribes to
    /// `hang_up` of each SIGHUP.
    pub async fn watch(
        mut self,
        soft: CancellationToken,
        hard: CancellationToken,
        hang_up: watch::Sender<()>,
    ) {
        self.ended(&hang_up).await;
        info!("Shutting down: requests that have begun are finished; a second signal does not wait");
        soft.cancel();
        self.ended(&hang_up).await;
        warn!("Second signal: ending at once");
        hard.cancel();
    }

    /// Waits for a signal to end, while there is nothing yet that could be told of it.
    pub async fn end(&mut self) {
        self.ended(&watch::Sender::new(())).await;
    }

    async fn ended(&mut self, hang_up: &watch::Sender<()>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {
                    let is_heard = hang_up.send(()).is_ok();
                    info!("SIGHUP: {}", if is_heard { "files are read again" } else { "there is nothing to read again" });
                }
            }
        }
    }
}
