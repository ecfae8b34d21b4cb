//! What replicas that share a database have to know of each other. On a database of its own a process leads always,
//! and hears of nobody.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod.rs` | what others have committed is told to whoever reads it again |
//! | `echo.rs` | callers here are woken by what others committed |
//! | `lead.rs` | who does what only one may do |

mod echo;
mod lead;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use self::echo::Echo;
pub(crate) use self::lead::{Candidate, Lead};
use crate::store::{Store, Topic};

/// How often everything is read again that may have changed, whatever was heard or not.
pub(crate) const SAFETY_INTERVAL: Duration = Duration::from_secs(1);
/// Between two tries to listen.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// That others have changed something. Whoever reads it again is told here, and does so by itself every second.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) events: Notify,
    pub(crate) account: Notify,
    pub(crate) tokens: Notify,
    pub(crate) reports: Notify,
    is_heard: AtomicBool,
}

impl News {
    /// Whether others are heard at once; else what they do is seen within a second.
    pub(crate) fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Relaxed)
    }

    fn tell(&self, topic: Topic) {
        match topic {
            Topic::Events => self.events.notify_one(),
            Topic::Account => self.account.notify_one(),
            Topic::Tokens => self.tokens.notify_one(),
            Topic::Reports => self.reports.notify_one(),
        }
    }

    /// Whether that is a change.
    fn set_heard(&self, is_heard: bool) -> bool {
        self.is_heard.swap(is_heard, Ordering::Relaxed) != is_heard
    }

    /// Listens until `shutdown`.
    pub(crate) async fn hear(self: Arc<Self>, store: Store, shutdown: CancellationToken) {
        let mut is_told = false;
        loop {
            let why = match shutdown.run_until_cancelled(self.listen(&store)).await {
                None => return,
                Some(Ok(())) => "the connection was lost".to_owned(),
                Some(Err(error)) => error.to_string(),
            };
            if self.set_heard(false) || !is_told {
                is_told = true;
                warn!(
                    "Other replicas are not heard at the moment, and what they do is seen within a second instead: {why}"
                );
            }
            shutdown.run_until_cancelled(sleep(RETRY_PAUSE)).await;
        }
    }

    async fn listen(&self, store: &Store) -> Result<(), crate::store::StoreError> {
        let Some(mut listener) = store.listen().await? else { return Ok(()) };
        if self.set_heard(true) {
            info!("What other replicas do is heard at once");
        }
        // What was told before is lost.
        for topic in [Topic::Events, Topic::Account, Topic::Tokens, Topic::Reports] {
            self.tell(topic);
        }
        while let Some(topic) = listener.next().await? {
            self.tell(topic);
        }
        Ok(())
    }
}
