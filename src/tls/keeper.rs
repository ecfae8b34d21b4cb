//! Keeps the listeners' certificates fresh.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Endpoint;
use crate::model::Timestamp;

/// How often it looks whether a certificate is to be made anew. That costs nothing, and is how long clients
/// refuse it after the clock was set.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// How long after it failed it is tried again, unless SIGHUP comes first.
const RETRY_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// How often is said what is to be done about a certificate.
const ADVICE_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Renews certificates of our own in time, reads all of them again when told to, and says once a day what
/// it can do nothing about.
pub(crate) struct Keeper {
    kept: Vec<Kept>,
    /// Changes at each SIGHUP.
    hang_up: watch::Receiver<()>,
    advised: Option<Timestamp>,
}

struct Kept {
    endpoint: Arc<Endpoint>,
    /// When the last attempt was, if it failed.
    failed: Option<Timestamp>,
}

impl Keeper {
    /// `hang_up` changes when the certificates are to be read again.
    pub(crate) fn new(endpoints: Vec<Arc<Endpoint>>, hang_up: watch::Receiver<()>) -> Self {
        let kept = endpoints.into_iter().map(|endpoint| Kept { endpoint, failed: None }).collect();
        Self { kept, hang_up, advised: None }
    }

    /// Works until `shutdown`. What is under way then is dropped, as files that hang must not hold up the
    /// end.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let work = async {
            loop {
                for advice in self.due_advice(Timestamp::by_system()) {
                    warn!("{advice}");
                }
                let is_told = tokio::select! {
                    Ok(()) = self.hang_up.changed() => true,
                    () = tokio::time::sleep(LOOK_INTERVAL) => false,
                };
                self.look(is_told, Timestamp::by_system()).await;
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    /// Reads or makes anew the certificates that are due, or all of them when it `is_told` to.
    async fn look(&mut self, is_told: bool, now: Timestamp) {
        for kept in &mut self.kept {
            if is_told || kept.is_due(now) {
                kept.renew(now).await;
                if kept.failed.is_none() {
                    self.advised = None;
                }
            }
        }
    }

    /// What is to be said; nothing within a day after it was, unless a certificate was renewed or the clock
    /// set back since.
    fn due_advice(&mut self, now: Timestamp) -> Vec<String> {
        if self.advised.is_some_and(|before| is_within(ADVICE_INTERVAL, before, now)) {
            return Vec::new();
        }
        self.advised = Some(now);
        let mut all: Vec<String> = self.kept.iter().filter_map(|kept| kept.endpoint.advice(now)).collect();
        // Both listeners may have a certificate of the one CA.
        all.dedup();
        all
    }
}

impl Kept {
    fn is_due(&self, now: Timestamp) -> bool {
        let has_just_failed = self.failed.is_some_and(|failed| is_within(RETRY_INTERVAL, failed, now));
        !has_just_failed && self.endpoint.is_due(now)
    }

    async fn renew(&mut self, now: Timestamp) {
        let section = self.endpoint.section();
        let renewed = self.endpoint.renew(now).await;
        self.failed = renewed.is_err().then_some(now);
        match renewed {
            Ok(()) => {
                let ends = self.endpoint.ends();
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

/// Whether `now` is less than `span` after `before`, and not before it.
fn is_within(span: Duration, before: Timestamp, now: Timestamp) -> bool {
    before <= now && now.since(before) < span
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::tls::Source;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// A keeper of both listeners, with certificates of our own.
    async fn keeper(data: &TempDir, now: Timestamp) -> Keeper {
        let mut endpoints = Vec::new();
        for section in ["public", "api"] {
            let source =
                Source::OwnCa { data_dir: data.path().to_owned(), names: vec!["localhost".to_owned()] };
            endpoints.push(Endpoint::open(section, source, now).await.unwrap());
        }
        Keeper::new(endpoints, watch::Sender::new(()).subscribe())
    }

    fn ends(keeper: &Keeper) -> Vec<Timestamp> {
        keeper.kept.iter().map(|kept| kept.endpoint.ends()).collect()
    }

    #[tokio::test]
    async fn what_is_due_is_made_anew_and_nothing_else() {
        let (data, now) = (TempDir::new().unwrap(), Timestamp::now());
        let mut keeper = keeper(&data, now).await;
        let first = ends(&keeper);
        keeper.look(false, now.after(DAY * 300)).await;
        assert_eq!(ends(&keeper), first);
        keeper.look(false, now.after(DAY * 370)).await;
        assert_eq!(ends(&keeper), first.iter().map(|ends| ends.after(DAY * 370)).collect::<Vec<_>>());
        keeper.look(false, now).await;
        assert_eq!(ends(&keeper), first, "the clock was set back");
    }

    #[tokio::test]
    async fn an_attempt_that_failed_is_repeated_after_an_hour_or_when_told() {
        let (data, now) = (TempDir::new().unwrap(), Timestamp::now());
        let mut keeper = keeper(&data, now).await;
        let (first, due) = (ends(&keeper), now.after(DAY * 370));
        let (tls, away) = (data.path().join("tls"), data.path().join("away"));
        std::fs::rename(&tls, &away).unwrap();
        std::fs::write(&tls, "").unwrap();
        keeper.look(false, due).await;
        std::fs::remove_file(&tls).unwrap();
        std::fs::rename(&away, &tls).unwrap();
        keeper.look(false, due.after(LOOK_INTERVAL)).await;
        assert_eq!(ends(&keeper), first);
        keeper.look(false, due.after(RETRY_INTERVAL)).await;
        assert!(ends(&keeper).iter().all(|ends| *ends > first[0]));
    }

    #[tokio::test]
    async fn advice_is_given_once_a_day_and_after_each_renewal() {
        let (data, now) = (TempDir::new().unwrap(), Timestamp::now());
        let mut keeper = keeper(&data, now).await;
        assert!(keeper.due_advice(now).is_empty());
        let late = keeper.kept[0].endpoint.ca().unwrap().ends.before(DAY * 3);
        assert_eq!(keeper.due_advice(late).len(), 1, "one CA, one advice");
        assert!(keeper.due_advice(late.after(DAY / 2)).is_empty());
        assert_eq!(keeper.due_advice(late.after(DAY)).len(), 1);
        keeper.look(true, late.after(DAY)).await;
        assert_eq!(keeper.due_advice(late.after(DAY)).len(), 1);
    }
}
