//! One call by the public URL, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use url::{Host, Url};

use super::failure::{Failure, Names, explain};
use super::key::CheckKey;
use crate::provider::PingbackUrl;

/// How long a call may take in all.
const DEADLINE: Duration = Duration::from_secs(10);
/// How much of a reply is read. An answer of ours has 64 bytes.
const MAX_REPLY_BYTES: usize = 1024;

/// Where the public URL leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// To this service.
    Reached,
    /// To something else.
    Elsewhere,
    /// To something that does not pass the request on.
    NotPassed,
    /// Nowhere, as seen from here.
    Unreachable,
    /// Nowhere, for whoever calls: name, certificate or encryption is wrong.
    Faulty,
}

impl Place {
    /// Its word in the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Elsewhere => "elsewhere",
            Self::NotPassed => "not_passed",
            Self::Unreachable => "unreachable",
            Self::Faulty => "faulty",
        }
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) place: Place,
    /// One sentence on it, without the secret.
    pub(crate) detail: String,
}

/// Calls the service as the provider does.
pub(super) struct Visitor {
    http: Client,
    key: CheckKey,
}

impl Visitor {
    /// A client that trusts whom the client of the provider trusts, goes through the same proxies, keeps no
    /// connection, and follows no redirect.
    pub(super) fn new(key: CheckKey, base_url: Option<&Url>) -> Result<Self, reqwest::Error> {
        let mut builder = Client::builder()
            .connect_timeout(DEADLINE)
            .timeout(DEADLINE)
            .pool_max_idle_per_host(0)
            .redirect(Policy::none())
            .referer(false)
            .dns_resolver(Arc::new(Names))
            .user_agent(concat!("pingbox/", env!("CARGO_PKG_VERSION"), " (self-check)"));
        // No proxy knows better how to get there.
        if base_url.is_some_and(is_loopback) {
            builder = builder.no_proxy();
        }
        Ok(Self { http: builder.build()?, key })
    }

    /// Where the URL leads at this moment.
    pub(super) async fn visit(&self, url: &PingbackUrl) -> Finding {
        let question = match self.key.question() {
            Ok(question) => question,
            Err(error) => {
                let why = format!("it was not called, the system gives no randomness: {error}");
                return nowhere(Failure::Fault(why));
            }
        };
        let request = self.http.get(format!("{}?{}", url.expose(), question.query));
        // The URL holds the secret.
        let mut response = match request.send().await.map_err(reqwest::Error::without_url) {
            Ok(response) => response,
            Err(error) => return nowhere(explain(&error, DEADLINE.as_secs())),
        };
        if response.status() != StatusCode::OK {
            return judge(response.status(), response.headers());
        }
        match read_a_little(&mut response).await {
            Ok(body) if question.is_answered_by(&body) => {
                Finding { place: Place::Reached, detail: "it leads to this service".to_owned() }
            }
            Ok(_) => judge(StatusCode::OK, response.headers()),
            Err(error) => nowhere(explain(&error.without_url(), DEADLINE.as_secs())),
        }
    }
}

/// The beginning of what a reply says.
async fn read_a_little(response: &mut Response) -> Result<String, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() <= MAX_REPLY_BYTES
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(MAX_REPLY_BYTES);
    Ok(String::from_utf8_lossy(&body).trim().to_owned())
}

/// What a reply means that is not ours.
fn judge(status: StatusCode, headers: &HeaderMap) -> Finding {
    let number = status.as_u16();
    let (place, detail) = match number {
        404 => (
            Place::NotPassed,
            "something answers with 404: a proxy that does not pass /pingback/ on, or another server"
                .to_owned(),
        ),
        503 => (
            Place::NotPassed,
            "something answers with 503: a proxy that does not reach the public listener, or a pingbox that does not \
             know the secret yet"
                .to_owned(),
        ),
        // From 520 on: those of Cloudflare, which mean the same.
        502 | 504 | 520..=530 => (
            Place::NotPassed,
            format!("a proxy answers with {number}: it does not reach the public listener"),
        ),
        300..=399 => (Place::Elsewhere, format!("it answers with a redirect ({number}){}", to(headers))),
        401 | 403 => (
            Place::Elsewhere,
            format!("something answers with {number}: a login or a firewall in front, or another server"),
        ),
        _ => (Place::Elsewhere, format!("something else answers, with {number}")),
    };
    Finding { place, detail }
}

/// Where a redirect leads, as far as it can be told: what follows the host may hold the secret.
fn to(headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
    let Some(location) = location else { return String::new() };
    match Url::parse(location) {
        Ok(url) if url.has_host() => format!(", to {}", url.origin().ascii_serialization()),
        _ if location.starts_with('/') && !location.starts_with("//") => ", to another path there".to_owned(),
        _ => String::new(),
    }
}

fn nowhere(failure: Failure) -> Finding {
    match failure {
        Failure::Silence(why) => {
            let detail = format!(
                "{why}; this is as seen from this machine, and some networks do not lead back to themselves (NAT without hairpin)"
            );
            Finding { place: Place::Unreachable, detail }
        }
        Failure::Fault(detail) => Finding { place: Place::Faulty, detail },
    }
}

/// Whether the URL is of this machine alone.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Place and words for a reply with this status, and perhaps a `Location`.
    fn judged(status: u16, location: Option<&str>) -> String {
        let headers = location.map(|location| (LOCATION, location.parse().unwrap())).into_iter().collect();
        let Finding { place, detail } = judge(StatusCode::from_u16(status).unwrap(), &headers);
        format!("{}: {detail}\n", place.as_str())
    }

    #[test]
    fn every_reply_that_is_not_ours_is_explained() {
        let replies = [200, 204, 302, 400, 401, 403, 404, 429, 500, 502, 503, 504, 522];
        let all: String = replies.into_iter().map(|status| judged(status, None)).collect();
        insta::assert_snapshot!(all, @r"
        elsewhere: something else answers, with 200
        elsewhere: something else answers, with 204
        elsewhere: it answers with a redirect (302)
        elsewhere: something else answers, with 400
        elsewhere: something answers with 401: a login or a firewall in front, or another server
        elsewhere: something answers with 403: a login or a firewall in front, or another server
        not_passed: something answers with 404: a proxy that does not pass /pingback/ on, or another server
        elsewhere: something else answers, with 429
        elsewhere: something else answers, with 500
        not_passed: a proxy answers with 502: it does not reach the public listener
        not_passed: something answers with 503: a proxy that does not reach the public listener, or a pingbox that does not know the secret yet
        not_passed: a proxy answers with 504: it does not reach the public listener
        not_passed: a proxy answers with 522: it does not reach the public listener
        ");
    }

    #[test]
    fn a_redirect_is_told_without_what_may_be_secret() {
        let locations = [
            "https://www.a.example/pingback/s3cret?check=1",
            "https://login:s3cret@a.example:8443/#s3cret",
            "/pingback/s3cret/",
            "//a.example/s3cret",
            "data:s3cret",
        ];
        let all: String = locations.map(|location| judged(301, Some(location))).concat();
        assert!(!all.contains("s3cret"), "{all}");
        insta::assert_snapshot!(all, @r"
        elsewhere: it answers with a redirect (301), to https://www.a.example
        elsewhere: it answers with a redirect (301), to https://a.example:8443
        elsewhere: it answers with a redirect (301), to another path there
        elsewhere: it answers with a redirect (301)
        elsewhere: it answers with a redirect (301)
        ");
    }
}
