//! The real program as a child process that can be killed, toward a provider of the test's own.
//!
//! Included with `#[path]` as `crate::process`, beside `crate::program`.

use std::path::Path;
use std::process::Command;

use pingbox::sandbox::{DEFAULT_KEY, Knobs, Sandbox, Settings};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::program::{PATIENCE, Server, free_address, http, pingbox};

/// The secret segment of the pingback URL.
pub(crate) const SECRET: &str = "a-secret-of-the-tests-0123456789";

/// The service toward a provider of the test's own, killed when dropped.
pub(crate) struct Process {
    pub(crate) server: Server,
    pub(crate) public: String,
    pub(crate) api: String,
    pub(crate) http: reqwest::Client,
}

impl Process {
    /// Starts it on this data, toward this provider, and waits until it is ready.
    pub(crate) async fn start(data: &Path, provider: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_by(data, provider, environment, |command| command).await
    }

    /// The same by the command that `wrap` makes of its own.
    pub(crate) async fn start_by(
        data: &Path,
        provider: &str,
        environment: &[(&str, &str)],
        wrap: impl FnOnce(Command) -> Command,
    ) -> Self {
        // The provider is to know the URL beforehand.
        let public = free_address().await;
        let mut command = pingbox(data, &["serve"]);
        command
            .env("PINGBOX_PUBLIC__LISTEN", &public)
            .env("PINGBOX_PUBLIC__URL", format!("http://{public}"))
            .env("PINGBOX_PINGBACK__SECRET", SECRET)
            .env("PINGBOX_PROVIDER__BASE_URL", provider)
            .env("PINGBOX_PROVIDER__API_KEY", DEFAULT_KEY)
            .env("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "0ms")
            .envs(environment.iter().copied());
        let server = Server::start(&mut wrap(command));
        Self { public: server.url("public"), api: server.url("api"), http: http(), server }
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let reply = self.http.get(format!("{}{path}", self.api)).send().await.unwrap();
        reply.json().await.unwrap()
    }

    /// Submits a task; its id.
    pub(crate) async fn submit(&self, body: &Value) -> String {
        let reply = self.http.post(format!("{}/v1/tasks", self.api)).json(body).send().await.unwrap();
        let task: Value = reply.json().await.unwrap();
        task["id"].as_str().unwrap_or_else(|| panic!("{task}")).to_owned()
    }

    /// The task, once it is as `wanted`.
    pub(crate) async fn until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let poll = async {
            loop {
                let task = self.get(&format!("/v1/tasks/{id}")).await;
                if wanted(&task) {
                    return task;
                }
            }
        };
        timeout(PATIENCE, poll).await.expect("it comes about")
    }

    /// POSTs a pingback to this URL of ours, whatever port it had; the status.
    pub(crate) async fn pingback(&self, url: &str, captcha_id: &str, code: &str) -> reqwest::StatusCode {
        let path = url.find("/pingback/").map(|at| &url[at..]).unwrap();
        let form = [("id", captcha_id), ("code", code)];
        self.http.post(format!("{}{path}", self.public)).form(&form).send().await.unwrap().status()
    }
}

/// Knobs with which a captcha waits for as long as a test runs: the test sends the pingbacks.
pub(crate) fn never_solved() -> Knobs {
    Knobs { delay_ms: 80_000, limits: false, ..Knobs::default() }
}

/// Knobs with which a captcha is solved as soon as it is taken.
pub(crate) fn solved_at_once() -> Knobs {
    Knobs { delay_ms: 0, limits: false, ..Knobs::default() }
}

/// A provider in this process: it outlives the kills. Nobody runs its deliveries.
pub(crate) async fn provider(knobs: Knobs) -> (Sandbox, String) {
    let sandbox = Sandbox::new(Settings { knobs, ..Settings::default() }).unwrap();
    let url = serve(sandbox.router()).await;
    (sandbox, url)
}

/// Serves on a free port; the URL.
pub(crate) async fn serve(router: axum::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serve_on(listener, router);
    format!("http://{address}")
}

pub(crate) fn serve_on(listener: TcpListener, router: axum::Router) {
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
            tokio::spawn(async move { connection.await.is_ok() });
        }
    });
}

/// What `in.php` was sent.
pub(crate) fn submissions(sandbox: &Sandbox) -> Vec<Value> {
    let requests = serde_json::to_value(sandbox.requests()).unwrap();
    let is_submission = |request: &&Value| request["path"] == json!("/in.php");
    requests.as_array().unwrap().iter().filter(is_submission).cloned().collect()
}
