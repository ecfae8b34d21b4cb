//! What must fit together, and what is legal but unwise.

use std::net::SocketAddr;
use std::time::Duration;

use url::{Host, Url};

use super::reader::Reader;
use super::sections::{Auth, Config, DatabaseUrl, Provider, Tls};

/// Below this spacing the provider answers `MAX_USER_TURN` and blocks for ten seconds.
const WISE_INTERVAL: Duration = Duration::from_millis(50);

/// Checks the settings against each other.
pub(super) fn across(config: &Config, reader: &mut Reader) {
    if !config.sandbox {
        reader.require(
            "provider.api_key",
            "needed to submit tasks: copy the key of 32 characters from your account settings \
             page at the provider, and give it in the environment as PINGBOX_PROVIDER__API_KEY, \
             in a file named by PINGBOX_PROVIDER__API_KEY_FILE, or as `api_key` below [provider] \
             in the configuration file; or try `pingbox serve --sandbox`, which needs none",
        );
    }
    if config.database.listen_url.is_some() && matches!(config.database.url, DatabaseUrl::Sqlite(_)) {
        let text = "is of use only with PostgreSQL: set database.url to a postgres:// URL, or remove this";
        reader.complain("database.listen_url", text);
    }
    let both_sound = reader.is_sound("public.listen") && reader.is_sound("api.listen");
    if both_sound && collide(config.public.listen, config.api.listen) {
        let text = format!(
            "must differ from public.listen, which is {}: the internet must not reach the API",
            config.public.listen
        );
        reader.complain("api.listen", text);
    }
}

/// Whether two listeners ask for the same port. Port 0 is a free one each time.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_host = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    same_host && one.port() == other.port() && one.port() != 0
}

impl Config {
    /// What is legal but probably not meant, one sentence each. The sandbox is never reached from
    /// outside, so only the API is looked at then.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.sandbox {
            warnings.extend(url_warning(self.public.url.as_ref()));
            warnings.extend(self.provider.idle_addresses());
            let interval = self.provider.submit_interval;
            if interval < WISE_INTERVAL {
                warnings.push(format!(
                    "provider.submit_interval is {} ms: under {} ms the provider may block for ten seconds",
                    interval.as_millis(),
                    WISE_INTERVAL.as_millis(),
                ));
            }
            if self.public.url.is_some() && matches!(self.public.tls, Tls::SelfSigned { .. }) {
                warnings.push(
                    "public.tls is self_signed: the provider trusts no CA of ours, so public.url must lead to a \
                     proxy with a certificate that it trusts"
                        .to_owned(),
                );
            }
        }
        let listen = self.api.listen;
        if self.api.auth == Auth::None && !listen.ip().is_loopback() {
            warnings.push(format!(
                "api.auth is none and the API listens on {listen}: whoever reaches it may spend your money"
            ));
        }
        warnings
    }
}

impl Provider {
    /// What is said of addresses that are never used.
    fn idle_addresses(&self) -> impl Iterator<Item = String> {
        let used = self.base_url.host_str().unwrap_or_default().trim_end_matches('.');
        let idle = self.resolve.keys().filter(move |host| *host != used);
        idle.map(move |host| {
            format!(
                "provider.resolve names {host}, but the host of provider.base_url is {used}: it has no effect"
            )
        })
    }
}

fn url_warning(url: Option<&Url>) -> Option<String> {
    let Some(url) = url else {
        return Some(
            "public.url is not set, so no pingback can arrive: pingbox runs in polling mode and asks res.php for \
             every answer"
                .to_owned(),
        );
    };
    if is_loopback(url) {
        return Some(format!(
            "public.url is {url}, which only this machine can reach: no pingbacks will arrive"
        ));
    }
    (url.scheme() == "http").then(|| {
        format!("public.url is {url}: over http anyone on the way can read answers and send false ones")
    })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
