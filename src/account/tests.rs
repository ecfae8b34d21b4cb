//! A provider whose name leads now here, now there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::ingest::{Heralds, writer};
use crate::model::{FieldValue, Fields, Submission};
use crate::provider::{Credentials, LoopMark, OwnListeners, Route, Secrets};
use crate::replicas::Lead;

const PATIENCE: Duration = Duration::from_secs(20);
/// Where the provider is.
const PROVIDER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Where pingbox listens, on the same port.
const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A provider that takes every captcha; its port, and how often it was called.
async fn provider() -> (u16, Arc<Mutex<u32>>) {
    let listener = TcpListener::bind((PROVIDER, 0)).await.unwrap();
    let (port, calls) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(0)));
    let count = Arc::clone(&calls);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            *count.lock().unwrap() += 1;
            // The whole of such a small request comes at once.
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            let reply = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 14\r\n\r\nOK|70000000001";
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    (port, calls)
}

struct Bench {
    account: Account,
    store: Store,
    /// Where the provider's name leads.
    leads_to: Arc<Mutex<IpAddr>>,
    calls: Arc<Mutex<u32>>,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = tempfile::tempdir().unwrap();
        let store = Store::for_test(&folder).await;
        let (port, calls) = provider().await;
        let leads_to = Arc::new(Mutex::new(PROVIDER));
        let account = account(&store, port, Arc::clone(&leads_to)).await;
        Self { account, store, leads_to, calls, _folder: folder }
    }

    async fn submit(&self) -> Sent {
        let text = |value: &str| FieldValue::Text(value.to_owned());
        let mut fields = Fields::default();
        fields.push("type".to_owned(), text("text"));
        fields.push("textcaptcha".to_owned(), text("2 + 2?"));
        let captcha = Submission::parse(fields).unwrap().captcha;
        let expires_at = Timestamp::now().after(Duration::from_secs(900));
        self.account.submit(captcha, None, expires_at, async {}).await
    }

    fn calls(&self) -> u32 {
        *self.calls.lock().unwrap()
    }

    /// What holds each script back.
    fn causes(&self) -> [Option<Cause>; 2] {
        let backoff = self.account.backoff();
        Script::ALL.map(|script| backoff.hold(script).map(|hold| hold.cause.clone()))
    }
}

/// The account on what is stored, with a provider on this port.
async fn account(store: &Store, port: u16, leads_to: Arc<Mutex<IpAddr>>) -> Account {
    let base_url: url::Url = format!("http://a.example:{port}").parse().unwrap();
    let route = Route::told(&base_url, leads_to, OwnListeners::new([SocketAddr::new(OWN, port)]));
    let credentials = Credentials { base_url, key: Secret::new("key"), soft_id: None };
    let provider = Provider::new(credentials, route, LoopMark::new(&Secret::new("00ff"))).unwrap();
    let heralds = Heralds::default();
    let (ingest, writer) = writer(store.clone(), AccountId::new(provider.key_digest()), heralds);
    tokio::spawn(writer.run());
    let parts = Parts {
        provider,
        ingest,
        store: store.clone(),
        lead: Lead::always(),
        urls: PingbackUrls::new(None, Secrets::new(Secret::new("secret"))),
        solve_times: Arc::default(),
        registration: Registration::Off,
    };
    Account::restore(parts).await.unwrap()
}

#[tokio::test]
async fn a_name_that_comes_to_lead_to_us_is_not_called_until_it_leads_elsewhere_again() {
    let bench = Bench::new().await;
    assert!(matches!(bench.submit().await, Sent::Accepted { .. }));

    *bench.leads_to.lock().unwrap() = OWN;
    assert_eq!((bench.submit().await, bench.calls()), (Sent::Unsent, 1));
    assert_eq!(bench.causes(), [Some(Cause::OwnAddress), Some(Cause::OwnAddress)]);
    assert!(matches!(bench.account.gate(Script::Res), Gate::Until(_)));
    let why = bench.account.why_tasks_wait().unwrap();
    assert!(why.contains("provider.resolve = { \"a.example\" = "), "{why}");

    *bench.leads_to.lock().unwrap() = PROVIDER;
    let accepted = async {
        while !matches!(bench.submit().await, Sent::Accepted { .. }) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, accepted).await.expect("it goes on by itself");
    assert_eq!((bench.calls(), bench.account.why_tasks_wait()), (2, None));
}

#[tokio::test]
async fn a_question_that_would_come_to_us_is_not_paid_for() {
    let bench = Bench::new().await;
    *bench.leads_to.lock().unwrap() = OWN;
    let question = Question { action: "getbalance", params: &[], shape: Shape::Bare };
    let error = bench.account.ask(&question, 0).await.unwrap_err();
    assert!(matches!(error, Unanswered::Failed(ProviderError::OwnAddress)), "{error:?}");
    let credit = bench.store.credit(&bench.account.id()).await.unwrap();
    assert_eq!((credit, bench.calls()), (crate::store::Credit::default(), 0));
}

#[tokio::test]
async fn a_request_that_came_back_stops_sending_until_the_next_start_or_an_operator_acts() {
    let bench = Bench::new().await;
    bench.account.found_loop().await;
    assert_eq!(bench.causes(), [Some(Cause::Loop), Some(Cause::Loop)]);
    let stored = bench.store.backoff(&bench.account.id()).await.unwrap();
    assert_eq!(stored, bench.account.backoff());
    assert_eq!((bench.submit().await, bench.calls()), (Sent::Unsent, 0));
    let why = bench.account.why_tasks_wait().unwrap();
    assert!(why.contains("remove a.example from the hosts file") && why.contains("--resume"), "{why}");

    let restarted = account(&bench.store, 1, Arc::clone(&bench.leads_to)).await;
    assert_eq!(restarted.why_tasks_wait(), None);
    // Until the key is proven one request goes first, and finds out.
    assert_eq!(restarted.gate(Script::In), Gate::Probe);
    restarted.save().await;
    assert_eq!(bench.store.backoff(&restarted.id()).await.unwrap(), Backoff::default());

    bench.account.resume().await;
    assert!(matches!(bench.submit().await, Sent::Accepted { .. }));
}

#[tokio::test]
async fn the_balance_is_asked_for_once_a_minute_and_after_an_operator_has_acted() {
    let bench = Bench::new().await;
    // A first call shows that the key is right.
    assert!(matches!(bench.submit().await, Sent::Accepted { .. }));
    for _ in 0..2 {
        bench.account.balance().await;
        assert_eq!(bench.calls(), 2);
    }
    bench.account.resume().await;
    bench.account.balance().await;
    assert_eq!(bench.calls(), 3);
}

/// As another replica finds it out.
async fn store_ban(store: &Store, id: &AccountId) {
    let mut ban = Backoff::default();
    ban.note(Script::In, Signal::of(&ErrorCode::known("ERROR: 1001")), 79, Timestamp::now());
    let mut writing = store.writing().await;
    let mut tx = writing.begin().await.unwrap();
    tx.store_backoff(id, &ban).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_ban_that_another_replica_finds_out_is_not_undone_by_a_shorter_pause() {
    let bench = Bench::new().await;
    let account = &bench.account;
    let code = |hold: Option<&Hold>| hold.map(|hold| hold.cause.as_str().to_owned());
    // Found out here, and not stored yet.
    account.state().backoff.note(
        Script::In,
        Signal::of(&ErrorCode::known(ErrorCode::NO_SLOT)),
        79,
        Timestamp::now(),
    );
    account.0.is_saved.store(false, Ordering::Release);
    store_ban(&bench.store, &account.id()).await;
    account.refresh().await.unwrap();
    for backoff in [account.backoff(), bench.store.backoff(&account.id()).await.unwrap()] {
        for script in Script::ALL {
            assert_eq!(code(backoff.hold(script)).as_deref(), Some("ERROR: 1001"), "{script:?}");
        }
    }
}

#[tokio::test]
async fn a_pause_that_could_not_be_stored_is_stored_by_whoever_keeps_up() {
    let bench = Bench::new().await;
    let account = &bench.account;
    account.state().backoff.note(
        Script::In,
        Signal::of(&ErrorCode::known("ERROR_ZERO_BALANCE")),
        79,
        Timestamp::now(),
    );
    account.0.is_saved.store(false, Ordering::Release);
    account.refresh().await.unwrap();
    assert_eq!(bench.store.backoff(&account.id()).await.unwrap(), account.backoff());
    // Somebody ends it elsewhere.
    let mut writing = bench.store.writing().await;
    let mut tx = writing.begin().await.unwrap();
    tx.store_backoff(&account.id(), &Backoff::default()).await.unwrap();
    tx.commit().await.unwrap();
    drop(writing);
    account.refresh().await.unwrap();
    assert_eq!(account.backoff(), Backoff::default());
}
