//! Pingbacks on their way.

use std::time::Duration;

use reqwest::redirect;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::Sandbox;
use super::account::Amount;
use crate::model::Timestamp;

/// Captchas whose pingbacks are sent at the same time.
const MAX_IN_FLIGHT: usize = 64;
/// How long a receiver may take to answer one pingback.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a receiver's reply is read, in bytes, so that the connection can be used again.
const MAX_REPLY_BYTES: usize = 64 * 1024;

/// What is sent for one captcha.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pingback {
    pub(super) url: Url,
    pub(super) id: u64,
    /// One POST each, one after the other.
    pub(super) codes: Vec<String>,
    /// The price, where it is told.
    pub(super) rate: Option<Amount>,
}

/// The client that pingbacks are sent with.
///
/// # Errors
/// When the TLS set-up of this machine cannot be read.
pub(super) fn client() -> Result<reqwest::Client, reqwest::Error> {
    // An error says that a provider was installed before, which serves as well.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none()).no_proxy().build()
}

impl Sandbox {
    /// Solves captchas when they are due, and sends their pingbacks: each once, up to 64 at a time,
    /// in the order in which they came due. Returns at `shutdown`; what is under way then is dropped,
    /// and requests that hang are let go.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut flights = JoinSet::new();
        while !shutdown.is_cancelled() {
            let due_in = self.take_off(&mut flights);
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.0.wake.notified() => {}
                Some(_) = flights.join_next() => {}
                () = tokio::time::sleep(due_in.unwrap_or_default()), if due_in.is_some() => {}
            }
        }
        self.0.stopped.cancel();
    }

    /// Starts what can be sent at once. How long until the next captcha or late pingback is due, if one
    /// waits.
    fn take_off(&self, flights: &mut JoinSet<()>) -> Option<Duration> {
        let now = Timestamp::now();
        let mut state = self.state();
        state.advance(now);
        while flights.len() < MAX_IN_FLIGHT {
            let Some(pingback) = state.outbox.take() else {
                break;
            };
            let sandbox = self.clone();
            flights.spawn(async move { sandbox.deliver(pingback).await });
        }
        let due = [state.tasks.next_due(), state.outbox.next_due()].into_iter().flatten().min();
        due.map(|due| due.since(now))
    }

    /// Sends the pingbacks of one captcha, and counts how they were received.
    pub(super) async fn deliver(&self, pingback: Pingback) {
        for code in &pingback.codes {
            let is_delivered = self.post(&pingback, code).await.unwrap_or(false);
            let counters = &mut self.state().counters;
            if is_delivered {
                counters.pingbacks_delivered += 1;
            } else {
                counters.pingbacks_refused += 1;
            }
        }
    }

    /// One POST; whether it got a 2xx.
    async fn post(&self, pingback: &Pingback, code: &str) -> Result<bool, reqwest::Error> {
        let (id, rate) = (pingback.id.to_string(), pingback.rate.map(|rate| rate.to_string()));
        let mut form = vec![("id", id.as_str()), ("code", code)];
        form.extend(rate.as_deref().map(|rate| ("rate", rate)));
        let mut response = self.0.client.post(pingback.url.clone()).form(&form).send().await?;
        let mut read = 0;
        while let Some(chunk) = response.chunk().await? {
            read += chunk.len();
            if read > MAX_REPLY_BYTES {
                break;
            }
        }
        Ok(response.status().is_success())
    }
}
