//! One request to a receiver, and what its reply means.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::Resolve;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Response};
use tokio::time::timeout;
use url::Host;

use super::message::Message;
use super::resolver::{Guard, Judge, NotCalled, TooManyLookups};
use crate::model::{AddressRules, Attempt, CallerUrl, Timestamp};
use crate::provider::OwnListeners;

/// How much of a reply is read. Nothing in it matters; but to a receiver that still writes, a connection
/// that closes looks like a failure of ours.
const MAX_REPLY_BYTES: usize = 64 * 1024;
/// How long that is read.
const REPLY_DEADLINE: Duration = Duration::from_secs(2);

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// To find the addresses, connect, and agree on encryption.
    pub(crate) connect: Duration,
    /// In all.
    pub(crate) whole: Duration,
}

impl Deadlines {
    pub(crate) const STANDARD: Self =
        Self { connect: Duration::from_secs(5), whole: Duration::from_secs(15) };
}

/// Calls receivers, where that is allowed.
pub(crate) struct Messenger {
    http: Client,
    /// For URLs with a port of ours.
    http_at_own_ports: HashMap<u16, Client>,
    judge: Judge,
}

impl Messenger {
    /// A client that asks `names` for addresses, goes through no proxy, and follows no redirect: either
    /// would lead past the rules. Every request has a connection of its own, to an address judged for it.
    pub(crate) fn new(
        rules: AddressRules,
        own: OwnListeners,
        names: &Arc<dyn Resolve>,
        deadlines: Deadlines,
    ) -> Result<Self, reqwest::Error> {
        let judge = Judge { rules, own };
        let client = |port| {
            Client::builder()
                .dns_resolver(Guard { judge: judge.clone(), names: Arc::clone(names), port })
                .connect_timeout(deadlines.connect)
                .timeout(deadlines.whole)
                .pool_max_idle_per_host(0)
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .no_proxy()
                .user_agent(concat!("pingbox/", env!("CARGO_PKG_VERSION")))
                .build()
        };
        let at_own_port = |port| client(port).map(|client| (port, client));
        // Port 0 is nobody's.
        Ok(Self {
            http: client(0)?,
            http_at_own_ports: judge.own.ports().map(at_own_port).collect::<Result<_, _>>()?,
            judge,
        })
    }

    /// The client asks for the addresses of names only: an address in the URL it would just call.
    fn judge(&self, url: &CallerUrl, port: u16) -> Result<(), NotCalled> {
        self.judge.rules.judge_url(url).map_err(NotCalled::Forbidden)?;
        match url.host() {
            Host::Ipv4(ip) => self.judge.judge((ip, port).into()),
            Host::Ipv6(ip) => self.judge.judge((ip, port).into()),
            Host::Domain(_) => Ok(()),
        }
    }

    /// POSTs a message; what came of it.
    pub(super) async fn post(&self, message: Message) -> Attempt {
        let Message { url, body } = message;
        let port = url.expose().port_or_known_default().unwrap_or_default();
        if let Err(error) = self.judge(&url, port) {
            return Attempt::Refused(error.to_string());
        }
        let http = self.http_at_own_ports.get(&port).unwrap_or(&self.http);
        let request = http.post(url.expose().clone());
        match body.put_into(request, Timestamp::by_system()).send().await {
            Ok(response) => {
                let attempt = Attempt::Replied {
                    status: response.status().as_u16(),
                    pause: pause(&response, Timestamp::by_system()),
                };
                // What the status says holds, however the rest ends.
                drop(timeout(REPLY_DEADLINE, read_a_little(response)).await);
                attempt
            }
            Err(error) => failed(&error),
        }
    }
}

async fn read_a_little(mut response: Response) {
    let mut left = MAX_REPLY_BYTES;
    while let Ok(Some(chunk)) = response.chunk().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) if rest > 0 => left = rest,
            _ => return,
        }
    }
}

/// The pause that a reply asks for: seconds, or a date.
fn pause(response: &Response, now: Timestamp) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(Timestamp::from_http_date(text)?.since(now)),
    }
}

/// In words that hold nothing of the URL but, with encryption, its host.
fn failed(error: &reqwest::Error) -> Attempt {
    let causes = || std::iter::successors(error.source(), |error| (*error).source());
    if let Some(error) = causes().find_map(|cause| cause.downcast_ref::<NotCalled>()) {
        return Attempt::Refused(error.to_string());
    }
    if causes().any(<dyn Error>::is::<TooManyLookups>) {
        return Attempt::Postponed("too many look-ups of names are under way");
    }
    let what = match error {
        error if error.is_timeout() && error.is_connect() => return failure("no connection in time", None),
        error if error.is_timeout() => return failure("no reply in time", None),
        error if error.is_builder() => return Attempt::Refused("the URL cannot be called".to_owned()),
        error if error.is_connect() => "no connection",
        _ => "no reply",
    };
    failure(what, causes().last())
}

fn failure(what: &str, cause: Option<&(dyn Error + 'static)>) -> Attempt {
    Attempt::Failed(cause.map_or_else(|| what.to_owned(), |cause| format!("{what}: {cause}")))
}
