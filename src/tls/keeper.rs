//! Keeps the listeners' certificates fresh.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::Endpoint;
use crate::model::Timestamp;

/// How often it looks whether a certificate is to be renewed, a month before it ends.
const LOOK_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Renews certificates of our own in time, and reads all of them again when told to.
pub(crate) struct Keeper {
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    /// Changes at each SIGHUP.
    pub(crate) hang_up: watch::Receiver<()>,
}

impl Keeper {
    /// Works until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Ok(()) = self.hang_up.changed() => self.renew(|_| true, Timestamp::now()),
                () = tokio::time::sleep(LOOK_INTERVAL) => {
                    let now = Timestamp::now();
                    self.renew(|endpoint| endpoint.is_due(now), now);
                }
            }
        }
    }

    /// Reads or makes anew the certificates that are `chosen`.
    fn renew(&self, chosen: impl Fn(&Endpoint) -> bool, now: Timestamp) {
        for endpoint in self.endpoints.iter().filter(|endpoint| chosen(endpoint)) {
            let section = endpoint.section();
            match endpoint.renew(now) {
                Ok(()) => {
                    let ends = endpoint.ends();
                    info!(
                        listener = section,
                        "The {section} listener has its certificate anew, valid until {ends}"
                    );
                }
                Err(error) => error!(
                    listener = section, %error,
                    "The {section} listener keeps the certificate it has, because the new one cannot be used: {error}"
                ),
            }
        }
    }
}
