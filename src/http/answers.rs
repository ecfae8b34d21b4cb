//! `/v1/answers`: sink mode. Answers to captchas that callers submitted to the provider on their own.

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use super::AppState;
use super::auth::{Caller, Read};
use super::error::ApiError;
use super::query::{Query, named_in_path};
use super::tasks::{JsonReply, reply};
use super::wait::{Patience, Reading, wait_found};
use crate::model::{AnswerBody, CaptchaId};
use crate::store::FinalWord;

/// The longest page.
const MAX_PAGE: u32 = 1000;
/// The length of a page when the caller does not say.
pub(super) const DEFAULT_PAGE: u32 = 100;

/// Answers, and where the next page begins.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(rename = "Answers")]
pub(super) struct ListBody<'a> {
    /// Newest first.
    answers: Vec<AnswerBody<'a>>,
    /// For the next page; `null` when there is none.
    cursor: Option<String>,
}

/// The captcha ID in the path. What is no id has no answer.
pub(super) struct NamedCaptcha(CaptchaId);

impl<S: Send + Sync> FromRequestParts<S> for NamedCaptcha {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        named_in_path(parts, state).await.map(Self).ok_or(ApiError::AnswerNotFound)
    }
}

/// `GET /v1/answers/{captcha_id}?wait=60`: how the captcha ended, as soon as that is known.
pub(super) async fn get_answer(
    caller: Caller<Read>,
    State(app): State<Arc<AppState>>,
    NamedCaptcha(captcha_id): NamedCaptcha,
    mut query: Query,
) -> Result<JsonReply, ApiError> {
    let deadline = Instant::now() + query.wait(app.max_wait);
    query.finish("wait")?;
    let owner = caller.sees();
    let read = || -> Reading<'_, _, ApiError> {
        Box::pin(async { Ok(app.store.final_word(&captcha_id, owner).await?) })
    };
    let patience = Patience { deadline, shutdown: &app.shutdown };
    match wait_found(&app.answers, &captcha_id, patience, read).await? {
        Some(FinalWord::OfTask(task)) => Ok(reply(AnswerBody::of_task(&task))),
        Some(FinalWord::OfPingback(pingback)) => Ok(reply(AnswerBody::of_pingback(&pingback))),
        None => Err(ApiError::AnswerNotFound),
    }
}

/// `GET /v1/answers?limit=&cursor=`: the captchas that no task has, the newest first.
pub(super) async fn list_answers(
    _: Caller<Read>,
    State(app): State<Arc<AppState>>,
    mut query: Query,
) -> Result<JsonReply, ApiError> {
    let limit = query.parsed("limit", "a whole number").unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        query.wrong("limit", format!("is not from 1 to {MAX_PAGE}"));
    }
    let before = query.parsed("cursor", "a cursor that an earlier page gave");
    query.finish("limit and cursor")?;
    let page = app.store.unmatched(before, limit).await?;
    let answers = page.pingbacks.iter().map(AnswerBody::of_pingback).collect();
    Ok(reply(ListBody { answers, cursor: page.next.map(|id| id.to_string()) }))
}
