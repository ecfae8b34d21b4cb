//! Pingbacks on their way.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::{Client, redirect};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::{Host, Url};

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

/// What pingbacks are sent with.
#[derive(Debug)]
pub(super) struct Clients {
    others: Client,
    /// For the listener of this process at that address.
    own: Option<(SocketAddr, Client)>,
}

impl Clients {
    /// # Errors
    /// When the TLS set-up of this machine cannot be read.
    pub(super) fn new(own: Option<SocketAddr>) -> Result<Self, reqwest::Error> {
        // An error says that a provider was installed before, which serves as well.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let builder = || Client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none()).no_proxy();
        let own = own.map(|own| Ok((own, builder().tls_danger_accept_invalid_certs(true).build()?)));
        Ok(Self { others: builder().build()?, own: own.transpose()? })
    }

    fn client_for(&self, url: &Url) -> &Client {
        match &self.own {
            Some((own, client)) if is_at(url, *own) => client,
            _ => &self.others,
        }
    }
}

/// Whether the URL leads to this listener of ours.
fn is_at(url: &Url, own: SocketAddr) -> bool {
    let is_ours = |ip: IpAddr| {
        let ip = ip.to_canonical();
        ip == own.ip().to_canonical() || ip.is_loopback() && own.ip().is_unspecified()
    };
    let is_here = match url.host() {
        Some(Host::Domain(name)) => {
            let own = own.ip().to_canonical();
            name == "localhost" && (own.is_loopback() || own.is_unspecified())
        }
        Some(Host::Ipv4(ip)) => is_ours(ip.into()),
        Some(Host::Ipv6(ip)) => is_ours(ip.into()),
        None => false,
    };
    is_here && url.port_or_known_default() == Some(own.port())
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
        let mut response =
            self.0.clients.client_for(&pingback.url).post(pingback.url.clone()).form(&form).send().await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listener_of_this_process_is_trusted_unseen() {
        let at = |url: &str, own: &str| is_at(&Url::parse(url).unwrap(), own.parse().unwrap());
        assert!(at("https://127.0.0.1:8080/pingback/x", "127.0.0.1:8080"));
        assert!(at("https://[::1]:8080", "0.0.0.0:8080"));
        assert!(at("https://localhost", "0.0.0.0:443"));
        assert!(at("https://192.0.2.7:8080", "192.0.2.7:8080"));
        for other in [
            "https://127.0.0.1:8081",
            "https://a.example:8080",
            "https://192.0.2.7:8080",
            "https://localhost",
        ] {
            assert!(!at(other, "0.0.0.0:8080"), "{other}");
        }
        assert!(at("https://localhost:8080", "127.0.0.1:8080"));
        assert!(!at("https://127.0.0.1:8080", "192.0.2.7:8080"));
        assert!(!at("https://localhost:8080", "192.0.2.7:8080"), "another program may listen there");
    }
}
