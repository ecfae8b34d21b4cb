//! Store, writer and deliverer, as the service has them.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};

use super::super::*;
use super::receiver::Receiver;
use crate::ingest::{Claim, Heralds, Received, Submit, Submitted, writer};
use crate::model::{
    AddressRules, CallerUrl, CaptchaId, Delivery, DeliveryStatus, FieldValue, Fields, NewWebhook, Pingback,
    Sent, SigningSecret, Submission, TaskId, TokenId,
};
use crate::provider::OwnListeners;
use crate::store::{AccountId, RetirementPlan};

pub(super) const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it comes about")
}

pub(super) fn delivered(all: &[Delivery]) -> bool {
    !all.is_empty() && all.iter().all(|one| one.status == DeliveryStatus::Delivered)
}

/// How to deliver: what fails is tried again at once, nothing is found but by being told, and this machine
/// may be called.
pub(super) struct Setup {
    pub(super) allow: &'static [&'static str],
    pub(super) own: OwnListeners,
    pub(super) names: Arc<dyn Resolve>,
    pub(super) deadlines: Deadlines,
    pub(super) rhythm: Rhythm,
}

impl Default for Setup {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        let retries = Retries { waits: &[Duration::ZERO; 5], longest: A_DAY };
        Self {
            allow: &["127.0.0.1/32"],
            own: OwnListeners::default(),
            names: SystemNames::shared(),
            deadlines: Deadlines::STANDARD,
            rhythm: Rhythm {
                retries,
                look_interval: hour,
                look_pause: Duration::ZERO,
                grace: PATIENCE,
                pauses: Pauses { first: Duration::ZERO, longest: Duration::ZERO, patience: Duration::ZERO },
                ..Rhythm::STANDARD
            },
        }
    }
}

impl Setup {
    /// Every name has these addresses: the first ones when it is first asked for, and so on; the last ones
    /// for ever.
    pub(super) fn named(self, answers: &[&[IpAddr]]) -> Self {
        let answers = answers.iter().rev().map(|addresses| addresses.to_vec()).collect();
        Self { names: Arc::new(Names(Mutex::new(answers))), ..self }
    }
}

struct Names(Mutex<Vec<Vec<IpAddr>>>);

impl Resolve for Names {
    fn resolve(&self, _: Name) -> Resolving {
        let mut answers = self.0.lock().unwrap();
        let found = if answers.len() > 1 { answers.pop().unwrap() } else { answers[0].clone() };
        let found = found.into_iter().map(|ip| SocketAddr::new(ip, 0));
        Box::pin(async move { Ok::<Addrs, _>(Box::new(found)) })
    }
}

pub(super) struct Service {
    folder: TempDir,
    pub(super) store: Store,
    pub(super) ingest: Ingest,
    pub(super) called_back: Arc<Notify>,
    writing: JoinHandle<()>,
    delivering: Option<JoinHandle<()>>,
    pub(super) shutdown: CancellationToken,
}

impl Service {
    pub(super) async fn open() -> Self {
        Self::on(TempDir::new().unwrap()).await
    }

    async fn on(folder: TempDir) -> Self {
        // The error says only that there is one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let store = Store::for_test(&folder).await;
        let called_back = Arc::<Notify>::default();
        let heralds = Heralds { called_back: Arc::clone(&called_back), ..Heralds::default() };
        let (ingest, writer) = writer(store.clone(), AccountId::new([0; 32]), heralds);
        let writing = tokio::spawn(writer.run());
        let (delivering, shutdown) = (None, CancellationToken::new());
        Self { folder, store, ingest, called_back, writing, delivering, shutdown }
    }

    /// Starts to deliver.
    pub(super) fn deliver(&mut self, setup: Setup) {
        let deliverer = self.deliverer(setup);
        self.run(deliverer);
    }

    pub(super) fn run(&mut self, deliverer: Deliverer) {
        self.delivering = Some(tokio::spawn(deliverer.run(self.shutdown.clone())));
    }

    pub(super) fn deliverer(&self, setup: Setup) -> Deliverer {
        let rules = AddressRules::new(setup.allow.iter().map(|network| network.parse().unwrap()).collect());
        let messenger = Messenger::new(rules, setup.own, &setup.names, setup.deadlines).unwrap();
        let (store, ingest) = (self.store.clone(), self.ingest.clone());
        let called_back = Arc::clone(&self.called_back);
        Deliverer::new(store, ingest, messenger, setup.rhythm, called_back)
    }

    pub(super) async fn stop_delivering(&mut self) {
        self.shutdown.cancel();
        if let Some(delivering) = self.delivering.take() {
            in_time(delivering).await.unwrap();
        }
    }

    /// Ends it, and opens it again on the same data.
    pub(super) async fn restart(mut self) -> Self {
        self.stop_delivering().await;
        drop(self.ingest);
        in_time(self.writing).await.unwrap();
        self.store.close().await;
        Self::on(self.folder).await
    }

    /// From here on nothing can be written.
    pub(super) async fn break_writer(&mut self) {
        self.writing.abort();
        drop((&mut self.writing).await);
    }

    /// The deliveries, once they are as `wanted`.
    pub(super) async fn until(&self, wanted: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        let poll = async {
            loop {
                let all = self.store.deliveries().await;
                if wanted(&all) {
                    return all;
                }
                tokio::task::yield_now().await;
            }
        };
        match timeout(PATIENCE, poll).await {
            Ok(all) => all,
            Err(late) => panic!("{late}: {:#?}", self.store.deliveries().await),
        }
    }

    /// Submits a captcha whose end this URL is told of as the provider would.
    pub(super) async fn submit(&self, url: Option<&str>) -> TaskId {
        self.submit_with(url, None).await
    }

    async fn submit_with(&self, url: Option<&str>, webhook_url: Option<&str>) -> TaskId {
        let mut fields = Fields::default();
        let webhook_url = webhook_url.map(|url| ("webhook_url", url));
        for (name, value) in [("type", "text"), ("textcaptcha", "2 + 2?")].into_iter().chain(webhook_url) {
            fields.push(name.to_owned(), FieldValue::Text(value.to_owned()));
        }
        let submit = Submit {
            owner: TokenId::LOCAL,
            submission: Submission::parse(fields).unwrap(),
            idempotency: None,
            daily_limit: None,
            pingback: url.map(|url| CallerUrl::parse(url).unwrap()),
        };
        match self.ingest.submit(submit).await.unwrap() {
            Submitted::New(task) => task.id,
            other => panic!("{other:?}"),
        }
    }

    /// The same, and it is being sent.
    pub(super) async fn sending(&self, url: &str) -> TaskId {
        let id = self.submit(Some(url)).await;
        self.claim().await;
        id
    }

    async fn claim(&self) {
        self.ingest.claim(Claim { limit: 100, tokens: Vec::new(), budget: None }).await.unwrap();
    }

    /// The same, and the provider has taken it.
    pub(super) async fn taken(&self, url: &str) -> (TaskId, CaptchaId) {
        let id = self.sending(url).await;
        (id, self.take(id).await)
    }

    async fn take(&self, id: TaskId) -> CaptchaId {
        let captcha_id: CaptchaId = format!("{}", 70_000_000_000 + id.number()).parse().unwrap();
        self.accept(id, &captcha_id).await;
        captcha_id
    }

    pub(super) async fn accept(&self, id: TaskId, captcha_id: &CaptchaId) {
        let sent = Sent::Accepted { captcha_id: captcha_id.clone(), at: Timestamp::now(), ask_at: None };
        self.ingest.record_sent(id, None, sent).await.unwrap();
    }

    pub(super) async fn pingback(&self, captcha_id: &CaptchaId, code: &str) {
        let received = Received { pingback: Pingback::of(captcha_id, code), task: None };
        self.ingest.pingback(received).await.unwrap();
    }

    /// Submits a captcha, and has it solved.
    pub(super) async fn solved(&self, url: &str, answer: &str) -> TaskId {
        let (id, captcha_id) = self.taken(url).await;
        self.pingback(&captcha_id, answer).await;
        id
    }

    /// Submits a captcha with this `webhook_url`, if any, and has it solved.
    pub(super) async fn solved_with(&self, webhook_url: Option<&str>, answer: &str) -> TaskId {
        let id = self.submit_with(None, webhook_url).await;
        self.claim().await;
        let captcha_id = self.take(id).await;
        self.pingback(&captcha_id, answer).await;
        id
    }

    /// Has this URL told of events of these kinds, of everybody's tasks; the webhook.
    pub(super) async fn subscribe(&self, url: &str, kinds: &str) -> i64 {
        let new = NewWebhook {
            owner: TokenId::LOCAL,
            sees_all: true,
            url: CallerUrl::parse(url).unwrap(),
            kinds: kinds.split(',').map(|kind| kind.parse().unwrap()).collect(),
            secret: SigningSecret::random().unwrap(),
        };
        self.ingest.add_webhook(new).await.unwrap().unwrap().id
    }
}

pub(super) fn everything_is_old(answers: bool, tasks: bool) -> RetirementPlan {
    let (past, future) = (Timestamp::from_micros(0), Timestamp::now().after(Duration::from_secs(60)));
    let before = |is_old| if is_old { future } else { past };
    RetirementPlan {
        answers_before: before(answers),
        tasks_before: before(tasks),
        keys_before: past,
        limit: 100,
    }
}

impl Receiver {
    pub(super) async fn until_seen(&self, requests: usize) {
        in_time(async {
            while self.seen().len() < requests {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// All that is logged on this thread.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Listens for as long as what it returns is held.
    pub(super) fn listen(&self) -> (DefaultGuard, Dispatch) {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        // With a single listener, tracing asks only the thread that comes first by a message whether anybody
        // wants it, which may be another test's.
        (guard, Dispatch::new(NoSubscriber::new()))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
