//! Servers within this process, each on threads of its own: the provider that pingbox talks to,
//! and two ways to take pingbacks that pingbox is compared with.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, post};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, SqlitePool};
use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};
use tower::ServiceExt as _;

/// The first captcha ID that the mute provider gives.
const FIRST_CAPTCHA_ID: u64 = 20_000_000_000;
/// Connections of the naive server's pool.
const NAIVE_CONNECTIONS: u32 = 5;
/// The same on a server, which can commit several at a time: measured best between 16 and 64.
const NAIVE_SERVER_CONNECTIONS: u32 = 16;

/// A server within this process, until it is dropped.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Taken on drop.
    runtime: Option<Runtime>,
}

impl Peer {
    pub(crate) fn start(router: Router, workers: usize) -> anyhow::Result<Self> {
        Self::start_on(runtime(workers)?, router)
    }

    fn start_on(runtime: Runtime, router: Router) -> anyhow::Result<Self> {
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        runtime.spawn(serve(listener, router));
        Ok(Self { address, runtime: Some(runtime) })
    }

    /// What an HTTP server can do at best: decodes the pingback, and forgets it.
    pub(crate) fn forgetful(workers: usize) -> anyhow::Result<Self> {
        let receive = async |body: Bytes| match decode(&body) {
            Some(_) => StatusCode::OK,
            None => StatusCode::BAD_REQUEST,
        };
        Self::start(Router::new().route("/pingback/{secret}", post(receive)), workers)
    }

    /// What one would write in an hour: a pool of connections, and a commit for each pingback, as
    /// durable as pingbox's.
    pub(crate) fn naive(folder: &Path, workers: usize) -> anyhow::Result<Self> {
        let runtime = runtime(workers)?;
        let table = "CREATE TABLE pingback (id TEXT PRIMARY KEY, code TEXT NOT NULL)";
        let pool = runtime.block_on(naive_pool(folder, table))?;
        let router = Router::new().route("/pingback/{secret}", post(insert)).with_state(pool);
        Self::start_on(runtime, router)
    }

    /// The same on a PostgreSQL server.
    pub(crate) fn naive_on_server(url: &str, workers: usize) -> anyhow::Result<Self> {
        let runtime = runtime(workers)?;
        let pool = runtime.block_on(async {
            let pool = PgPoolOptions::new().max_connections(NAIVE_SERVER_CONNECTIONS).connect(url).await?;
            sqlx::query("CREATE TABLE pingback (id TEXT PRIMARY KEY, code TEXT NOT NULL)")
                .execute(&pool)
                .await?;
            Ok::<_, sqlx::Error>(pool)
        })?;
        let router = Router::new().route("/pingback/{secret}", post(insert_on_server)).with_state(pool);
        Self::start_on(runtime, router)
    }

    /// As `forgetful`, for tasks: decodes one, and makes up an ID.
    pub(crate) fn forgetful_of_tasks(workers: usize) -> anyhow::Result<Self> {
        let next = Arc::new(AtomicI64::new(1));
        let submit = async move |Json(_): Json<Submission>| created(next.fetch_add(1, Ordering::Relaxed));
        Self::start(Router::new().route("/v1/tasks", post(submit)), workers)
    }

    /// As `naive`, for tasks: a row and a commit for each.
    pub(crate) fn naive_with_tasks(folder: &Path, workers: usize) -> anyhow::Result<Self> {
        let runtime = runtime(workers)?;
        let pool = runtime.block_on(naive_pool(folder, TASK_TABLE))?;
        let router = Router::new().route("/v1/tasks", post(insert_task)).with_state(pool);
        Self::start_on(runtime, router)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn runtime(workers: usize) -> std::io::Result<Runtime> {
    runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()
}

/// A new database with these tables, whose commits are as durable as pingbox's.
async fn naive_pool(folder: &Path, tables: &'static str) -> sqlx::Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(folder.join("naive.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePoolOptions::new().max_connections(NAIVE_CONNECTIONS).connect_with(options).await?;
    sqlx::raw_sql(tables).execute(&pool).await?;
    Ok(pool)
}

/// The same loop as pingbox's, without its deadlines and limits.
async fn serve(listener: TcpListener, router: Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let router = router.clone();
        tokio::spawn(async move {
            // Without it replies are only slower.
            drop(stream.set_nodelay(true));
            let service = service_fn(|request: hyper::Request<_>| {
                let reply = router.clone().oneshot(request.map(Body::new));
                async { Ok::<_, Infallible>(reply.await.unwrap_or_else(|never| match never {})) }
            });
            // A client that hangs up ends its connection with an error.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

pub(crate) fn decode(body: &[u8]) -> Option<(String, String)> {
    let (mut id, mut code) = (None, None);
    for (name, value) in form_urlencoded::parse(body) {
        match &*name {
            "id" => id = Some(value.into_owned()),
            "code" => code = Some(value.into_owned()),
            _ => {}
        }
    }
    id.zip(code)
}

const INSERT: &str = "INSERT INTO pingback (id, code) VALUES ($1, $2) ON CONFLICT DO NOTHING";

async fn insert_on_server(State(pool): State<PgPool>, body: Bytes) -> StatusCode {
    let Some((id, code)) = decode(&body) else { return StatusCode::BAD_REQUEST };
    match sqlx::query(INSERT).bind(id).bind(code).execute(&pool).await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn insert(State(pool): State<SqlitePool>, body: Bytes) -> StatusCode {
    let Some((id, code)) = decode(&body) else { return StatusCode::BAD_REQUEST };
    match sqlx::query(INSERT).bind(id).bind(code).execute(&pool).await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// What both servers for tasks read of one.
#[derive(Deserialize)]
struct Submission {
    r#type: String,
    googlekey: String,
    pageurl: String,
}

const TASK_TABLE: &str = "CREATE TABLE task (id INTEGER PRIMARY KEY, type TEXT NOT NULL, googlekey TEXT NOT NULL,
    pageurl TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'queued', created_at INTEGER NOT NULL DEFAULT (unixepoch()));
    CREATE INDEX task_status ON task (status, id)";

async fn insert_task(State(pool): State<SqlitePool>, Json(task): Json<Submission>) -> Response {
    const INSERT: &str = "INSERT INTO task (type, googlekey, pageurl) VALUES ($1, $2, $3)";
    let insert = sqlx::query(INSERT).bind(task.r#type).bind(task.googlekey).bind(task.pageurl);
    match insert.execute(&pool).await {
        Ok(done) => created(done.last_insert_rowid()),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn created(id: i64) -> Response {
    (StatusCode::CREATED, Json(json!({ "id": id.to_string(), "status": "queued" }))).into_response()
}

/// A provider that takes every captcha and never sends an answer: the harness does that itself.
pub(crate) fn mute_provider() -> Router {
    let next = Arc::new(AtomicU64::new(FIRST_CAPTCHA_ID));
    provider(move |_| next.fetch_add(1, Ordering::Relaxed))
}

/// One that takes every captcha, from what `in.php` was sent, under an ID of the harness's choice.
pub(crate) fn provider(take: impl Fn(&[u8]) -> u64 + Clone + Send + Sync + 'static) -> Router {
    let submit = async move |body: Bytes| {
        let id = take(&body);
        reply(&body, &id.to_string())
    };
    let ask = async |RawQuery(query): RawQuery| reply(query.unwrap_or_default().as_bytes(), "");
    Router::new().route("/in.php", post(submit)).route("/res.php", any(ask))
}

/// Says yes, in JSON if asked to.
fn reply(params: &[u8], request: &str) -> String {
    let as_json = form_urlencoded::parse(params).any(|(name, value)| name == "json" && value == "1");
    match request {
        _ if as_json => format!("{{\"status\":1,\"request\":\"{request}\"}}"),
        "" => "OK".to_owned(),
        _ => format!("OK|{request}"),
    }
}
