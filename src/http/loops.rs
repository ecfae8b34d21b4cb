//! Requests of our own that come back, because what should lead to the provider leads to us.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderName;
use axum::response::{IntoResponse as _, Response};

use super::error::ApiError;
use super::{AppState, body};
use crate::account::Account;
use crate::provider::LoopMark;

/// As much of a body is read as any of our requests has.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Lets a request pass unless it is one of our own; then nothing is sent any more, and `Err` is the reply
/// to it, which the sender knows by the mark that comes back with it. It has to be asked before a request is
/// judged or read in any other way: ours has no token, and its key is not for others.
pub(super) async fn pass(account: &Account, request: Request) -> Result<Request, Response> {
    let mark = account.mark();
    if !mark.is_ours(request.headers()) {
        return Ok(request);
    }
    account.found_loop().await;
    // Whoever replies to half a request may not be heard, and its task would be unconfirmed.
    drop(body::read(request.into_body(), MAX_BODY_BYTES).await);
    let mut response = ApiError::CameBack.into_response();
    response.headers_mut().insert(HeaderName::from_static(LoopMark::HEADER), mark.value());
    Err(response)
}

/// A path that there is not: also where our own requests arrive that were meant for the provider.
pub(super) async fn unknown_path(State(app): State<Arc<AppState>>, request: Request) -> Response {
    match pass(&app.account, request).await {
        Ok(_) => ApiError::PathNotFound.into_response(),
        Err(refusal) => refusal,
    }
}
