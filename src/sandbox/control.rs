//! The control endpoint: turns the knobs, shows what was received, solves by hand.

use axum::body::Bytes;
use axum::extract::{Path, Query, State as Extract};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::journal::LoggedRequest;
use super::knobs::Knobs;
use super::rules::{BrokenRule, Usage};
use super::state::Counters;
use super::{Question, Sandbox, SolveError};
use crate::model::CaptchaId;

/// The routes below `/sandbox`.
pub(super) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/sandbox", get(show).post(turn))
        .route("/sandbox/requests", get(requests).delete(clear_requests))
        .route("/sandbox/solve", post(solve))
        .route("/sandbox/questions", get(questions))
        .route("/sandbox/questions/{id}/{image}", get(image))
}

/// How the emulation is set, and what happened.
#[derive(Serialize)]
struct Overview {
    knobs: Knobs,
    counters: Counters,
    requests: Usage,
    /// What the client should have done otherwise; empty if it behaved.
    broken_rules: Vec<BrokenRule>,
    /// The captchas that wait for their answer, oldest first.
    pending: Vec<CaptchaId>,
}

/// `GET /sandbox`.
async fn show(Extract(sandbox): Extract<Sandbox>) -> Json<Overview> {
    Json(Overview {
        knobs: sandbox.knobs(),
        counters: sandbox.counters(),
        requests: sandbox.usage(),
        broken_rules: sandbox.broken_rules(),
        pending: sandbox.pending(),
    })
}

/// `POST /sandbox`: turns the knobs that the JSON object names, leaves the others, shows them all.
async fn turn(Extract(sandbox): Extract<Sandbox>, body: Bytes) -> Response {
    let given = match serde_json::from_slice(&body) {
        Ok(Value::Object(given)) => given,
        Ok(_) => return unprocessable("the knobs are a JSON object"),
        Err(error) => return unprocessable(&error.to_string()),
    };
    let turned = sandbox.state().merge_knobs(given);
    match turned {
        Ok(()) => show(Extract(sandbox)).await.into_response(),
        Err(error) => unprocessable(&error.to_string()),
    }
}

#[derive(Deserialize)]
struct After {
    /// The number of the last request that is known.
    #[serde(default)]
    after: u64,
}

#[derive(Serialize)]
struct Requests {
    requests: Vec<LoggedRequest>,
}

/// `GET /sandbox/requests?after=N`: the requests after number N that are still kept.
async fn requests(
    Extract(sandbox): Extract<Sandbox>,
    Query(After { after }): Query<After>,
) -> Json<Requests> {
    Json(Requests { requests: sandbox.requests_after(after) })
}

/// `DELETE /sandbox/requests`: forgets them.
async fn clear_requests(Extract(sandbox): Extract<Sandbox>) -> StatusCode {
    sandbox.state().journal.clear();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Solution {
    id: CaptchaId,
    answer: Option<String>,
    #[serde(default)]
    unsolvable: bool,
}

/// `POST /sandbox/solve`: ends one captcha that waits.
async fn solve(Extract(sandbox): Extract<Sandbox>, body: Bytes) -> Response {
    let solution: Solution = match serde_json::from_slice(&body) {
        Ok(solution) => solution,
        Err(error) => return unprocessable(&error.to_string()),
    };
    let solved = match (solution.answer, solution.unsolvable) {
        (Some(answer), false) => sandbox.solve(&solution.id, &answer),
        (None, true) => sandbox.give_up(&solution.id),
        _ => return unprocessable("give either an answer or \"unsolvable\": true"),
    };
    match solved {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error @ SolveError::Unknown) => (StatusCode::NOT_FOUND, error.to_string()).into_response(),
        Err(error @ SolveError::Finished) => (StatusCode::CONFLICT, error.to_string()).into_response(),
        Err(error @ SolveError::Answer) => unprocessable(&error.to_string()),
    }
}

/// What a person is asked, and where its images are.
#[derive(Serialize)]
struct Asked<'a> {
    id: &'a CaptchaId,
    #[serde(flatten)]
    question: &'a Question,
    instruction: Option<String>,
    images: Vec<String>,
}

impl<'a> Asked<'a> {
    fn new(id: &'a CaptchaId, question: &'a Question) -> Self {
        let path = |image: &dyn std::fmt::Display| format!("/sandbox/questions/{id}/{image}");
        Self {
            id,
            question,
            instruction: question.instruction.as_ref().map(|_| path(&"instruction")),
            images: (1..=question.images.len()).map(|number| path(&number)).collect(),
        }
    }
}

/// `GET /sandbox/questions`: the captchas that wait for a person, oldest first.
async fn questions(Extract(sandbox): Extract<Sandbox>) -> Json<Value> {
    let questions = sandbox.questions();
    let asked: Vec<_> = questions.iter().map(|(id, question)| Asked::new(id, question)).collect();
    Json(serde_json::json!({ "questions": asked }))
}

/// `GET /sandbox/questions/{id}/{image}`: an image of one of them, by its number or as `instruction`.
async fn image(
    Extract(sandbox): Extract<Sandbox>,
    Path((id, image)): Path<(CaptchaId, String)>,
) -> Result<impl IntoResponse, StatusCode> {
    let question = sandbox.question(&id).ok_or(StatusCode::NOT_FOUND)?;
    let picture = question.picture(&image).ok_or(StatusCode::NOT_FOUND)?;
    let headers = [(CONTENT_TYPE, picture.media_type), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((headers, picture.content.clone()))
}

fn unprocessable(why: &str) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, why.to_owned()).into_response()
}
