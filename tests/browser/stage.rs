//! The service with its sandbox, and a browser in front of it.

use std::path::Path;
use std::time::Instant;

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::sleep;

use crate::browser::{Browser, PAUSE};
use crate::program::{PATIENCE, Server, TOKEN, http, pingbox};

/// Two browsers at a time make each other slow, and the pictures take longer than all else.
static TURN: Mutex<()> = Mutex::const_new(());

/// What is known of the images in `tests/data`, for the flag `--answers`.
pub(crate) const ANSWERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/answers.json");

/// A service that is shown, and who looks at it.
pub(crate) struct Stage {
    pub(crate) browser: Browser,
    pub(crate) server: Server,
    /// The URL of the api listener.
    pub(crate) own: String,
    http: reqwest::Client,
    _data: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    /// With these flags of the sandbox; `None` where there is no browser.
    pub(crate) async fn open(flags: &[&str]) -> Option<Self> {
        let turn = TURN.lock().await;
        let browser = Browser::start().await?;
        let data = tempfile::tempdir().unwrap();
        let known = ["serve", "--sandbox", "--no-limits"];
        let mut command = pingbox(data.path(), &[known.as_slice(), flags].concat());
        command.env("PINGBOX_API__TOKEN", TOKEN).env("PINGBOX_WEBHOOKS__ALLOW_PRIVATE", "127.0.0.0/8");
        command.env("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "0ms");
        let server = Server::start(&mut command);
        let own = server.url("api");
        Some(Self { browser, server, own, http: http(), _data: data, _turn: turn })
    }

    /// The same, signed in.
    pub(crate) async fn signed_in(flags: &[&str]) -> Option<Self> {
        let stage = Self::open(flags).await?;
        stage.go("/").await;
        stage.browser.type_into("#token", TOKEN).await;
        stage.browser.click("main button").await;
        stage.browser.until_it_says("Overview").await;
        Some(stage)
    }

    pub(crate) async fn go(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.own)).await;
    }

    /// A call of the API; the reply.
    pub(crate) async fn call(&self, method: reqwest::Method, path: &str, body: &Value) -> Value {
        let request = self.http.request(method, format!("{}{path}", self.own)).bearer_auth(TOKEN);
        let reply = request.json(body).send().await.unwrap();
        assert!(reply.status().is_success(), "{path}: {}", reply.text().await.unwrap());
        reply.json().await.unwrap()
    }

    /// Submits a task; its id.
    pub(crate) async fn submit(&self, body: Value) -> String {
        let task = self.call(reqwest::Method::POST, "/v1/tasks", &body).await;
        task["id"].as_str().unwrap().to_owned()
    }

    /// Submits files of `tests/data`, and waits for the answer; the id.
    pub(crate) async fn upload(
        &self,
        path: &str,
        fields: &[(&'static str, &'static str)],
        files: &[(&'static str, &str)],
    ) -> String {
        let mut form = Form::new();
        for (name, value) in fields {
            form = form.text(*name, *value);
        }
        for (name, file) in files {
            let content =
                std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file)).unwrap();
            form = form.part(*name, Part::bytes(content).file_name((*file).to_owned()));
        }
        let reply =
            self.http.post(format!("{}{path}", self.own)).bearer_auth(TOKEN).multipart(form).send().await;
        let task: Value = reply.unwrap().json().await.unwrap();
        task["id"].as_str().unwrap_or_else(|| panic!("{task}")).to_owned()
    }

    /// The task, once it is as wanted or 30 s are over.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        self.call(reqwest::Method::GET, &format!("/v1/tasks/{id}?wait=30"), &json!(null)).await
    }

    /// The captcha ID of a task, once the provider has taken it.
    pub(crate) async fn captcha_id(&self, id: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let task = self.call(reqwest::Method::GET, &format!("/v1/tasks/{id}"), &json!(null)).await;
            if let Some(captcha_id) = task["captcha_id"].as_str() {
                return captcha_id.to_owned();
            }
            assert!(Instant::now() < deadline, "not sent: {task}");
            sleep(PAUSE).await;
        }
    }

    /// A question to the emulated provider.
    pub(crate) async fn solve(&self, captcha_id: &str, answer: &str) {
        let body = json!({"id": captcha_id, "answer": answer});
        let url = format!("{}/sandbox/solve", self.server.emulation());
        let reply = self.http.post(url).json(&body).send().await.unwrap();
        assert_eq!(reply.status(), reqwest::StatusCode::NO_CONTENT);
    }

    /// Ends the browser, which had nothing to complain about, and the service.
    pub(crate) async fn close(self) {
        self.close_after(&[]).await;
    }

    /// The same where the browser may have complained of this.
    pub(crate) async fn close_after(self, expected: &[&str]) {
        self.browser.close(&self.own, expected).await;
        assert_eq!(self.server.terminate().0, Some(0));
    }
}
