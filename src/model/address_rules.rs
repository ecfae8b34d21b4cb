//! Which addresses callers may have us call. Whoever submits a task chooses a URL, and must not reach
//! with it what only this machine reaches (server-side request forgery).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use url::Host;

use super::CallerUrl;
use Reach::{Never, OnlyIfAllowed, Public};

/// The rules for outgoing calls: public addresses may be called, private and loopback ones where a
/// network of `webhooks.allow_private` contains them, all others never.
#[derive(Clone, Debug)]
pub struct AddressRules {
    allowed: Arc<[IpNet]>,
}

/// Why an address is not called. The text goes with "the receiver has".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForbiddenAddress {
    /// No setting allows it.
    #[error("a {0} address, which is never called")]
    Never(&'static str),
    /// A setting may allow it.
    #[error("a {0} address, which is called only where webhooks.allow_private names it")]
    NotAllowed(&'static str),
}

/// How far an address is from us.
#[derive(Clone, Copy)]
enum Reach {
    Public,
    OnlyIfAllowed(&'static str),
    Never(&'static str),
}

/// Where clouds tell a machine its secrets, outside the ranges that are never called: Alibaba, Azure;
/// AWS and Google by IPv6.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

impl AddressRules {
    /// Rules that let private and loopback addresses be called within these networks.
    #[must_use]
    pub fn new(allow_private: Vec<IpNet>) -> Self {
        Self { allowed: allow_private.into() }
    }

    /// Whether the host of a URL may be called as far as that is known without asking for its addresses:
    /// what is let pass here is judged again, by its addresses, whenever it is called.
    ///
    /// # Errors
    /// When the host is an address that is not called, or names this machine.
    pub fn judge_url(&self, url: &CallerUrl) -> Result<(), ForbiddenAddress> {
        match url.host() {
            Host::Ipv4(address) => self.judge(address.into()),
            Host::Ipv6(address) => self.judge(address.into()),
            Host::Domain(name) if is_localhost(name) => {
                self.judge(Ipv4Addr::LOCALHOST.into()).or_else(|_| self.judge(Ipv6Addr::LOCALHOST.into()))
            }
            Host::Domain(_) => Ok(()),
        }
    }

    /// Whether an address may be called. One that has another inside it, as tunnels and translations
    /// have, is judged by that one too.
    ///
    /// # Errors
    /// When it is not called.
    pub fn judge(&self, address: IpAddr) -> Result<(), ForbiddenAddress> {
        match address {
            IpAddr::V4(address) => self.apply(address.into(), reach_of_v4(address)),
            IpAddr::V6(address) => {
                if !is_disguise(address) {
                    self.apply(address.into(), reach_of_v6(address))?;
                }
                inside(address)
                    .into_iter()
                    .flatten()
                    .try_for_each(|inner| self.apply(inner.into(), reach_of_v4(inner)))
            }
        }
    }

    fn apply(&self, address: IpAddr, reach: Reach) -> Result<(), ForbiddenAddress> {
        match reach {
            _ if METADATA.contains(&address) => Err(ForbiddenAddress::Never("cloud metadata")),
            Public => Ok(()),
            OnlyIfAllowed(_) if self.allowed.iter().any(|network| network.contains(&address)) => Ok(()),
            OnlyIfAllowed(what) => Err(ForbiddenAddress::NotAllowed(what)),
            Never(what) => Err(ForbiddenAddress::Never(what)),
        }
    }
}

/// RFC 6761: these names mean loopback whatever a resolver says.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
}

/// The IANA registry of special-purpose IPv4 addresses.
fn reach_of_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [0, ..] => Never("unspecified"),
        [10, ..] | [192, 168, ..] => OnlyIfAllowed("private"),
        [172, second, ..] if second & 0xf0 == 16 => OnlyIfAllowed("private"),
        [100, second, ..] if second & 0xc0 == 64 => OnlyIfAllowed("shared (RFC 6598)"),
        [127, ..] => OnlyIfAllowed("loopback"),
        [169, 254, ..] => Never("link-local"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Never("documentation"),
        [192, 88, 99, _] => Never("6to4 relay"),
        [198, 18 | 19, ..] => Never("benchmarking"),
        [224..=239, ..] => Never("multicast"),
        [255, 255, 255, 255] => Never("broadcast"),
        [192, 0, 0, _] | [240..=255, ..] => Never("reserved"),
        _ => Public,
    }
}

/// The IANA registry of special-purpose IPv6 addresses. Only `2000::/3` is given out; what lies outside it
/// is not public.
fn reach_of_v6(address: Ipv6Addr) -> Reach {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Never("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => OnlyIfAllowed("loopback"),
        [first, ..] if first & 0xfe00 == 0xfc00 => OnlyIfAllowed("unique local"),
        [first, ..] if first & 0xffc0 == 0xfe80 => Never("link-local"),
        [first, ..] if first & 0xffc0 == 0xfec0 => Never("site-local"),
        [first, ..] if first & 0xff00 == 0xff00 => Never("multicast"),
        [0x2001, 0xdb8, ..] => Never("documentation"),
        [0x3fff, second, ..] if second & 0xf000 == 0 => Never("documentation"),
        [0x2001, second, ..] if second & 0xfe00 == 0 => Never("reserved"),
        [first, ..] if first & 0xe000 == 0x2000 => Public,
        _ => Never("reserved"),
    }
}

/// Whether the address means the one inside it, and nothing of its own.
fn is_disguise(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => false,
        // v4-compatible, v4-mapped (RFC 4291), v4-translated (RFC 2765)
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..]
        // NAT64 (RFC 6052), and the simplest form of its local use (RFC 8215). Where else in that range the
        // address lies is known only to the translator, so the rest of it counts as reserved.
        | [0x64, 0xff9b, 0 | 1, 0, 0, 0, ..]
        // Teredo (RFC 4380)
        | [0x2001, 0, ..] => true,
        _ => false,
    }
}

/// The addresses inside an address: where its packets go in the end.
fn inside(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let segments = address.segments();
    let v4 = |at: usize| Ipv4Addr::from((u32::from(segments[at]) << 16) | u32::from(segments[at + 1]));
    let first = match segments {
        // 6to4 (RFC 3056)
        [0x2002, ..] => Some(v4(1)),
        // The server of Teredo, in plain text.
        [0x2001, 0, ..] => Some(v4(2)),
        _ => None,
    };
    let last = match segments {
        // Its client, with every bit turned over.
        [0x2001, 0, ..] => Some(Ipv4Addr::from(!u32::from(v4(6)))),
        _ if is_disguise(address) || is_isatap(segments) => Some(v4(6)),
        _ => None,
    };
    [first, last]
}

/// RFC 5214: below any prefix, `0:5efe` and then the IPv4 address, whatever the two bits say that tell
/// universal and group addresses apart.
const fn is_isatap(segments: [u16; 8]) -> bool {
    segments[4] & 0xfcff == 0 && segments[5] == 0x5efe
}

#[cfg(test)]
mod tests;
