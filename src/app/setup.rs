//! What has to be found or made before the parts can start: the database, secrets, tokens, limits.

use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::timeout;
use tracing::{info, warn};
use url::Url;

use crate::account::SECRETS;
use crate::config::{self, Auth, Config, DatabaseUrl, Tls};
use crate::http::{Access, Door, Rotation};
use crate::ingest::MOST_TOKENS;
use crate::model::{NewToken, Scopes, Secret, Timestamp, Token};
use crate::provider::{Credentials, LoopMark, Route, RouteError, Secrets, explain};
use crate::store::{Server, Store, WriteTx};

/// Under these names the database remembers; the first is how versions before rotation kept the secret.
const PINGBACK_SECRET: &str = "pingback_secret";
const USED_WITH: &str = "used_with";
const LOOP_MARK: &str = "loop_mark";
const SESSION_KEY: &str = "session_key";
/// How long a start waits to hear where the provider is.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);
/// The file in `data.dir` that the first token is written to.
const TOKEN_FILE: &str = "api-token";
/// Bytes of a secret that we make: 128 bits.
const SECRET_BYTES: usize = 16;
/// Connections that there may be however few files may be open, and when the system sets no limit to them.
const LEAST_PLACES: u64 = 128;
const MOST_PLACES: u64 = 200_000;

/// TLS is done by ring; a provider that was chosen before stays.
pub(crate) fn use_ring() {
    // The error says only that there is one already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Opens the database, and keeps the sandbox's tasks and a real account's apart.
pub(super) async fn open_store(config: &Config, now: Timestamp) -> anyhow::Result<Store> {
    let store = match &config.database.url {
        DatabaseUrl::Sqlite(path) => Store::open(path, now).await?,
        DatabaseUrl::Postgres(url) => {
            let (listen_url, pool_size) = (config.database.listen_url.clone(), config.database.pool_size);
            Store::connect(&Server { url: url.clone(), listen_url, pool_size }).await?
        }
    };
    let used_with = if config.sandbox { "sandbox" } else { "account" };
    let mut writing = store.writing().await;
    let mut tx = writing.begin().await?;
    if tx.is_unfinished_copy().await? {
        bail!(
            "the database of database.url holds an unfinished copy: run `pingbox copy` again until it says that it is done"
        );
    }
    let before = tx.recall(USED_WITH).await?;
    if before.as_deref() == Some(used_with) {
        tx.commit().await?;
        return Ok(store);
    }
    if before.as_deref() == Some("account") && store.has_tasks().await? {
        let (database, remedy) = match &config.database.url {
            DatabaseUrl::Sqlite(path) => (path.display().to_string(), "a data.dir"),
            DatabaseUrl::Postgres(_) => ("of database.url".to_owned(), "a database"),
        };
        bail!("the database {database} holds tasks of a real account: give the sandbox {remedy} of its own");
    }
    let abandoned = tx.abandon_open_tasks(now).await?;
    tx.remember(USED_WITH, used_with).await?;
    tx.commit().await?;
    if abandoned > 0 {
        warn!(abandoned, "Open tasks of the sandbox were given up: they are not sent to the real provider");
    }
    Ok(store)
}

/// Who we are to the real provider.
pub(super) fn credentials(config: &Config) -> anyhow::Result<Credentials> {
    let key = config.provider.api_key.clone().context("provider.api_key is missing")?;
    Ok(Credentials { base_url: config.provider.base_url.clone(), key, soft_id: config.provider.soft_id })
}

/// Refuses to start where every request to the provider would come to ourselves. Whether it can be reached
/// at all is found out later: the network may not be up yet.
pub(super) async fn check_route(base_url: &Url, route: &Route) -> anyhow::Result<()> {
    let why = match timeout(LOOKUP_DEADLINE, route.addresses()).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(own @ RouteError::Own(_))) => bail!(
            "provider.base_url is {base_url}, but {own}, so every task would be submitted to itself for ever: {}",
            route.remedy()
        ),
        Ok(Err(error)) => explain(&error),
        Err(_) => "nobody said where the provider is".to_owned(),
    };
    warn!(%base_url, "The provider cannot be found at the moment: {why}");
    Ok(())
}

/// What our requests carry: made once, and the same for all who work on this database.
pub(super) async fn loop_mark(store: &Store) -> anyhow::Result<LoopMark> {
    let is_sound = |id: &String| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut writing = store.writing().await;
    let mut tx = writing.begin().await?;
    if let Some(id) = tx.recall(LOOP_MARK).await?.filter(is_sound) {
        tx.commit().await?;
        return Ok(LoopMark::new(&Secret::new(id)));
    }
    let id = random_secret()?;
    tx.remember(LOOP_MARK, id.expose()).await?;
    tx.commit().await?;
    Ok(LoopMark::new(&id))
}

/// What sessions of the dashboard are made with: made once, and the same for all who work on this database.
pub(super) async fn session_key(store: &Store) -> anyhow::Result<Secret> {
    let mut writing = store.writing().await;
    let mut tx = writing.begin().await?;
    let kept = tx.recall(SESSION_KEY).await?.filter(|key| !key.is_empty()).map(Secret::new);
    let key = if let Some(key) = kept {
        key
    } else {
        let key = Secret::random_hex(32).context("the system gives no randomness")?;
        tx.remember(SESSION_KEY, key.expose()).await?;
        key
    };
    tx.commit().await?;
    Ok(key)
}

/// The secret segments of our pingback URLs: configured, or made once and kept. A secret that is
/// configured anew takes the place of the last one, which stays valid for the tasks sent with it.
pub(super) async fn pingback_secrets(config: &Config, store: &Store) -> anyhow::Result<Secrets> {
    let mut writing = store.writing().await;
    let mut tx = writing.begin().await?;
    let kept = match tx.recall(SECRETS).await? {
        Some(text) => Some(Secrets::from_json(&text).context("the stored pingback secrets are damaged")?),
        None => tx.recall(PINGBACK_SECRET).await?.map(|secret| Secrets::new(Secret::new(secret))),
    };
    let secrets = match (kept, &config.pingback.secret) {
        (Some(kept), None) => kept,
        (Some(kept), Some(secret)) if secret.matches(kept.current.expose()) => kept,
        (Some(kept), Some(secret)) if kept.knows(secret) && store.is_shared() => {
            warn!(
                "pingback.secret is not the one that is used: it was configured before, or is being changed to"
            );
            kept
        }
        // Others send with the old one still: it is changed as by a rotation, when the provider knows the new one.
        (Some(mut kept), Some(secret)) if store.is_shared() && config.pingback.register => {
            kept.next = Some(secret.clone());
            kept
        }
        (Some(mut kept), Some(secret)) => {
            kept.next = None;
            kept.rotate(secret.clone(), Timestamp::now());
            let too_many = kept.retired.len().saturating_sub(Secrets::MAX_RETIRED);
            kept.retired.drain(..too_many);
            kept
        }
        (None, Some(secret)) => Secrets::new(secret.clone()),
        (None, None) => Secrets::new(random_secret()?),
    };
    tx.remember(SECRETS, &secrets.to_json()).await?;
    tx.commit().await?;
    Ok(secrets)
}

/// What a wish to change the pingback URL leads to.
pub(super) fn rotation(config: &Config) -> Rotation {
    match (&config.pingback.secret, config.pingback.register) {
        _ if config.public.url.is_none() && !config.sandbox => Rotation::NoUrl,
        (Some(_), _) => Rotation::Configured,
        (None, true) => Rotation::OnceRegistered,
        (None, false) => Rotation::ByHand,
    }
}

/// Whom the api listener lets in. Where it can be reached from elsewhere and there is no token,
/// one is made and written to a file.
pub(super) async fn access(config: &Config, api: SocketAddr, store: &Store) -> anyhow::Result<Access> {
    let configured = config.api.token.as_ref();
    if config.api.auth == Auth::None {
        return Ok(Access::new(Door::Open, configured, &[]));
    }
    let mut writing = store.writing().await;
    let mut tx = writing.begin().await?;
    let stored = tx.tokens().await?;
    if !stored.is_empty() || configured.is_some() {
        tx.commit().await?;
        let access = Access::new(Door::Shut, configured, &stored);
        if !access.has_admin() {
            warn!("No token has the scope admin, so that none can be made or revoked: set api.token");
        }
        return Ok(access);
    }
    if api.ip().is_loopback() {
        tx.commit().await?;
        let scheme = config.api.tls.scheme();
        info!(
            "There is no token: whoever reaches {scheme}://{api} on this machine may call. `pingbox token create --name \
             NAME --scopes admin` makes one, and from then on one is needed"
        );
        return Ok(Access::new(Door::Ajar(names(config)), configured, &[]));
    }
    let first = first_token(&config.data.dir, tx).await?;
    Ok(Access::new(Door::Shut, configured, &[first]))
}

/// The names by which callers reach the api listener because an operator arranged it: through a hosts
/// entry for the provider, and with a certificate.
fn names(config: &Config) -> Vec<String> {
    let provider = config.provider.base_url.host_str().into_iter().map(str::to_owned);
    let certified = match &config.api.tls {
        Tls::SelfSigned { names } => names.as_slice(),
        Tls::Off | Tls::Files { .. } => &[],
    };
    provider.chain(config.provider.resolve.keys().cloned()).chain(certified.iter().cloned()).collect()
}

async fn first_token(folder: &Path, mut tx: WriteTx<'_>) -> anyhow::Result<Token> {
    let (new, secret) = NewToken::random("first", Scopes::ADMIN).map_err(no_randomness)?;
    let path = folder.join(TOKEN_FILE);
    // The file comes first: a token that is stored but written nowhere would lock everybody out.
    write_private(&path, secret.expose()).with_context(|| format!("could not write {}", path.display()))?;
    let token = tx.insert_token(&new, MOST_TOKENS, Timestamp::now()).await?;
    tx.commit().await?;
    info!(path = %path.display(), "A first admin token is in {}", path.display());
    token.context("a token could not be stored")
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // A file from before keeps its mode when it is opened.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

fn random_secret() -> anyhow::Result<Secret> {
    Secret::random_hex(SECRET_BYTES).map_err(no_randomness)
}

fn no_randomness(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("the system gives no randomness: {error}")
}

/// The URL of a listener on this machine.
pub(super) fn local_url(scheme: &str, listen: SocketAddr) -> anyhow::Result<Url> {
    Ok(Url::parse(&format!("{scheme}://{}", config::reachable(listen)))?)
}

/// Raises the limit of open files to what the system allows; how many connections there may be within it.
pub(super) fn places(other_files: u64) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let open_files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let places = open_files.unwrap_or(u64::MAX).saturating_sub(other_files);
    usize::try_from(places.clamp(LEAST_PLACES, MOST_PLACES)).unwrap_or(usize::MAX)
}
