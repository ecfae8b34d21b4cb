//! `/docs`: `/openapi.json` as a page for people. It is made from the document alone, once, and is readable offline: its
//! styles are in the binary, and there is no script.

mod curl;
mod page;
mod shape;

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_SECURITY_POLICY, HeaderName};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use self::page::Page;
use super::AppState;
use super::openapi::{self, Kept};

/// The page shows text: it runs nothing, sends nothing, and reads nothing but its styles.
const POLICY: [(HeaderName, &str); 1] = [(
    CONTENT_SECURITY_POLICY,
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
)];

static PAGE: LazyLock<Kept> = LazyLock::new(|| {
    Kept::new("text/html; charset=utf-8", Page::of(&openapi::document(), &openapi::order()).to_html())
});

static STYLES: LazyLock<Kept> =
    LazyLock::new(|| Kept::new("text/css; charset=utf-8", include_str!("docs/style.css").to_owned()));

/// Open to whoever reaches the listener, as `/openapi.json` is.
pub(super) fn router() -> Router<Arc<AppState>> {
    Router::new().route("/docs", get(get_docs)).route("/docs/style.css", get(get_styles))
}

/// `GET /docs`.
async fn get_docs(headers: HeaderMap) -> Response {
    (POLICY, PAGE.reply(&headers)).into_response()
}

/// `GET /docs/style.css`.
async fn get_styles(headers: HeaderMap) -> Response {
    STYLES.reply(&headers)
}
