//! Of the public listener: how a pingback is read.

#[path = "../../src/http/body.rs"]
#[expect(dead_code, reason = "the program uses the rest")]
mod body;
#[path = "../../src/http/pingback/decode.rs"]
#[expect(dead_code, reason = "the program uses the rest")]
mod decode;
#[path = "../../src/http/error.rs"]
#[expect(dead_code, reason = "the program uses the rest")]
mod error;

use axum::body::Body;
use axum::http::HeaderMap;

use crate::model::Pingback;

/// `None` when it is none.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Option<Pingback> {
    decode::decode(headers, None, body).await.ok()
}
