//! TLS of the two listeners, as the settings have it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::bail;
use tracing::info;
use url::{Host, Url};

use crate::config::{Config, Tls};
use crate::http::Handshake;
use crate::model::Timestamp;
use crate::tls::{self, CaCertificate, Endpoint, Source};

/// What this machine calls itself.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The listeners' certificates; `None` where there is no TLS.
pub(super) struct Endpoints {
    public: Option<Arc<Endpoint>>,
    api: Option<Arc<Endpoint>>,
}

impl Endpoints {
    /// Reads or makes them.
    pub(super) async fn open(config: &Config, now: Timestamp) -> anyhow::Result<Self> {
        let mut opened = Vec::new();
        for (section, source) in sources(config) {
            opened.push(match source {
                Some(source) => Some(Endpoint::open(section, source, now).await?),
                None => None,
            });
        }
        if let Some(ca) = opened.iter().flatten().find_map(|endpoint| endpoint.ca()) {
            let (path, sha256) = (ca.path.display(), ca.fingerprint());
            info!(%path, sha256, "Clients have to trust our own CA: it is in {path}, and `pingbox tls ca` prints it");
        }
        let api = opened.pop().flatten();
        Ok(Self { public: opened.pop().flatten(), api })
    }

    pub(super) fn public(&self) -> Option<Handshake> {
        self.public.as_ref().map(|endpoint| Handshake::new(endpoint.server_config()))
    }

    pub(super) fn api(&self) -> Option<Handshake> {
        self.api.as_ref().map(|endpoint| Handshake::new(endpoint.server_config()))
    }

    /// Those that there are.
    pub(super) fn into_vec(self) -> Vec<Arc<Endpoint>> {
        [self.public, self.api].into_iter().flatten().collect()
    }
}

/// The certificate of our own CA, which is made when there is none.
pub(crate) fn ca_certificate(config: &Config, now: Timestamp) -> anyhow::Result<CaCertificate> {
    Ok(tls::ca_certificate(&config.data.dir, now)?)
}

/// Looks at the files that the configuration names, and makes nothing; what is legal but unwise.
///
/// # Errors
/// With all that is wrong.
pub(crate) fn check_files(config: &Config, now: Timestamp) -> anyhow::Result<Vec<String>> {
    let (mut problems, mut warnings) = (String::new(), Vec::new());
    for (section, source) in sources(config) {
        match source.map(|source| source.check(section, now)).transpose() {
            Ok(advice) => warnings.extend(advice.flatten()),
            Err(problem) => problems = format!("{problems}\n  {problem}"),
        }
    }
    if !problems.is_empty() {
        bail!("the configuration names files that cannot be used:{problems}");
    }
    Ok(warnings)
}

/// Where each listener's certificate comes from, by section.
fn sources(config: &Config) -> [(&'static str, Option<Source>); 2] {
    let (public, api) = (&config.public, &config.api);
    let source = |tls: &Tls, listen: SocketAddr, other: Option<String>| match tls {
        Tls::Off => None,
        Tls::Files { cert, key } => Some(Source::Files { cert: cert.clone(), key: key.clone() }),
        Tls::SelfSigned { names } => {
            let names = all_names(names, listen.ip(), other);
            Some(Source::OwnCa { data_dir: config.data.dir.clone(), names })
        }
    };
    let url_host = public.url.as_ref().and_then(Url::host).map(|host| match host {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => ip.to_string(),
    });
    [
        ("public", source(&public.tls, public.listen, url_host)),
        ("api", source(&api.tls, api.listen, machine_name(&api.tls, api.listen.ip()))),
    ]
}

/// The names `given`, those that every machine has for itself, the address of the listener unless it
/// is all of them, and the `other` one.
fn all_names(given: &[String], listen: IpAddr, other: Option<String>) -> Vec<String> {
    let listen = listen.to_canonical();
    let own = OWN_NAMES.iter().map(|&name| name.to_owned());
    let listen = (!listen.is_unspecified()).then(|| listen.to_string());
    let mut names: Vec<String> = Vec::new();
    for name in given.iter().cloned().chain(own).chain(listen).chain(other) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What others in the network call this machine: of use to callers when nobody has said what they
/// call it. The internet is not told.
fn machine_name(tls: &Tls, listen: IpAddr) -> Option<String> {
    let Tls::SelfSigned { names } = tls else { return None };
    let is_named = names.iter().any(|name| !OWN_NAMES.contains(&name.as_str()));
    if is_named || listen.is_loopback() {
        return None;
    }
    let name = rustix::system::uname().nodename().to_str().ok()?.to_lowercase();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    (!name.is_empty() && name.bytes().all(is_plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_the_names_given_and_for_this_machine() {
        let names = |listen: &str, other: Option<&str>| {
            let given = ["api.solvecaptcha.com".to_owned(), "127.0.0.1".to_owned()];
            all_names(&given, listen.parse().unwrap(), other.map(str::to_owned))
        };
        let own = ["api.solvecaptcha.com", "127.0.0.1", "localhost", "::1"];
        assert_eq!(names("0.0.0.0", None), own);
        assert_eq!(names("::", None), own);
        assert_eq!(names("127.0.0.1", Some("localhost")), own);
        assert_eq!(names("192.0.2.7", Some("a.example"))[4..], ["192.0.2.7", "a.example"]);
    }

    #[test]
    fn the_machine_is_named_only_where_nobody_has_said_otherwise() {
        let tls =
            |names: &[&str]| Tls::SelfSigned { names: names.iter().map(|&name| name.to_owned()).collect() };
        let (any, loopback) = ("0.0.0.0".parse().unwrap(), "127.0.0.1".parse().unwrap());
        assert_eq!(machine_name(&tls(&["a.example"]), any), None);
        assert_eq!(machine_name(&tls(&OWN_NAMES), loopback), None);
        assert!(machine_name(&tls(&OWN_NAMES), any).is_some());
    }
}
