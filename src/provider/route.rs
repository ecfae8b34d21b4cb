//! How the provider's host is reached, and that it is not ourselves.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;
use url::{Host, Url};

use super::own::OwnListeners;

/// The way to the provider's host. Were it to lead to ourselves, each task would be submitted to us again,
/// for ever: such an address is never connected to, whenever it turns up.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// As the URL has it.
    host: String,
    port: u16,
    directions: Directions,
    own: OwnListeners,
}

/// Where the address of the host is from.
#[derive(Clone, Debug)]
enum Directions {
    /// It stands in the URL.
    Literal(IpAddr),
    /// `provider.resolve`
    Fixed(IpAddr),
    /// The system's resolver: the hosts file, DNS.
    System,
    /// A test, which may change its mind.
    #[cfg(test)]
    Told(std::sync::Arc<std::sync::Mutex<IpAddr>>),
}

/// Why there is no way to the provider.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RouteError {
    /// It leads to one of our own listeners.
    #[error("{0} is where pingbox itself listens")]
    Own(SocketAddr),
    /// The host has no known address.
    #[error("could not look up the provider's host")]
    Unknown(#[source] std::io::Error),
}

impl Route {
    /// The way to the host of `base_url`. What `resolve` says of other hosts has no effect.
    pub(crate) fn new(base_url: &Url, resolve: &BTreeMap<String, IpAddr>, own: OwnListeners) -> Self {
        let host = base_url.host_str().unwrap_or_default();
        let directions = match base_url.host() {
            Some(Host::Ipv4(ip)) => Directions::Literal(ip.into()),
            Some(Host::Ipv6(ip)) => Directions::Literal(ip.into()),
            Some(Host::Domain(_)) | None => resolve
                .get(host.trim_end_matches('.'))
                .map_or(Directions::System, |ip| Directions::Fixed(*ip)),
        };
        let port = base_url.port_or_known_default().unwrap_or_default();
        Self { host: host.to_owned(), port, directions, own }
    }

    /// One whose address is what `told` says at the moment.
    #[cfg(test)]
    pub(crate) fn told(
        base_url: &Url,
        told: std::sync::Arc<std::sync::Mutex<IpAddr>>,
        own: OwnListeners,
    ) -> Self {
        Self { directions: Directions::Told(told), ..Self::new(base_url, &BTreeMap::new(), own) }
    }

    /// The addresses of the host, as they are at this moment.
    ///
    /// # Errors
    /// When there are none, or one of them is our own: which of several is called is left to chance.
    pub(crate) async fn addresses(&self) -> Result<Vec<SocketAddr>, RouteError> {
        let address = |ip: &IpAddr| vec![SocketAddr::new(*ip, self.port)];
        let found = match &self.directions {
            Directions::Literal(ip) | Directions::Fixed(ip) => address(ip),
            Directions::System => {
                lookup_host((&*self.host, self.port)).await.map_err(RouteError::Unknown)?.collect()
            }
            #[cfg(test)]
            Directions::Told(told) => {
                address(&told.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
            }
        };
        match found.iter().find(|address| self.own.take(**address)) {
            Some(own) => Err(RouteError::Own(*own)),
            None => Ok(found),
        }
    }

    /// Whether the URL itself names an address of ours, which no resolver is asked about.
    pub(super) fn is_literally_ours(&self) -> bool {
        match self.directions {
            Directions::Literal(ip) => self.own.take(SocketAddr::new(ip, self.port)),
            _ => false,
        }
    }

    /// Whether no proxy can know better how to get there: the address is one of this machine.
    pub(super) fn is_loopback(&self) -> bool {
        match self.directions {
            Directions::Literal(ip) | Directions::Fixed(ip) => ip.is_loopback(),
            Directions::System => self.host == "localhost",
            #[cfg(test)]
            Directions::Told(_) => true,
        }
    }

    /// What an operator can do when it leads back to us.
    pub(crate) fn remedy(&self) -> String {
        let host = &self.host;
        match &self.directions {
            Directions::Fixed(ip) => {
                format!("provider.resolve says that {host} is {ip}: set it to the provider's own IP address")
            }
            // No hosts file is to blame.
            directions if host == "localhost" || matches!(directions, Directions::Literal(_)) => {
                "set provider.base_url to the provider's own address".to_owned()
            }
            _ => format!(
                "set provider.resolve = {{ \"{host}\" = \"<its IP>\" }}, or remove {host} from the hosts file"
            ),
        }
    }
}

impl Resolve for Route {
    fn resolve(&self, name: Name) -> Resolving {
        let route = self.clone();
        Box::pin(async move {
            let addresses: Addrs = if name.as_str().eq_ignore_ascii_case(&route.host) {
                Box::new(route.addresses().await?.into_iter())
            } else {
                // A proxy. The port in its URL counts.
                let found: Vec<_> = lookup_host((name.as_str(), 0)).await?.collect();
                Box::new(found.into_iter())
            };
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;
    use crate::provider::{Credentials, LoopMark, Provider, ProviderError, Question, Shape, leads_to_us};

    const OWN: &str = "127.0.0.1:8081";

    fn route(base_url: &str, resolve: &[(&str, &str)]) -> Route {
        let resolve = resolve.iter().map(|(host, ip)| ((*host).to_owned(), ip.parse().unwrap())).collect();
        Route::new(&base_url.parse().unwrap(), &resolve, OwnListeners::new([OWN.parse().unwrap()]))
    }

    async fn addresses(base_url: &str, resolve: &[(&str, &str)]) -> Result<Vec<String>, RouteError> {
        let found = route(base_url, resolve).addresses().await?;
        Ok(found.iter().map(SocketAddr::to_string).collect())
    }

    #[tokio::test]
    async fn a_fixed_address_takes_the_port_of_the_url() {
        let resolve = [("a.example", "192.0.2.1"), ("b.example", "2001:db8::1"), ("c.example", "192.0.2.3")];
        for (base_url, expected) in [
            ("https://a.example", "192.0.2.1:443"),
            ("http://A.example./x", "192.0.2.1:80"),
            ("https://b.example:8443", "[2001:db8::1]:8443"),
            ("http://192.0.2.9", "192.0.2.9:80"),
        ] {
            assert_eq!(addresses(base_url, &resolve).await.unwrap(), [expected], "{base_url}");
        }
    }

    #[tokio::test]
    async fn an_address_of_ours_is_refused_wherever_it_is_from() {
        let resolve = [("a.example", "127.0.0.1")];
        for base_url in ["http://127.0.0.1:8081", "http://localhost:8081/x", "http://a.example:8081"] {
            let refused = addresses(base_url, &resolve).await;
            assert!(
                matches!(refused, Err(RouteError::Own(own)) if own == OWN.parse().unwrap()),
                "{refused:?}"
            );
        }
        for base_url in ["http://127.0.0.1:8082", "http://localhost:8082/x", "http://a.example"] {
            assert!(addresses(base_url, &resolve).await.is_ok(), "{base_url}");
        }
    }

    #[tokio::test]
    async fn the_client_asks_it_and_hears_of_its_refusal() {
        let own = route("http://a.example:8081", &[("a.example", "127.0.0.1")]);
        let client = || {
            drop(rustls::crypto::ring::default_provider().install_default());
            reqwest::Client::builder().no_proxy().dns_resolver(own.clone()).build().unwrap()
        };
        let error = client().get("http://a.example:8081").send().await.unwrap_err();
        assert!(leads_to_us(&error), "{error:?}");
        // Any other name is that of a proxy; this one does not exist.
        let error = client().get("http://b.invalid:8081").send().await.unwrap_err();
        assert!(error.is_connect() && !leads_to_us(&error), "{error:?}");
    }

    #[tokio::test]
    async fn an_address_of_ours_in_the_url_is_refused_without_a_resolver() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let own = OwnListeners::new([listener.local_addr().unwrap()]);
        let route = Route::new(&base_url, &BTreeMap::new(), own);
        let credentials = Credentials { base_url, key: Secret::new("key"), soft_id: None };
        let provider = Provider::new(credentials, route, LoopMark::new(&Secret::new("00ff"))).unwrap();
        let question = Question { action: "getbalance", params: &[], shape: Shape::Bare };
        tokio::select! {
            refused = provider.ask(&question) => {
                assert!(matches!(refused, Err(ProviderError::OwnAddress)), "{refused:?}");
            }
            _ = listener.accept() => panic!("it is called"),
        }
    }

    #[test]
    fn the_remedy_names_what_leads_astray() {
        let remedies = [
            route("https://api.solvecaptcha.com", &[]),
            route("https://a.example", &[("a.example", "127.0.0.1")]),
            route("http://127.0.0.1:8081", &[]),
            route("http://localhost:8081", &[]),
        ];
        insta::assert_snapshot!(remedies.map(|route| route.remedy()).join("\n"), @r#"
        set provider.resolve = { "api.solvecaptcha.com" = "<its IP>" }, or remove api.solvecaptcha.com from the hosts file
        provider.resolve says that a.example is 127.0.0.1: set it to the provider's own IP address
        set provider.base_url to the provider's own address
        set provider.base_url to the provider's own address
        "#);
    }
}
