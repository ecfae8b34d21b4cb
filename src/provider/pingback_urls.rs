//! The URLs that the provider POSTs answers to: the one in use, one that is to replace it, and those
//! that stay valid until their tasks are done.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use serde_json::{Value, json};
use tokio::sync::Notify;
use url::Url;

use crate::model::{Secret, Timestamp};

/// A URL that the provider POSTs answers to. It holds the secret: it prints without it.
#[derive(Clone)]
pub(crate) struct PingbackUrl {
    base: Url,
    secret: Secret,
    /// Of one task, in `per_task` mode.
    token: Option<Secret>,
}

impl PingbackUrl {
    pub(crate) fn new(base: Url, secret: Secret) -> Self {
        Self { base, secret, token: None }
    }

    /// The URL of one task, below this one.
    pub(crate) fn of_task(self, token: Secret) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The whole URL, for the provider only.
    pub(crate) fn expose(&self) -> String {
        let below = self.token.as_ref().map(|token| format!("/{}", token.expose())).unwrap_or_default();
        format!("{}{below}", self.with_segment(self.secret.expose()))
    }

    /// Whether this is how the URL is listed, with or without its scheme.
    pub(crate) fn is_listed_as(&self, listed: &str) -> bool {
        is_same_url(listed, &self.expose())
    }

    fn with_segment(&self, segment: &str) -> String {
        format!("{}/pingback/{segment}", self.base.as_str().trim_end_matches('/'))
    }
}

impl fmt::Display for PingbackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_segment("***"))
    }
}

/// Providers list URLs with or without their scheme and last slash.
pub(crate) fn is_same_url(one: &str, other: &str) -> bool {
    fn bare(url: &str) -> &str {
        let url = url.trim().trim_end_matches('/');
        url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or(url)
    }
    bare(one) == bare(other)
}

/// The secrets of our URLs.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    /// Tasks are sent with this one.
    pub(crate) current: Secret,
    /// Takes its place as soon as the provider knows it.
    pub(crate) next: Option<Secret>,
    /// Tasks that were sent with these may not be done.
    pub(crate) retired: Vec<Retired>,
}

/// A secret that no new task is sent with.
#[derive(Clone, Debug)]
pub(crate) struct Retired {
    pub(crate) secret: Secret,
    pub(crate) since: Timestamp,
}

impl Secrets {
    /// The most secrets that are retired at a time.
    pub(crate) const MAX_RETIRED: usize = 4;

    pub(crate) fn new(current: Secret) -> Self {
        Self { current, next: None, retired: Vec::new() }
    }

    /// `secret` takes the place of the current one, which stays valid.
    pub(crate) fn rotate(&mut self, secret: Secret, now: Timestamp) {
        let secret = std::mem::replace(&mut self.current, secret);
        self.retired.push(Retired { secret, since: now });
    }

    /// Whether it is to replace the current one, or was replaced.
    pub(crate) fn knows(&self, secret: &Secret) -> bool {
        self.next
            .iter()
            .chain(self.retired.iter().map(|old| &old.secret))
            .any(|known| known.matches(secret.expose()))
    }

    /// As it is remembered.
    pub(crate) fn to_json(&self) -> String {
        let retired = self.retired.iter();
        let retired: Vec<_> =
            retired.map(|old| json!([old.secret.expose(), old.since.as_micros()])).collect();
        let next = self.next.as_ref().map(Secret::expose);
        json!({ "current": self.current.expose(), "next": next, "retired": retired }).to_string()
    }

    /// What was remembered; `None` if it is damaged.
    pub(crate) fn from_json(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let retired = value["retired"].as_array()?.iter().map(|old| {
            let since = Timestamp::from_micros(old[1].as_i64()?);
            Some(Retired { secret: Secret::new(old[0].as_str()?), since })
        });
        Some(Self {
            current: Secret::new(value["current"].as_str()?),
            next: value["next"].as_str().map(Secret::new),
            retired: retired.collect::<Option<_>>()?,
        })
    }
}

/// All our URLs, as everybody who needs them shares them.
pub(crate) struct PingbackUrls {
    base: Option<Url>,
    secrets: RwLock<Secrets>,
    /// Told when there is a URL to register.
    pub(crate) wanted: Notify,
}

impl PingbackUrls {
    /// URLs below `base`; without one the provider cannot reach us.
    pub(crate) fn new(base: Option<Url>, secrets: Secrets) -> Self {
        Self { base, secrets: RwLock::new(secrets), wanted: Notify::new() }
    }

    /// Whether a sender that shows this segment knows one of our URLs. Takes as long for every guess.
    pub(crate) fn accept(&self, guess: &str) -> bool {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let retired = secrets.retired.iter().map(|old| &old.secret);
        let all = [&secrets.current].into_iter().chain(&secrets.next).chain(retired);
        all.fold(false, |found, secret| secret.matches(guess) | found)
    }

    /// The secrets as they stand.
    pub(crate) fn secrets(&self) -> Secrets {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts others in their place, which are on disk by now.
    pub(crate) fn replace(&self, secrets: Secrets) {
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets;
    }

    /// The URL with this secret.
    pub(crate) fn with(&self, secret: Secret) -> Option<PingbackUrl> {
        self.base.clone().map(|base| PingbackUrl::new(base, secret))
    }

    /// The URL that tasks are sent with; `None` when there is no public URL.
    pub(crate) fn current(&self) -> Option<PingbackUrl> {
        self.with(self.secrets().current)
    }

    /// Every URL of ours, the current one first.
    pub(crate) fn all(&self) -> Vec<PingbackUrl> {
        let Secrets { current, next, retired } = self.secrets();
        let secrets = [current].into_iter().chain(next).chain(retired.into_iter().map(|old| old.secret));
        secrets.filter_map(|secret| self.with(secret)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(secret: &str) -> PingbackUrl {
        PingbackUrl::new("https://a.example/x/".parse().unwrap(), Secret::new(secret))
    }

    #[test]
    fn a_url_prints_without_its_secrets() {
        let url = url("s3cret").of_task(Secret::new("t0ken"));
        assert_eq!(url.to_string(), "https://a.example/x/pingback/***");
        assert_eq!(url.expose(), "https://a.example/x/pingback/s3cret/t0ken");
    }

    #[test]
    fn a_url_is_found_in_the_list_with_or_without_its_scheme() {
        for listed in [
            "https://a.example/x/pingback/s3cret",
            "a.example/x/pingback/s3cret",
            "http://a.example/x/pingback/s3cret/",
        ] {
            assert!(url("s3cret").is_listed_as(listed), "{listed}");
        }
        for other in ["", "https://a.example/x/pingback/S3cret", "https://b.example/x/pingback/s3cret"] {
            assert!(!url("s3cret").is_listed_as(other), "{other}");
        }
    }

    #[test]
    fn every_secret_is_accepted_until_it_is_dropped() {
        let mut secrets = Secrets::new(Secret::new("one"));
        secrets.rotate(Secret::new("two"), Timestamp::from_micros(7));
        secrets.next = Some(Secret::new("three"));
        let secrets = Secrets::from_json(&secrets.to_json()).unwrap();
        let urls = PingbackUrls::new("https://a.example".parse().ok(), secrets.clone());
        for (guess, accepted) in [("one", true), ("two", true), ("three", true), ("four", false), ("", false)]
        {
            assert_eq!(urls.accept(guess), accepted, "{guess}");
        }
        assert_eq!(urls.current().unwrap().expose(), "https://a.example/pingback/two");
        urls.replace(Secrets::new(secrets.current));
        assert!(!urls.accept("one") && urls.accept("two"));
    }
}
