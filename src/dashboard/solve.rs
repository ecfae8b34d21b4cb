//! `/solve`: the captchas of the emulated provider, solved by hand.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use super::Dashboard;
use super::assets::SOLVE;
use super::page::{Frame, PageError, go_to, sentence};
use super::tasks::{Drawing, Shape};
use super::visitor::{Posted, Visitor};
use super::when::When;
use crate::http::{Admin, ApiError, Query};
use crate::model::{CaptchaId, Timestamp};
use crate::sandbox::{AnswerShape, Question, Sandbox, SolveError};

/// What says that nothing in the image fits the instruction.
const NO_MATCH: &str = "No_matching_images";

pub(super) fn router() -> Router<Arc<Dashboard>> {
    Router::new()
        .route("/solve", get(next))
        .route("/solve/by-hand", post(turn))
        .route("/solve/{id}", get(one).post(solve))
        .route("/solve/{id}/images/{image}", get(image))
}

#[derive(Template)]
#[template(path = "solve.html")]
struct SolvePage {
    frame: Frame,
    script: &'static str,
    by_hand: bool,
    asked: Option<Asked>,
    /// How many wait, this one included.
    waiting: usize,
    /// Why the answer was not taken.
    problem: Option<String>,
    /// What was typed then.
    typed: String,
}

impl SolvePage {
    /// How many wait beside the one that is shown.
    fn others(&self) -> usize {
        self.waiting.saturating_sub(1)
    }
}

/// A captcha that is to be solved.
struct Asked {
    id: String,
    since: When,
    shape: &'static str,
    hint: String,
    /// Whether there may be nothing to click.
    can_no_answer: bool,
    rows: u32,
    columns: u32,
    text: Option<String>,
    instruction: Option<Drawing>,
    images: Vec<Drawing>,
    parameters: Vec<(String, String)>,
}

impl Asked {
    /// Whether one can click the image.
    fn is_picked(&self) -> bool {
        ["points", "cells", "areas"].contains(&self.shape)
    }

    fn new(id: &CaptchaId, question: &Question, now: Timestamp) -> Self {
        let (shape, hint) = match question.form {
            AnswerShape::Text => ("text", "What is written there, or the answer to the question".to_owned()),
            AnswerShape::Points => (
                "points",
                "Click the image, or type points from the upper left corner: 39,59 252,72".to_owned(),
            ),
            AnswerShape::Cells { .. } => (
                "cells",
                "Click the cells, or type their numbers, counted from the upper left: 1 4 7".to_owned(),
            ),
            AnswerShape::Areas { .. } => (
                "areas",
                "Click the corners of each area, or type them: 10,10 50,10 50,50; 60,60 90,60 90,90"
                    .to_owned(),
            ),
            AnswerShape::Angles { images: 1, .. } => {
                ("angles", "Degrees to turn the image by, clockwise: 40, or -40".to_owned())
            }
            AnswerShape::Angles { images, step } => (
                "angles",
                format!(
                    "Degrees to turn each of the {images} images by, clockwise, in steps of {step}: 40 200"
                ),
            ),
            AnswerShape::Token => ("token", "The token that the page itself would have got".to_owned()),
        };
        let (rows, columns) = match question.form {
            AnswerShape::Cells { rows, columns, .. } => (rows, columns),
            _ => (1, 1),
        };
        let can_no_answer = matches!(
            question.form,
            AnswerShape::Cells { can_no_answer: true, .. } | AnswerShape::Areas { can_no_answer: true }
        );
        let drawing = |name: &str, label: String, picture: &crate::sandbox::Picture| {
            Drawing::plain(format!("/solve/{id}/images/{name}"), (picture.width, picture.height), label)
        };
        let images = (1..).zip(&question.images);
        Self {
            id: id.as_str().to_owned(),
            since: When::new(question.since, now),
            shape,
            hint,
            can_no_answer,
            rows,
            columns,
            text: question.text.clone(),
            instruction: question
                .instruction
                .as_ref()
                .map(|it| drawing("instruction", "Instruction".to_owned(), it)),
            images: images
                .map(|(at, it)| drawing(&format!("{at}"), format!("Image {at}"), it))
                .map(|image| if shape == "angles" { image.with_room_to_turn() } else { image })
                .collect(),
            parameters: question
                .parameters
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }
}

impl Dashboard {
    /// The emulated provider, where there is one.
    fn sandbox(&self) -> Result<&Sandbox, ApiError> {
        self.sandbox.as_ref().ok_or(ApiError::PathNotFound)
    }
}

/// The page with this captcha, or the oldest.
fn page(visitor: &Visitor<Admin>, sandbox: &Sandbox, wanted: Option<&CaptchaId>) -> SolvePage {
    let questions = sandbox.questions();
    let found = questions.iter().find(|(id, _)| wanted.is_none_or(|wanted| wanted == id));
    SolvePage {
        frame: visitor.frame("Solve by hand", "/solve"),
        script: &SOLVE.path,
        by_hand: sandbox.knobs().by_hand,
        asked: found.map(|(id, question)| Asked::new(id, question, Timestamp::now())),
        waiting: questions.len(),
        problem: None,
        typed: String::new(),
    }
}

/// `GET /solve`: the captcha that waits longest.
async fn next(
    visitor: Visitor<Admin>,
    State(dashboard): State<Arc<Dashboard>>,
    query: Query,
) -> Result<Response, PageError> {
    query.finish("no parameters").map_err(|error| visitor.told(error))?;
    let sandbox = dashboard.sandbox().map_err(|error| visitor.told(error))?;
    let page = page(&visitor, sandbox, None);
    Ok(visitor.browser().show(&page))
}

/// `GET /solve/{id}`: a certain one. When it does not wait any more, the one that waits longest.
async fn one(
    visitor: Visitor<Admin>,
    State(dashboard): State<Arc<Dashboard>>,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let sandbox = dashboard.sandbox()?;
    let id = id.parse().map_err(|_| ApiError::PathNotFound)?;
    if sandbox.question(&id).is_none() {
        return Ok(go_to("/solve"));
    }
    let page = page(&visitor, sandbox, Some(&id));
    Ok(visitor.browser().show(&page))
}

/// `POST /solve/{id}` with `answer`, or with `act`: `unsolvable`, `no_match`. Then comes the next one.
async fn solve(
    State(dashboard): State<Arc<Dashboard>>,
    Path(id): Path<String>,
    posted: Posted<Admin>,
) -> Result<Response, PageError> {
    let Posted { visitor, mut fields } = posted;
    let sandbox = dashboard.sandbox()?;
    let id: CaptchaId = id.parse().map_err(|_| ApiError::PathNotFound)?;
    // Somebody else was faster.
    let Some(question) = sandbox.question(&id) else { return Ok(go_to("/solve")) };
    let typed = fields.text("answer").unwrap_or_default();
    let solved = match fields.text("act").as_deref() {
        Some("unsolvable") => sandbox.give_up(&id),
        Some("no_match") => sandbox.solve(&id, NO_MATCH),
        _ => match question.answer(&typed) {
            Ok(answer) => sandbox.solve(&id, &answer),
            Err(problem) => return Ok(refused(&visitor, sandbox, &id, typed, &problem.to_string())),
        },
    };
    match solved {
        Ok(()) | Err(SolveError::Unknown | SolveError::Finished) => Ok(go_to("/solve")),
        Err(error @ SolveError::Answer) => Ok(refused(&visitor, sandbox, &id, typed, &error.to_string())),
    }
}

/// The page once more, with what was typed and what is wrong with it.
fn refused(
    visitor: &Visitor<Admin>,
    sandbox: &Sandbox,
    id: &CaptchaId,
    typed: String,
    problem: &str,
) -> Response {
    let page = SolvePage { problem: Some(sentence(problem)), typed, ..page(visitor, sandbox, Some(id)) };
    visitor.browser().show(&page)
}

/// `POST /solve/by-hand` with `on`: whether captchas wait for a person from now on.
async fn turn(State(dashboard): State<Arc<Dashboard>>, posted: Posted<Admin>) -> Result<Response, PageError> {
    let mut fields = posted.fields;
    dashboard.sandbox()?.set_by_hand(fields.text("on").is_some_and(|on| on == "1"));
    Ok(go_to("/solve"))
}

/// `GET /solve/{id}/images/{image}`
async fn image(
    _: Visitor<Admin>,
    State(dashboard): State<Arc<Dashboard>>,
    Path((id, image)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let id = id.parse().map_err(|_| ApiError::PathNotFound)?;
    let question = dashboard.sandbox()?.question(&id).ok_or(ApiError::PathNotFound)?;
    let picture = question.picture(&image).ok_or(ApiError::PathNotFound)?;
    Ok(([(CONTENT_TYPE, picture.media_type)], picture.content.clone()).into_response())
}
