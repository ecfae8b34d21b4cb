//! What every reply of the api listener says to browsers: that it is no page to run, to frame, or to keep; and what a
//! page of ours may do.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, Response};

/// What a reply says unless it says something of its own.
const DEFAULTS: [(HeaderName, &str); 6] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    // Another page's <script> or <img> gets nothing of it. Where CORS lets a page read, this does not matter.
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // Answers are in it, and what is true now.
    (CACHE_CONTROL, "no-store"),
];

/// What a page says in place of that: it has styles, script and images of its own, and it talks to us alone.
const OF_PAGES: [(HeaderName, &str); 2] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    // With `no-referrer`, a browser sends a form of ours with `Origin: null`, like one of another site.
    (REFERRER_POLICY, "same-origin"),
];

/// The reply with all of them.
pub(super) fn guard<B>(mut response: Response<B>) -> Response<B> {
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let of_pages = if kind.is_some_and(|kind| kind.starts_with(b"text/html")) { &OF_PAGES[..] } else { &[] };
    for (name, value) in of_pages.iter().cloned().chain(DEFAULTS) {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
