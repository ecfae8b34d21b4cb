//! What every reply of the api listener says to browsers: that it is no page to run, to frame, or to keep.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
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

/// The reply with all of them.
pub(super) fn guard<B>(mut response: Response<B>) -> Response<B> {
    for (name, value) in DEFAULTS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
