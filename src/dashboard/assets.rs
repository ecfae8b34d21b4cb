//! Styles and script, in the binary. Their path has a part of their digest in it, so that browsers keep them for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

use super::page::PageError;
use crate::http::ApiError;
use crate::model::hex;

/// A file that pages name.
pub(super) struct Asset {
    /// Where it is served.
    pub(super) path: String,
    media_type: &'static str,
    text: &'static str,
}

/// How all pages look.
pub(super) static STYLES: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("pingbox", "css", "text/css; charset=utf-8", include_str!("assets/pingbox.css"))
});
/// Renews what is live.
pub(super) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("live", "js", "text/javascript; charset=utf-8", include_str!("assets/live.js"))
});

/// Turns clicks on a captcha into an answer.
pub(super) static SOLVE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("solve", "js", "text/javascript; charset=utf-8", include_str!("assets/solve.js"))
});

/// Everything that is served.
static ALL: [&LazyLock<Asset>; 3] = [&STYLES, &SCRIPT, &SOLVE];

impl Asset {
    fn new(name: &str, ending: &str, media_type: &'static str, text: &'static str) -> Self {
        let digest = hex(&Sha256::digest(text)[..6]);
        Self { path: format!("/assets/{name}-{digest}.{ending}"), media_type, text }
    }
}

/// `GET /assets/{name}`.
pub(super) async fn get_asset(Path(name): Path<String>) -> Result<Response, PageError> {
    let wanted = format!("/assets/{name}");
    let asset = ALL.into_iter().find(|asset| asset.path == wanted).ok_or(ApiError::PathNotFound)?;
    let headers = [(CONTENT_TYPE, asset.media_type), (CACHE_CONTROL, "max-age=31536000, immutable")];
    Ok((headers, asset.text).into_response())
}
