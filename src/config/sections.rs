//! The checked configuration, section by section. The fields are named like the keys.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::sources::Sources;
use crate::model::Secret;

/// Everything that can be set, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The listener that the provider reaches.
    pub public: Public,
    /// The URL that the provider POSTs answers to.
    pub pingback: Pingback,
    /// The listener that local callers reach.
    pub api: Api,
    /// The service that solves.
    pub provider: Provider,
    /// The drop-in `in.php` and `res.php`.
    pub compat: Compat,
    /// Files of our own.
    pub data: Data,
    /// Where tasks and answers are stored.
    pub database: Database,
    /// How long they are stored.
    pub retention: Retention,
    /// How much money may be spent.
    pub spend: Spend,
    /// Outgoing webhooks.
    pub webhooks: Webhooks,
    /// What is logged, and how.
    pub log: Log,
    /// Whether the emulated provider takes the place of `provider.base_url`; then
    /// `provider.api_key` is `None`.
    pub sandbox: bool,
    /// What it was made from.
    pub(super) sources: Sources,
}

/// `public.*`
#[derive(Clone, Debug)]
pub struct Public {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The base of our URL as the provider sees it: http or https, with a host, without query,
    /// fragment and login; a path does not end in a slash, and no path is `/`. `None`: no
    /// pingback can arrive.
    pub url: Option<Url>,
    /// Who may send pingbacks; empty means anyone.
    pub allow_from: Vec<IpNet>,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Name (`[A-Za-z0-9._-]+`) and text of the files served at the root.
    pub ownership_files: BTreeMap<String, String>,
    /// Encryption of this listener.
    pub tls: Tls,
}

/// `pingback.*`
#[derive(Clone, Debug)]
pub struct Pingback {
    /// The secret URL segment, 22 to 128 characters of `[A-Za-z0-9_-]`. `None`: make one and store
    /// it.
    pub secret: Option<Secret>,
    /// Which URL is sent along with a task.
    pub url_mode: UrlMode,
    /// Whether to keep the URL registered with the provider.
    pub register: bool,
}

/// `pingback.url_mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlMode {
    /// Every task has the registered URL.
    Shared,
    /// Every task has a token of its own behind the registered URL.
    PerTask,
}

/// `api.*`
#[derive(Clone, Debug)]
pub struct Api {
    /// Where to listen.
    pub listen: SocketAddr,
    /// A first admin token of 32 hexadecimal digits.
    pub token: Option<Secret>,
    /// Who may call.
    pub auth: Auth,
    /// Encryption of this listener.
    pub tls: Tls,
    /// The longest that one request waits, 1 s to 1 h.
    pub max_wait: Duration,
}

impl Api {
    /// Where it is reached from this machine, such as `http://127.0.0.1:8081`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.tls.scheme(), super::reachable(self.listen))
    }
}

/// `api.auth`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Callers show a token.
    Token,
    /// Whoever reaches the listener is admin.
    None,
}

/// `public.tls` and `api.tls` with the keys that belong to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Plain HTTP.
    Off,
    /// A certificate from elsewhere.
    Files {
        /// The chain, PEM.
        cert: PathBuf,
        /// The private key, PEM.
        key: PathBuf,
    },
    /// A certificate of our own CA.
    SelfSigned {
        /// Host names and addresses that it is for, beside those of this machine itself: in lower
        /// case, without a dot at the end; the first label may be `*`.
        names: Vec<String>,
    },
}

impl Tls {
    /// What URLs of the listener begin with.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        match self {
            Self::Off => "http",
            Self::Files { .. } | Self::SelfSigned { .. } => "https",
        }
    }
}

/// `provider.*`
#[derive(Clone, Debug)]
pub struct Provider {
    /// Where `in.php` and `res.php` are; formed like [`Public::url`]. The sandbox does not use it.
    pub base_url: Url,
    /// The account's key, 32 visible ASCII characters. `None` only with the sandbox.
    pub api_key: Option<Secret>,
    /// Sent with every task when given.
    pub soft_id: Option<u32>,
    /// Smallest spacing between two `in.php` requests, 0 to 60 s.
    pub submit_interval: Duration,
    /// Addresses to use for host names, written as URLs have them, instead of asking the resolver.
    pub resolve: BTreeMap<String, IpAddr>,
    /// What becomes of a task that was sent and not replied to.
    pub unconfirmed: Unconfirmed,
}

/// `provider.unconfirmed`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unconfirmed {
    /// Send it again after its give-up time; it may be paid twice.
    Resubmit,
    /// Let it fail; it may have been paid for nothing.
    Fail,
}

/// `compat.*`
#[derive(Clone, Debug)]
pub struct Compat {
    /// How long `res.php` holds a `get` open, 0 to 30 s.
    pub hold: Duration,
}

/// `data.*`
#[derive(Clone, Debug)]
pub struct Data {
    /// The directory of all files that we write.
    pub dir: PathBuf,
}

/// `database.*`
#[derive(Clone, Debug)]
pub struct Database {
    /// Which database, and where.
    pub url: DatabaseUrl,
    /// Connections to PostgreSQL for callers' reads, 1 to 200.
    pub pool_size: u32,
    /// Another `postgres://…` URL of the same database, for `LISTEN`.
    pub listen_url: Option<Secret>,
}

/// `database.url`
#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    /// The file, relative to the working directory unless absolute.
    Sqlite(PathBuf),
    /// A whole `postgres://…` URL, with its password.
    Postgres(Secret),
}

/// `retention.*`
#[derive(Clone, Debug)]
pub struct Retention {
    /// Age at which the text of an answer is erased, at least a minute.
    pub answers: Duration,
    /// Age at which the whole record is deleted, at least a minute.
    pub tasks: Duration,
}

/// `spend.*`
#[derive(Clone, Debug)]
pub struct Spend {
    /// The most to spend in a day, in the account's currency: a decimal above zero, at most nine
    /// digits before the point and six after it.
    pub daily_limit: Option<String>,
}

/// `webhooks.*`
#[derive(Clone, Debug)]
pub struct Webhooks {
    /// Networks inside the private, loopback and unique local ranges that webhooks may reach.
    pub allow_private: Vec<IpNet>,
}

/// `log.*`
#[derive(Clone, Debug)]
pub struct Log {
    /// How a message is written.
    pub format: LogFormat,
    /// Which messages are written: levels by target, as
    /// [`tracing_subscriber::filter::Targets`] reads them.
    pub filter: String,
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}
