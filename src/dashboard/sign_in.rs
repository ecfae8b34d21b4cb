//! Signing in with a token, and out.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tracing::info;

use super::Dashboard;
use super::page::{Frame, PageError, go_to};
use super::visitor::{Browser, PostedByAnyone};
use crate::http::{ApiError, Query, peer};
use crate::model::{Secret, Timestamp};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    next: String,
    is_wrong: bool,
}

impl SignInPage {
    fn new(browser: &Browser, next: String, is_wrong: bool) -> Self {
        Self { frame: Frame::outside("Sign in", browser.form_token()), next, is_wrong }
    }
}

/// `GET /sign-in?next=/tasks`.
pub(super) async fn show(
    browser: Browser,
    State(dashboard): State<Arc<Dashboard>>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, PageError> {
    match dashboard.app.access.look_up(&headers, None) {
        Err(ApiError::Unauthorized) if browser.signed_in(&dashboard).is_none() => {
            Ok(browser.show(&SignInPage::new(&browser, destination(query.text("next")), false)))
        }
        Ok(_) | Err(ApiError::Unauthorized) => Ok(go_to("/")),
        Err(error) => Err(error.into()),
    }
}

/// `POST /sign-in` with `token` and `next`.
pub(super) async fn sign_in(
    State(dashboard): State<Arc<Dashboard>>,
    headers: HeaderMap,
    extensions: Extensions,
    PostedByAnyone { browser, mut fields }: PostedByAnyone,
) -> Result<Response, PageError> {
    let token = Secret::new(fields.text("token").unwrap_or_default().trim());
    let next = destination(fields.text("next"));
    let access = &dashboard.app.access;
    if access.is_open() {
        return Ok(go_to(next));
    }
    let identity = match access.look_up(&headers, Some(token.expose())) {
        Err(ApiError::Unauthorized) => {
            access.hold_up(peer(&extensions)).await;
            let page = browser.show(&SignInPage::new(&browser, next, true));
            return Ok((StatusCode::UNAUTHORIZED, page).into_response());
        }
        found => found?,
    };
    let cookie = dashboard.sessions.begin(identity.token, &token.digest(), Timestamp::now());
    let cookie = cookie.map_err(PageError::no_randomness)?;
    info!(token.id = identity.token.number(), "Somebody signed in to the dashboard");
    Ok(([(SET_COOKIE, browser.session_cookie(&cookie))], go_to(next)).into_response())
}

/// `POST /sign-out`: the browser forgets the session.
pub(super) async fn sign_out(PostedByAnyone { browser, .. }: PostedByAnyone) -> Result<Response, PageError> {
    Ok(([(SET_COOKIE, browser.no_session())], go_to("/sign-in")).into_response())
}

/// A path of ours to go on to, whatever the browser brings.
fn destination(next: Option<String>) -> String {
    let is_ours = |path: &String| {
        path.starts_with('/')
            && !path[1..].starts_with(['/', '\\'])
            && path.bytes().all(|byte| byte.is_ascii_graphic())
    };
    next.filter(is_ours).unwrap_or_else(|| "/".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_signing_in_one_goes_on_to_a_path_of_ours_alone() {
        let to = |next: &str| destination(Some(next.to_owned()));
        for path in ["/", "/tasks?status=solved", "/tasks/7"] {
            assert_eq!(to(path), path);
        }
        for elsewhere in
            ["", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nSet-Cookie: b", "\t//x"]
        {
            assert_eq!(to(elsewhere), "/", "{elsewhere}");
        }
        assert_eq!(destination(None), "/");
    }
}
