//! Whom the api listener lets in, which may change while it runs.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use axum::http::HeaderMap;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use super::error::ApiError;
use super::guessing::Guessing;
use super::sites::{is_called_locally, is_from_another_site};
use crate::model::{Scopes, Secret, Timestamp, Token, TokenId};
use crate::store::{Store, StoreError};

/// Somebody who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) token: TokenId,
    pub(crate) scopes: Scopes,
}

impl Identity {
    /// Whose tasks the caller sees; `None` is everybody's.
    pub(crate) fn sees(&self) -> Option<TokenId> {
        (!self.scopes.admin).then_some(self.token)
    }
}

/// Whom the api listener lets in.
#[derive(Debug)]
pub(crate) struct Access {
    /// The digest of the token that is configured, which is no stored one.
    configured: Mutex<Option<[u8; 32]>>,
    rule: RwLock<Rule>,
    /// Told of every change.
    changed: Notify,
    /// Told when the stored tokens are to be read again.
    behind: Notify,
    /// Held while the stored tokens are read and put in place, so that no older ones take the place of newer.
    reading: tokio::sync::Mutex<()>,
    guessing: Guessing,
}

/// Whom it lets in at a time.
#[derive(Clone, Debug)]
enum Rule {
    /// Whoever reaches the listener is admin, but for web pages of other sites: a browser on this
    /// machine would carry their requests here.
    Open(Door),
    /// Whoever shows one of these tokens. They are known by their SHA-256 only, so that a look-up
    /// tells nothing of a token by the time it takes.
    Tokens(HashMap<[u8; 32], Known>),
}

/// Why no token is needed.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    /// `api.auth` is `none`. Tokens that are made have no effect.
    Open,
    /// The listener is on loopback, and there is no token yet. There it is called by address, as `localhost`, or
    /// by one of these names. Another name is one that a web page has pointed here.
    Ajar(Vec<String>),
    /// A token is needed.
    Shut,
}

/// Whose token it is, and when it was last shown.
#[derive(Clone, Debug)]
struct Known {
    identity: Identity,
    /// In µs since 1970; 0 if it was not shown to this process.
    used: Arc<AtomicI64>,
}

impl Access {
    /// Lets in who shows one of the tokens; as long as there are none, whoever comes through the `door`.
    pub(crate) fn new(door: Door, configured: Option<&Secret>, stored: &[Token]) -> Self {
        let rule = match door {
            Door::Shut => Rule::Tokens(HashMap::new()),
            door => Rule::Open(door),
        };
        let access = Self {
            configured: Mutex::new(configured.map(Secret::digest)),
            rule: RwLock::new(rule),
            changed: Notify::new(),
            behind: Notify::new(),
            reading: tokio::sync::Mutex::default(),
            guessing: Guessing::default(),
        };
        access.admit(stored);
        access
    }

    /// Puts another token in place of the one that is configured.
    pub(crate) fn configure(&self, token: Option<&Secret>) {
        *self.configured.lock().unwrap_or_else(PoisonError::into_inner) = token.map(Secret::digest);
    }

    /// Whether a token is configured: it is admin, and no stored one.
    pub(super) fn has_configured(&self) -> bool {
        self.configured.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether no token is needed.
    pub(crate) fn is_open(&self) -> bool {
        matches!(&*self.rule(), Rule::Open(_))
    }

    /// Whether no token is needed because there is none yet.
    pub(crate) fn is_ajar(&self) -> bool {
        matches!(&*self.rule(), Rule::Open(Door::Ajar(_)))
    }

    /// Reads the stored tokens: what they are now counts from here on.
    ///
    /// # Errors
    /// When they cannot be read; then those that were known stay.
    pub(crate) async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let _turn = self.reading.lock().await;
        self.admit(&store.tokens().await?);
        Ok(())
    }

    /// The stored tokens have changed, and could not be read.
    pub(crate) fn fell_behind(&self) {
        self.behind.notify_one();
    }

    /// Waits until the stored tokens are to be read again.
    pub(crate) async fn is_behind(&self) {
        self.behind.notified().await;
    }

    /// From here on these, and the configured one. Without any, a door that was open stays so, and one that was
    /// shut does not open.
    fn admit(&self, stored: &[Token]) {
        let configured = *self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rule = self.rule.write().unwrap_or_else(PoisonError::into_inner);
        let before = match &*rule {
            Rule::Open(Door::Open) => return,
            Rule::Open(_) if stored.is_empty() && configured.is_none() => return,
            Rule::Open(_) => HashMap::new(),
            Rule::Tokens(tokens) => tokens.clone(),
        };
        let stored =
            stored.iter().map(|token| (token.digest, Identity { token: token.id, scopes: token.scopes }));
        let local = Identity { token: TokenId::LOCAL, scopes: Scopes::ADMIN };
        let tokens = stored.chain(configured.map(|digest| (digest, local))).map(|(digest, identity)| {
            let used = before.get(&digest).map(|known| Arc::clone(&known.used));
            (digest, Known { identity, used: used.unwrap_or_default() })
        });
        let tokens: HashMap<_, _> = tokens.collect();
        let is_known = |(digest, known): (&_, &Known)| {
            before.get(digest).is_some_and(|was| was.identity == known.identity)
        };
        if matches!(&*rule, Rule::Tokens(_)) && tokens.len() == before.len() && tokens.iter().all(is_known) {
            return;
        }
        *rule = Rule::Tokens(tokens);
        drop(rule);
        self.changed.notify_waiters();
    }

    /// When tokens were last shown to this process, as far as they were.
    pub(crate) fn uses(&self) -> Vec<(TokenId, Timestamp)> {
        let Rule::Tokens(tokens) = &*self.rule() else { return Vec::new() };
        let used = tokens.values().map(|known| (known.identity.token, known.used.load(Ordering::Relaxed)));
        let stored = used.filter(|(token, at)| *token != TokenId::LOCAL && *at > 0);
        stored.map(|(token, at)| (token, Timestamp::from_micros(at))).collect()
    }

    /// Waits until somebody who was let in would not be any more, or not as far.
    pub(crate) async fn withdrawn(&self, identity: Identity) {
        loop {
            // Before the look: a change after it is told.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Rule::Tokens(tokens) = &*self.rule()
                && !tokens.values().any(|known| known.identity == identity)
            {
                return;
            }
            changed.await;
        }
    }

    /// Whether somebody who was let in still would be: a body may take its time.
    ///
    /// # Errors
    /// When they would not.
    pub(crate) fn check(&self, identity: Identity) -> Result<(), ApiError> {
        let stands = match &*self.rule() {
            Rule::Open(_) => identity.token == TokenId::LOCAL,
            Rule::Tokens(tokens) => tokens.values().any(|known| known.identity == identity),
        };
        if stands { Ok(()) } else { Err(ApiError::Unauthorized) }
    }

    /// Whether anybody who may call can make a token.
    pub(crate) fn has_admin(&self) -> bool {
        match &*self.rule() {
            Rule::Open(_) => true,
            Rule::Tokens(tokens) => tokens.values().any(|known| known.identity.scopes.admin),
        }
    }

    fn rule(&self) -> RwLockReadGuard<'_, Rule> {
        // Nothing panics while it is held.
        self.rule.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as an address has to that has shown a wrong token: not at all for the first ones. A right one
    /// is never held up.
    pub(crate) async fn hold_up(&self, caller: IpAddr) {
        self.guessing.wait(caller).await;
    }

    /// Wrong tokens that were shown, counted.
    pub(super) fn wrong_tokens(&self) -> u64 {
        self.guessing.count()
    }

    /// Whose session it is, if it is of this token and its digest `proves` that.
    pub(crate) fn of_session(
        &self,
        token: TokenId,
        proves: impl FnOnce(&[u8; 32]) -> bool,
    ) -> Option<Identity> {
        let Rule::Tokens(tokens) = &*self.rule() else { return None };
        let (digest, known) = tokens.iter().find(|(_, known)| known.identity.token == token)?;
        if !proves(digest) {
            return None;
        }
        known.used.store(Timestamp::now().as_micros(), Ordering::Relaxed);
        Some(known.identity)
    }

    /// Who calls with this `token`.
    pub(crate) fn look_up(&self, headers: &HeaderMap, token: Option<&str>) -> Result<Identity, ApiError> {
        match &*self.rule() {
            Rule::Open(_) if is_from_another_site(headers) => Err(ApiError::Forbidden(
                "requests of web pages from elsewhere are refused while no token is needed: make one with \
                 `pingbox token create`, or set api.token",
            )),
            Rule::Open(Door::Ajar(names)) if !is_called_locally(headers, names) => Err(ApiError::Forbidden(
                "while no token is needed, call this listener as localhost or by its address: or make a token with \
                 `pingbox token create`, or set api.token",
            )),
            Rule::Open(_) => Ok(Identity { token: TokenId::LOCAL, scopes: Scopes::ADMIN }),
            Rule::Tokens(tokens) => {
                let token = token.ok_or(ApiError::Unauthorized)?;
                let digest: [u8; 32] = Sha256::digest(token).into();
                let known = tokens.get(&digest).ok_or(ApiError::Unauthorized)?;
                known.used.store(Timestamp::now().as_micros(), Ordering::Relaxed);
                Ok(known.identity)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use futures_util::FutureExt as _;

    use super::*;

    fn ajar() -> Access {
        Access::new(Door::Ajar(vec!["api.solvecaptcha.com".to_owned()]), None, &[])
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn token(id: i64, text: &str, scopes: &str) -> Token {
        Token {
            id: TokenId::from_number(id),
            name: "test".to_owned(),
            digest: Sha256::digest(text).into(),
            scopes: scopes.parse().unwrap(),
            created_at: Timestamp::from_micros(1),
            last_used_at: None,
        }
    }

    fn shows(access: &Access, text: &str) -> Option<Identity> {
        access.look_up(&headers(&[]), Some(text)).ok()
    }

    #[test]
    fn an_open_listener_refuses_pages_of_other_sites() {
        let host = ("host", "127.0.0.1:8081");
        let elsewhere = headers(&[host, ("origin", "https://evil.example")]);
        for access in [ajar(), Access::new(Door::Open, None, &[])] {
            assert!(access.look_up(&headers(&[host]), None).is_ok());
            assert!(access.look_up(&elsewhere, None).is_err());
        }
        // Who shows a token is no page that only borrows a browser.
        let with_token = Access::new(Door::Shut, None, &[token(1, "a", "read")]);
        assert!(with_token.look_up(&elsewhere, Some("a")).is_ok());
    }

    #[test]
    fn a_listener_that_is_open_because_it_is_on_loopback_is_called_by_its_names() {
        let rebound = headers(&[("host", "evil.example:8081")]);
        assert!(ajar().look_up(&headers(&[("host", "api.SolveCaptcha.com:443")]), None).is_ok());
        assert!(ajar().look_up(&rebound, None).is_err());
        assert!(Access::new(Door::Open, None, &[]).look_up(&rebound, None).is_ok());
    }

    #[test]
    fn a_token_is_known_by_its_digest_and_brings_its_scopes() {
        let access = Access::new(Door::Shut, None, &[token(7, "s3cret", "read")]);
        let found = shows(&access, "s3cret").unwrap();
        assert_eq!((found.token.number(), found.scopes.to_string()), (7, "read".to_owned()));
        for wrong in ["S3cret", "s3cre", ""] {
            assert_eq!(shows(&access, wrong), None, "{wrong}");
        }
        assert!(access.look_up(&headers(&[]), None).is_err());
    }

    #[test]
    fn the_first_token_shuts_the_door_and_nothing_opens_it_again() {
        let access = ajar();
        assert!(access.look_up(&headers(&[]), None).is_ok());
        access.admit(&[]);
        assert!(access.is_ajar());
        access.admit(&[token(1, "a", "admin")]);
        assert!(access.look_up(&headers(&[]), None).is_err());
        assert!(shows(&access, "a").is_some());
        access.admit(&[]);
        assert!(access.look_up(&headers(&[]), None).is_err());
        assert_eq!(shows(&access, "a"), None);
    }

    #[test]
    fn a_listener_that_is_to_be_open_stays_so() {
        let access = Access::new(Door::Open, Some(&Secret::new("b")), &[token(1, "a", "admin")]);
        assert!(access.look_up(&headers(&[]), None).is_ok());
    }

    #[test]
    fn a_configured_token_is_admin_beside_the_stored_ones_and_can_be_exchanged() {
        let access = ajar();
        access.configure(Some(&Secret::new("b")));
        access.admit(&[token(1, "a", "read")]);
        assert_eq!(shows(&access, "b").unwrap().scopes, Scopes::ADMIN);
        access.configure(Some(&Secret::new("c")));
        access.admit(&[token(1, "a", "read")]);
        assert_eq!((shows(&access, "b"), shows(&access, "a").is_some()), (None, true));
        assert_eq!(shows(&access, "c").unwrap().token, TokenId::LOCAL);
    }

    #[test]
    fn when_a_token_was_shown_is_known_over_changes() {
        let access =
            Access::new(Door::Shut, Some(&Secret::new("c")), &[token(1, "a", "read"), token(2, "b", "read")]);
        assert_eq!(access.uses(), []);
        assert!(shows(&access, "a").is_some() && shows(&access, "c").is_some());
        let uses = access.uses();
        assert_eq!(uses.iter().map(|(token, _)| token.number()).collect::<Vec<_>>(), [1]);
        access.admit(&[token(1, "a", "read")]);
        assert_eq!(access.uses(), uses);
    }

    #[tokio::test]
    async fn who_was_let_in_hears_when_they_would_not_be_any_more() {
        let access = Access::new(Door::Shut, None, &[token(1, "a", "read"), token(2, "b", "read")]);
        let identity = shows(&access, "a").unwrap();
        let mut withdrawn = Box::pin(access.withdrawn(identity));
        assert!(withdrawn.as_mut().now_or_never().is_none());
        access.admit(&[token(1, "a", "read")]);
        assert!(withdrawn.as_mut().now_or_never().is_none());
        access.admit(&[token(1, "a", "submit")]);
        withdrawn.await;
    }

    #[test]
    fn who_was_let_in_is_looked_at_again() {
        let access = ajar();
        let local = access.look_up(&headers(&[]), None).unwrap();
        assert!(access.check(local).is_ok() && access.has_admin());
        access.admit(&[token(1, "a", "read")]);
        assert!(access.check(local).is_err() && !access.has_admin());
        let reader = shows(&access, "a").unwrap();
        assert!(access.check(reader).is_ok());
        access.admit(&[token(1, "a", "submit")]);
        assert!(access.check(reader).is_err());
    }
}
