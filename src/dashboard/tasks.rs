//! `/tasks`: what was submitted, found and filtered, newest first.

mod drawing;
mod one;
mod shown;
mod timeline;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};

pub(super) use self::drawing::{Drawing, Shape};
use super::Dashboard;
use super::page::{Frame, PageError};
use super::visitor::Visitor;
use super::when::{When, span};
use crate::http::{Query, Read};
use crate::model::{CaptchaType, Status, Task, Timestamp};
use crate::store::{MAX_SCAN, TaskFilter};

/// Tasks on a page.
const PAGE: u32 = 50;
/// The longest answer in a row, in characters.
const MAX_ANSWER_CHARS: usize = 32;

pub(super) fn router() -> Router<Arc<Dashboard>> {
    Router::new()
        .route("/tasks", get(list))
        .route("/tasks/{id}", get(one::show))
        .route("/tasks/{id}/images/{number}", get(one::image))
        .route("/tasks/{id}/cancel", post(one::cancel))
        .route("/tasks/{id}/report", post(one::report))
}

#[derive(Template)]
#[template(path = "tasks.html")]
struct ListPage {
    frame: Frame,
    wanted: Wanted,
    rows: Vec<Row>,
    /// The query of the next page.
    next: Option<String>,
    /// Whether there are newer ones.
    is_later: bool,
}

/// A task in the list.
pub(super) struct Row {
    id: String,
    kind: &'static str,
    status: &'static str,
    tag: String,
    captcha_id: String,
    /// The answer, or why there is none.
    outcome: String,
    created: When,
    took: String,
}

/// What is looked for, as it was typed.
struct Wanted {
    q: String,
    status: Option<Status>,
    kind: Option<CaptchaType>,
}

impl Wanted {
    const STATUSES: [Status; 8] = Status::ALL;
    const TYPES: [CaptchaType; 9] = CaptchaType::ALL;

    fn is_anything(&self) -> bool {
        self.q.is_empty() && self.status.is_none() && self.kind.is_none()
    }

    /// The query of a page that begins behind this task.
    fn before(&self, cursor: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let status = self.status.map_or("", Status::as_str);
        let kind = self.kind.map_or("", CaptchaType::as_str);
        for (name, value) in [("q", self.q.as_str()), ("status", status), ("type", kind), ("cursor", cursor)]
        {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }
}

impl Row {
    pub(super) fn new(task: &Task, now: Timestamp) -> Self {
        let error = task.error.as_ref().map(|error| error.as_str().to_owned());
        Self {
            id: task.id.to_string(),
            kind: task.kind.as_str(),
            status: task.status.as_str(),
            tag: task.tag.clone().unwrap_or_default(),
            captcha_id: task.captcha_id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
            outcome: task.answer.as_deref().map(cut).or(error).unwrap_or_default(),
            created: When::new(task.created_at, now),
            // Only once it is over: what counts on would be a change each time it is looked at.
            took: task.answered_at.map_or_else(String::new, |end| span(millis_between(task.created_at, end))),
        }
    }
}

fn cut(answer: &str) -> String {
    match answer.char_indices().nth(MAX_ANSWER_CHARS) {
        Some((end, _)) => format!("{}…", &answer[..end]),
        None => answer.to_owned(),
    }
}

fn millis_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX)
}

/// `GET /tasks?q=&status=&type=&cursor=`
async fn list(
    visitor: Visitor<Read>,
    State(dashboard): State<Arc<Dashboard>>,
    mut query: Query,
) -> Result<Response, PageError> {
    let q = query.text("q").unwrap_or_default().trim().to_owned();
    let wanted = Wanted {
        q,
        status: query.parsed("status", "a status of tasks"),
        kind: query.parsed("type", "a type of captcha"),
    };
    let before = query.parsed("cursor", "where an earlier page ended");
    query.finish("q, status, type and cursor").map_err(|error| visitor.told(error))?;
    let filter = TaskFilter {
        owner: visitor.identity.sees(),
        status: wanted.status,
        kind: wanted.kind,
        tag: None,
        before,
        limit: PAGE,
    };
    let store = &dashboard.app.store;
    let page = match wanted.q.as_str() {
        "" => store.list_tasks(&filter).await?,
        text => store.find_tasks(text, &filter).await?,
    };
    let now = Timestamp::now();
    let page = ListPage {
        frame: visitor.frame("Tasks", "/tasks"),
        rows: page.tasks.iter().map(|task| Row::new(task, now)).collect(),
        next: page.next.map(|cursor| wanted.before(&cursor.to_string())),
        is_later: before.is_some(),
        wanted,
    };
    Ok(visitor.browser().show(&page))
}
