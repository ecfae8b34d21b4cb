//! Who may call the API, and what they may do.

use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};

use super::AppState;
use super::access::Identity;
use super::error::ApiError;
use crate::model::{Scopes, TokenId};

/// A caller that may do what `S` names.
pub(super) struct Caller<S> {
    identity: Identity,
    scope: PhantomData<S>,
}

/// May submit and cancel.
pub(crate) struct Submit;
/// May read.
pub(crate) struct Read;

/// May do everything.
pub(crate) struct Admin;

/// A scope that somebody can be held to.
pub(crate) trait Scope {
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
        let token = bearer(&parts.headers);
        let found = app.access.look_up(&parts.headers, token);
        if token.is_some() && matches!(found, Err(ApiError::Unauthorized)) {
            // On the heap: it is rare, and its size would stay with every request.
            Box::pin(app.access.hold_up(peer(&parts.extensions))).await;
        }
        let identity = found?;
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

/// The address that a request came from.
pub(crate) fn peer(extensions: &Extensions) -> IpAddr {
    // The server puts one into every request.
    extensions.get::<SocketAddr>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), SocketAddr::ip)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_comes_as_bearer_in_any_case_and_no_other_way() {
        let shown = |text: &'static str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(text))]);
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(shown("bearer s3cret").as_deref(), Some("s3cret"));
        assert_eq!(shown("Bearer  s3cret ").as_deref(), Some("s3cret"));
        for other in ["Basic s3cret", "s3cret", "Bearer"] {
            assert_eq!(shown(other), None, "{other}");
        }
    }
}
