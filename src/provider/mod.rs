//! The way to the provider: `in.php` and `res.php`.

mod pingback_urls;
mod reply;

use std::time::Duration;

use base64::Engine as _;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder};
use url::Url;

pub(crate) use pingback_urls::{PingbackUrl, PingbackUrls, Secrets, is_same_url};
pub(crate) use reply::{Reply, Shape};

use crate::model::{Captcha, Cause, Secret, Signal, image_extension};

/// How long a connection may take. Past it nothing was sent.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How long a request may take in all. Past it nobody knows whether it was taken.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// How long a connection is kept for the next request: shorter than servers keep theirs, because a
/// request that meets a closing connection leaves its task unconfirmed.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// The largest reply that is read.
const MAX_REPLY_BYTES: usize = 1024 * 1024;

/// Where the provider is, and who we are to it.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) base_url: Url,
    pub(crate) key: Secret,
    pub(crate) soft_id: Option<u32>,
}

/// A client of the provider for one account.
#[derive(Clone, Debug)]
pub(crate) struct Provider {
    http: Client,
    credentials: Credentials,
}

/// A request to `res.php`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) action: &'a str,
    pub(crate) params: &'a [(&'a str, &'a str)],
    pub(crate) shape: Shape,
}

/// Why the provider gave no reply that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    /// The request cannot have arrived.
    #[error("could not connect to the provider")]
    NotConnected(#[source] reqwest::Error),
    /// It may have arrived.
    #[error("no reply from the provider")]
    NoReply(#[source] reqwest::Error),
    /// What came is longer than any reply.
    #[error("the provider's reply is too long")]
    TooLong,
}

/// What came of a request, as far as it concerns the requests after it.
pub(crate) fn signal(result: &Result<Reply, ProviderError>) -> Signal {
    match result {
        Ok(Reply::Ok { .. }) => Signal::Welcome,
        Ok(Reply::Error(code)) => Signal::of(code),
        Ok(Reply::Garbage) => Signal::Trouble(Cause::Garbage),
        Err(ProviderError::NotConnected(_)) => Signal::Trouble(Cause::NoConnection),
        Ok(Reply::Cut) | Err(_) => Signal::Trouble(Cause::NoReply),
    }
}

impl Provider {
    /// A client for the account.
    pub(crate) fn new(credentials: Credentials) -> Result<Self, reqwest::Error> {
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(REQUEST_DEADLINE)
            .pool_idle_timeout(KEEP_ALIVE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("pingbox/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&credentials.base_url) {
            builder = builder.no_proxy();
        }
        Ok(Self { http: builder.build()?, credentials })
    }

    /// Sends a captcha to `in.php`, in the encoding that its method asks for.
    pub(crate) async fn submit(
        &self,
        captcha: Captcha,
        pingback: Option<&PingbackUrl>,
    ) -> Result<Reply, ProviderError> {
        let mut params = vec![
            ("key".to_owned(), self.credentials.key.expose().to_owned()),
            ("json".to_owned(), "1".to_owned()),
        ];
        params.extend(pingback.map(|url| ("pingback".to_owned(), url.expose())));
        let as_text = captcha.param("method") == Some("base64");
        // The operator's own stands over that of a caller's SDK.
        let soft_id = self.credentials.soft_id.map(|id| ("soft_id".to_owned(), id.to_string()));
        params.extend(captcha.params.into_iter().filter(|(name, _)| soft_id.is_none() || name != "soft_id"));
        params.extend(soft_id);
        let request = self.http.post(self.endpoint("in.php"));
        let request = if captcha.files.is_empty() {
            request.form(&params)
        } else if as_text {
            let base64 = base64::engine::general_purpose::STANDARD;
            params.extend(captcha.files.into_iter().map(|file| (file.field, base64.encode(&file.content))));
            request.form(&params)
        } else {
            let form = params.into_iter().fold(Form::new(), |form, (name, value)| form.text(name, value));
            let form = captcha.files.into_iter().fold(form, |form, file| {
                let name = format!("{}.{}", file.field, image_extension(&file.content));
                form.part(file.field, Part::stream(file.content).file_name(name))
            });
            request.multipart(form)
        };
        exchange(request, Shape::Value).await
    }

    /// Asks `res.php` for one of its actions.
    pub(crate) async fn ask(&self, question: &Question<'_>) -> Result<Reply, ProviderError> {
        let fixed = [("key", self.credentials.key.expose()), ("action", question.action), ("json", "1")];
        let request = self.http.get(self.endpoint("res.php")).query(&fixed).query(question.params);
        exchange(request, question.shape).await
    }

    /// SHA-256 of the key: what is remembered belongs to the account that it names.
    pub(crate) fn key_digest(&self) -> [u8; 32] {
        self.credentials.key.digest()
    }

    fn endpoint(&self, script: &str) -> String {
        format!("{}/{script}", self.credentials.base_url.as_str().trim_end_matches('/'))
    }
}

/// Sends a request; what comes back.
async fn exchange(request: RequestBuilder, shape: Shape) -> Result<Reply, ProviderError> {
    // The URL of a `res.php` request holds the key.
    let failed = |error: reqwest::Error| match error.without_url() {
        error if error.is_connect() || error.is_builder() => ProviderError::NotConnected(error),
        error => ProviderError::NoReply(error),
    };
    let mut response = request.send().await.map_err(failed)?;
    let is_page = !response.status().is_success();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_REPLY_BYTES {
            return Err(ProviderError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    let body = String::from_utf8_lossy(&body);
    // A web server's own words, such as `error code: 502`, are no bare reply, and neither is its silence.
    Ok(match Reply::parse(&body, if is_page { Shape::Value } else { shape }) {
        Reply::Cut if is_page => Reply::Garbage,
        reply => reply,
    })
}

/// An error with its causes, on one line.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
