//! Who looks at a page, and who sends a form: extractors, so that a handler cannot forget to ask.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Uri};

use super::Dashboard;
use super::page::{Frame, PageError};
use super::session::{self, LIFETIME, Purpose, Sessions};
use crate::http::{ApiError, Identity, Query, Scope, is_from_another_site, read_body};
use crate::model::Timestamp;

/// The largest form.
const MAX_FORM_BYTES: usize = 16 * 1024;
/// The field of a form that says that it is of a page of ours.
const FORM_TOKEN: &str = "form_token";

/// A browser, whoever is in front of it.
pub(super) struct Browser {
    /// What says who is in front of it, whether that is true or not.
    session: Option<String>,
    /// What its forms are bound to without that.
    stranger: Option<String>,
    /// Whether it has that yet.
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
        // Who says so without a proxy has only their own cookie marked.
        let is_forwarded =
            headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes() == b"https");
        let is_secure = dashboard.about.has_tls || is_forwarded;
        let known = |purpose: Purpose| {
            let found = cookie(headers, purpose.cookie(is_secure));
            found.filter(|cookie| purpose.is_form_of(cookie)).map(str::to_owned)
        };
        let (session, known) = (known(Purpose::Session), known(Purpose::Form));
        let is_new = session.is_none() && known.is_none();
        let stranger =
            if is_new { Some(Sessions::stranger().map_err(PageError::no_randomness)?) } else { known };
        let bound = session.as_ref().or(stranger.as_ref()).map_or("", String::as_str);
        let form_token = dashboard.sessions.form_token(bound);
        Ok(Self { session, stranger, is_new, is_secure, form_token })
    }

    pub(super) fn form_token(&self) -> &str {
        &self.form_token
    }

    /// Whether it was shown a form with this token. One that was opened from another site brought no session.
    fn was_shown(&self, token: &str, sessions: &Sessions) -> bool {
        !self.is_new
            && [&self.session, &self.stranger]
                .into_iter()
                .flatten()
                .any(|cookie| sessions.is_of_form(cookie, token))
    }

    /// What gives the browser its first cookie, if it has none.
    pub(super) fn first_cookie(&self) -> Option<HeaderValue> {
        let cookie = self.stranger.as_ref().filter(|_| self.is_new)?;
        Some(self.set_cookie(Purpose::Form, cookie, LIFETIME))
    }

    /// What begins a session.
    pub(super) fn session_cookie(&self, session: &str) -> HeaderValue {
        self.set_cookie(Purpose::Session, session, LIFETIME)
    }

    /// What ends a session.
    pub(super) fn no_session(&self) -> HeaderValue {
        self.set_cookie(Purpose::Session, "", Duration::ZERO)
    }

    fn set_cookie(&self, purpose: Purpose, cookie: &str, age: Duration) -> HeaderValue {
        let (name, seconds) = (purpose.cookie(self.is_secure), age.as_secs());
        let secure = if self.is_secure { "; Secure" } else { "" };
        let text = format!("{name}={cookie}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{secure}");
        HeaderValue::try_from(text).expect("a cookie of ours is of letters, digits and full stops")
    }
}

/// The cookie of this name. Of two, one was set for a narrower path, by somebody else: then there is none.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(known, _)| *known == name).map(|(_, value)| value);
    found.next().filter(|_| found.next().is_none())
}

impl<S: Scope> Visitor<S> {
    fn of(dashboard: &Dashboard, parts: &Parts) -> Result<Self, PageError> {
        let browser = Browser::of(dashboard, &parts.headers)?;
        let (identity, needs_token) = match dashboard.app.access.look_up(&parts.headers, None) {
            Err(ApiError::Unauthorized) => {
                let identity = browser.signed_in(dashboard);
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

impl Browser {
    /// Who has signed in, if the session still counts.
    pub(super) fn signed_in(&self, dashboard: &Dashboard) -> Option<Identity> {
        let claim = session::claim(self.session.as_ref()?)?;
        let now = Timestamp::now();
        dashboard.app.access.of_session(claim.token, |digest| dashboard.sessions.proves(&claim, digest, now))
    }
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
    if !browser.was_shown(&token, &dashboard.sessions) {
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
    fn the_cookie_is_found_among_others_unless_there_are_two() {
        let found = |text: &'static str| {
            let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(text))]);
            cookie(&headers, "pingbox_session").map(str::to_owned)
        };
        assert_eq!(found("a=b; pingbox_session=x.y; c=d").as_deref(), Some("x.y"));
        for other in
            ["", "a=b", "xpingbox_session=x", "pingbox_session", "pingbox_session=x; pingbox_session=y"]
        {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
