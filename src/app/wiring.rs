//! What is built for one configuration, part by part, and started.

use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::parts::Parts;
use super::tokens::TokenKeeper;
use super::{Listeners, clock, replicas, setup};
use crate::account::{self, Account, Registration};
use crate::config::{Config, DatabaseUrl, Unconfirmed, UrlMode};
use crate::dashboard::{self, About, Dashboard};
use crate::delivery::{Deadlines, Deliverer, Messenger, Rhythm, SystemNames};
use crate::dispatcher::{Dispatcher, Sender, Spacing};
use crate::feed::Feed;
use crate::http::{self, Addresses, AppState, Connections, Handshake, PublicState, Requests, Server};
use crate::ingest::{self, Heralds, Ingest};
use crate::model::{AddressRules, Price, Secret, Timestamp};
use crate::provider::{OwnListeners, PingbackUrls, Provider};
use crate::reconciler::Reconciler;
use crate::registrar::Registrar;
use crate::replicas::Lead;
use crate::reporter::{ReportDesk, Reporter};
use crate::retention::Retention;
use crate::sandbox::Sandbox;
use crate::selfcheck::{CheckKey, SelfCheck};
use crate::store::{AccountId, Store};
use crate::tls::Keeper;

/// What the parts are made of.
pub(super) struct Wiring<'a> {
    pub(super) config: &'a Config,
    pub(super) store: &'a Store,
    pub(super) provider: Provider,
    /// The public URL, from the configuration or the sandbox's own.
    pub(super) base_url: Option<Url>,
    pub(super) parts: &'a Parts,
    pub(super) shutdown: &'a CancellationToken,
    /// The emulated provider, where it takes the place of the real one.
    pub(super) sandbox: Option<Sandbox>,
}

impl Wiring<'_> {
    /// Starts every part.
    pub(super) async fn start(self, listeners: Listeners, hang_up: &watch::Sender<()>) -> anyhow::Result<()> {
        let access = Arc::new(setup::access(self.config, listeners.api.local_addr()?, self.store).await?);
        let (lead, others) = replicas::lead(self.store)?;
        let solve_times = Arc::new(Mutex::new(self.store.solve_times().await?));
        let heralds = Heralds { solve_times, ..Heralds::default() };
        let id = AccountId::new(self.provider.key_digest());
        let (ingest, writer) = ingest::writer(self.store.clone(), id, heralds.clone());
        self.parts
            .start_apart("writer", writer.run())
            .context("Could not start the writer's thread: allow pingbox more processes (ulimit -u)")?;
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
        let connections = Connections::new(listeners.places);
        let public = (listeners.public, listeners.tls.public());
        let session_key = setup::session_key(self.store).await?;
        let check_key = CheckKey::of(&session_key);
        let selfcheck = self.selfcheck(check_key.clone())?;
        self.start_public(public, &connections, ingest.clone(), account.clone(), check_key);
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
            selfcheck,
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
            has_url_per_task: self.config.pingback.url_mode == UrlMode::PerTask,
            uploads: Semaphore::new(http::UPLOADS),
            script_uploads: Arc::new(Semaphore::new(http::UPLOADS)),
            shutdown: self.shutdown.clone(),
        };
        let has_tls = self.config.api.tls.scheme() == "https";
        let about = About { is_sandbox: self.config.sandbox, has_tls };
        let server = Server {
            listener: listeners.api,
            site: api_and_pages(Arc::new(state), session_key, about, self.sandbox),
            room: connections.api,
            addresses: None,
            tls: listeners.tls.api(),
            has_scripts: true,
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

    /// What looks at the service from outside.
    fn selfcheck(&self, key: CheckKey) -> anyhow::Result<SelfCheck> {
        let folder = match &self.config.database.url {
            DatabaseUrl::Sqlite(file) => file.parent().map(|folder| Path::new(".").join(folder)),
            DatabaseUrl::Postgres(_) => None,
        };
        SelfCheck::new(key, self.base_url.as_ref(), folder)
            .context("could not set up the HTTP client for the public URL")
    }

    fn start_public(
        &self,
        (listener, tls): (TcpListener, Option<Handshake>),
        connections: &Connections,
        ingest: Ingest,
        account: Account,
        check_key: CheckKey,
    ) {
        let public = &self.config.public;
        let addresses = Arc::new(Addresses::new(public.trusted_proxies.clone(), public.allow_from.clone()));
        let state = PublicState {
            ingest,
            store: self.store.clone(),
            account,
            addresses: Arc::clone(&addresses),
            ownership_files: public.ownership_files.clone(),
            check_key,
        };
        let server = Server {
            listener,
            site: Arc::new(state),
            room: connections.public.clone(),
            addresses: Some(addresses),
            tls,
            has_scripts: false,
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
