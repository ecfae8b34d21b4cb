//! The whole service: built from a configuration, run, and brought to an end.

mod backup;
mod clock;
mod copy;
mod emulation;
mod parts;
mod replicas;
mod setup;
mod tls;
mod tokens;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use url::Url;

pub(crate) use backup::{BackedUp, BackupStep, back_up};
pub(crate) use copy::{Copied, Step, copy};
pub use emulation::run_sandbox;
pub(crate) use setup::use_ring;
pub(crate) use tls::{ca_certificate, check_files};

use self::emulation::start_sandbox;
use self::parts::Parts;
use self::tls::Endpoints;
use self::tokens::TokenKeeper;
use crate::account::{self, Account, Registration};
use crate::config::{Config, Unconfirmed, UrlMode};
use crate::dashboard::{self, About, Dashboard};
use crate::delivery::{Deadlines, Deliverer, Messenger, Rhythm, SystemNames};
use crate::dispatcher::{Dispatcher, Sender, Spacing};
use crate::feed::Feed;
use crate::http::{self, Addresses, AppState, Connections, Handshake, PublicState, Requests, Server};
use crate::ingest::{self, Heralds, Ingest};
use crate::model::{self, AddressRules, Price, Secret, Timestamp};
use crate::provider::{OwnListeners, PingbackUrls, Provider, Route};
use crate::reconciler::Reconciler;
use crate::registrar::Registrar;
use crate::replicas::Lead;
use crate::reporter::{ReportDesk, Reporter};
use crate::retention::Retention;
use crate::sandbox::{self, Sandbox};
use crate::store::{AccountId, Store};
use crate::tls::Keeper;

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
    connections: usize,
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
            connections: setup::connections_per_listener(OTHER_FILES),
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

/// What the parts are made of.
struct Wiring<'a> {
    config: &'a Config,
    store: &'a Store,
    provider: Provider,
    /// The public URL, from the configuration or the sandbox's own.
    base_url: Option<Url>,
    parts: &'a Parts,
    shutdown: &'a CancellationToken,
    /// The emulated provider, where it takes the place of the real one.
    sandbox: Option<Sandbox>,
}

impl Wiring<'_> {
    /// Starts every part.
    async fn start(self, listeners: Listeners, hang_up: &watch::Sender<()>) -> anyhow::Result<()> {
        let access = Arc::new(setup::access(self.config, listeners.api.local_addr()?, self.store).await?);
        let (lead, others) = replicas::lead(self.store)?;
        let solve_times = Arc::new(Mutex::new(self.store.solve_times().await?));
        let heralds = Heralds { solve_times, ..Heralds::default() };
        let id = AccountId::new(self.provider.key_digest());
        let (ingest, writer) = ingest::writer(self.store.clone(), id, heralds.clone());
        self.parts.start("writer", writer.run());
        let account = self.account(ingest.clone(), &heralds, &lead).await?;

        let daily_limit =
            self.config.spend.daily_limit.as_ref().and_then(|limit| limit.parse::<Price>().ok());
        self.start_dispatcher(&account, &ingest, &heralds.queued, daily_limit.as_ref(), &lead);
        let desk = self.start_upkeep(&account, &ingest, &lead);
        let news = others.as_ref().map(|others| Arc::clone(&others.news));
        if let Some(others) = others {
            let shared = replicas::Shared {
                store: self.store,
                account: &account,
                heralds: &heralds,
                desk: &desk,
                lead: &lead,
            };
            others.start(shared, self.parts, self.shutdown).await?;
        }
        let own = OwnListeners::new([listeners.public.local_addr()?, listeners.api.local_addr()?]);
        self.start_delivery(&ingest, &heralds, own)?;

        let tokens = TokenKeeper {
            config: self.config.clone(),
            store: self.store.clone(),
            ingest: ingest.clone(),
            access: Arc::clone(&access),
            news: news.clone(),
            hang_up: hang_up.subscribe(),
        };
        self.parts.start("keeper of the tokens", tokens.run(self.shutdown.clone()));
        let feed = Arc::new(Feed::new(self.store.clone(), Arc::clone(&heralds.committed)).await?);
        self.parts.start("feed", Arc::clone(&feed).run(self.shutdown.clone()));
        let connections =
            Connections { public: TaskTracker::new(), api: TaskTracker::new(), most: listeners.connections };
        let public = (listeners.public, listeners.tls.public());
        self.start_public(public, &connections, ingest.clone(), account.clone());
        let requests = Arc::new(Requests::new());
        let state = AppState {
            ingest,
            store: self.store.clone(),
            waiters: heralds.waiters,
            answers: heralds.answers,
            sink: heralds.sink,
            sent: heralds.sent,
            feed,
            account,
            desk,
            access,
            connections: connections.clone(),
            requests: Arc::clone(&requests),
            started_at: Timestamp::by_system(),
            lead,
            news,
            max_wait: self.config.api.max_wait,
            hold: self.config.compat.hold,
            daily_limit,
            address_rules: AddressRules::new(self.config.webhooks.allow_private.clone()),
            rotation: setup::rotation(self.config),
            uploads: Semaphore::new(http::UPLOADS),
            script_uploads: Arc::new(Semaphore::new(http::UPLOADS)),
            shutdown: self.shutdown.clone(),
        };
        let has_tls = self.config.api.tls.scheme() == "https";
        let about = About { is_sandbox: self.config.sandbox, has_tls };
        let key = setup::session_key(self.store).await?;
        let server = Server {
            listener: listeners.api,
            router: api_and_pages(Arc::new(state), key, about, self.sandbox),
            max_connections: connections.most,
            addresses: None,
            tls: listeners.tls.api(),
            has_scripts: true,
            connections: connections.api,
            requests: Some(requests),
        };
        self.parts.start("api listener", server.run(self.shutdown.clone()));
        self.parts.start("watch of the clock", clock::watch(self.shutdown.clone()));
        let endpoints = listeners.tls.into_vec();
        if !endpoints.is_empty() {
            let keeper = Keeper::new(endpoints, hang_up.subscribe());
            self.parts.start("keeper of the certificates", keeper.run(self.shutdown.clone()));
        }
        Ok(())
    }

    /// The account as the last process left it.
    async fn account(&self, ingest: Ingest, heralds: &Heralds, lead: &Lead) -> anyhow::Result<Account> {
        let secrets = setup::pingback_secrets(self.config, self.store).await?;
        let is_wanted = self.base_url.is_some() && self.config.pingback.register;
        let parts = account::Parts {
            provider: self.provider.clone(),
            ingest,
            store: self.store.clone(),
            lead: lead.clone(),
            urls: PingbackUrls::new(self.base_url.clone(), secrets),
            solve_times: Arc::clone(&heralds.solve_times),
            registration: if is_wanted { Registration::Pending } else { Registration::Off },
        };
        Ok(Account::restore(parts).await?)
    }

    /// Starts what sends tasks to the provider.
    fn start_dispatcher(
        &self,
        account: &Account,
        ingest: &Ingest,
        queued: &Arc<Notify>,
        daily_limit: Option<&Price>,
        lead: &Lead,
    ) {
        let sender = Sender {
            account: account.clone(),
            ingest: ingest.clone(),
            store: self.store.clone(),
            spacing: Arc::new(Spacing::new(self.config.provider.submit_interval)),
        };
        let dispatcher = Arc::new(Dispatcher {
            sender,
            queued: Arc::clone(queued),
            url_per_task: self.config.pingback.url_mode == UrlMode::PerTask,
            daily_limit: daily_limit.map(Price::nanos),
        });
        self.start_leading(lead, "dispatcher", move |over| Arc::clone(&dispatcher).run(over));
    }

    /// Starts what works in the background; where callers leave their reports.
    fn start_upkeep(&self, account: &Account, ingest: &Ingest, lead: &Lead) -> Arc<ReportDesk> {
        let store = self.store;
        let registrar = Arc::new(Registrar {
            account: account.clone(),
            store: store.clone(),
            is_wanted: self.config.pingback.register,
        });
        self.start_leading(lead, "registrar", move |over| Arc::clone(&registrar).run(over));
        let resubmit = self.config.provider.unconfirmed == Unconfirmed::Resubmit;
        let works_with = (account.clone(), ingest.clone(), store.clone());
        self.start_leading(lead, "reconciler", move |over| {
            let (account, ingest, store) = works_with.clone();
            Reconciler::new(account, ingest, store, resubmit).run(over)
        });
        let desk = Arc::new(ReportDesk::default());
        let reporter = Arc::new(Reporter {
            account: account.clone(),
            ingest: ingest.clone(),
            store: store.clone(),
            desk: Arc::clone(&desk),
        });
        self.start_leading(lead, "reporter", move |over| Arc::clone(&reporter).run(over));
        let (answers, tasks) = (self.config.retention.answers, self.config.retention.tasks);
        let retention = Arc::new(Retention { ingest: ingest.clone(), answers, tasks });
        self.start_leading(lead, "retention", move |over| Arc::clone(&retention).run(over));
        desk
    }

    /// Starts a part that works only while this replica leads.
    fn start_leading<F: Future<Output = ()> + Send + 'static>(
        &self,
        lead: &Lead,
        name: &'static str,
        work: impl Fn(CancellationToken) -> F + Send + Sync + 'static,
    ) {
        self.parts.start(name, lead.clone().run(self.shutdown.clone(), work));
    }

    /// Starts what calls receivers of callers.
    fn start_delivery(&self, ingest: &Ingest, heralds: &Heralds, own: OwnListeners) -> anyhow::Result<()> {
        let rules = AddressRules::new(self.config.webhooks.allow_private.clone());
        let messenger = Messenger::new(rules, own, &SystemNames::shared(), Deadlines::STANDARD)
            .context("could not set up the HTTP client for callers' receivers")?;
        let (store, called_back) = (self.store.clone(), Arc::clone(&heralds.called_back));
        let deliverer = Deliverer::new(store, ingest.clone(), messenger, Rhythm::STANDARD, called_back);
        self.parts.start("deliverer", deliverer.run(self.shutdown.clone()));
        Ok(())
    }

    fn start_public(
        &self,
        (listener, tls): (TcpListener, Option<Handshake>),
        connections: &Connections,
        ingest: Ingest,
        account: Account,
    ) {
        let public = &self.config.public;
        let addresses = Arc::new(Addresses::new(public.trusted_proxies.clone(), public.allow_from.clone()));
        let state = PublicState {
            ingest,
            store: self.store.clone(),
            account,
            addresses: Arc::clone(&addresses),
            ownership_files: public.ownership_files.clone(),
        };
        let router = http::public_router(state);
        let server = Server {
            listener,
            router,
            max_connections: connections.most,
            addresses: Some(addresses),
            tls,
            has_scripts: false,
            connections: connections.public.clone(),
            requests: None,
        };
        self.parts.start("public listener", server.run(self.shutdown.clone()));
    }
}

/// What the api listener serves.
fn api_and_pages(state: Arc<AppState>, key: Secret, about: About, sandbox: Option<Sandbox>) -> Router {
    let pages = dashboard::router(Dashboard::new(Arc::clone(&state), key, about, sandbox));
    http::api_router(state, pages)
}

fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // What is left of the connections of the last process is no obstacle.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().with_context(|| format!("could not listen on {address}: set {setting} to a free address"))
}
