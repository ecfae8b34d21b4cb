//! The way to the provider: `in.php` and `res.php`.

mod registration;
mod reply;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder};
use url::Url;

pub(crate) use registration::{Registrar, Registration};

use self::reply::Reply;
use crate::model::{Captcha, ErrorCode, Remedy, Secret, Sent, WAIT_AFTER_GARBAGE, image_extension};

/// How long a connection may take. Past it nothing was sent.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How long a request may take in all. Past it nobody knows whether it was taken.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// How long a connection is kept for the next request: shorter than servers keep theirs, because a
/// request that meets a closing connection leaves its task unconfirmed.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// The largest reply that is read.
const MAX_REPLY_BYTES: usize = 1024 * 1024;
/// Pause after a connection that could not be made, so that a provider that is down is not hammered.
const WAIT_AFTER_NO_CONNECTION: Duration = Duration::from_secs(1);

/// Where the provider is, and who we are to it.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) base_url: Url,
    pub(crate) key: Secret,
    pub(crate) soft_id: Option<u32>,
}

/// The URL that the provider POSTs answers to. It holds the secret: it prints without it.
#[derive(Clone)]
pub(crate) struct PingbackUrl {
    base: Url,
    secret: Secret,
}

impl PingbackUrl {
    pub(crate) fn new(base: Url, secret: Secret) -> Self {
        Self { base, secret }
    }

    fn with_segment(&self, segment: &str) -> String {
        format!("{}/pingback/{segment}", self.base.as_str().trim_end_matches('/'))
    }

    /// The whole URL, for the provider only.
    pub(crate) fn expose(&self) -> String {
        self.with_segment(self.secret.expose())
    }
}

impl fmt::Display for PingbackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_segment("***"))
    }
}

/// A client of the provider for one account.
#[derive(Clone, Debug)]
pub(crate) struct Provider {
    http: Client,
    account: Account,
}

/// What a reply of `in.php` asks of everything else that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Go on.
    Nothing,
    /// Send nothing for this long.
    Pause(Duration),
    /// Send nothing until an operator has acted.
    Stop(ErrorCode),
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

impl Provider {
    /// A client for the account.
    pub(crate) fn new(account: Account) -> Result<Self, reqwest::Error> {
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(REQUEST_DEADLINE)
            .pool_idle_timeout(KEEP_ALIVE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("pingbox/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&account.base_url) {
            builder = builder.no_proxy();
        }
        Ok(Self { http: builder.build()?, account })
    }

    /// Sends a captcha to `in.php`, in the encoding that its method asks for.
    pub(crate) async fn submit(&self, captcha: Captcha, pingback: Option<&PingbackUrl>) -> (Sent, Demand) {
        let mut params = vec![
            ("key".to_owned(), self.account.key.expose().to_owned()),
            ("json".to_owned(), "1".to_owned()),
        ];
        params.extend(self.account.soft_id.map(|id| ("soft_id".to_owned(), id.to_string())));
        params.extend(pingback.map(|url| ("pingback".to_owned(), url.expose())));
        let as_text = captcha.param("method") == Some("base64");
        params.extend(captcha.params);
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
        what_became_of(exchange(request).await)
    }

    /// Asks `res.php` for one of its actions.
    async fn ask(&self, action: &str, params: &[(&str, &str)]) -> Result<Reply, ProviderError> {
        let fixed = [("key", self.account.key.expose()), ("action", action), ("json", "1")];
        let request = self.http.get(self.endpoint("res.php")).query(&fixed).query(params);
        exchange(request).await.map(|body| Reply::parse(&body))
    }

    fn endpoint(&self, script: &str) -> String {
        format!("{}/{script}", self.account.base_url.as_str().trim_end_matches('/'))
    }
}

/// Sends a request; the body of whatever comes back.
async fn exchange(request: RequestBuilder) -> Result<String, ProviderError> {
    // The URL of a `res.php` request holds the key.
    let failed = |error: reqwest::Error| match error.without_url() {
        error if error.is_connect() || error.is_builder() => ProviderError::NotConnected(error),
        error => ProviderError::NoReply(error),
    };
    let mut response = request.send().await.map_err(failed)?;
    let is_page = response.status().is_server_error() || response.status().is_redirection();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_REPLY_BYTES {
            return Err(ProviderError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    if is_page && body.is_empty() {
        body.extend_from_slice(b"<empty error page>");
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// What a reply of `in.php`, or the want of one, means for the task and for the others.
fn what_became_of(reply: Result<String, ProviderError>) -> (Sent, Demand) {
    let unanswered = |reason: &str| (Sent::Unanswered { reason: reason.to_owned() }, Demand::Nothing);
    let body = match reply {
        Ok(body) => body,
        Err(error @ ProviderError::NotConnected(_)) => {
            return postponed(WAIT_AFTER_NO_CONNECTION, explain(&error));
        }
        Err(error) => return unanswered(&explain(&error)),
    };
    match Reply::parse(&body) {
        Reply::Ok(id) => match id.parse() {
            Ok(captcha_id) => (Sent::Accepted(captcha_id), Demand::Nothing),
            Err(_) => unanswered("the provider's reply holds no captcha ID"),
        },
        Reply::Error(code) => refused(code),
        Reply::Cut => unanswered("the provider's reply was cut off"),
        Reply::Garbage => {
            postponed(WAIT_AFTER_GARBAGE, "the provider answered with something that is no reply".to_owned())
        }
    }
}

fn refused(code: ErrorCode) -> (Sent, Demand) {
    let reason = format!("{code}: {}", code.message());
    match code.remedy() {
        Remedy::FailTask => (Sent::Refused(code), Demand::Nothing),
        Remedy::Wait(wait) => postponed(wait, reason),
        Remedy::Operator => (Sent::Postponed { wait: WAIT_AFTER_GARBAGE, reason }, Demand::Stop(code)),
        Remedy::Nothing => postponed(WAIT_AFTER_GARBAGE, reason),
    }
}

fn postponed(wait: Duration, reason: String) -> (Sent, Demand) {
    (Sent::Postponed { wait, reason }, Demand::Pause(wait))
}

/// An error with its causes, on one line.
fn explain(error: &dyn std::error::Error) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn replied(body: &str) -> Sent {
        what_became_of(Ok(body.to_owned())).0
    }

    #[test]
    fn only_a_clear_yes_is_a_yes() {
        assert_eq!(replied("OK|2122988149"), Sent::Accepted("2122988149".parse().unwrap()));
        for unclear in ["OK|", "OK|abc", "", "{\"status\":1,"] {
            assert!(matches!(replied(unclear), Sent::Unanswered { .. }), "{unclear:?}");
        }
    }

    #[test]
    fn a_refusal_fails_the_task_or_postpones_it_by_its_code() {
        assert_eq!(replied("ERROR_PAGEURL"), Sent::Refused(ErrorCode::known("ERROR_PAGEURL")));
        assert_eq!(replied("ERROR_NEVER_SEEN"), Sent::Refused(ErrorCode::known("ERROR_NEVER_SEEN")));
        for (code, secs) in [("ERROR_NO_SLOT_AVAILABLE", 5), ("ERROR: 1002", 300), ("<html>", 5)] {
            let Sent::Postponed { wait, .. } = replied(code) else { panic!("{code} should postpone") };
            assert_eq!(wait.as_secs(), secs, "{code}");
        }
    }

    #[test]
    fn a_wrong_key_stops_everything() {
        let (sent, demand) = what_became_of(Ok("ERROR_WRONG_USER_KEY".to_owned()));
        assert!(matches!(sent, Sent::Postponed { .. }));
        assert_eq!(demand, Demand::Stop(ErrorCode::known("ERROR_WRONG_USER_KEY")));
    }

    #[test]
    fn the_pingback_url_prints_without_its_secret() {
        let url = PingbackUrl::new("https://a.example/x/".parse().unwrap(), Secret::new("s3cret"));
        assert_eq!(url.to_string(), "https://a.example/x/pingback/***");
        assert_eq!(url.expose(), "https://a.example/x/pingback/s3cret");
    }
}
