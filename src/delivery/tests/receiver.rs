//! Receivers that behave as told, byte by byte.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What a receiver does with a request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Answers with this status line's end and these headers, and no body.
    Reply(&'static str),
    /// Answers as above once the test allows one more.
    ReplyWhenAllowed(&'static str),
    /// Closes the connection without a word.
    Reset,
    /// Answers 200 and a body without end.
    EndlessBody,
    /// Answers 200 and headers without end.
    EndlessHead,
}

pub(super) const OK: Act = Act::Reply("200 OK\r\n");

/// A receiver of callbacks. Its last act is repeated.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    /// It ends with the test.
    _serving: JoinSet<()>,
}

struct State {
    acts: Mutex<Vec<Act>>,
    seen: Mutex<Vec<String>>,
    open: AtomicUsize,
    most_open: AtomicUsize,
    allowed: Semaphore,
    sent: AtomicU64,
}

impl Receiver {
    pub(super) async fn start(acts: &[Act]) -> Self {
        Self::on(([127, 0, 0, 1], 0).into(), acts).await
    }

    pub(super) async fn on(address: SocketAddr, acts: &[Act]) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let mut acts = acts.to_vec();
        acts.reverse();
        let state = Arc::new(State {
            acts: Mutex::new(acts),
            seen: Mutex::default(),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
            allowed: Semaphore::new(0),
            sent: AtomicU64::new(0),
        });
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, _serving: serving }
    }

    pub(super) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// What callers are given as its URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The requests so far, head and body.
    pub(super) fn seen(&self) -> Vec<String> {
        self.state.seen.lock().unwrap().clone()
    }

    /// The bodies of the requests so far.
    pub(super) fn bodies(&self) -> Vec<String> {
        self.seen().iter().map(|request| request.split_once("\r\n\r\n").unwrap().1.to_owned()).collect()
    }

    /// How many requests it has been busy with at a time, at most.
    pub(super) fn most_open(&self) -> usize {
        self.state.most_open.load(Ordering::SeqCst)
    }

    /// Lets requests be answered that wait for it, now or later.
    pub(super) fn allow(&self, requests: usize) {
        self.state.allowed.add_permits(requests);
    }

    /// How much it sent before the other side closed, once that has happened.
    pub(super) async fn sent_until_closed(&self) -> u64 {
        while self.state.open.load(Ordering::SeqCst) > 0 || self.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        self.state.sent.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer(stream, Arc::clone(&state)));
    }
}

async fn answer(mut stream: TcpStream, state: Arc<State>) {
    let Some(request) = read_request(&mut stream).await else { return };
    let open = state.open.fetch_add(1, Ordering::SeqCst) + 1;
    state.most_open.fetch_max(open, Ordering::SeqCst);
    state.seen.lock().unwrap().push(request);
    let act = {
        let mut acts = state.acts.lock().unwrap();
        if acts.len() > 1 { acts.pop().unwrap() } else { acts[0].clone() }
    };
    act.perform(&mut stream, &state).await;
    state.open.fetch_sub(1, Ordering::SeqCst);
}

impl Act {
    async fn perform(self, stream: &mut TcpStream, state: &State) {
        match self {
            Self::Reply(head) => reply(stream, head).await,
            Self::ReplyWhenAllowed(head) => {
                // Whoever asked may give up first.
                let mut byte = [0];
                tokio::select! {
                    turn = state.allowed.acquire() => {
                        turn.unwrap().forget();
                        reply(stream, head).await;
                    }
                    _ = stream.read(&mut byte) => {}
                }
            }
            Self::Reset => stream.set_zero_linger().unwrap(),
            Self::EndlessBody => endless(stream, "HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 16_384], state).await,
            Self::EndlessHead => {
                endless(stream, "HTTP/1.1 200 OK\r\n", b"a-header: and its value\r\n", state).await;
            }
        }
    }
}

async fn reply(stream: &mut TcpStream, head: &str) {
    let text = format!("HTTP/1.1 {head}Content-Length: 0\r\n\r\n");
    // Whoever asked may have gone.
    drop(stream.write_all(text.as_bytes()).await);
}

async fn endless(stream: &mut TcpStream, head: &str, part: &[u8], state: &State) {
    let mut next = head.as_bytes();
    while stream.write_all(next).await.is_ok() {
        state.sent.fetch_add(next.len() as u64, Ordering::SeqCst);
        next = part;
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8(request.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            if body.len() >= length.parse().unwrap() {
                return Some(text);
            }
        }
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
}
