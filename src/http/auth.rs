//! Who may call the API, and what they may do.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, REFERER};
use axum::http::request::Parts;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use super::AppState;
use super::error::ApiError;
use crate::model::TokenId;

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scopes {
    pub(crate) submit: bool,
    pub(crate) read: bool,
    /// Sees and does everything.
    pub(crate) admin: bool,
}

impl Scopes {
    pub(crate) const ADMIN: Self = Self { submit: true, read: true, admin: true };

    /// Reads `submit,read`; `admin` includes the others, unknown words nothing.
    pub(crate) fn parse(text: &str) -> Self {
        let has = |scope: &str| text.split(',').any(|word| word.trim() == scope);
        let admin = has("admin");
        Self { submit: admin || has("submit"), read: admin || has("read"), admin }
    }
}

/// Somebody who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) token: TokenId,
    pub(crate) scopes: Scopes,
}

/// Whom the api listener lets in. That may change while it runs.
#[derive(Debug)]
pub(crate) struct Access {
    rule: RwLock<Rule>,
    /// Told of every change.
    changed: Notify,
}

/// Whom the api listener lets in at a time.
#[derive(Clone, Debug)]
pub(crate) enum Rule {
    /// Whoever reaches the listener is admin, but for web pages of other sites: a browser on this
    /// machine would carry their requests here.
    Open {
        /// It is open only because it is on loopback, where it is called by address, as `localhost`, or
        /// by one of these names. Another name is one that a web page has pointed here.
        loopback: Option<Vec<String>>,
    },
    /// Whoever shows one of these tokens. They are known by their SHA-256 only, so that a look-up
    /// tells nothing of a token by the time it takes.
    Tokens(Tokens),
}

/// Who shows what, by its SHA-256.
pub(crate) type Tokens = HashMap<[u8; 32], Identity>;

impl Access {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { rule: RwLock::new(rule), changed: Notify::new() }
    }

    /// From here on whoever shows one of these, and nobody else.
    pub(crate) fn require(&self, tokens: Tokens) {
        *self.rule.write().unwrap_or_else(PoisonError::into_inner) = Rule::Tokens(tokens);
        self.changed.notify_waiters();
    }

    /// Waits until somebody who was let in would not be any more, or not as far.
    pub(super) async fn withdrawn(&self, identity: Identity) {
        loop {
            // Before the look: a change after it is told.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Rule::Tokens(tokens) = &*self.rule()
                && !tokens.values().any(|known| *known == identity)
            {
                return;
            }
            changed.await;
        }
    }

    fn rule(&self) -> RwLockReadGuard<'_, Rule> {
        // Nothing panics while it is held.
        self.rule.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn identify(&self, headers: &HeaderMap) -> Result<Identity, ApiError> {
        self.identify_by(headers, bearer(headers))
    }

    /// Who calls with this `key`, where a key is a parameter of the request.
    pub(super) fn identify_by_key(&self, headers: &HeaderMap, key: &str) -> Result<Identity, ApiError> {
        self.identify_by(headers, Some(key))
    }

    fn identify_by(&self, headers: &HeaderMap, token: Option<&str>) -> Result<Identity, ApiError> {
        match &*self.rule() {
            Rule::Open { .. } if is_from_another_site(headers) => Err(ApiError::Forbidden(
                "requests of web pages from elsewhere are refused while no token is needed: set api.token",
            )),
            Rule::Open { loopback: Some(names) } if !is_called_locally(headers, names) => {
                Err(ApiError::Forbidden(
                    "while no token is needed, call this listener as localhost or by its address: or set api.token",
                ))
            }
            Rule::Open { .. } => Ok(Identity { token: TokenId::LOCAL, scopes: Scopes::ADMIN }),
            Rule::Tokens(tokens) => {
                let token = token.ok_or(ApiError::Unauthorized)?;
                let digest: [u8; 32] = Sha256::digest(token).into();
                tokens.get(&digest).copied().ok_or(ApiError::Unauthorized)
            }
        }
    }
}

impl Identity {
    /// Whose tasks the caller sees; `None` is everybody's.
    pub(super) fn sees(&self) -> Option<TokenId> {
        (!self.scopes.admin).then_some(self.token)
    }
}

/// A caller that may do what `S` names.
pub(super) struct Caller<S> {
    identity: Identity,
    scope: PhantomData<S>,
}

/// May submit and cancel.
pub(super) struct Submit;
/// May read.
pub(super) struct Read;

/// May do everything.
pub(super) struct Admin;

/// A scope that a [`Caller`] can be held to.
pub(super) trait Scope {
    const REFUSAL: &str;
    fn is_in(scopes: Scopes) -> bool;
}

impl Scope for Submit {
    const REFUSAL: &str = "the token lacks the scope submit";

    fn is_in(scopes: Scopes) -> bool {
        scopes.submit
    }
}

impl Scope for Read {
    const REFUSAL: &str = "the token lacks the scope read";

    fn is_in(scopes: Scopes) -> bool {
        scopes.read
    }
}

impl Scope for Admin {
    const REFUSAL: &str = "the token lacks the scope admin";

    fn is_in(scopes: Scopes) -> bool {
        scopes.admin
    }
}

impl<S> Caller<S> {
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Whose tasks a new one of this caller is.
    pub(super) fn token(&self) -> TokenId {
        self.identity.token
    }

    /// Whose tasks the caller sees; `None` is everybody's.
    pub(super) fn sees(&self) -> Option<TokenId> {
        self.identity.sees()
    }
}

impl<S: Scope> FromRequestParts<Arc<AppState>> for Caller<S> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<AppState>) -> Result<Self, ApiError> {
        let identity = app.access.identify(&parts.headers)?;
        if !S::is_in(identity.scopes) {
            return Err(ApiError::Forbidden(S::REFUSAL));
        }
        Ok(Self { identity, scope: PhantomData })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a browser sends this for a page of another site, by its own word or because the page's
/// origin, or its address, is not of the host it calls.
fn is_from_another_site(headers: &HeaderMap) -> bool {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host_of =
        |url: &str| url.split_once("://").and_then(|(_, rest)| rest.split('/').next().map(str::to_owned));
    let own = header(HOST).map(str::to_owned);
    let foreign_site =
        headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
    let is_foreign = |name| headers.contains_key(&name) && header(name).and_then(host_of) != own;
    foreign_site || is_foreign(ORIGIN) || is_foreign(REFERER)
}

/// Whether the `Host` header is an address, `localhost`, or one of the names.
fn is_called_locally(headers: &HeaderMap, names: &[String]) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let host = host.to_str().unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let is_known = || names.iter().any(|known| name.eq_ignore_ascii_case(known));
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok() || is_known()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn open() -> Access {
        Access::new(Rule::Open { loopback: Some(vec!["api.solvecaptcha.com".to_owned()]) })
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn an_open_listener_refuses_pages_of_other_sites() {
        let host = ("host", "127.0.0.1:8081");
        for fine in [
            vec![host],
            vec![host, ("origin", "http://127.0.0.1:8081")],
            vec![host, ("sec-fetch-site", "same-origin")],
            vec![host, ("sec-fetch-site", "none")],
            vec![host, ("referer", "http://127.0.0.1:8081/page?q=1")],
        ] {
            assert!(open().identify(&headers(&fine)).is_ok(), "{fine:?}");
        }
        for foreign in [
            vec![host, ("origin", "https://evil.example")],
            vec![host, ("origin", "null")],
            vec![host, ("sec-fetch-site", "cross-site")],
            vec![host, ("sec-fetch-site", "same-site")],
            vec![host, ("referer", "http://127.0.0.1:3000/page")],
            vec![host, ("referer", "http://192.168.0.9/")],
        ] {
            assert!(open().identify(&headers(&foreign)).is_err(), "{foreign:?}");
        }
    }

    #[test]
    fn an_open_loopback_listener_is_called_by_address_or_as_localhost() {
        for fine in [
            "127.0.0.1:8081",
            "localhost:8081",
            "LOCALHOST",
            "[::1]:8081",
            "192.0.2.1",
            "api.SolveCaptcha.com:443",
        ] {
            assert!(open().identify(&headers(&[("host", fine)])).is_ok(), "{fine}");
        }
        for rebound in ["evil.example", "evil.example:8081", "127.0.0.1.evil.example:8081", ""] {
            assert!(open().identify(&headers(&[("host", rebound)])).is_err(), "{rebound}");
        }
        let elsewhere = Access::new(Rule::Open { loopback: None });
        assert!(elsewhere.identify(&headers(&[("host", "pingbox.internal")])).is_ok());
    }

    #[test]
    fn a_token_is_known_by_its_digest_and_brings_its_scopes() {
        let identity = Identity { token: TokenId::from_number(7), scopes: Scopes::parse("read") };
        let access = Access::new(Rule::Tokens(HashMap::from([(Sha256::digest("s3cret").into(), identity)])));
        let found = access.identify(&headers(&[("authorization", "bearer s3cret")])).unwrap();
        assert_eq!((found.token, found.scopes), (identity.token, identity.scopes));
        assert!(!found.scopes.submit);
        for wrong in ["Bearer S3cret", "Basic s3cret", "s3cret", "Bearer"] {
            assert!(access.identify(&headers(&[("authorization", wrong)])).is_err(), "{wrong}");
        }
        assert!(access.identify(&headers(&[])).is_err());
    }
}
