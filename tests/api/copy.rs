//! `pingbox copy`: a deployment moves to PostgreSQL, and its callers notice nothing.

use std::path::Path;
use std::process::Command;

use axum::Router;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use standardwebhooks::Webhook;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::database::postgres;
use crate::harness::{PATIENCE, text_captcha};
use crate::process;
use crate::program::{Server, http, outcome, pingbox};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// On its file, and on an address that others reach, so that it wants a token.
fn serve(data: &Path) -> Command {
    let mut command = pingbox(data, &["serve", "--sandbox", "--delay", "0"]);
    command.env_remove("PINGBOX_DATABASE__URL");
    command.env("PINGBOX_API__LISTEN", "0.0.0.0:0").env("PINGBOX_WEBHOOKS__ALLOW_PRIVATE", "127.0.0.1/32");
    command
}

/// A running server, and a caller who has its token.
struct Caller {
    server: Server,
    api: String,
    token: String,
}

impl Caller {
    fn start(data: &Path, command: &mut Command) -> Self {
        let server = Server::start(command);
        let token = std::fs::read_to_string(data.join("api-token")).unwrap().trim_end().to_owned();
        Self { api: server.url("api"), server, token }
    }

    async fn get(&self, path: &str) -> Value {
        let request = http().get(format!("{}{path}", self.api)).bearer_auth(&self.token);
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = http().post(format!("{}{path}", self.api)).bearer_auth(&self.token).json(body);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Submits a captcha; its task, once it is solved.
    async fn solve(&self) -> Value {
        let task = self.post("/v1/tasks?wait=15", &text_captcha()).await;
        assert_eq!(task["status"], "solved", "{task}");
        task
    }
}

/// A receiver on loopback; the messages that it is sent, if they are signed.
async fn receiver() -> (String, mpsc::Receiver<Value>) {
    let (sender, heard) = mpsc::channel(100);
    let handle = move |headers: HeaderMap, body: String| async move {
        Webhook::new(SECRET).unwrap().verify(body.as_bytes(), &headers).unwrap();
        sender.send(body.parse().unwrap()).await.unwrap();
    };
    (process::serve(Router::new().fallback(handle)).await, heard)
}

async fn next(heard: &mut mpsc::Receiver<Value>) -> Value {
    timeout(PATIENCE, heard.recv()).await.expect("it is called").unwrap()
}

fn newest(events: &Value) -> &Value {
    events["events"].as_array().unwrap().last().unwrap_or_else(|| panic!("{events}"))
}

#[tokio::test]
async fn callers_go_on_where_they_were_when_the_database_has_moved() {
    let Some(url) = postgres::database().await else { return };
    let data = TempDir::new().unwrap();
    let (hook, mut heard) = receiver().await;
    let before = Caller::start(data.path(), &mut serve(data.path()));
    let webhook = json!({"url": hook, "types": ["task.solved"], "secret": SECRET});
    assert_eq!(before.post("/v1/webhooks", &webhook).await["status"], "enabled");
    let task = before.solve().await;
    assert_eq!(next(&mut heard).await["data"], task);
    let cursor =
        before.get("/v1/events?cursor=earliest&limit=1").await["cursor"].as_str().unwrap().to_owned();
    let behind = format!("/v1/events?cursor={cursor}");
    let events = before.get(&behind).await;
    assert_eq!(newest(&events)["data"], task);

    let mut copy = pingbox(data.path(), &["copy"]);
    copy.env("PINGBOX_DATABASE__URL", &url);
    let (code, _, explanation) = outcome(&mut copy);
    assert_eq!(code, Some(1));
    assert!(explanation.contains("stop it first"), "{explanation}");
    before.server.terminate();
    let (code, said, explanation) = outcome(&mut copy);
    assert_eq!(code, Some(0), "{explanation}");
    assert!(said.contains("copied task: 1 row\n") && said.contains("compared event: "), "{said}");
    assert!(said.contains("next: set database.url") && said.contains("pingbox.db as a backup"), "{said}");

    let after = Caller::start(data.path(), serve(data.path()).env("PINGBOX_DATABASE__URL", &url));
    assert_eq!(after.get(&format!("/v1/tasks/{}", task["id"].as_str().unwrap())).await, task);
    assert_eq!(after.get(&behind).await, events);
    let stranger = http().get(format!("{}/v1/tasks", after.api)).send().await.unwrap();
    assert_eq!(stranger.status(), reqwest::StatusCode::UNAUTHORIZED);
    let new = after.solve().await;
    assert_eq!((&new["id"], &next(&mut heard).await["data"]), (&json!("2"), &new));
    let cursor = events["cursor"].as_str().unwrap();
    let told = after.get(&format!("/v1/events?cursor={cursor}")).await;
    assert_eq!((&told["events"][0]["type"], &newest(&told)["data"]), (&json!("task.created"), &new));
}

#[tokio::test]
async fn the_url_may_be_in_a_file_and_no_server_starts_on_an_unfinished_copy() {
    let Some(url) = postgres::database().await else { return };
    let data = TempDir::new().unwrap();
    let server = Caller::start(data.path(), &mut serve(data.path()));
    server.solve().await;
    server.server.terminate();
    std::fs::write(data.path().join("url"), format!("{url}\n")).unwrap();
    let from = format!("sqlite://{}/pingbox.db", data.path().display());
    let mut copy = pingbox(data.path(), &["copy", "--from", &from, "--to-file", "url", "--json"]);
    let (code, said, explanation) = outcome(&mut copy);
    assert_eq!(code, Some(0), "{explanation}");
    let said: Value = said.parse().expect("one object");
    assert_eq!((&said["resumed"], &said["texts_with_nul"]), (&json!(false), &json!(0)), "{said}");
    let tasks = said["tables"].as_array().unwrap().iter().find(|table| table["table"] == "task").unwrap();
    assert_eq!((&tasks["rows"], tasks["sha256"].as_str().unwrap().len()), (&json!(1), 64));

    let mut database = PgConnection::connect(&url).await.unwrap();
    let mark = "INSERT INTO memory (name, value) VALUES ('copy', '{}')";
    sqlx::query(mark).execute(&mut database).await.unwrap();
    let (code, _, explanation) = outcome(serve(data.path()).env("PINGBOX_DATABASE__URL", &url));
    assert_eq!(code, Some(1));
    assert!(explanation.contains("run `pingbox copy` again"), "{explanation}");
}

#[test]
fn a_copy_without_ends_says_how_to_name_them() {
    let data = TempDir::new().unwrap();
    let (code, _, explanation) = outcome(&mut pingbox(data.path(), &["copy"]));
    assert_eq!(code, Some(1));
    assert!(explanation.contains("PINGBOX_DATABASE__URL_FILE"), "{explanation}");
    let to = ["copy", "--to", "postgres://127.0.0.1:9/none"];
    let (code, _, explanation) = outcome(&mut pingbox(data.path(), &to));
    assert_eq!(code, Some(1));
    assert!(explanation.contains("there is no database") && explanation.contains("--from"), "{explanation}");
    let both = [&to[..], &["--to-file", "x"]].concat();
    assert_eq!(outcome(&mut pingbox(data.path(), &both)).0, Some(2));
}
