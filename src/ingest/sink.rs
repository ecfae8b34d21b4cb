//! The sink of unmatched pingbacks: how many came, and how many are kept.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, warn};

use crate::store::{Store, StoreError, Trimmed};

/// Between two warnings that pingbacks were dropped.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// How many unmatched pingbacks are kept. Their age is bounded too, by retention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// The most that a trim leaves.
    most: u32,
    /// How many more there may be before the next. One trim drops twice as many at most.
    slack: u32,
}

impl Bound {
    /// 100,000 are left by a trim, and there is one when there may be 1,000 more: there are never more than 101,000 and
    /// a batch of writes. What an older version left beyond that goes batch by batch.
    pub(super) const STANDARD: Self = Self { most: 100_000, slack: 1_000 };

    /// More than comes between two trims, so that what is too much gets less; few enough not to hold up
    /// pingbacks.
    const fn most_dropped(self) -> u32 {
        2 * self.slack
    }
}

/// Unmatched pingbacks since the start, counted by the writer and shown by others.
#[derive(Debug, Default)]
pub(crate) struct SinkTally {
    received: AtomicU64,
    dropped: AtomicU64,
}

impl SinkTally {
    /// How many were stored.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// How many had to go because there were too many.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn note_received(&self, count: usize) {
        self.received.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Keeps the number of unmatched pingbacks within its bound.
#[derive(Debug)]
pub(super) struct Sink {
    bound: Bound,
    tally: Arc<SinkTally>,
    /// How many have to have been received before the next trim.
    next_trim: u64,
    /// Dropped since the last warning.
    unsaid: u64,
    warned_at: Option<Instant>,
}

impl Sink {
    /// The first one after a start has it trim: a process that ends before every thousandth would never do.
    pub(super) fn new(bound: Bound, tally: Arc<SinkTally>) -> Self {
        Self { bound, tally, next_trim: 1, unsaid: 0, warned_at: None }
    }

    /// Drops what is too much, oldest first, if it is time to look.
    pub(super) async fn trim(&mut self, store: &Store) {
        let received = self.tally.received();
        if received < self.next_trim {
            return;
        }
        match self.drop_oldest(store).await {
            Ok(Trimmed { dropped, left }) => {
                // Until then there cannot be too many, whatever else takes some away; with too many left, the next batch
                // looks again.
                let Bound { most, slack } = self.bound;
                self.next_trim = received + (u64::from(most) + u64::from(slack)).saturating_sub(left);
                self.tally.dropped.fetch_add(dropped, Ordering::Relaxed);
                self.unsaid += dropped;
                self.warn();
            }
            // The next batch tries again.
            Err(error) if error.is_told() => store.health().could_not_write(&error),
            Err(error) => error!(%error, "Could not drop unmatched pingbacks: {error}"),
        }
    }

    async fn drop_oldest(&self, store: &Store) -> Result<Trimmed, StoreError> {
        let mut writing = store.writing().await;
        let mut tx = writing.begin().await?;
        let trimmed = tx.trim_unmatched(self.bound.most, self.bound.most_dropped()).await?;
        tx.commit().await?;
        Ok(trimmed)
    }

    fn warn(&mut self) {
        let is_too_soon = self.warned_at.is_some_and(|at| at.elapsed() < WARN_INTERVAL);
        if self.unsaid == 0 || is_too_soon {
            return;
        }
        let dropped = mem::take(&mut self.unsaid);
        let most = self.bound.most;
        warn!(dropped, most, "Dropped {dropped} unmatched pingbacks, oldest first: {most} are kept");
        self.warned_at = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::super::{Claim, Heralds, Ingest, Receipt, Received, Submit, Submitted, writer};
    use super::*;
    use crate::model::{
        CaptchaId, FieldValue, Fields, Outcome, Pingback, Sent, Submission, TaskId, Timestamp, TokenId,
    };
    use crate::store::{AccountId, FinalWord};

    const ALICE: TokenId = TokenId::from_number(1);
    const BOB: TokenId = TokenId::from_number(2);

    /// A writer at work.
    struct Bench {
        ingest: Ingest,
        store: Store,
        heralds: Heralds,
        running: JoinHandle<()>,
    }

    impl Bench {
        fn start(store: &Store, bound: Bound) -> Self {
            let heralds = Heralds::default();
            let (ingest, mut writer) = writer(store.clone(), AccountId::new([0; 32]), heralds.clone());
            writer.sink = Sink::new(bound, Arc::clone(&heralds.sink));
            Self { ingest, store: store.clone(), heralds, running: tokio::spawn(writer.run()) }
        }

        async fn pingback(&self, captcha_id: &str, code: &str) -> Receipt {
            let pingback = Pingback {
                captcha_id: captcha_id.parse().unwrap(),
                code: code.to_owned(),
                outcome: Outcome::of(code),
                price: None,
                extra: None,
                received_at: Timestamp::now(),
            };
            self.ingest.pingback(Received { pingback, task: None }).await.unwrap()
        }

        /// A task of Alice's that is on its way to the provider.
        async fn sent_task(&self) -> TaskId {
            let mut fields = Fields::default();
            for (name, value) in [("type", "text"), ("textcaptcha", "2 + 2?")] {
                fields.push(name.to_owned(), FieldValue::Text(value.to_owned()));
            }
            let submission = Submission::parse(fields).unwrap();
            let (idempotency, daily_limit, pingback) = (None, None, None);
            let submit = Submit { owner: ALICE, submission, idempotency, daily_limit, pingback };
            let Ok(Submitted::New(task)) = self.ingest.submit(submit).await else { panic!("it is taken") };
            self.ingest.claim(Claim { limit: 1, tokens: Vec::new(), budget: None }).await.unwrap();
            task.id
        }

        async fn accepted(&self, task: TaskId, captcha_id: &str) {
            let captcha_id = captcha_id.parse().unwrap();
            let sent = Sent::Accepted { captcha_id, at: Timestamp::now(), ask_at: None };
            self.ingest.record_sent(task, None, sent).await.unwrap();
        }

        /// What a caller is told: the code, and the task that it is of.
        async fn word(&self, captcha_id: &str, owner: Option<TokenId>) -> Option<(String, Option<TaskId>)> {
            let captcha_id: CaptchaId = captcha_id.parse().unwrap();
            Some(match self.store.final_word(&captcha_id, owner).await.unwrap()? {
                FinalWord::OfTask(task) => (task.answer.unwrap_or_default(), Some(task.id)),
                FinalWord::OfPingback(pingback) => (pingback.code, None),
            })
        }

        /// The captcha IDs of what is unmatched, newest first.
        async fn unmatched(&self) -> Vec<String> {
            let page = self.store.unmatched(None, 1000).await.unwrap();
            page.pingbacks.iter().map(|pingback| pingback.captcha_id.to_string()).collect()
        }

        async fn stop(self) {
            drop(self.ingest);
            self.running.await.unwrap();
        }
    }

    async fn store(folder: &TempDir) -> Store {
        Store::for_test(folder).await
    }

    #[tokio::test]
    async fn of_too_many_the_oldest_go_and_what_belongs_to_a_task_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let bench = Bench::start(&store, Bound { most: 3, slack: 2 });
        let task = bench.sent_task().await;
        bench.accepted(task, "99").await;
        for code in ["first", "another"] {
            bench.pingback("99", code).await;
        }
        for captcha_id in 1..=10 {
            assert_eq!(
                bench.pingback(&captcha_id.to_string(), "x").await,
                Receipt::Kept { is_matched: false }
            );
        }
        // Looked at after the first, the third, … and the ninth.
        assert_eq!(bench.unmatched().await, ["10", "9", "8", "7"]);
        assert_eq!((bench.heralds.sink.received(), bench.heralds.sink.dropped()), (10, 6));
        assert_eq!(bench.pingback("99", "another").await, Receipt::Repeated, "it is there still");
        bench.stop().await;
    }

    #[tokio::test]
    async fn the_first_one_after_a_start_has_it_trim() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let before = Bench::start(&store, Bound::STANDARD);
        for captcha_id in 1..=9 {
            before.pingback(&captcha_id.to_string(), "x").await;
        }
        before.stop().await;
        let bench = Bench::start(&store, Bound { most: 3, slack: 100 });
        bench.pingback("10", "x").await;
        // Answered before the trim; this one waits its turn behind it.
        bench.pingback("11", "x").await;
        assert_eq!(bench.unmatched().await, ["11", "10", "9", "8"]);
        bench.stop().await;
    }

    #[tokio::test]
    async fn what_is_too_much_by_far_goes_batch_by_batch() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let bench = Bench::start(&store, Bound::STANDARD);
        for captcha_id in 1..=9 {
            bench.pingback(&captcha_id.to_string(), "x").await;
        }
        bench.stop().await;
        let bench = Bench::start(&store, Bound { most: 3, slack: 2 });
        for captcha_id in 10..=12 {
            bench.pingback(&captcha_id.to_string(), "x").await;
        }
        // The trim after the last one is over when this has had its turn.
        bench.ingest.probe().await.unwrap();
        // Four after the first, and because there are still too many, four after the second; then there is room.
        assert_eq!(bench.heralds.sink.dropped(), 8);
        assert_eq!(bench.unmatched().await, ["12", "11", "10", "9"]);
        bench.stop().await;
    }

    #[tokio::test]
    async fn an_answer_is_open_to_all_until_a_task_has_its_captcha_id() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let bench = Bench::start(&store, Bound::STANDARD);
        bench.pingback("77", "stale").await;
        let task = bench.sent_task().await;
        bench.pingback("77", "Friday").await;
        let open = Some(("stale".to_owned(), None));
        assert_eq!(bench.word("77", Some(BOB)).await, open, "the first counts");
        assert_eq!(bench.unmatched().await, ["77", "77"]);

        bench.accepted(task, "77").await;
        let own = Some(("Friday".to_owned(), Some(task)));
        assert_eq!((bench.word("77", Some(ALICE)).await, bench.word("77", None).await), (own.clone(), own));
        assert_eq!(bench.word("77", Some(BOB)).await, None);
        // Also what came before the task was there, and so is not its answer.
        assert_eq!(bench.unmatched().await, [""; 0]);
        bench.stop().await;
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_an_answer_and_by_the_end_of_a_task_but_by_no_notice() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let bench = Bench::start(&store, Bound::STANDARD);
        let subscribe = |id: &str| bench.heralds.answers.subscribe(&[id.parse().unwrap()]);
        let (mut unmatched, mut of_task) = (subscribe("5"), subscribe("6"));
        let task = bench.sent_task().await;
        bench.accepted(task, "6").await;
        for captcha_id in ["5", "6"] {
            bench.pingback(captcha_id, "ERROR_ZERO_BALANCE").await;
            bench.pingback(captcha_id, "Friday").await;
        }
        for subscription in [&mut unmatched, &mut of_task] {
            let news = timeout(Duration::from_secs(5), subscription.news()).await;
            assert_eq!(news.expect("woken"), [()]);
        }
        bench.stop().await;
    }
}
