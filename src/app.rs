//! The whole service: built from a configuration, run, and brought to an end.

mod backup;
mod clock;
mod copy;
mod emulation;
mod parts;
mod replicas;
mod setup;
mod site;
mod tls;
mod tokens;
mod wiring;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

pub(crate) use backup::{BackedUp, BackupStep, back_up};
pub(crate) use copy::{Copied, Step, copy};
pub use emulation::run_sandbox;
pub(crate) use setup::use_ring;
pub(crate) use site::{
    Keeping, Obstacle, Room, look_at_address, look_at_postgres, look_for_file, look_for_folder, room,
};
pub(crate) use tls::{ca_certificate, check_files};

use self::emulation::start_sandbox;
use self::parts::Parts;
use self::tls::Endpoints;
use self::wiring::Wiring;
use crate::config::Config;
use crate::http;
use crate::model::{self, Timestamp};
use crate::provider::{OwnListeners, Provider, Route};
use crate::sandbox::{self, Sandbox};
use crate::store::Store;

/// How long the parts may take to end. The contract allows 10 s for everything.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(8);
/// How long closing the database may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// Open files that are not connections to us: the database, its log, the provider, receivers of callers.
const OTHER_FILES: u64 = 128;

/// Connections that the system keeps for us until they are taken, as far as it allows. One more is turned away without
/// a word, and comes again after a second: with the usual 128 any burst does that to senders of pingbacks.
const BACKLOG: u32 = 4096;

/// The description of the api listener for programs: OpenAPI 3.1, in JSON.
#[must_use]
pub fn openapi() -> String {
    http::openapi_text()
}

/// The names of everything that `/metrics` shows, as they are sent.
#[must_use]
pub fn metric_names() -> Vec<String> {
    http::metric_names()
}

/// The table of `docs/metrics.md`.
#[must_use]
pub fn metrics_in_markdown() -> String {
    http::metrics_in_markdown()
}

/// The running service.
pub struct App {
    public: SocketAddr,
    api: SocketAddr,
    sandbox: Option<Sandbox>,
    provider: Url,
    store: Store,
    parts: Parts,
    shutdown: CancellationToken,
    hang_up: watch::Sender<()>,
}

/// The two listeners, bound before anything else is done, so that a port that is taken is the
/// first thing one hears of.
struct Listeners {
    public: TcpListener,
    api: TcpListener,
    /// Connections that they may hold together.
    places: usize,
    tls: Endpoints,
}

impl App {
    /// Builds everything and starts it. With `sandbox`, the emulated provider takes the place of
    /// the real one.
    ///
    /// # Errors
    /// When a port is taken, or the database cannot be used; the text says what to do.
    pub async fn start(config: Config, sandbox: Option<sandbox::Settings>) -> anyhow::Result<Self> {
        use_ring();
        let listeners = Listeners {
            public: bind(config.public.listen, "public.listen")?,
            api: bind(config.api.listen, "api.listen")?,
            places: setup::places(OTHER_FILES),
            tls: Endpoints::open(&config, Timestamp::by_system()).await?,
        };
        let store = setup::open_store(&config, Timestamp::now()).await?;
        if store.is_shared() {
            model::follow_the_system();
        }
        let shutdown = CancellationToken::new();
        let parts = Parts::new(&shutdown);
        let hang_up = watch::Sender::new(());
        let emulated = match sandbox {
            Some(settings) => Some(start_sandbox(settings, &listeners, &parts, &shutdown).await?),
            None => None,
        };
        let (sandbox, credentials) = match emulated {
            Some((sandbox, credentials)) => (Some(sandbox), credentials),
            None => (None, setup::credentials(&config)?),
        };
        let (public, api) = (listeners.public.local_addr()?, listeners.api.local_addr()?);
        let provider = credentials.base_url.clone();
        let route = Route::new(&provider, &config.provider.resolve, OwnListeners::new([public, api]));
        setup::check_route(&provider, &route).await?;
        let base_url = match (&config.public.url, &sandbox) {
            (None, Some(_)) => Some(setup::local_url(config.public.tls.scheme(), public)?),
            (url, _) => url.clone(),
        };
        let client = Provider::new(credentials, route, setup::loop_mark(&store).await?)
            .context("could not set up the HTTP client")?;
        Wiring {
            config: &config,
            store: &store,
            provider: client,
            base_url,
            parts: &parts,
            shutdown: &shutdown,
            sandbox: sandbox.clone(),
        }
        .start(listeners, &hang_up)
        .await?;
        parts.tracker.close();
        for warning in config.warnings() {
            warn!("{warning}");
        }
        let (of_public, of_api) = (config.public.tls.scheme(), config.api.tls.scheme());
        info!(%public, %api, version = env!("CARGO_PKG_VERSION"), "pingbox is ready: callers at {of_api}://{api}, pingbacks at {of_public}://{public}");
        Ok(Self { public, api, sandbox, provider, store, parts, shutdown, hang_up })
    }

    /// Where the public listener listens.
    #[must_use]
    pub fn public_addr(&self) -> SocketAddr {
        self.public
    }

    /// Where the api listener listens.
    #[must_use]
    pub fn api_addr(&self) -> SocketAddr {
        self.api
    }

    /// The emulated provider, if it runs.
    #[must_use]
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandbox.as_ref()
    }

    /// Where `in.php` and `res.php` are.
    #[must_use]
    pub fn provider_url(&self) -> &Url {
        &self.provider
    }

    /// Cancelled when the service is to end.
    #[must_use]
    pub fn shutdown_token(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// To be sent to when the process got SIGHUP. Parts that have something to read again subscribe.
    #[must_use]
    pub fn hang_up(&self) -> watch::Sender<()> {
        self.hang_up.clone()
    }

    /// Runs until the shutdown token is cancelled, then ends in order: no new connections, every
    /// waiter answered with what stands, every accepted request finished, everything on disk.
    ///
    /// # Errors
    /// When it ended because a part broke down.
    pub async fn run(self) -> anyhow::Result<()> {
        self.shutdown.cancelled().await;
        // Every handle to its queue goes with the parts, so the writer ends when it is empty.
        if timeout(SHUTDOWN_DEADLINE, self.parts.tracker.wait()).await.is_err() {
            warn!("Some requests did not end in time; what was acknowledged is on disk");
        }
        if timeout(CLOSE_DEADLINE, self.store.close()).await.is_err() {
            warn!("The database could not be closed in time; the next start recovers it");
        }
        info!("pingbox has ended");
        match self.parts.broken.get() {
            Some(part) => bail!("the {part} broke down; its last words are above"),
            None => Ok(()),
        }
    }
}

fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let listening = bound(address).and_then(|socket| socket.listen(BACKLOG));
    listening.with_context(|| format!("could not listen on {address}: set {setting} to a free address"))
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // What is left of the connections of the last process is no obstacle.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
