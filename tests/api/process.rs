//! The real program as a child process that can be killed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use pingbox::sandbox::{Knobs, Sandbox, Settings};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::harness::{PATIENCE, SECRET};

/// The real program, killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) public: String,
    pub(crate) api: String,
    pub(crate) http: reqwest::Client,
    log: mpsc::Receiver<String>,
}

impl Process {
    /// Starts it on this data, toward this provider, and waits until it is ready.
    pub(crate) async fn start(data: &Path, provider: &str, environment: &[(&str, &str)]) -> Self {
        let (public, api) = (free_port().await, free_port().await);
        let mut child = Command::new(env!("CARGO_BIN_EXE_pingbox"))
            .arg("serve")
            .env_clear()
            .env("PINGBOX_PUBLIC__LISTEN", &public)
            .env("PINGBOX_PUBLIC__URL", format!("http://{public}"))
            .env("PINGBOX_API__LISTEN", &api)
            .env("PINGBOX_PINGBACK__SECRET", SECRET)
            .env("PINGBOX_PROVIDER__BASE_URL", provider)
            .env("PINGBOX_PROVIDER__API_KEY", pingbox::sandbox::DEFAULT_KEY)
            .env("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "0ms")
            .env("PINGBOX_DATA__DIR", data)
            .env("PINGBOX_LOG__FILTER", "error")
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, log) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
        });
        // Another test may have done so before.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let process =
            Self { child, public: format!("http://{public}"), api: format!("http://{api}"), http, log };
        let ready = async {
            let request = || process.http.get(format!("{}/readyz", process.api));
            while !request().send().await.is_ok_and(|reply| reply.status().is_success()) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, ready).await.expect("it starts");
        process
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it logs a line with this text. It blocks the thread.
    pub(crate) fn until_logged(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).unwrap_or_else(|_| panic!("{text:?} is not logged"));
            if line.contains(text) {
                return;
            }
        }
    }

    /// Everything that was logged and not looked at.
    pub(crate) fn logged(&self) -> Vec<String> {
        self.log.try_iter().collect()
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

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

async fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
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
