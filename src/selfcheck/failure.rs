//! Why there was no reply, in words that hold nothing of the URL but its host.

use std::error::Error;
use std::io;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::CertificateError;
use tokio::net::lookup_host;

/// The system's resolver, whose failures can be told from others.
pub(super) struct Names;

/// A name has no address that the system knows.
#[derive(Debug, thiserror::Error)]
#[error("there is no address for {name}")]
struct NoAddress {
    name: String,
    #[source]
    cause: io::Error,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let name = name.as_str();
            let found = lookup_host((name, 0)).await;
            let found = found.map_err(|cause| NoAddress { name: name.to_owned(), cause })?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

/// What kept a request from being replied to, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody replied. Somebody may to who calls from elsewhere.
    Silence(String),
    /// From wherever one calls, it is the same.
    Fault(String),
}

/// What kept a request from being replied to.
pub(super) fn explain(error: &reqwest::Error, seconds: u64) -> Failure {
    let causes = || std::iter::successors(Some(error as &dyn Error), |error| cause(*error));
    if let Some(error) = causes().find_map(|cause| cause.downcast_ref::<NoAddress>()) {
        return Failure::Fault(format!("its name is not found: {error}"));
    }
    match causes().find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => return Failure::Fault(distrust(why)),
        Some(why) => {
            let why = format!("no encrypted connection comes about ({why}): is it TLS that listens there?");
            return Failure::Fault(why);
        }
        None => {}
    }
    if error.is_timeout() {
        return Failure::Silence(format!("it timed out: there was no reply within {seconds} s"));
    }
    let is = |kind| {
        causes().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|error| error.kind() == kind)
    };
    if is(io::ErrorKind::ConnectionRefused) {
        let why = "the connection was refused: nothing listens there, or a firewall turns it away";
        return Failure::Silence(why.to_owned());
    }
    let has_no_way = is(io::ErrorKind::HostUnreachable) || is(io::ErrorKind::NetworkUnreachable);
    let what = if error.is_connect() { "no connection comes about" } else { "the reply broke off" };
    let why = match causes().skip(1).last() {
        Some(cause) => format!("{what}: {cause}"),
        None => what.to_owned(),
    };
    if has_no_way { Failure::Silence(why) } else { Failure::Fault(why) }
}

/// What an I/O error holds is not its source, but its source's source is.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(held) => Some(held),
        None => error.source(),
    }
}

fn distrust(why: &CertificateError) -> String {
    let why = match why {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for other names".to_owned()
        }
        CertificateError::UnknownIssuer => "it comes from no CA that this machine trusts".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        why => why.to_string(),
    };
    format!("its certificate is not accepted: {why}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// How a request to this URL fails.
    async fn failure(url: &str) -> Failure {
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(500));
        let client = client.dns_resolver(std::sync::Arc::new(Names)).build().unwrap();
        explain(&client.get(url).send().await.unwrap_err().without_url(), 10)
    }

    #[tokio::test]
    async fn each_kind_of_failure_has_its_words() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = listener.local_addr().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let hasty = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let breaking_off = hasty.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = hasty.accept().await {
                // The other side may have gone before.
                drop(stream.write_all(b"HTTP/1.1 2").await);
            }
        });
        for (url, words) in [
            (format!("http://127.0.0.1:{port}/"), "the connection was refused"),
            (format!("http://{silent}/"), "it timed out"),
        ] {
            let found = failure(&url).await;
            assert!(matches!(&found, Failure::Silence(why) if why.starts_with(words)), "{url}: {found:?}");
        }
        for (url, words) in [
            (format!("http://{breaking_off}/"), "the reply broke off"),
            (format!("https://{breaking_off}/"), "no encrypted connection comes about"),
            (
                "http://nobody.invalid/".to_owned(),
                "its name is not found: there is no address for nobody.invalid",
            ),
        ] {
            let found = failure(&url).await;
            assert!(matches!(&found, Failure::Fault(why) if why.starts_with(words)), "{url}: {found:?}");
        }
    }
}
