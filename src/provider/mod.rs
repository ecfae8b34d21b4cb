//! The way to the provider: `in.php` and `res.php`.

mod clock;
mod mark;
mod own;
mod pingback_urls;
mod reply;
mod route;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder, StatusCode};
use url::Url;

pub(crate) use clock::ClockOffset;
pub(crate) use mark::LoopMark;
pub(crate) use own::OwnListeners;
pub(crate) use pingback_urls::{PingbackUrl, PingbackUrls, Secrets, is_same_url};
pub(crate) use reply::{Reply, Shape};
pub(crate) use route::{Route, RouteError};

use self::clock::ClockWatch;
use crate::model::{Captcha, Cause, Secret, Signal, Timestamp, image_extension};

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
    route: Route,
    mark: LoopMark,
    clock: Arc<ClockWatch>,
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
    /// Nothing was sent: the provider's address is our own.
    #[error("the provider's address is one that pingbox itself listens on")]
    OwnAddress,
    /// It came back to us: what took it was not the provider.
    #[error("the request came back to pingbox itself")]
    CameBack,
    /// It may have arrived.
    #[error("no reply from the provider")]
    NoReply(#[source] reqwest::Error),
    /// What came is longer than any reply.
    #[error("the provider's reply is too long")]
    TooLong,
}

impl ProviderError {
    /// Whether the provider certainly did not get the request.
    pub(crate) const fn is_unsent(&self) -> bool {
        matches!(self, Self::NotConnected(_) | Self::OwnAddress | Self::CameBack)
    }
}

/// What came of a request, as far as it concerns the requests after it.
pub(crate) fn signal(result: &Result<Reply, ProviderError>) -> Signal {
    match result {
        Ok(Reply::Ok { .. }) => Signal::Welcome,
        Ok(Reply::Error(code)) => Signal::of(code),
        Ok(Reply::Garbage) => Signal::Trouble(Cause::Garbage),
        Err(ProviderError::NotConnected(_)) => Signal::Trouble(Cause::NoConnection),
        Err(ProviderError::OwnAddress) => Signal::Trouble(Cause::OwnAddress),
        Err(ProviderError::CameBack) => Signal::Trouble(Cause::Loop),
        Ok(Reply::Cut) | Err(_) => Signal::Trouble(Cause::NoReply),
    }
}

impl Provider {
    /// A client for the account, which goes this way and marks what it sends.
    pub(crate) fn new(
        credentials: Credentials,
        route: Route,
        mark: LoopMark,
    ) -> Result<Self, reqwest::Error> {
        let marked = HeaderMap::from_iter([(HeaderName::from_static(LoopMark::HEADER), mark.value())]);
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(REQUEST_DEADLINE)
            .pool_idle_timeout(KEEP_ALIVE)
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(marked)
            .dns_resolver(route.clone())
            .user_agent(concat!("pingbox/", env!("CARGO_PKG_VERSION")));
        if route.is_loopback() {
            builder = builder.no_proxy();
        }
        Ok(Self { http: builder.build()?, credentials, route, mark, clock: Arc::default() })
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
        self.exchange(request, Shape::Value).await
    }

    /// Asks `res.php` for one of its actions.
    pub(crate) async fn ask(&self, question: &Question<'_>) -> Result<Reply, ProviderError> {
        let fixed = [("key", self.credentials.key.expose()), ("action", question.action), ("json", "1")];
        let request = self.http.get(self.endpoint("res.php")).query(&fixed).query(question.params);
        self.exchange(request, question.shape).await
    }

    /// Sends a request; what comes back.
    async fn exchange(&self, request: RequestBuilder, shape: Shape) -> Result<Reply, ProviderError> {
        if self.route.is_literally_ours() {
            return Err(ProviderError::OwnAddress);
        }
        // The URL of a `res.php` request holds the key.
        let failed = |error: reqwest::Error| match error.without_url() {
            error if leads_to_us(&error) => ProviderError::OwnAddress,
            error if error.is_connect() || error.is_builder() => ProviderError::NotConnected(error),
            error => ProviderError::NoReply(error),
        };
        let sent_at = Timestamp::by_system();
        let mut response = request.send().await.map_err(failed)?;
        // The status alone may be a web server's own word.
        if response.status() == StatusCode::LOOP_DETECTED && self.mark.is_ours(response.headers()) {
            return Err(ProviderError::CameBack);
        }
        self.clock.note(response.headers(), sent_at, Timestamp::by_system());
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

    /// What its requests carry.
    pub(crate) const fn mark(&self) -> &LoopMark {
        &self.mark
    }

    /// How far our clock is from its own, as its last reply told; `None` when none did.
    pub(crate) fn clock(&self) -> Option<ClockOffset> {
        self.clock.last()
    }

    /// How its host is reached.
    pub(crate) const fn route(&self) -> &Route {
        &self.route
    }

    /// SHA-256 of the key: what is remembered belongs to the account that it names.
    pub(crate) fn key_digest(&self) -> [u8; 32] {
        self.credentials.key.digest()
    }

    fn endpoint(&self, script: &str) -> String {
        format!("{}/{script}", self.credentials.base_url.as_str().trim_end_matches('/'))
    }
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

/// Whether a request was not sent because the provider's host led to ourselves.
fn leads_to_us(error: &reqwest::Error) -> bool {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.filter_map(|cause| cause.downcast_ref()).any(|cause| matches!(cause, RouteError::Own(_)))
}
