//! The pingback URLs of the account.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::lookup_host;
use tokio::time::timeout;
use url::{Host, Url};

/// The most URLs an account can have; more are refused.
const MAX_URLS: usize = 100;
/// The longest URL that is kept or called, in bytes.
const MAX_URL_BYTES: usize = 2048;
/// How long a host name may take to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which URLs get pingbacks once one is registered. Services of the provider's family differ in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// The registered URL itself, and no other.
    Exact,
    /// The registered URL and what lies below it.
    #[default]
    Below,
    /// Any URL on the registered host and port.
    Host,
}

impl Registration {
    /// Their names, which a user sets them by.
    pub const NAMES: [&str; 3] = ["exact", "below", "host"];
}

/// Text that names no [`Registration`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a registration is exact, below or host")]
pub struct InvalidRegistration;

impl FromStr for Registration {
    type Err = InvalidRegistration;

    fn from_str(text: &str) -> Result<Self, InvalidRegistration> {
        match text {
            "exact" => Ok(Self::Exact),
            "below" => Ok(Self::Below),
            "host" => Ok(Self::Host),
            _ => Err(InvalidRegistration),
        }
    }
}

/// A URL that pingbacks may go to, with or without a scheme.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// As it was given, which is how it is listed and deleted.
    text: String,
    url: Url,
    any_scheme: bool,
}

impl Address {
    /// Reads an HTTP URL, or one without a scheme, which then stands for both http and https.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_URL_BYTES {
            return None;
        }
        let any_scheme = !text.contains("://");
        let url = if any_scheme { Url::parse(&format!("http://{text}")) } else { Url::parse(text) }.ok()?;
        let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
        // A blank or a `|` would break the list that the URL stands in.
        let is_listable = !text.contains(|c: char| c == '|' || c.is_whitespace() || c.is_control());
        (is_http && is_listable).then(|| Self { text: text.to_owned(), url, any_scheme })
    }

    /// Where a pingback for this address goes: over http if no scheme was given.
    pub(super) fn into_url(self) -> Url {
        self.url
    }

    /// Whether `other` gets pingbacks where this URL is registered.
    fn covers(&self, other: &Self, registration: Registration) -> bool {
        let same_scheme = self.any_scheme || other.any_scheme || self.url.scheme() == other.url.scheme();
        let same_port = self.url.port() == other.url.port();
        if !same_scheme || self.url.host() != other.url.host() || !same_port {
            return false;
        }
        let (mine, theirs) = (self.url.path(), other.url.path());
        let is_same = mine == theirs && self.url.query() == other.url.query();
        match registration {
            Registration::Host => true,
            Registration::Exact => is_same,
            Registration::Below if self.url.query().is_some() => is_same,
            Registration::Below => {
                let folder = mine.strip_suffix('/').unwrap_or(mine);
                mine == theirs || theirs.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
            }
        }
    }

    /// Whether the host of the URL is, or resolves to, the address of the caller.
    pub(super) async fn points_to(&self, caller: IpAddr) -> bool {
        let name = match self.url.host() {
            Some(Host::Ipv4(address)) => return IpAddr::from(address) == caller,
            Some(Host::Ipv6(address)) => return address.to_canonical() == caller,
            Some(Host::Domain(name)) => name,
            None => return false,
        };
        let port = self.url.port_or_known_default().unwrap_or(80);
        match timeout(RESOLVE_TIMEOUT, lookup_host((name, port))).await {
            Ok(Ok(mut found)) => found.any(|address| address.ip().to_canonical() == caller),
            _ => false,
        }
    }
}

/// The URLs that were added, in that order.
#[derive(Debug, Default)]
pub(super) struct Registry(Vec<Address>);

impl Registry {
    /// Adds an address, once; `false` when there are too many.
    pub(super) fn add(&mut self, address: Address) -> bool {
        if self.0.iter().any(|known| known.text == address.text) {
            return true;
        }
        if self.0.len() >= MAX_URLS {
            return false;
        }
        self.0.push(address);
        true
    }

    /// Deletes the address that was added in these words, or all of them for `all`.
    pub(super) fn delete(&mut self, text: &str) {
        self.0.retain(|known| text != "all" && known.text != text);
    }

    /// The addresses as they were added.
    pub(super) fn list(&self) -> Vec<String> {
        self.0.iter().map(|known| known.text.clone()).collect()
    }

    /// Where a pingback to `text` goes; `None` unless a registered URL covers it.
    pub(super) fn target(&self, text: &str, registration: Registration) -> Option<Url> {
        let address = Address::parse(text)?;
        let is_registered = self.0.iter().any(|known| known.covers(&address, registration));
        is_registered.then(|| address.into_url())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers_as(known: &str, asked: &str, registration: Registration) -> bool {
        Address::parse(known).unwrap().covers(&Address::parse(asked).unwrap(), registration)
    }

    fn covers(known: &str, asked: &str) -> bool {
        covers_as(known, asked, Registration::Below)
    }

    #[test]
    fn a_url_covers_itself_and_what_lies_below() {
        for (known, asked) in [
            ("http://a.example/p", "http://a.example/p"),
            ("http://a.example/p", "http://a.example/p/token"),
            ("http://a.example/p/", "http://a.example/p/token?x=1"),
            ("http://a.example", "http://a.example/any"),
            ("a.example/p", "https://a.example/p"),
            ("123.123.123.123/p/", "http://123.123.123.123:80/p/"),
            ("http://a.example/p?x=1", "http://a.example/p?x=1"),
        ] {
            assert!(covers(known, asked), "{known} {asked}");
        }
        for (known, asked) in [
            ("http://a.example/p", "http://a.example/pq"),
            ("http://a.example/p", "http://a.example/"),
            ("http://a.example/p", "https://a.example/p"),
            ("http://a.example/p", "http://b.example/p"),
            ("http://a.example/p", "http://a.example:81/p"),
            ("http://a.example/p?x=1", "http://a.example/p?x=2"),
        ] {
            assert!(!covers(known, asked), "{known} {asked}");
        }
    }

    #[test]
    fn an_exact_registration_covers_the_url_alone_and_a_host_all_of_its_urls() {
        const KNOWN: &str = "http://a.example:81/p";
        for (asked, exact, host) in [
            (KNOWN, true, true),
            ("a.example:81/p", true, true),
            ("http://a.example:81/p/token", false, true),
            ("http://a.example:81/p?x=1", false, true),
            ("http://a.example:81/q", false, true),
            ("http://a.example/p", false, false),
            ("http://b.example:81/p", false, false),
        ] {
            assert_eq!(covers_as(KNOWN, asked, Registration::Exact), exact, "{asked}");
            assert_eq!(covers_as(KNOWN, asked, Registration::Host), host, "{asked}");
        }
    }

    #[test]
    fn a_registration_has_the_same_name_as_text_and_in_json() {
        for name in Registration::NAMES {
            let registration: Registration = name.parse().unwrap();
            assert_eq!(serde_json::to_value(registration).unwrap(), name);
        }
        assert_eq!("Exact".parse::<Registration>(), Err(InvalidRegistration));
    }

    #[test]
    fn what_is_no_http_url_is_no_address() {
        for text in ["", "ftp://a.example/", "http://", "a b", "http://a.example/|", "http://["] {
            assert!(Address::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn all_deletes_every_url() {
        let mut registry = Registry::default();
        for text in ["http://a.example/", "b.example", "http://a.example/"] {
            assert!(registry.add(Address::parse(text).unwrap()));
        }
        assert_eq!(registry.list(), ["http://a.example/", "b.example"]);
        registry.delete("b.example");
        assert_eq!(registry.list(), ["http://a.example/"]);
        registry.delete("all");
        assert!(registry.list().is_empty());
    }

    #[tokio::test]
    async fn only_the_address_in_the_url_points_to_the_caller() {
        let address = Address::parse("http://127.0.0.1:9/p").unwrap();
        assert!(address.points_to(IpAddr::from([127, 0, 0, 1])).await);
        assert!(!address.points_to(IpAddr::from([127, 0, 0, 2])).await);
        assert!(Address::parse("http://localhost/").unwrap().points_to(IpAddr::from([127, 0, 0, 1])).await);
    }
}
