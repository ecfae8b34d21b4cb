//! Registration of our pingback URL: the provider sends answers only to URLs it knows.

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::reply::Reply;
use super::{PingbackUrl, Provider, ProviderError, explain};
use crate::model::{ErrorCode, Remedy};

/// First pause after a failed try; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Pause after a refusal, and the longest after a provider that cannot be reached. Every try is
/// two requests to `res.php`, which are rationed.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How far the registration of our URL has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Registration {
    /// Not tried yet.
    Pending,
    /// Nobody wants it: no public URL, or `pingback.register` is off.
    Off,
    /// The provider knows our URL.
    Done,
    /// The provider refuses our URL.
    Refused(ErrorCode),
    /// The provider cannot be asked, for this reason.
    Unreachable(String),
}

impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("pending"),
            Self::Off => f.write_str("off"),
            Self::Done => f.write_str("registered"),
            Self::Refused(code) => write!(f, "refused: {code}: {}", remedy(code)),
            Self::Unreachable(reason) => write!(f, "unreachable: {reason}"),
        }
    }
}

/// Keeps trying until our URL is registered.
pub(crate) struct Registrar {
    provider: Provider,
    url: PingbackUrl,
    state: watch::Sender<Registration>,
}

impl Registrar {
    pub(crate) fn new(provider: Provider, url: PingbackUrl, state: watch::Sender<Registration>) -> Self {
        Self { provider, url, state }
    }

    /// Tries until it succeeds or `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(outcome) = shutdown.run_until_cancelled(self.register()).await else { return };
            self.log(&outcome);
            let is_refusal = matches!(outcome, Registration::Refused(_));
            // With a wrong key every further request makes it worse.
            let is_over = match &outcome {
                Registration::Done => true,
                Registration::Refused(code) => code.remedy() == Remedy::Operator,
                _ => false,
            };
            self.state.send_replace(outcome);
            if is_over {
                return;
            }
            pause = if is_refusal { LONGEST_PAUSE } else { pause };
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One try: adds our URL unless it is there. URLs that others added are left alone.
    async fn register(&self) -> Registration {
        let url = self.url.expose();
        let step = async {
            match self.provider.ask("get_pingback", &[]).await? {
                Reply::Ok(list) if list.split('|').any(|known| is_same_url(known, &url)) => {
                    return Ok(Registration::Done);
                }
                Reply::Error(code) if code.remedy() == Remedy::Operator => {
                    return Ok(Registration::Refused(code));
                }
                _ => {}
            }
            let reply = self.provider.ask("add_pingback", &[("addr", &url)]).await?;
            Ok::<_, ProviderError>(match reply {
                Reply::Ok(_) => Registration::Done,
                Reply::Error(code) => Registration::Refused(code),
                Reply::Cut | Reply::Garbage => Registration::Unreachable(
                    "the provider answered with something that is no reply".to_owned(),
                ),
            })
        };
        step.await.unwrap_or_else(|error| Registration::Unreachable(explain(&error)))
    }

    fn log(&self, outcome: &Registration) {
        let url = &self.url;
        match outcome {
            Registration::Done => info!(%url, "The pingback URL is registered: {url}"),
            Registration::Refused(code) => {
                let remedy = remedy(code);
                error!(%url, code = code.as_str(), "The provider refuses the pingback URL {url} with {code}: {remedy}");
            }
            other => warn!(%url, "Could not register the pingback URL {url}: {other}"),
        }
    }
}

/// What to do about a refusal.
fn remedy(code: &ErrorCode) -> &'static str {
    match code.as_str() {
        "ERROR_IP_ADDRES" => {
            "the request must come from the address that public.url points to: run pingbox behind that \
             address, or add the URL once from there"
        }
        _ => code.message(),
    }
}

/// Providers list URLs with or without their scheme and last slash.
fn is_same_url(one: &str, other: &str) -> bool {
    fn bare(url: &str) -> &str {
        let url = url.trim().trim_end_matches('/');
        url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or(url)
    }
    bare(one) == bare(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_found_in_the_list_with_or_without_its_scheme() {
        let ours = "https://a.example/pingback/s3cret";
        for listed in [ours, "a.example/pingback/s3cret", "http://a.example/pingback/s3cret/"] {
            assert!(is_same_url(listed, ours), "{listed}");
        }
        for other in ["", "https://a.example/pingback/S3cret", "https://b.example/pingback/s3cret"] {
            assert!(!is_same_url(other, ours), "{other}");
        }
    }
}
