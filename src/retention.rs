//! Forgets answers, then tasks, when they are old enough, in small batches.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::ingest::{IDEMPOTENCY_WINDOW, Ingest};
use crate::model::Timestamp;
use crate::store::{Retired, RetirementPlan};

/// How often there is a look for what is old.
const INTERVAL: Duration = Duration::from_secs(60);
/// Rows of each kind that one commit forgets, so that pingbacks are not held up.
const BATCH: u32 = 100;

/// The earlier of two times: answers and tasks carry the service's, events the system's or the server's. Nothing is
/// forgotten early, whichever way the system's clock is set.
fn now() -> Timestamp {
    Timestamp::now().min(Timestamp::by_system())
}

/// Forgets what is old.
pub(crate) struct Retention {
    pub(crate) ingest: Ingest,
    /// Age at which answers, images and parked pingbacks go.
    pub(crate) answers: Duration,
    /// Age at which tasks go.
    pub(crate) tasks: Duration,
}

impl Retention {
    /// Forgets until `shutdown`.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            while !shutdown.is_cancelled() && self.forget_batch(now()).await {}
        }
    }

    /// Forgets one batch; whether there may be more.
    async fn forget_batch(&self, now: Timestamp) -> bool {
        let plan = RetirementPlan {
            // An answer does not outlive its task.
            answers_before: now.before(self.answers.min(self.tasks)),
            tasks_before: now.before(self.tasks),
            keys_before: now.before(IDEMPOTENCY_WINDOW),
            limit: BATCH,
        };
        match self.ingest.retire(plan).await {
            Ok(Retired { answers, tasks, events, deliveries, pingbacks, keys }) => {
                debug!(answers, tasks, events, deliveries, pingbacks, keys, "Forgot what is old");
                [answers, tasks, events, deliveries, pingbacks, keys]
                    .iter()
                    .any(|&rows| rows >= u64::from(BATCH))
            }
            // The next look finds it again.
            Err(error) if error.is_told() => false,
            Err(error) => {
                warn!(%error, "Could not forget what is old: {error}");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::ingest::{Heralds, Received, Submit, Submitted, writer};
    use crate::model::{CallerUrl, EventKind, FieldValue, Fields, NewWebhook, Outcome, Pingback};
    use crate::model::{SigningSecret, Submission, TaskId, TokenId};
    use crate::store::{AccountId, Store};

    const HOUR: Duration = Duration::from_secs(3600);

    struct Service {
        store: Store,
        retention: Retention,
        _folder: TempDir,
    }

    impl Service {
        /// Answers are kept for an hour, tasks for two.
        async fn open() -> Self {
            let folder = TempDir::new().unwrap();
            let store = Store::for_test(&folder).await;
            let (ingest, writer) = writer(store.clone(), AccountId::new([0; 32]), Heralds::default());
            tokio::spawn(writer.run());
            let retention = Retention { ingest, answers: HOUR, tasks: 2 * HOUR };
            Self { store, retention, _folder: folder }
        }

        /// Two events: the task is created, and cancelled.
        async fn ended(&self) -> TaskId {
            let mut fields = Fields::default();
            let webhook_url = ("webhook_url", "https://example.com/");
            for (name, value) in [("type", "text"), ("textcaptcha", "2 + 2?"), webhook_url] {
                fields.push(name.to_owned(), FieldValue::Text(value.to_owned()));
            }
            let submission = Submission::parse(fields).unwrap();
            let (owner, idempotency, daily_limit, pingback) = (TokenId::LOCAL, None, None, None);
            let submit = Submit { owner, submission, idempotency, daily_limit, pingback };
            let Ok(Submitted::New(task)) = self.retention.ingest.submit(submit).await else { panic!("new") };
            self.retention.ingest.cancel(task.id, None).await.unwrap();
            task.id
        }

        async fn forget(&self) -> bool {
            self.retention.forget_batch(Timestamp::now()).await
        }

        /// Events whose task is gone.
        async fn orphans(&self) -> i64 {
            let sql = "SELECT COUNT(*) FROM event WHERE task_id NOT IN (SELECT id FROM task)";
            self.store.number(sql).await
        }
    }

    #[tokio::test]
    async fn the_feed_is_cut_off_at_its_beginning_and_tasks_go_with_their_end() {
        let service = Service::open().await;
        for _ in 0..3 {
            service.ended().await;
        }
        // The third event is of the second task, and young: nothing behind it goes, nor does that task.
        service.store.execute("UPDATE task SET answered_at = 1").await;
        service.store.execute("UPDATE event SET time = 1 WHERE id <> 3").await;
        while service.forget().await {}
        service.forget().await;
        assert_eq!(service.store.number("SELECT MIN(id) FROM event").await, 3);
        assert_eq!(service.store.number("SELECT COUNT(*) FROM event").await, 4);
        assert_eq!(service.store.number("SELECT MIN(id) FROM task").await, 2);
        assert_eq!(service.orphans().await, 0);
        service.store.execute("UPDATE event SET time = 1").await;
        service.forget().await;
        assert_eq!(service.store.number("SELECT (SELECT COUNT(*) FROM event) + COUNT(*) FROM task").await, 0);
    }

    #[tokio::test]
    async fn one_commit_forgets_so_much_and_no_event_outlives_its_task() {
        let service = Service::open().await;
        for _ in 0..250 {
            service.ended().await;
        }
        service.store.execute("UPDATE task SET answered_at = 1, erased = 1").await;
        service.store.execute("UPDATE event SET time = 1").await;
        assert!(service.forget().await, "there is more");
        assert_eq!(service.store.number("SELECT COUNT(*) FROM event").await, 100);
        assert_eq!(service.store.number("SELECT COUNT(*) FROM task").await, 50);
        assert_eq!(service.orphans().await, 0);
        while service.forget().await {}
        assert_eq!(service.store.number("SELECT (SELECT COUNT(*) FROM event) + COUNT(*) FROM task").await, 0);
    }

    #[tokio::test]
    async fn an_end_that_is_told_late_keeps_its_task() {
        let service = Service::open().await;
        service.ended().await;
        service.ended().await;
        // Its answer lay there for long before it was known whose it is.
        service.store.execute("UPDATE task SET answered_at = 1, erased = 1").await;
        service.store.execute("UPDATE event SET time = 1 WHERE id < 2").await;
        service.store.execute("UPDATE event SET time = 2 WHERE id > 2").await;
        service.forget().await;
        assert_eq!(service.orphans().await, 0);
        assert_eq!(service.store.number("SELECT COUNT(*) FROM task").await, 2);
    }

    #[tokio::test]
    async fn a_delivery_of_no_task_goes_when_it_is_old() {
        let service = Service::open().await;
        let webhook = NewWebhook {
            owner: TokenId::LOCAL,
            sees_all: true,
            url: CallerUrl::parse("https://example.com/").unwrap(),
            kinds: vec![EventKind::Unmatched],
            secret: SigningSecret::random().unwrap(),
        };
        service.retention.ingest.add_webhook(webhook).await.unwrap();
        for captcha_id in ["71", "72"] {
            let pingback = Pingback {
                captcha_id: captcha_id.parse().unwrap(),
                code: "nobody's".to_owned(),
                outcome: Outcome::of("nobody's"),
                price: None,
                extra: None,
                received_at: Timestamp::now(),
            };
            service.retention.ingest.pingback(Received { pingback, task: None }).await.unwrap();
        }
        assert_eq!(service.store.number("SELECT COUNT(*) FROM delivery").await, 2);
        service.store.execute("UPDATE delivery SET created_at = 1 WHERE id = 2").await;
        service.forget().await;
        assert_eq!(service.store.number("SELECT MAX(id) FROM delivery").await, 1);
    }

    #[tokio::test]
    async fn the_urls_of_webhooks_are_erased_with_the_answer() {
        let service = Service::open().await;
        service.ended().await;
        let urls = "SELECT (SELECT COUNT(webhook_url) FROM task) + COUNT(url) FROM delivery";
        assert_eq!(service.store.number(urls).await, 2);
        service.store.execute("UPDATE delivery SET status = 'delivered'").await;
        let in_time = Timestamp::now().after(Duration::from_secs(5400));
        service.retention.forget_batch(in_time).await;
        assert_eq!(service.store.number(urls).await, 0);
        assert_eq!(service.store.number("SELECT COUNT(*) FROM task").await, 1);
    }
}
