//! Who looks at a page, and who sends a form: extractors, so that a handler cannot forget to ask.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Uri};

use super::Dashboard;
use super::page::{Frame, PageError};
use super::session::{self, LIFETIME, Sessions};
use crate::http::{ApiError, Identity, Query, Scope, is_from_another_site, read_body};
use crate::model::Timestamp;

/// The largest form.
const MAX_FORM_BYTES: usize = 16 * 1024;
/// The field of a form that says that it is of a page of ours.
const FORM_TOKEN: &str = "form_token";

/// A browser, whoever is in front of it.
pub(super) struct Browser {
    /// What its forms are bound to.
    pub(super) cookie: String,
    /// Whether it has that cookie yet.
    is_new: bool,
    /// Whether its connection is encrypted, here or at a proxy.
    is_secure: bool,
    form_token: String,
}

/// Somebody who may do what `S` names.
pub(super) struct Visitor<S> {
    pub(super) identity: Identity,
    browser: Browser,
    needs_token: bool,
    is_sandbox: bool,
    scope: PhantomData<S>,
}

/// A form of a page of ours, from somebody who may do what `S` names.
pub(super) struct Posted<S> {
    pub(super) visitor: Visitor<S>,
    pub(super) fields: Query,
}

/// The same, whoever sends it.
pub(super) struct PostedByAnyone {
    pub(super) browser: Browser,
    pub(super) fields: Query,
}

impl Browser {
    /// The browser that sends this, with a new cookie if it has none.
    pub(super) fn of(dashboard: &Dashboard, headers: &HeaderMap) -> Result<Self, PageError> {
        let known = cookie(headers).filter(|cookie| session::is_cookie(cookie));
        let (cookie, is_new) = match known {
            Some(cookie) => (cookie.to_owned(), false),
            None => (Sessions::stranger().map_err(PageError::no_randomness)?, true),
        };
        // Who says so without a proxy has only their own cookie marked.
        let is_forwarded =
            headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes() == b"https");
        let form_token = dashboard.sessions.form_token(&cookie);
        Ok(Self { cookie, is_new, is_secure: dashboard.about.has_tls || is_forwarded, form_token })
    }

    pub(super) fn form_token(&self) -> &str {
        &self.form_token
    }

    /// What gives the browser its cookie, if it has none.
    pub(super) fn first_cookie(&self) -> Option<HeaderValue> {
        self.is_new.then(|| self.set_cookie(&self.cookie))
    }

    /// What gives the browser this cookie in place of the one it has.
    pub(super) fn set_cookie(&self, cookie: &str) -> HeaderValue {
        let (name, seconds) = (session::COOKIE, LIFETIME.as_secs());
        let secure = if self.is_secure { "; Secure" } else { "" };
        let text = format!("{name}={cookie}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{secure}");
        HeaderValue::try_from(text).expect("a cookie of ours is of letters, digits and full stops")
    }
}

/// The cookie that a browser sends. Another one of the name, as of another path, would come after it.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == session::COOKIE).map(|(_, value)| value)
}

impl<S: Scope> Visitor<S> {
    fn of(dashboard: &Dashboard, parts: &Parts) -> Result<Self, PageError> {
        let browser = Browser::of(dashboard, &parts.headers)?;
        let (identity, needs_token) = match dashboard.app.access.look_up(&parts.headers, None) {
            Err(ApiError::Unauthorized) => {
                let identity = signed_in(dashboard, &browser.cookie);
                (identity.ok_or_else(|| PageError::SignIn(way_back(&parts.method, &parts.uri)))?, true)
            }
            found => (found?, false),
        };
        let visitor = Self {
            identity,
            browser,
            needs_token,
            is_sandbox: dashboard.about.is_sandbox,
            scope: PhantomData,
        };
        if S::is_in(identity.scopes) {
            Ok(visitor)
        } else {
            Err(visitor.told(ApiError::Forbidden(S::REFUSAL)))
        }
    }
}

impl<S> Visitor<S> {
    /// What surrounds a page, which stands in the navigation under `here`.
    pub(super) fn frame(&self, title: impl Into<String>, here: &'static str) -> Frame {
        let outside = Frame::outside("", &self.browser.form_token);
        Frame {
            title: title.into(),
            here,
            is_inside: true,
            can_submit: self.identity.scopes.submit,
            is_admin: self.identity.scopes.admin,
            can_sign_out: self.needs_token,
            is_sandbox: self.is_sandbox,
            ..outside
        }
    }

    pub(super) fn browser(&self) -> &Browser {
        &self.browser
    }

    /// Whether a token is needed to be here.
    pub(super) fn needs_token(&self) -> bool {
        self.needs_token
    }

    /// An error, on a page from which they can go on.
    pub(super) fn told(&self, error: ApiError) -> PageError {
        PageError::Inside(Box::new(self.frame("", "")), error)
    }
}

/// Who has signed in, if the session still counts.
fn signed_in(dashboard: &Dashboard, cookie: &str) -> Option<Identity> {
    let claim = session::claim(cookie)?;
    let now = Timestamp::now();
    dashboard.app.access.of_session(claim.token, |digest| dashboard.sessions.proves(&claim, digest, now))
}

/// Where to go on after signing in.
fn way_back(method: &Method, uri: &Uri) -> String {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if method == Method::GET && path != "/live" { path.to_owned() } else { "/".to_owned() }
}

impl<S: Scope> FromRequestParts<Arc<Dashboard>> for Visitor<S> {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, dashboard: &Arc<Dashboard>) -> Result<Self, PageError> {
        Self::of(dashboard, parts)
    }
}

impl FromRequestParts<Arc<Dashboard>> for Browser {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, dashboard: &Arc<Dashboard>) -> Result<Self, PageError> {
        Self::of(dashboard, &parts.headers)
    }
}

impl<S: Scope + Send + Sync> FromRequest<Arc<Dashboard>> for Posted<S> {
    type Rejection = PageError;

    async fn from_request(request: Request, dashboard: &Arc<Dashboard>) -> Result<Self, PageError> {
        let (parts, body) = request.into_parts();
        refuse_other_sites(&parts.headers)?;
        let visitor = Visitor::of(dashboard, &parts)?;
        let fields = fields(body, dashboard, &visitor.browser).await?;
        // The body may have taken its time.
        dashboard.app.access.check(visitor.identity)?;
        Ok(Self { visitor, fields })
    }
}

impl FromRequest<Arc<Dashboard>> for PostedByAnyone {
    type Rejection = PageError;

    async fn from_request(request: Request, dashboard: &Arc<Dashboard>) -> Result<Self, PageError> {
        let (parts, body) = request.into_parts();
        refuse_other_sites(&parts.headers)?;
        let browser = Browser::of(dashboard, &parts.headers)?;
        let fields = fields(body, dashboard, &browser).await?;
        Ok(Self { browser, fields })
    }
}

fn refuse_other_sites(headers: &HeaderMap) -> Result<(), PageError> {
    if is_from_another_site(headers) {
        return Err(ApiError::Forbidden("forms of web pages from elsewhere are refused").into());
    }
    Ok(())
}

/// The fields of a form, if it is of a page that this browser was shown.
async fn fields(
    body: axum::body::Body,
    dashboard: &Dashboard,
    browser: &Browser,
) -> Result<Query, PageError> {
    let body = read_body(body, MAX_FORM_BYTES).await?;
    let mut fields = Query::of_pairs(form_urlencoded::parse(&body).into_owned().collect());
    let token = fields.text(FORM_TOKEN).unwrap_or_default();
    if !dashboard.sessions.is_of_form(&browser.cookie, &token) {
        return Err(ApiError::Forbidden(
            "this form is of a page from before you signed in, or cookies are off: go back, load the page again, and \
             send it once more",
        )
        .into());
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let found = |text: &'static str| {
            let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(text))]);
            cookie(&headers).map(str::to_owned)
        };
        assert_eq!(found("a=b; pingbox_session=x.y; c=d").as_deref(), Some("x.y"));
        for other in ["", "a=b", "xpingbox_session=x", "pingbox_session"] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
