//! The accept loop: deadlines, connection caps, and connections that shutdown can wait for.
//!
//! `axum::serve` has no deadline for a request's head and holds nearly twice the memory per
//! connection.

use std::convert::Infallible;
use std::hint::black_box;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::rt::Timer;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{Instrument as _, Span, debug, warn};

use super::Room;
use super::addresses::Addresses;
use super::handshake::Handshake;
use super::places::Place;
use super::requests::Requests;
use super::stalls::Impatient;
use super::strangers::Stay;
use super::watched::Watched;

/// How long a client may take to send its request head, and to begin with its first one. An honest
/// one on a bad line needs about 2 s; a slow attacker wants minutes.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may rest between two requests. Longer than the common reverse proxies keep
/// theirs (60–120 s), so that it is the proxy that closes: a request that meets a closing
/// connection would be lost.
const IDLE_DEADLINE: Duration = Duration::from_secs(150);
/// How long a connection that was told to leave may take before the next one is.
const LEAVING: Duration = Duration::from_millis(20);
/// What hyper takes for what it writes, for a head, and for what may follow the head while its request waits. Only that
/// of the head is written to meanwhile, and it is given back when the request has been read. Allocators hand out first
/// what was given back last: so as not to have it taken for writing, and another page be touched for the next head, it
/// is held while a connection is made.
const BUFFER_BYTES: usize = 8192;
/// Pause after a failed accept, which is nearly always for want of open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a listener serves.
pub(crate) trait Site: Clone + Send + 'static {
    /// The reply to a request from this peer.
    fn reply(self, peer: SocketAddr, request: Request<Incoming>) -> impl Future<Output = Response> + Send;
}

/// The peer is in each request's extensions.
impl Site for Router {
    fn reply(self, peer: SocketAddr, request: Request<Incoming>) -> impl Future<Output = Response> + Send {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        self.oneshot(request).map(|reply| reply.unwrap_or_else(|never| match never {}))
    }
}

/// A listener, and what it serves.
pub(crate) struct Server<S> {
    /// Where connections come in.
    pub(crate) listener: TcpListener,
    /// What answers them.
    pub(crate) site: S,
    /// Its open connections, and its places for more. When all are taken, strangers have to leave, oldest first; where
    /// there are none, new connections wait in the kernel's queue.
    pub(crate) room: Room,
    /// Caps the connections of one address; `None` does not.
    pub(crate) addresses: Option<Arc<Addresses>>,
    /// What comes before HTTP where it is encrypted.
    pub(crate) tls: Option<Handshake>,
    /// Whether it serves `in.php` and `res.php`, whose every reply is in the family's words.
    pub(crate) has_scripts: bool,
    /// Names and counts its requests; `None` does not.
    pub(crate) requests: Option<Arc<Requests>>,
}

impl<S: Site> Server<S> {
    /// Serves until `shutdown`, then lets every request that has begun come to its end.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        loop {
            let accepted = shutdown.run_until_cancelled(async {
                let place = self.place().await;
                (self.listener.accept().await, place)
            });
            let Some((accepted, place)) = accepted.await else { break };
            let (stream, peer) = match accepted {
                Ok(connection) => connection,
                Err(error) => {
                    warn!(%error, "Could not accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (site, addresses, tls) = (self.site.clone(), self.addresses.clone(), self.tls.clone());
            let (has_scripts, shutdown) = (self.has_scripts, shutdown.clone());
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "Could not turn off Nagle's algorithm: {error}");
            }
            let mut stay = addresses.as_ref().and_then(|addresses| addresses.stay(peer.ip()));
            let requests = self.requests.clone();
            self.room.open.spawn(async move {
                let admission = match addresses {
                    Some(addresses) => {
                        let admitted = tokio::select! {
                            admitted = addresses.admit(peer.ip()) => admitted,
                            () = is_over(&mut stay) => None,
                            () = shutdown.cancelled() => None,
                        };
                        let Some(admission) = admitted else { return };
                        Some(admission)
                    }
                    None => None,
                };
                let connection = Connection { peer, site, has_scripts, requests, stay, shutdown };
                match tls {
                    None => connection.serve(stream).await,
                    // On the heap, so that connections without TLS do not pay for its size.
                    Some(tls) => Box::pin(connection.serve_encrypted(stream, tls)).await,
                }
                drop((place, admission));
            });
        }
        drop(self.listener);
        self.room.open.close();
        self.room.open.wait().await;
    }

    /// A place for the next connection.
    async fn place(&self) -> Place {
        let places = &self.room.places;
        loop {
            let may_wait = places.free() > 0 || !self.send_one_away();
            let free = if may_wait { Ok(places.take().await) } else { timeout(LEAVING, places.take()).await };
            if let Ok(place) = free {
                return place;
            }
        }
    }

    fn send_one_away(&self) -> bool {
        self.addresses.as_ref().is_some_and(|addresses| addresses.send_one_away())
    }
}

/// Returns when the connection has to leave, if it ever has to.
async fn is_over(stay: &mut Option<Stay>) {
    match stay {
        Some(stay) => stay.is_over().await,
        None => std::future::pending().await,
    }
}

/// One connection, and what serves it.
struct Connection<S> {
    peer: SocketAddr,
    site: S,
    has_scripts: bool,
    requests: Option<Arc<Requests>>,
    /// `None` for one that never has to leave.
    stay: Option<Stay>,
    shutdown: CancellationToken,
}

impl<S: Site> Connection<S> {
    /// Serves a connection that has to agree on its encryption first. Nothing is lost when that is given
    /// up at shutdown: no request has begun.
    async fn serve_encrypted(mut self, stream: TcpStream, tls: Handshake) {
        let agreed = tokio::select! {
            agreed = tls.perform(stream) => agreed,
            () = is_over(&mut self.stay) => None,
            () = self.shutdown.cancelled() => None,
        };
        if let Some(stream) = agreed {
            self.serve(stream).await;
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Self { peer, site, has_scripts, requests, mut stay, shutdown } = self;
        let stream = Impatient::new(stream);
        let started = Arc::new(AtomicBool::new(false));
        let timer = HeadTimer { started: Arc::clone(&started), served_one: AtomicBool::new(false) };
        let answering = Arc::new(AtomicBool::new(false));
        let is_answering = Arc::clone(&answering);
        let service = service_fn(move |request: Request<Incoming>| {
            answering.store(true, Ordering::Relaxed);
            let begun = requests.as_ref().map(|requests| requests.begin(&request));
            let span = begun.as_ref().map_or_else(Span::none, |begun| begun.span.clone());
            let replied = Arc::clone(&answering);
            // No block, which would keep room for the future twice.
            site.clone().reply(peer, request).instrument(span).map(move |mut reply| {
                if let Some(begun) = begun {
                    begun.end(&mut reply);
                }
                replied.store(false, Ordering::Relaxed);
                Ok::<_, Infallible>(reply)
            })
        });
        let used = black_box(Vec::<u8>::with_capacity(BUFFER_BYTES));
        let connection = http1::Builder::new()
            .timer(timer)
            .header_read_timeout(IDLE_DEADLINE)
            .serve_connection(TokioIo::new(Watched::new(stream, started, has_scripts)), service);
        drop(used);
        let mut connection = pin!(connection);
        let result = tokio::select! {
            // First, so that a request that is there is seen.
            biased;
            result = connection.as_mut() => result,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = is_over(&mut stay) => {
                if !is_answering.load(Ordering::Relaxed) {
                    return;
                }
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            debug!(%error, "Connection ended: {error}");
        }
    }
}

/// Gives hyper's one deadline for reading a head two lengths: a connection may rest for
/// [`IDLE_DEADLINE`], but a head that has begun must end within [`HEAD_DEADLINE`].
struct HeadTimer {
    /// Set by [`Watched`] when bytes arrive.
    started: Arc<AtomicBool>,
    served_one: AtomicBool,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    /// hyper asks for this when it begins to wait for a head.
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.started.store(false, Ordering::Relaxed);
        let is_first = !self.served_one.swap(true, Ordering::Relaxed);
        let deadline = if is_first { Instant::now() + HEAD_DEADLINE } else { deadline };
        let sleep = Box::pin(tokio::time::sleep_until(deadline.into()));
        Box::pin(HeadSleep { sleep, started: Arc::clone(&self.started), is_short: is_first })
    }
}

struct HeadSleep {
    sleep: Pin<Box<tokio::time::Sleep>>,
    started: Arc<AtomicBool>,
    is_short: bool,
}

impl hyper::rt::Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    /// hyper polls this after every read that does not complete the head.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_short && self.started.load(Ordering::Relaxed) {
            self.is_short = true;
            self.sleep.as_mut().reset(tokio::time::Instant::now() + HEAD_DEADLINE);
        }
        self.sleep.as_mut().poll(cx)
    }
}
