//! The provider is away for long: tasks wait, nothing is sent twice, and it all goes on by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::response::{Html, IntoResponse as _, Response};
use pingbox::sandbox::{Knobs, Sandbox, Settings};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::figures::{mib, say};
use crate::process::Process;

/// From one submission to the next.
const SUBMIT_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause that follows after no sense was heard for long, and then the give-up time of what was never
/// answered, which may have to be waited for again.
const LONGEST_REST: Duration = Duration::from_secs(600);
/// Memory by which it may grow.
const GROWTH_BYTES: u64 = 48 << 20;

/// What has become of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    /// Nobody listens.
    Gone,
    /// A page comes in place of every reply.
    Page,
    /// Requests are never answered.
    Silent,
}

/// The way to the provider, which outlives its troubles.
struct Line {
    state: watch::Sender<State>,
    /// Requests that came while it was in trouble.
    in_vain: Arc<AtomicUsize>,
    url: String,
    end: CancellationToken,
}

impl Line {
    async fn to(sandbox: &Sandbox) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, end) = (watch::Sender::new(State::Up), CancellationToken::new());
        let in_vain = Arc::new(AtomicUsize::new(0));
        let (seen, count) = (state.subscribe(), Arc::clone(&in_vain));
        let behind = sandbox.router();
        let router = Router::new().fallback(move |request: Request| {
            let (state, count, behind) = (*seen.borrow(), Arc::clone(&count), behind.clone());
            answer(state, count, behind, request)
        });
        tokio::spawn(end.clone().run_until_cancelled_owned(serve(
            state.subscribe(),
            listener,
            address,
            router,
        )));
        Self { state, in_vain, url: format!("http://{address}"), end }
    }
}

async fn answer(state: State, in_vain: Arc<AtomicUsize>, behind: Router, request: Request) -> Response {
    if state == State::Up {
        return behind.oneshot(request).await.unwrap();
    }
    in_vain.fetch_add(1, Ordering::Relaxed);
    if state == State::Page {
        return (StatusCode::BAD_GATEWAY, Html("<html><h1>502 Bad Gateway</h1></html>")).into_response();
    }
    std::future::pending().await
}

/// Listens at the address while somebody is there.
async fn serve(mut state: watch::Receiver<State>, first: TcpListener, address: SocketAddr, router: Router) {
    let mut listener = Some(first);
    loop {
        let listening = match listener.take() {
            Some(listening) => listening,
            None => TcpListener::bind(address).await.unwrap(),
        };
        let mut connections = JoinSet::new();
        let accepting = async {
            loop {
                let (stream, _) = listening.accept().await.unwrap();
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                connections.spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(hyper_util::rt::TokioIo::new(stream), service),
                );
            }
        };
        tokio::select! {
            () = accepting => {}
            gone = state.wait_for(|state| *state == State::Gone) => drop(gone.unwrap()),
        }
        // With its connections.
        drop((listening, connections));
        state.wait_for(|state| *state != State::Gone).await.unwrap();
    }
}

/// Tasks are submitted all the while, through these troubles for so long each.
async fn it_waits_and_goes_on(troubles: &[(State, Duration)]) {
    let knobs = Knobs { delay_ms: 200, ..Knobs::default() };
    let sandbox = Sandbox::new(Settings { knobs, ..Settings::default() }).unwrap();
    let line = Line::to(&sandbox).await;
    tokio::spawn(sandbox.clone().run(line.end.clone()));
    let data = TempDir::new().unwrap();
    let spaced = [("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "100ms")];
    let mut process = Process::start(data.path(), &line.url, &spaced).await;
    let mut ids = Vec::new();
    submit_for(Duration::from_secs(2), &process, &mut ids).await;
    let (before, logged) = (process.server.memory(), process.server.logged().len());
    let begun = Instant::now();
    for (state, time) in troubles {
        line.state.send_replace(*state);
        submit_for(*time, &process, &mut ids).await;
    }
    let lasted = begun.elapsed();
    let (in_vain, lines) = (line.in_vain.load(Ordering::Relaxed), process.server.logged().len() - logged);
    let during = process.server.memory();
    line.state.send_replace(State::Up);
    let over = Instant::now();
    let solved = timeout(LONGEST_REST, all_solved(&process, &ids)).await;
    assert!(solved.is_ok(), "some tasks are not solved: {}", process.get("/v1/stats").await);
    let (counters, rested) = (sandbox.counters(), over.elapsed());
    say(&format!(
        "{troubles:?}: {} tasks, all solved {rested:.1?} after it was over; {in_vain} requests in vain in {lasted:.0?}, \
         {lines} lines logged; taken {}, twice {}; resident before {} MiB, during {} MiB, after {} MiB",
        ids.len(),
        counters.submitted,
        counters.sent_twice,
        mib(before),
        mib(during),
        mib(process.server.memory())
    ));
    assert_eq!((counters.submitted, counters.sent_twice), (ids.len() as u64, 0), "each is sent once");
    assert_eq!(sandbox.broken_rules(), [], "no rule of the provider is broken");
    let seconds = usize::try_from(lasted.as_secs()).unwrap();
    assert!(in_vain <= seconds + 20, "the provider is not left in peace: {in_vain} requests");
    assert!(lines <= seconds + 40, "the log is flooded: {:#?}", process.server.logged());
    assert!(process.server.memory() < before + GROWTH_BYTES, "memory is kept");
    line.end.cancel();
}

/// Submits one task after another, each of which has to be accepted.
async fn submit_for(time: Duration, process: &Process, ids: &mut Vec<String>) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        let body = json!({"type": "text", "textcaptcha": format!("What is {}?", ids.len())});
        ids.push(process.submit(&body).await);
        sleep(SUBMIT_PAUSE).await;
    }
}

async fn all_solved(process: &Process, ids: &[String]) {
    for page in ids.chunks(100) {
        let path = format!("/v1/tasks?ids={}&until=all&wait=20", page.join(","));
        loop {
            let list = process.get(&path).await;
            let Value::Array(tasks) = &list["tasks"] else { panic!("{list}") };
            let open: Vec<&Value> = tasks.iter().filter(|task| task["answered_at"].is_null()).collect();
            let ended_otherwise =
                tasks.iter().find(|task| task["status"] != "solved" && !open.contains(task));
            assert!(ended_otherwise.is_none(), "it is lost: {ended_otherwise:?}");
            if open.is_empty() {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_wait_for_a_provider_that_is_away_and_are_sent_once() {
    let time = Duration::from_secs(6);
    it_waits_and_goes_on(&[(State::Page, time), (State::Gone, time), (State::Page, time)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a quarter of an hour"]
async fn tasks_wait_for_a_provider_that_is_away_for_minutes() {
    let time = Duration::from_secs(120);
    it_waits_and_goes_on(&[(State::Gone, time), (State::Silent, time), (State::Page, time)]).await;
}
