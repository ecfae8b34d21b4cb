//! Who is calling: the address behind trusted proxies, and what one address may take up.
//!
//! A sender that has shown the secret is never limited: its pingbacks are paid for.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::strangers::{Stay, Strangers};

/// Connections that one address may hold before it has shown the secret.
const CONNECTIONS_PER_ADDRESS: usize = 256;
/// How long a connection waits to be let in.
const ADMISSION_PATIENCE: Duration = Duration::from_secs(10);
/// Requests without the secret that one address may make each second.
const STRANGER_RATE: NonZeroU32 = NonZeroU32::new(20).expect("not zero");
/// Requests without the secret that one address may make at once.
const STRANGER_BURST: NonZeroU32 = NonZeroU32::new(200).expect("not zero");
/// Addresses whose rate is remembered before those that have rested are forgotten.
const REMEMBERED: usize = 10_000;
/// Senders that are remembered to have shown the secret. Providers use a handful.
const KNOWN_SENDERS: usize = 1024;

/// What is known of the addresses that call the public listener.
pub(crate) struct Addresses {
    trusted_proxies: Vec<IpNet>,
    allow_from: Vec<IpNet>,
    /// One entry for each address that has a connection.
    open: Mutex<HashMap<IpAddr, Slots>>,
    /// Peers that have shown the secret.
    senders: Mutex<Vec<IpAddr>>,
    /// Connections of peers that have not.
    strangers: Arc<Strangers>,
    /// Of requests without the secret.
    rates: Rates,
}

/// How often each address may do something.
#[derive(Debug)]
pub(super) struct Rates(DefaultKeyedRateLimiter<IpAddr>);

impl Rates {
    /// So often each second, and so often at once.
    pub(super) fn new(each_second: NonZeroU32, at_once: NonZeroU32) -> Self {
        Self(RateLimiter::keyed(Quota::per_second(each_second).allow_burst(at_once)))
    }

    /// Whether the address may; it uses up part of its rate.
    pub(super) fn may(&self, ip: IpAddr) -> bool {
        if self.0.len() > REMEMBERED {
            self.0.retain_recent();
        }
        self.0.check_key(&subscriber(ip)).is_ok()
    }

    /// Waits until it may, which uses up part of its rate.
    pub(super) async fn wait(&self, ip: IpAddr) {
        self.0.until_key_ready(&subscriber(ip)).await;
    }
}

/// The connections of one address, admitted or waiting.
struct Slots {
    free: Arc<Semaphore>,
    users: usize,
}

/// A connection that counts for its address until dropped.
pub(crate) struct Admission {
    addresses: Arc<Addresses>,
    ip: IpAddr,
    /// Given back when dropped. `None` for who needs none, or does not have it yet.
    slot: Option<OwnedSemaphorePermit>,
}

impl Addresses {
    pub(crate) fn new(trusted_proxies: Vec<IpNet>, allow_from: Vec<IpNet>) -> Self {
        Self {
            trusted_proxies,
            allow_from,
            open: Mutex::default(),
            senders: Mutex::default(),
            strangers: Arc::default(),
            rates: Rates::new(STRANGER_RATE, STRANGER_BURST),
        }
    }

    /// Lets a connection in. When its address holds too many it waits until one of them ends, or
    /// until the address has shown the secret; `None` when that takes too long. Trusted proxies and
    /// known senders may hold any number.
    pub(crate) async fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Admission> {
        let ip = subscriber(ip);
        let free = {
            let mut open = lock(&self.open);
            let slots = open.entry(ip).or_insert_with(|| Slots {
                free: Arc::new(Semaphore::new(CONNECTIONS_PER_ADDRESS)),
                users: 0,
            });
            slots.users += 1;
            Arc::clone(&slots.free)
        };
        let mut admission = Admission { addresses: Arc::clone(self), ip, slot: None };
        if self.is_stranger(ip) {
            let slot = timeout(ADMISSION_PATIENCE, free.acquire_owned()).await.ok()?;
            admission.slot = Some(slot.expect("the semaphore is never closed"));
        }
        Some(admission)
    }

    /// Notes a new connection that may have to leave when the listener is full; `None` for one that may stay.
    pub(crate) fn stay(&self, ip: IpAddr) -> Option<Stay> {
        let ip = subscriber(ip);
        self.is_stranger(ip).then(|| self.strangers.stay(ip))
    }

    /// Tells the oldest connection to leave whose peer is no trusted proxy and has not shown the secret; `false` if
    /// there is none.
    pub(crate) fn send_one_away(&self) -> bool {
        self.strangers.send_one_away(|ip| self.is_stranger(ip))
    }

    fn is_stranger(&self, ip: IpAddr) -> bool {
        !contains(&self.trusted_proxies, ip) && !lock(&self.senders).contains(&ip)
    }

    /// Remembers that the peer has shown the secret, and lets in all of it that waits.
    pub(crate) fn know_sender(&self, peer: IpAddr) {
        let peer = subscriber(peer);
        {
            let mut senders = lock(&self.senders);
            if senders.contains(&peer) {
                return;
            }
            if senders.len() == KNOWN_SENDERS {
                senders.remove(0);
            }
            senders.push(peer);
        }
        if let Some(slots) = lock(&self.open).get(&peer) {
            slots.free.add_permits(slots.users);
        }
    }

    /// Whether a request without the secret may be answered; it uses up part of the address's rate.
    pub(crate) fn may_ask(&self, ip: IpAddr) -> bool {
        self.rates.may(ip)
    }

    /// Whether pingbacks are taken from this caller. Who must be known is who is chosen.
    pub(crate) fn may_send(&self, caller: Option<IpAddr>) -> bool {
        self.allow_from.is_empty() || caller.is_some_and(|ip| contains(&self.allow_from, ip))
    }

    /// Who is calling: the peer, or, if that is a trusted proxy, the right-most address in
    /// `X-Forwarded-For` or `Forwarded` that is not one. `None` when a trusted proxy names
    /// something that is no address.
    pub(crate) fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let mut caller = peer.to_canonical();
        for hop in forwarded_for(headers).iter().rev() {
            if !contains(&self.trusted_proxies, caller) {
                return Some(caller);
            }
            caller = parse_hop(hop)?;
        }
        Some(caller)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = lock(&self.addresses.open);
        if let Some(slots) = open.get_mut(&self.ip) {
            slots.users -= 1;
            if slots.users == 0 {
                open.remove(&self.ip);
            }
        }
    }
}

/// The hops that the headers name, nearest last.
fn forwarded_for(headers: &HeaderMap) -> Vec<String> {
    let list = |name: &str| -> Vec<String> {
        let mut parts = Vec::new();
        for value in headers.get_all(name) {
            // A client may have put anything in front of what the proxy has added.
            let value = String::from_utf8_lossy(value.as_bytes());
            parts.extend(value.split(',').map(|part| part.trim().to_owned()));
        }
        parts
    };
    let hops = list("x-forwarded-for");
    if !hops.is_empty() {
        return hops;
    }
    // A proxy that does not say whom it speaks for hides who it is. Who stands before it says nothing of that.
    let for_of = |element: &String| {
        let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
        let mut names = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
        names.next().map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    list("forwarded").iter().map(for_of).collect()
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `"[2001:db8::1]:80"`
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim_matches('"');
    let ip = match hop.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0.parse().ok()?,
        None => match hop.parse() {
            Ok(ip) => ip,
            Err(_) => hop.rsplit_once(':')?.0.parse().ok()?,
        },
    };
    Some(IpAddr::to_canonical(&ip))
}

/// The address that stands for one subscriber: an IPv6 customer holds a whole /64.
fn subscriber(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn contains(nets: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    nets.iter().any(|net| net.contains(&ip))
}

/// Nothing panics while it holds one of these locks, so what is behind it is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn behind(proxies: &[&str]) -> Arc<Addresses> {
        let nets = proxies.iter().map(|net| net.parse().unwrap()).collect();
        Arc::new(Addresses::new(nets, Vec::new()))
    }

    fn caller(addresses: &Addresses, peer: &str, name: &'static str, value: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        addresses.caller(peer.parse().unwrap(), &headers).map(|ip| ip.to_string())
    }

    #[test]
    fn the_right_most_address_that_is_no_trusted_proxy_is_the_caller() {
        let addresses = behind(&["10.0.0.0/8"]);
        for (name, value) in [
            ("x-forwarded-for", "203.0.113.9, 10.0.0.2"),
            ("x-forwarded-for", "1.2.3.4, 203.0.113.9:4711"),
            ("forwarded", "for=1.2.3.4, For=\"203.0.113.9\";proto=https, for=10.1.1.1"),
        ] {
            assert_eq!(
                caller(&addresses, "10.0.0.1", name, value).as_deref(),
                Some("203.0.113.9"),
                "{value}"
            );
        }
        let six = caller(&addresses, "10.0.0.1", "forwarded", "for=\"[2001:db8::7]:80\"");
        assert_eq!(six.as_deref(), Some("2001:db8::7"));
    }

    #[test]
    fn what_a_client_puts_in_front_changes_nothing() {
        let addresses = behind(&["10.0.0.0/8"]);
        let found = |name: &str, value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value).unwrap(),
            );
            addresses.caller("10.0.0.1".parse().unwrap(), &headers).map(|ip| ip.to_string())
        };
        for forged in [b"\xff".as_slice(), b"\xc3\xa9", b"\t", b"1.2.3.4", b"\"", b";"] {
            let value = [forged, b", 203.0.113.9"].concat();
            assert_eq!(found("x-forwarded-for", &value).as_deref(), Some("203.0.113.9"), "{forged:?}");
            let value = [forged, b", for=203.0.113.9"].concat();
            assert_eq!(found("forwarded", &value).as_deref(), Some("203.0.113.9"), "{forged:?}");
        }
        // A proxy that says nothing of its client does not speak for whom the client names.
        assert_eq!(found("forwarded", b"for=1.2.3.4, proto=https"), None);
    }

    #[test]
    fn headers_of_a_stranger_are_not_believed() {
        let ip = caller(&behind(&["10.0.0.0/8"]), "198.51.100.4", "x-forwarded-for", "203.0.113.9");
        assert_eq!(ip.as_deref(), Some("198.51.100.4"));
    }

    #[test]
    fn a_hop_that_is_no_address_leaves_the_caller_unknown() {
        let addresses = behind(&["10.0.0.0/8"]);
        assert_eq!(caller(&addresses, "10.0.0.1", "x-forwarded-for", "unknown"), None);
        assert!(addresses.may_send(None), "nobody was chosen, so anybody may send");
        let chosen = Addresses::new(Vec::new(), vec!["192.0.2.0/24".parse().unwrap()]);
        assert!(!chosen.may_send(None));
    }

    #[tokio::test]
    async fn one_address_holds_so_many_connections_until_it_shows_the_secret() {
        let addresses = behind(&[]);
        let ip: IpAddr = "203.0.113.9".parse().unwrap();
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_PER_ADDRESS {
            held.push(addresses.admit(ip).await.expect("room"));
        }
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let addresses = Arc::clone(&addresses);
                tokio::spawn(async move { addresses.admit(ip).await })
            })
            .collect();
        while lock(&addresses.open)[&ip].users < CONNECTIONS_PER_ADDRESS + 2 {
            tokio::task::yield_now().await;
        }
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
        assert!(addresses.admit("203.0.113.10".parse().unwrap()).await.is_some());
        addresses.know_sender(ip);
        for waiting in waiting {
            held.push(waiting.await.unwrap().expect("let in"));
        }
        drop(held);
        assert!(lock(&addresses.open).is_empty());
    }

    #[test]
    fn strangers_are_slowed_and_a_whole_ipv6_subscriber_is_one() {
        let addresses = behind(&[]);
        let of = |host: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host));
        let answered = (0..1000).filter(|&host| addresses.may_ask(of(host))).count();
        assert!((200..300).contains(&answered), "{answered}");
    }
}
