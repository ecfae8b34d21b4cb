//! Three replicas on one PostgreSQL server, toward a provider of the test's own.

use std::sync::Mutex;
use std::time::Duration;

use pingbox::sandbox::{DEFAULT_KEY, Knobs, Sandbox};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::database::cluster::{Cluster, Durability};
use crate::harness::{PATIENCE, SECRET, never_solved};
use crate::process;
use crate::program::{Server, free_address, http, pingbox};

/// Replicas of a fleet.
pub(crate) const REPLICAS: usize = 3;
/// Nobody listens there.
const NOWHERE: &str = "postgres://nobody@127.0.0.1:9/nothing";

/// The replicas, and what they work with.
pub(crate) struct Fleet {
    pub(crate) cluster: Cluster,
    pub(crate) sandbox: Sandbox,
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
    provider: String,
    is_heard: bool,
    replicas: Vec<Replica>,
}

/// A place for a replica, whether it runs or not.
struct Replica {
    public: String,
    api: String,
    data: TempDir,
    server: Mutex<Option<Server>>,
}

impl Fleet {
    /// `None` where there is no PostgreSQL. Where nothing is heard, replicas look by themselves alone.
    pub(crate) async fn start(durability: Durability, is_heard: bool) -> Option<Self> {
        let cluster = Cluster::start(durability).await?;
        let url = cluster.create_database().await;
        let (sandbox, provider) = process::provider(never_solved()).await;
        let mut replicas = Vec::new();
        for _ in 0..REPLICAS {
            let (public, api) = (free_address().await, free_address().await);
            replicas.push(Replica { public, api, data: TempDir::new().unwrap(), server: Mutex::default() });
        }
        let http = http();
        let fleet = Self { cluster, sandbox, http, url, provider, is_heard, replicas };
        for index in 0..REPLICAS {
            fleet.launch(index).await;
        }
        Some(fleet)
    }

    /// Starts a replica where it was before, and waits until it is ready.
    pub(crate) async fn launch(&self, index: usize) {
        let Replica { public, api, data, server } = &self.replicas[index];
        let mut command = pingbox(data.path(), &["serve"]);
        command
            .env("PINGBOX_DATABASE__URL", &self.url)
            .env("PINGBOX_PUBLIC__LISTEN", public)
            // All of them stand behind one name.
            .env("PINGBOX_PUBLIC__URL", format!("http://{}", self.replicas[0].public))
            .env("PINGBOX_API__LISTEN", api)
            .env("PINGBOX_PINGBACK__SECRET", SECRET)
            .env("PINGBOX_WEBHOOKS__ALLOW_PRIVATE", "127.0.0.0/8")
            .env("PINGBOX_PROVIDER__BASE_URL", &self.provider)
            .env("PINGBOX_PROVIDER__API_KEY", DEFAULT_KEY);
        if !self.is_heard {
            command.env("PINGBOX_DATABASE__LISTEN_URL", NOWHERE);
        }
        let started = tokio::task::spawn_blocking(move || Server::start(&mut command)).await.unwrap();
        *server.lock().unwrap() = Some(started);
    }

    /// Kills a replica, as a power cut would.
    pub(crate) fn kill(&self, index: usize) {
        if let Some(mut server) = self.replicas[index].server.lock().unwrap().take() {
            server.kill();
        }
    }

    /// Ends a replica in order.
    pub(crate) async fn end(&self, index: usize) {
        let server = self.replicas[index].server.lock().unwrap().take().unwrap();
        let (code, log) = tokio::task::spawn_blocking(move || server.terminate()).await.unwrap();
        assert_eq!(code, Some(0), "{log:#?}");
    }

    /// Has the provider answer every submission with this code.
    pub(crate) fn refuse_with(&self, code: &str) {
        self.sandbox.set_knobs(Knobs { code: Some(code.to_owned()), ..never_solved() });
    }

    pub(crate) fn api(&self, index: usize, path: &str) -> String {
        format!("http://{}{path}", self.replicas[index].api)
    }

    /// POSTs a pingback to a replica; the status, if it answers.
    pub(crate) async fn pingback(&self, index: usize, captcha_id: &str, code: &str) -> Option<StatusCode> {
        let url = format!("http://{}/pingback/{SECRET}", self.replicas[index].public);
        let sent = self.http.post(url).form(&[("id", captcha_id), ("code", code)]).send().await;
        sent.ok().map(|reply| reply.status())
    }

    /// The reply of a replica, if it gives one.
    pub(crate) async fn get(&self, index: usize, path: &str) -> Option<Value> {
        let reply = self.http.get(self.api(index, path)).send().await.and_then(Response::error_for_status);
        reply.ok()?.json().await.ok()
    }

    /// Which replica leads by its own word, once one does.
    pub(crate) async fn leader(&self) -> usize {
        let found = async {
            loop {
                for index in 0..REPLICAS {
                    let state = self.get(index, "/readyz").await.unwrap_or_default();
                    if state["replicas"].as_str().is_some_and(|text| text.starts_with("this one leads")) {
                        return index;
                    }
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, found).await.expect("one of them leads")
    }

    /// What `in.php` was sent, oldest first.
    pub(crate) fn submissions(&self) -> Vec<Value> {
        process::submissions(&self.sandbox)
    }

    /// The captcha IDs that the provider gave, by the text of the captcha.
    pub(crate) async fn taken(&self, index: usize, task: &str) -> Option<String> {
        let task = self.get(index, &format!("/v1/tasks/{task}")).await?;
        task["captcha_id"].as_str().map(str::to_owned)
    }
}

/// A figure, for whoever runs a test by hand.
#[expect(clippy::print_stdout, reason = "figures are for whoever runs it by hand")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
