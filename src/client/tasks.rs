//! Tasks: submitted, waited for, read.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::{Client, Problem, Told};
use crate::model::{Status, TaskId};

/// What a reply to a long poll may take beyond the wait that was asked for.
const GRACE: Duration = Duration::from_secs(30);

/// A task, as far as the command line needs it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TaskLine {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) answer: Option<TaskAnswer>,
    pub(crate) error: Option<TaskError>,
    pub(crate) price: Option<String>,
    /// How the answer came: `pingback` or `reconcile`.
    pub(crate) via: Option<String>,
    /// How long the provider took.
    pub(crate) solve_ms: Option<u64>,
    /// Why it waits.
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TaskAnswer {
    pub(crate) text: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TaskError {
    pub(crate) code: String,
    pub(crate) message: String,
}

#[derive(Deserialize)]
struct TaskList {
    tasks: Vec<TaskLine>,
}

impl TaskLine {
    /// Whether nothing more happens to it. A status of a newer server is none that ends.
    pub(crate) fn has_ended(&self) -> bool {
        self.status.parse().is_ok_and(Status::is_final)
    }

    pub(crate) fn is_solved(&self) -> bool {
        self.status == Status::Solved.as_str()
    }

    /// Whether the server keeps it back, and why.
    pub(crate) fn why_it_waits(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| self.status == Status::Queued.as_str())
    }

    /// The answer's text; else why there is none.
    pub(crate) fn outcome(&self) -> Result<&str, String> {
        match (&self.answer, &self.error) {
            (Some(answer), _) if self.is_solved() => Ok(&answer.text),
            (_, Some(error)) => Err(format!("{}: {}", error.code, error.message)),
            _ => Err(self.status.clone()),
        }
    }
}

/// What came of a submission.
pub(crate) enum Submitted {
    /// Made.
    New(TaskLine),
    /// The task that was made with this key before.
    Earlier(TaskLine),
    /// This captcha is not taken; another may be.
    Refused(String),
    /// The server takes none at the moment: the same again, later.
    Later(anyhow::Error),
    /// The server takes none until somebody acts.
    Stopped(anyhow::Error),
}

impl Client {
    /// Submits a captcha, once for each key.
    pub(crate) async fn submit(&self, fields: &Value, key: &str) -> Submitted {
        let request = self.request(Method::POST, "/v1/tasks").header("Idempotency-Key", key).json(fields);
        let (status, json) = match self.send(request).await {
            Ok(reply) => reply,
            Err(silence) => return Submitted::Later(silence),
        };
        match status {
            StatusCode::CREATED | StatusCode::OK => match self.understand(status, json) {
                Ok(Told { body, .. }) if status == StatusCode::OK => Submitted::Earlier(body),
                Ok(Told { body, .. }) => Submitted::New(body),
                Err(nonsense) => Submitted::Stopped(nonsense),
            },
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE => {
                match serde_json::from_str::<Problem>(&json) {
                    Ok(problem) => Submitted::Refused(problem.detail),
                    Err(_) => Submitted::Stopped(self.nonsense(status)),
                }
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Submitted::Later(self.refusal(status, &json))
            }
            status if status.is_server_error() => Submitted::Later(self.refusal(status, &json)),
            status => Submitted::Stopped(self.refusal(status, &json)),
        }
    }

    /// The task once it has ended, else as it stands after the wait, or earlier where the server does
    /// not wait for so long.
    pub(crate) async fn task(&self, id: TaskId, wait: Duration) -> anyhow::Result<Told<TaskLine>> {
        let request = self.request(Method::GET, &format!("/v1/tasks/{id}"));
        self.ask(request.query(&[("wait", wait.as_secs())]).timeout(wait + GRACE)).await
    }

    /// Cancels a task that was not sent.
    pub(crate) async fn cancel(&self, id: TaskId) -> anyhow::Result<Told<TaskLine>> {
        self.ask(self.request(Method::DELETE, &format!("/v1/tasks/{id}"))).await
    }

    /// These tasks as soon as one of them has ended, else as they stand after the wait. The server
    /// leaves out those that it does not know.
    pub(crate) async fn until_any_ends(&self, ids: &[&str], wait: Duration) -> anyhow::Result<Vec<TaskLine>> {
        let (ids, wait_secs) = (ids.join(","), wait.as_secs().to_string());
        let query = [("ids", ids.as_str()), ("wait", &wait_secs), ("until", "any")];
        let request = self.request(Method::GET, "/v1/tasks").query(&query).timeout(wait + GRACE);
        Ok(self.ask::<TaskList>(request).await?.body.tasks)
    }
}
