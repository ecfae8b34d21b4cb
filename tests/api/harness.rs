//! The service on free ports with a database of its own, and the emulated provider behind it.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use pingbox::app::App;
use pingbox::config::{Config, Sources};
use pingbox::sandbox::{Answers, Knobs, Sandbox, Settings};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::contract;
use crate::database::{self, Database, Sql};
pub(crate) use crate::process::{SECRET, never_solved, solved_at_once};
pub(crate) use crate::program::PATIENCE;

pub(crate) struct TestApp {
    pub(crate) public: String,
    pub(crate) api: String,
    pub(crate) sandbox: Sandbox,
    /// Where the emulated provider is.
    pub(crate) provider: String,
    pub(crate) http: reqwest::Client,
    pub(crate) shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
    data: TempDir,
}

impl TestApp {
    /// One whose captchas are never solved by the provider.
    pub(crate) async fn spawn() -> Self {
        Self::with(never_solved(), &[]).await
    }

    /// One with these knobs and environment variables.
    pub(crate) async fn with(knobs: Knobs, environment: &[(&str, &str)]) -> Self {
        Self::start(knobs, environment, TempDir::new().unwrap()).await
    }

    /// The same with its database on PostgreSQL, whatever those of other tests are on; `None` where there is none.
    pub(crate) async fn on_postgres(knobs: Knobs) -> Option<Self> {
        let data = TempDir::new().unwrap();
        database::on_postgres(data.path()).await?;
        Some(Self::on(knobs, data).await)
    }

    async fn start(knobs: Knobs, environment: &[(&str, &str)], data: TempDir) -> Self {
        let answers = Answers::load(&data_file("answers.json")).unwrap();
        Self::start_with(Settings { knobs, answers, ..Settings::default() }, environment, data).await
    }

    /// One whose provider knows the answers in this file.
    pub(crate) async fn with_answers(knobs: Knobs, environment: &[(&str, &str)], answers: &Path) -> Self {
        let answers = Answers::load(answers).unwrap();
        let settings = Settings { knobs, answers, ..Settings::default() };
        Self::start_with(settings, environment, TempDir::new().unwrap()).await
    }

    async fn start_with(settings: Settings, environment: &[(&str, &str)], data: TempDir) -> Self {
        let url = database::url(data.path()).await;
        let config = config(data.path(), url.as_deref(), environment);
        let (of_public, of_api) = (config.public.tls.scheme(), config.api.tls.scheme());
        let app = App::start(config, Some(settings)).await.unwrap();
        Self {
            provider: app.provider_url().as_str().trim_end_matches('/').to_owned(),
            public: format!("{of_public}://{}", app.public_addr()),
            api: format!("{of_api}://{}", app.api_addr()),
            sandbox: app.sandbox().unwrap().clone(),
            http: client(data.path()),
            shutdown: app.shutdown_token(),
            running: tokio::spawn(app.run()),
            data,
        }
    }

    /// One on data that is there.
    pub(crate) async fn on(knobs: Knobs, data: TempDir) -> Self {
        Self::start(knobs, &[], data).await
    }

    /// One on data that is there, of an account with another key.
    pub(crate) async fn with_key(knobs: Knobs, key: &str, data: TempDir) -> Self {
        let settings = Settings { knobs, key: pingbox::model::Secret::new(key), ..Settings::default() };
        Self::start_with(settings, &[], data).await
    }

    /// Ends it in order; what is left is its data.
    pub(crate) async fn stop(self) -> TempDir {
        self.shutdown.cancel();
        timeout(PATIENCE, self.running).await.expect("it ends").unwrap().unwrap();
        self.data
    }

    /// Ends it in order and starts it again on the same data.
    pub(crate) async fn restart(self, knobs: Knobs) -> Self {
        self.restart_with(knobs, &[]).await
    }

    /// The same with other environment variables.
    pub(crate) async fn restart_with(self, knobs: Knobs, environment: &[(&str, &str)]) -> Self {
        Self::start(knobs, environment, self.stop().await).await
    }

    /// The folder that `data.dir` names.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// A connection to the database beside those of the service.
    pub(crate) async fn connect(&self) -> Database {
        Database::of(self.data.path()).await
    }

    /// Changes the database behind the service's back, as time would.
    pub(crate) async fn connect_and(&self, sql: impl Into<Sql>) {
        self.connect().await.execute(sql).await;
    }

    /// The number that a query finds.
    pub(crate) async fn number(&self, sql: impl Into<Sql>) -> i64 {
        self.connect().await.number(sql).await
    }

    /// How many tasks are on disk.
    pub(crate) async fn stored_tasks(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM task").await
    }

    /// A request to submit a task, to be filled.
    pub(crate) fn submission(&self) -> reqwest::RequestBuilder {
        self.http.post(format!("{}/v1/tasks", self.api))
    }

    /// `GET` on the api listener; status and body.
    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        reply(self.http.get(format!("{}{path}", self.api))).await
    }

    /// `DELETE` on the api listener; status and body.
    pub(crate) async fn delete(&self, path: &str) -> (StatusCode, Value) {
        reply(self.http.delete(format!("{}{path}", self.api))).await
    }

    /// `POST /v1/tasks` with JSON; status and body.
    pub(crate) async fn post(&self, body: &Value) -> (StatusCode, Value) {
        reply(self.submission().json(body)).await
    }

    /// Submits a text captcha; its id.
    pub(crate) async fn submit(&self) -> String {
        let (status, task) = self.post(&text_captcha()).await;
        assert_eq!(status, StatusCode::CREATED, "{task}");
        task["id"].as_str().unwrap().to_owned()
    }

    /// Submits a text captcha and waits until the provider has taken it; its id and captcha ID.
    pub(crate) async fn submitted(&self) -> (String, String) {
        let id = self.submit().await;
        let task = self.until(&id, |task| task["captcha_id"].is_string()).await;
        (id, task["captcha_id"].as_str().unwrap().to_owned())
    }

    pub(crate) async fn task(&self, id: &str) -> Value {
        let (status, task) = self.get(&format!("/v1/tasks/{id}")).await;
        assert_eq!(status, StatusCode::OK, "{task}");
        task
    }

    /// The task, once it is as `wanted`.
    pub(crate) async fn until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let poll = async {
            loop {
                let task = self.task(id).await;
                if wanted(&task) {
                    return task;
                }
            }
        };
        timeout(PATIENCE, poll).await.expect("it comes about")
    }

    /// The URL that the provider sends answers to.
    pub(crate) fn pingback_url(&self) -> String {
        format!("{}/pingback/{SECRET}", self.public)
    }

    /// POSTs a pingback as the provider does; the status.
    pub(crate) async fn pingback(&self, captcha_id: &str, code: &str) -> StatusCode {
        let form = [("id", captcha_id), ("code", code)];
        self.http.post(self.pingback_url()).form(&form).send().await.unwrap().status()
    }

    /// Until every connection to the api listener that was opened before is served: they are accepted in order, so
    /// whoever is answered on a new one came after them.
    pub(crate) async fn until_accepted(&self) {
        for _ in 0..10 {
            let request = self.http.get(format!("{}/livez", self.api)).header("Connection", "close");
            request.send().await.unwrap();
        }
    }

    /// What `in.php` was sent, oldest first.
    pub(crate) fn submissions(&self) -> Vec<Value> {
        let requests = serde_json::to_value(self.sandbox.requests()).unwrap();
        let is_submission = |request: &Value| request["path"] == "/in.php";
        requests.as_array().unwrap().iter().filter(|request| is_submission(request)).cloned().collect()
    }
}

/// A client that trusts the CA of the service, if it has one.
fn client(data: &Path) -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
    let builder = match std::fs::read(data.join("tls/ca.pem")) {
        Ok(ca) => builder.tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()]),
        Err(_) => builder,
    };
    builder.build().unwrap()
}

/// Status and JSON body of the reply to `request`, which is as `/openapi.json` says.
pub(crate) async fn reply(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = client.execute(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = text.parse().unwrap_or_else(|error| panic!("{error}: {text:?}"));
    contract::hold(&method, &path, status, &headers, &body);
    (status, body)
}

/// A file of `tests/data`.
pub(crate) fn data_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

pub(crate) fn base64(content: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(content)
}

pub(crate) fn text_captcha() -> Value {
    json!({"type": "text", "textcaptcha": "If tomorrow is Saturday, what day is today?"})
}

/// The configuration of a service with its data in `folder`.
fn config(folder: &Path, database: Option<&str>, environment: &[(&str, &str)]) -> Config {
    let folder = folder.to_str().unwrap();
    let own = [
        ("PINGBOX_PUBLIC__LISTEN", "127.0.0.1:0"),
        ("PINGBOX_API__LISTEN", "127.0.0.1:0"),
        ("PINGBOX_PINGBACK__SECRET", SECRET),
        ("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "0ms"),
        ("PINGBOX_DATA__DIR", folder),
    ];
    let given = |name: &str| environment.iter().any(|(given, _)| *given == name);
    let own = own.iter().filter(|(name, _)| !given(name));
    let database = database.map(|url| ("PINGBOX_DATABASE__URL", url));
    let env = own
        .chain(&database)
        .chain(environment)
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Config::load(&Sources { flags: Vec::new(), env, file: None }, true).unwrap()
}
