//! Keeps who may call in step: with the database, with the configuration, and the other way round with when tokens
//! were used.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::http::Access;
use crate::ingest::Ingest;
use crate::model::{Timestamp, TokenId};
use crate::replicas::News;
use crate::store::Store;

/// How often tokens are read where other replicas may revoke one, whatever was heard: it opens nothing a second
/// later.
const READ_INTERVAL: Duration = Duration::from_millis(500);
/// How often the times of last use are stored.
const USE_INTERVAL: Duration = Duration::from_secs(60);
/// How long that may take: a revocation at another replica is not to wait for a slow disk.
const USE_DEADLINE: Duration = Duration::from_secs(1);

/// Has tokens that are made or revoked at another replica, or exchanged in the configuration, count here too.
pub(super) struct TokenKeeper {
    pub(super) config: Config,
    pub(super) store: Store,
    pub(super) ingest: Ingest,
    pub(super) access: Arc<Access>,
    /// Of other replicas, where there may be some.
    pub(super) news: Option<Arc<News>>,
    /// Changes at each SIGHUP.
    pub(super) hang_up: watch::Receiver<()>,
}

/// The times of last use that are stored.
type Stored = HashMap<TokenId, Timestamp>;

impl TokenKeeper {
    /// Works until `shutdown`, and stores then when tokens were last used.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let (mut next_use, mut stored) = (Instant::now() + USE_INTERVAL, Stored::new());
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = sleep_until(next_use) => {
                    self.store_uses(&mut stored).await;
                    next_use = Instant::now() + USE_INTERVAL;
                }
                Ok(()) = self.hang_up.changed() => self.read_again(),
                () = self.access.is_behind() => sleep(READ_INTERVAL).await,
                () = others_may_have(self.news.as_deref()) => {}
            }
            let refreshed = shutdown.run_until_cancelled(self.access.refresh(&self.store)).await;
            if let Some(Err(error)) = refreshed {
                if !error.is_told() {
                    warn!(%error, "Could not read who may call, and try again: {error}");
                }
                self.access.fell_behind();
            }
        }
        self.store_uses(&mut stored).await;
    }

    /// Takes `api.token` from the configuration as it is now.
    fn read_again(&self) {
        match self.config.again().context("the configuration is not read again") {
            Ok(config) => {
                self.access.configure(config.api.token.as_ref());
                let is_set = config.api.token.is_some();
                info!("SIGHUP: api.token was read again, and is {}", if is_set { "set" } else { "not set" });
            }
            Err(error) => error!("SIGHUP: api.token stays what it was: {error:#}"),
        }
    }

    /// What could not be stored in time is tried again with the next.
    async fn store_uses(&self, stored: &mut Stored) {
        let used: Stored = self.access.uses().into_iter().collect();
        let new = used.iter().filter(|(token, at)| stored.get(token) != Some(at));
        let new: Vec<_> = new.map(|(token, at)| (*token, *at)).collect();
        if new.is_empty() {
            return;
        }
        match timeout(USE_DEADLINE, self.ingest.note_token_use(new)).await {
            Ok(Ok(())) => *stored = used,
            Ok(Err(error)) => warn!(%error, "Could not store when tokens were last used: {error}"),
            Err(_) => warn!("Could not store when tokens were last used: the database is slow"),
        }
    }
}

/// Waits until another replica may have made or revoked a token.
async fn others_may_have(news: Option<&News>) {
    match news {
        None => std::future::pending().await,
        Some(news) => tokio::select! {
            () = news.tokens.notified() => {}
            () = sleep(READ_INTERVAL) => {}
        },
    }
}
