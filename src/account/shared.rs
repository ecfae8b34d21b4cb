//! What other replicas found out about the account, or changed: read again when they tell, and every second.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::pauses::log_change;
use super::{Account, REGISTRATION, Registration, SECRETS};
use crate::ingest::WriteError;
use crate::model::{Backoff, Gate, Script, Timestamp};
use crate::provider::Secrets;
use crate::replicas::{News, SAFETY_INTERVAL};
use crate::store::StoreError;

/// For how long what was read of the secrets is all there is: less than others wait before they use a new one.
const KNOWN_FOR: Duration = Duration::from_millis(2500);
/// How often it is read how long captchas take.
const SOLVE_TIMES_INTERVAL: Duration = Duration::from_secs(60);
/// How often a change of the secrets is tried again that others overtook. Each try is a commit of theirs.
const MAX_TRIES: usize = 5;

impl Account {
    /// Keeps up with the other replicas until `shutdown`.
    pub(crate) async fn keep_up(self, news: Arc<News>, shutdown: CancellationToken) {
        let mut solve_times_read = Instant::now();
        while !shutdown.is_cancelled() {
            // Apart from the rest, which may have to wait for a write.
            let secrets = self.refresh_secrets();
            let both = async { tokio::join!(secrets, self.refresh()) };
            if let Some((one, other)) = shutdown.run_until_cancelled(both).await {
                for error in [one, other].into_iter().filter_map(Result::err) {
                    warn!(%error, "Could not read what other replicas know of the account: {error}");
                }
            }
            if solve_times_read.elapsed() >= SOLVE_TIMES_INTERVAL {
                solve_times_read = Instant::now();
                shutdown.run_until_cancelled(self.refresh_solve_times()).await;
            }
            shutdown.run_until_cancelled(timeout(SAFETY_INTERVAL, news.account.notified())).await;
        }
    }

    pub(super) async fn refresh(&self) -> Result<(), StoreError> {
        let store = &self.0.store;
        {
            // What we store ourselves is not overtaken by an older look.
            let _turn = self.0.saving.lock().await;
            self.adopt(store.backoff(&self.id()).await?);
        }
        // What could not be stored when it changed.
        self.save().await;
        let credit = store.credit(&self.id()).await?;
        self.0.credit.store(credit.calls.level(), Ordering::Relaxed);
        self.0.refusals.store(credit.refusals.level(), Ordering::Relaxed);
        self.share_registration().await
    }

    async fn refresh_secrets(&self) -> Result<(), StoreError> {
        let asked = Instant::now();
        let _turn = self.0.changing_secrets.lock().await;
        self.read_secrets().await?;
        *self.secrets_read_at() = asked;
        Ok(())
    }

    /// Whether there may be secrets that this replica has not heard of: what it does not know may be one of them.
    pub(crate) fn may_miss_a_secret(&self) -> bool {
        self.0.store.is_shared() && self.secrets_read_at().elapsed() > KNOWN_FOR
    }

    fn secrets_read_at(&self) -> MutexGuard<'_, Instant> {
        // Nothing panics while it is held.
        self.0.secrets_read_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other replicas hear of answers too.
    async fn refresh_solve_times(&self) {
        match self.0.store.solve_times().await {
            Ok(times) => *self.0.solve_times.lock().unwrap_or_else(PoisonError::into_inner) = times,
            Err(error) => warn!(%error, "Could not read how long captchas take: {error}"),
        }
    }

    /// These pauses are on disk. What has changed here and is not there yet, counts beside them.
    pub(super) fn adopt(&self, stored: Backoff) {
        let (before, after) = {
            let mut state = self.state();
            let before = state.backoff.clone();
            state.backoff = stored.changed(&state.stored, &before);
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
        if is_new {
            self.store_registration(&registration).await;
        }
    }

    async fn store_registration(&self, registration: &Registration) {
        if let Err(error) = self.0.ingest.remember(REGISTRATION, registration.to_word()).await {
            warn!(%error, "Could not store how far the registration has come: {error}");
        }
    }

    /// What the replica that looks after it has found is what the others say. One that nobody wants at this one stays so.
    async fn share_registration(&self) -> Result<(), StoreError> {
        let word = self.0.store.recall(REGISTRATION).await?;
        if self.0.lead.is_held() {
            let own = self.0.registration.borrow().clone();
            if own != Registration::Pending && word.as_deref() != Some(own.to_word().as_str()) {
                self.store_registration(&own).await;
            }
            return Ok(());
        }
        let Some(word) = word else { return Ok(()) };
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
