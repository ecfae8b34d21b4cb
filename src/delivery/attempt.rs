//! One attempt: made, judged, and stored.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::field::display;
use tracing::{debug, info, warn};

use super::breaker::Breaker;
use super::message::{Body, Message};
use super::under_way::Ended;
use super::{Messenger, Rhythm};
use crate::ingest::{Ingest, MOST_ENDED, WriteError};
use crate::model::{Attempt, Delivery, DeliveryStatus, Timestamp};
use crate::store::{Store, Target};

/// The longest pause before what could not be stored is stored again.
const LONGEST_RECORD_PAUSE: Duration = Duration::from_secs(30);

/// What is said of messages that were held back for too long.
const NO_ANSWER: &str = "held back for 24 h because the receiver fails";

/// What an attempt is made with.
pub(super) struct Work {
    pub(super) store: Store,
    pub(super) ingest: Ingest,
    pub(super) messenger: Messenger,
    pub(super) rhythm: Rhythm,
    pub(super) breaker: Mutex<Breaker>,
}

impl Work {
    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries once, and stores what became of it.
    pub(super) async fn attempt(
        self: Arc<Self>,
        mut delivery: Delivery,
        message: Result<Message, String>,
    ) -> Ended {
        let attempt = match message {
            Ok(message) => self.send(&delivery, message).await,
            Err(why) => Attempt::Hopeless(why),
        };
        let target = Target::of(&delivery);
        delivery.attempted(&attempt, &self.rhythm.retries, random(), Timestamp::now());
        let failed_again = self.breaker().note(&target, &delivery, &attempt, Instant::now());
        report(&delivery);
        match attempt {
            Attempt::Replied { status: 410, .. } if delivery.webhook.is_some() => {
                self.webhook_gone(&delivery).await;
            }
            _ => self.store_tried(&delivery).await,
        }
        if failed_again {
            self.give_up_old(&target).await;
        }
        Ended::of(&delivery)
    }

    async fn send(&self, delivery: &Delivery, mut message: Message) -> Attempt {
        if let Body::Signed(signed) = &mut message.body
            && signed.keys.is_none()
        {
            match self.ingest.signing_keys(delivery.owner).await {
                Ok(keys) => signed.keys = Some(keys),
                Err(error) => {
                    debug!(%error, "Could not make a secret to sign with: {error}");
                    return Attempt::Postponed("no secret to sign with could be made");
                }
            }
        }
        self.messenger.post(message).await
    }

    /// Not stored, it would be sent again at once: better it takes up room until it is.
    async fn store_tried(&self, delivery: &Delivery) {
        self.until_stored(|| self.ingest.delivery_tried(delivery.clone()), not_stored(delivery)).await;
    }

    /// The same where its webhook wants no more.
    async fn webhook_gone(&self, delivery: &Delivery) {
        let webhook = delivery.webhook;
        let mut others = 0;
        loop {
            let ended =
                self.until_stored(|| self.ingest.webhook_gone(delivery.clone()), not_stored(delivery)).await;
            others += ended;
            if ended < u64::from(MOST_ENDED) {
                break;
            }
        }
        let receiver = &delivery.receiver;
        warn!(
            webhook.id = webhook,
            receiver,
            deliveries = others,
            "A webhook is disabled: the receiver answered 410"
        );
    }

    /// Gives up on what has been held back for too long. Only when the receiver was held and failed again: what is old
    /// because pingbox was away is tried first.
    async fn give_up_old(&self, target: &Target) {
        let receiver = &target.receiver;
        let mut given_up = 0;
        loop {
            let now = Timestamp::now();
            let before = now.before(self.rhythm.patience);
            let old = match self.store.overdue_deliveries(target, before, now, MOST_ENDED).await {
                Ok(old) => old,
                Err(error) => {
                    if !error.is_told() {
                        warn!(receiver, %error, "Could not look for messages to give up on: {error}");
                    }
                    break;
                }
            };
            if old.is_empty() {
                break;
            }
            let failed = |error| warn!(receiver, %error, "Could not give up on messages: {error}");
            given_up += self.until_stored(|| self.ingest.give_up(old.clone(), NO_ANSWER), failed).await;
        }
        if given_up > 0 {
            warn!(receiver, deliveries = given_up, "Gave up on messages: {NO_ANSWER}");
        }
    }

    /// Writes until it is stored. Only the first failure is told of: a database that cannot be written would
    /// fill the log.
    pub(super) async fn until_stored<T, W>(&self, write: impl Fn() -> W, failed: impl FnOnce(WriteError)) -> T
    where
        W: Future<Output = Result<T, WriteError>>,
    {
        let mut failed = Some(failed);
        let mut pause = self.rhythm.record_pause;
        loop {
            match write().await {
                Ok(stored) => return stored,
                Err(error) => {
                    debug!(%error, "Could not store what concerns messages: {error}");
                    if let Some(failed) = failed.take_if(|_| !error.is_told()) {
                        failed(error);
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_RECORD_PAUSE);
        }
    }
}

fn not_stored(delivery: &Delivery) -> impl FnOnce(WriteError) {
    let (id, task) = (delivery.id, delivery.task.map(|task| task.to_string()));
    move |error| {
        warn!(delivery.id = id, task.id = task, %error, "Could not store what became of a message: {error}");
    }
}

/// Any number, to spread retries with.
fn random() -> u32 {
    // Without randomness they are not spread, and that is all.
    getrandom::u32().unwrap_or_default()
}

fn report(delivery: &Delivery) {
    let Delivery { id, kind, receiver, attempts, .. } = delivery;
    let (kind, task, webhook) = (display(kind), delivery.task.map(display), delivery.webhook);
    let error = delivery.last_error.as_deref().unwrap_or_default();
    match delivery.status {
        DeliveryStatus::Delivered => {
            debug!(
                delivery.id = id,
                task.id = task,
                webhook.id = webhook,
                kind,
                receiver,
                attempts,
                "Delivered a message"
            );
        }
        DeliveryStatus::Waiting => {
            info!(
                delivery.id = id,
                task.id = task,
                webhook.id = webhook,
                kind,
                receiver,
                attempts,
                "A message is tried again later: {error}"
            );
        }
        DeliveryStatus::Dead => {
            warn!(
                delivery.id = id,
                task.id = task,
                webhook.id = webhook,
                kind,
                receiver,
                attempts,
                "Gave up on a message: {error}"
            );
        }
    }
}
