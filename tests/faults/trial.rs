//! A service whose disk fails: what everybody is told meanwhile, and how it is afterwards.

use std::path::Path;

use pingbox::sandbox::Sandbox;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::database::Database;
use crate::process::{Process, SECRET, never_solved, provider};
use crate::program::PATIENCE;
use crate::room::Room;

/// A service toward a provider that takes every task and solves none.
pub(crate) struct Trial {
    pub(crate) process: Process,
    sandbox: Sandbox,
}

impl Trial {
    /// On this data, with these variables.
    pub(crate) async fn start(data: &Path, environment: &[(&str, &str)]) -> Self {
        let (sandbox, provider) = provider(never_solved()).await;
        Self { process: Process::start(data, &provider, environment).await, sandbox }
    }

    /// On a disk of its own.
    pub(crate) async fn in_room(room: &Room) -> Self {
        let (sandbox, provider) = provider(never_solved()).await;
        let inside = |command| room.inside(&command);
        Self { process: Process::start_by(room.path(), &provider, &[], inside).await, sandbox }
    }

    /// A task that the provider has taken; its id and captcha ID.
    pub(crate) async fn submitted(&self) -> (String, String) {
        let id = self.process.submit(&json!({"type": "text", "textcaptcha": "2 + 2?"})).await;
        let task = self.process.until(&id, |task| task["captcha_id"].is_string()).await;
        (id, task["captcha_id"].as_str().unwrap().to_owned())
    }

    /// POSTs a pingback.
    pub(crate) async fn pingback(&self, captcha_id: &str, code: &str) -> Response {
        let url = format!("{}/pingback/{SECRET}", self.process.public);
        self.process.http.post(url).form(&[("id", captcha_id), ("code", code)]).send().await.unwrap()
    }

    /// `GET` on the api listener; status and body.
    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        let reply = self.process.http.get(format!("{}{path}", self.process.api)).send().await.unwrap();
        (reply.status(), reply.json().await.unwrap())
    }

    /// Nothing is taken, nobody is told 2xx, and `/readyz` says why.
    pub(crate) async fn turns_everybody_away(&self, captcha_id: &str, why: &str) {
        let Process { http, public, api, .. } = &self.process;
        let pinged = self.pingback(captcha_id, "Friday").await;
        assert_eq!(pinged.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(pinged.headers().contains_key("retry-after"));

        let body = json!({"type": "text", "textcaptcha": "3 + 3?"});
        let refused = http.post(format!("{api}/v1/tasks")).json(&body).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key("retry-after"));
        assert_eq!(refused.headers()["content-type"], "application/problem+json");
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "database_unavailable");

        let form = [("key", "any"), ("textcaptcha", "4 + 4?")];
        let refused = http.post(format!("{api}/in.php")).form(&form).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::OK);
        assert_eq!(refused.text().await.unwrap(), "ERROR_NO_SLOT_AVAILABLE");

        for listener in [public, api] {
            let lives = http.get(format!("{listener}/livez")).send().await.unwrap();
            assert_eq!(lives.status(), StatusCode::OK);
        }
        let (status, ready) = self.get("/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{ready}");
        let told = ready["database"].as_str().unwrap();
        assert!(told.contains(why), "{told:?} does not say {why:?}");
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn until_ready(&self) {
        let ready = async { while self.get("/readyz").await.0 != StatusCode::OK {} };
        timeout(PATIENCE, ready).await.expect("it is ready again");
    }

    /// Takes everything as before, without having been started again.
    pub(crate) async fn works(&mut self, id: &str, captcha_id: &str) {
        let pinged = self.pingback(captcha_id, "Friday").await.status();
        assert_eq!(pinged, StatusCode::OK, "{:#?}", self.complaints());
        let (_, task) = self.get(&format!("/v1/tasks/{id}")).await;
        assert_eq!(
            (&task["status"], &task["answer"]["text"]),
            (&json!("solved"), &json!("Friday")),
            "{task}"
        );
        let (id, captcha_id) = self.submitted().await;
        assert_eq!(self.pingback(&captcha_id, "Monday").await.status(), StatusCode::OK);
        // What readers see is what was written a moment ago.
        let (_, task) = self.get(&format!("/v1/tasks/{id}")).await;
        assert_eq!(task["status"], "solved", "{task}");
        let (_, page) = self.get("/v1/events?cursor=earliest&limit=1000").await;
        let last = page["events"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["type"], &last["data"]["id"]), (&json!("task.solved"), &json!(id)), "{page}");
    }

    /// What was logged with this text so far.
    pub(crate) fn logged(&mut self, text: &str) -> Vec<String> {
        self.process.server.logged().iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// What it has logged as a warning or worse since it was ready. What sqlx says of slow statements is not counted: one
    /// takes a second at least.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        let log = self.process.server.logged();
        let ready = log.iter().position(|line| line.contains("is ready: ")).unwrap();
        let is_loud = |line: &String| {
            line.contains("\"target\":\"pingbox") && (line.contains("\"ERROR\"") || line.contains("\"WARN\""))
        };
        log[ready..].iter().filter(|line| is_loud(line)).cloned().collect()
    }

    /// How many tasks the provider has taken.
    pub(crate) fn taken(&self) -> u64 {
        self.sandbox.counters().submitted
    }

    /// Ends it at once, and looks at what it left: nothing is damaged, no event is missing.
    pub(crate) async fn kill_and_inspect(mut self, data: &Path) {
        self.process.server.kill();
        let mut database = Database::of(data).await;
        assert!(database.is_whole().await);
        let gaps = "SELECT MAX(id) - MIN(id) + 1 - COUNT(*) FROM event";
        assert_eq!(database.number(gaps).await, 0);
    }
}
