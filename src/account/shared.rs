//! What other replicas found out about the account, or changed: read again when they tell, and every second.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::pauses::log_change;
use super::{Account, REGISTRATION, Registration, SECRETS};
use crate::ingest::WriteError;
use crate::model::{Backoff, Gate, Script, Timestamp};
use crate::provider::Secrets;
use crate::replicas::{News, SAFETY_INTERVAL};
use crate::store::StoreError;

/// How often a change of the secrets is tried again that others overtook. Each try is a commit of theirs.
const MAX_TRIES: usize = 5;

impl Account {
    /// Keeps up with the other replicas until `shutdown`.
    pub(crate) async fn keep_up(self, news: Arc<News>, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            if let Some(Err(error)) = shutdown.run_until_cancelled(self.refresh()).await {
                warn!(%error, "Could not read what other replicas know of the account: {error}");
            }
            shutdown.run_until_cancelled(timeout(SAFETY_INTERVAL, news.account.notified())).await;
        }
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let store = &self.0.store;
        {
            // What we store ourselves is not overtaken by an older look.
            let _turn = self.0.saving.lock().await;
            self.adopt(store.backoff(&self.id()).await?);
        }
        let credit = store.credit(&self.id()).await?;
        self.0.credit.store(credit.calls.level(), Ordering::Relaxed);
        self.0.refusals.store(credit.refusals.level(), Ordering::Relaxed);
        {
            let _turn = self.0.changing_secrets.lock().await;
            self.read_secrets().await?;
        }
        if !self.0.lead.is_held() {
            self.read_registration().await?;
        }
        Ok(())
    }

    /// These pauses are on disk. What has changed here and is not there yet stays.
    pub(super) fn adopt(&self, stored: Backoff) {
        let (before, after) = {
            let mut state = self.state();
            let before = state.backoff.clone();
            if before == state.stored {
                state.backoff.clone_from(&stored);
            }
            state.stored = stored;
            (before, state.backoff.clone())
        };
        if before == after {
            return;
        }
        // An operator has acted, at another replica: one request finds out whether that helped.
        let is_stopped = |backoff: &Backoff| backoff.gate(Script::In, Timestamp::now()) == Gate::Stopped;
        if is_stopped(&before) && !is_stopped(&after) {
            self.0.is_proven.store(false, Ordering::Release);
        }
        log_change(&before, &after, self.0.provider.route());
        self.tell_change();
    }

    async fn read_secrets(&self) -> Result<(), StoreError> {
        let Some(text) = self.0.store.recall(SECRETS).await? else { return Ok(()) };
        let known = self.0.urls.secrets();
        if text == known.to_json() {
            return Ok(());
        }
        let Some(secrets) = Secrets::from_json(&text) else {
            warn!("The stored pingback secrets are damaged: those that are known stay in use");
            return Ok(());
        };
        let is_wanted = secrets.next.is_some();
        self.0.urls.replace(secrets);
        if is_wanted {
            self.0.urls.wanted.notify_one();
        }
        Ok(())
    }

    /// Changes the secrets of our URLs, on disk first; `change` says whether it did so.
    pub(crate) async fn change_secrets(
        &self,
        mut change: impl FnMut(&mut Secrets) -> bool,
    ) -> Result<bool, WriteError> {
        let _turn = self.0.changing_secrets.lock().await;
        for _ in 0..MAX_TRIES {
            let mut secrets = self.0.urls.secrets();
            let before = secrets.to_json();
            if !change(&mut secrets) {
                return Ok(false);
            }
            if self.0.ingest.replace(SECRETS, before, secrets.to_json()).await? {
                self.0.urls.replace(secrets);
                return Ok(true);
            }
            // Another replica has changed them.
            if let Err(error) = self.read_secrets().await {
                warn!(%error, "Could not read the pingback secrets: {error}");
                break;
            }
        }
        Err(WriteError::Failed)
    }

    /// How far the registration has come, for this replica and the others.
    pub(crate) async fn set_registration(&self, registration: Registration) {
        let is_new = self.0.registration.send_replace(registration.clone()) != registration;
        if is_new && let Err(error) = self.0.ingest.remember(REGISTRATION, registration.to_word()).await {
            warn!(%error, "Could not store how far the registration has come: {error}");
        }
    }

    /// What the replica that looks after it has found. One that cannot be reached by its own word stays so.
    async fn read_registration(&self) -> Result<(), StoreError> {
        let Some(word) = self.0.store.recall(REGISTRATION).await? else { return Ok(()) };
        let known = Registration::of_word(&word);
        self.0.registration.send_if_modified(|registration| {
            if *registration == Registration::Off || *registration == known {
                return false;
            }
            *registration = known;
            true
        });
        Ok(())
    }
}
