//! A page: what surrounds it, how it is sent, and what takes its place when there is none.

use askama::Template;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use axum::response::{IntoResponse, Response};
use tracing::error;

use super::assets::{SCRIPT, STYLES};
use super::visitor::Browser;
use crate::http::ApiError;

/// What surrounds a page.
#[expect(clippy::struct_excessive_bools, reason = "a template asks for one of them at a time")]
pub(super) struct Frame {
    pub(super) styles: &'static str,
    pub(super) script: &'static str,
    /// What the page is called.
    pub(super) title: String,
    /// Where the page stands in the navigation.
    pub(super) here: &'static str,
    /// What every form on it carries, in the hidden field `form_token`.
    pub(super) form_token: String,
    /// Whether somebody was let in.
    pub(super) is_inside: bool,
    /// Whether they may submit, report and replay.
    pub(super) can_submit: bool,
    /// Whether they may do everything.
    pub(super) is_admin: bool,
    /// Whether they signed in.
    pub(super) can_sign_out: bool,
    /// Whether no real provider is behind it.
    pub(super) is_sandbox: bool,
}

impl Frame {
    /// Around a page for somebody who was not let in.
    pub(super) fn outside(title: &str, form_token: &str) -> Self {
        Self {
            styles: &STYLES.path,
            script: &SCRIPT.path,
            title: title.to_owned(),
            here: "",
            form_token: form_token.to_owned(),
            is_inside: false,
            can_submit: false,
            is_admin: false,
            can_sign_out: false,
            is_sandbox: false,
        }
    }

    pub(super) fn is_here(&self, here: &str) -> bool {
        self.here == here
    }
}

/// Why there is no page.
pub(super) enum PageError {
    /// One has to sign in first, and then goes on there.
    SignIn(String),
    /// As of the API.
    Api(ApiError),
    /// The same, for somebody who was let in.
    Inside(Box<Frame>, ApiError),
}

impl<E: Into<ApiError>> From<E> for PageError {
    fn from(error: E) -> Self {
        match error.into() {
            ApiError::Unauthorized => Self::SignIn("/".to_owned()),
            error => Self::Api(error),
        }
    }
}

impl PageError {
    pub(super) fn no_randomness(cause: getrandom::Error) -> Self {
        error!(%cause, "The system gives no randomness: {cause}");
        Self::Api(ApiError::Panicked)
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    status: u16,
    detail: String,
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (frame, error) = match self {
            Self::SignIn(next) => {
                let query =
                    form_urlencoded::Serializer::new(String::new()).append_pair("next", &next).finish();
                return go_to(if next == "/" { "/sign-in".to_owned() } else { format!("/sign-in?{query}") });
            }
            Self::Api(error) => (Frame::outside("", ""), error),
            Self::Inside(frame, error) => (*frame, error),
        };
        error.log();
        let (status, _) = error.status_and_code();
        let title = status.canonical_reason().unwrap_or_default().to_owned();
        let page = ErrorPage {
            frame: Frame { title, ..frame },
            status: status.as_u16(),
            detail: sentence(&error.to_string()),
        };
        (status, html(&page)).into_response()
    }
}

/// A message as a sentence.
pub(super) fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(char::to_uppercase);
    let full_stop = if message.ends_with(['.', '?', '!']) { "" } else { "." };
    first.map_or_else(String::new, |first| format!("{first}{}{full_stop}", letters.as_str()))
}

/// Sends the browser to a path of ours.
pub(super) fn go_to(path: impl Into<String>) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, path.into())]).into_response()
}

fn html(page: &impl Template) -> Response {
    let text = page.render().expect("writing to a String never fails");
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}

impl Browser {
    /// Shows a page.
    pub(super) fn show(&self, page: &impl Template) -> Response {
        let mut response = html(page);
        if let Some(cookie) = self.first_cookie() {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }
}
