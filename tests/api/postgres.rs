//! The service on PostgreSQL, also where all other tests are on SQLite.

use std::path::Path;

use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use url::Url;

use crate::database::{self, Database};
use crate::events::events;
use crate::harness::{TestApp, never_solved, solved_at_once, text_captcha};
use crate::program::{Server, outcome, pingbox};

const PASSWORD: &str = "hunter2-of-the-database";

#[tokio::test]
async fn a_pingback_is_committed_and_wakes_the_waiting_caller() {
    let Some(app) = TestApp::on_postgres(never_solved()).await else { return };
    let (id, captcha_id) = app.submitted().await;
    let path = format!("/v1/tasks/{id}?wait=20");
    let (pinged, (_, task)) = tokio::join!(app.pingback(&captcha_id, "Friday"), app.get(&path));
    assert_eq!(pinged, StatusCode::OK);
    assert_eq!((&task["status"], &task["answer"]), (&json!("solved"), &json!({"text": "Friday"})));
    let stored = app.connect().await.text("SELECT answer FROM task").await;
    assert_eq!(stored, "Friday");
}

#[tokio::test]
async fn text_with_nul_is_refused_but_for_what_is_paid_for() {
    let Some(app) = TestApp::on_postgres(never_solved()).await else { return };
    let mut captcha = text_captcha();
    captcha["tag"] = json!("a\0b");
    assert_eq!(app.post(&captcha).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(app.get("/v1/tasks?tag=a%00b").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    // What goes to the provider is its business.
    captcha["tag"] = json!("ab");
    captcha["textcaptcha"] = json!("a\0b");
    let (status, task) = app.post(&captcha).await;
    assert_eq!(status, StatusCode::CREATED, "{task}");
    let id = task["id"].as_str().unwrap();
    let task = app.until(id, |task| task["captcha_id"].is_string()).await;
    assert_eq!(app.submissions()[0]["parameters"]["textcaptcha"], "a\0b");
    assert_eq!(app.pingback(task["captcha_id"].as_str().unwrap(), "a\0b").await, StatusCode::OK);
    assert_eq!(app.task(id).await["answer"]["text"], "a\u{fffd}b");

    // The same of a captcha that is nobody's.
    assert_eq!(app.pingback("77", "a\0b").await, StatusCode::OK);
    assert_eq!(app.get("/v1/answers/77").await.1["answer"]["text"], "a\u{fffd}b");
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    // An answer may come before it is known to whom: that is an event too.
    const OF_TASKS: &str = "cursor=earliest&types=task.created,task.submitted,task.solved";
    let Some(app) = TestApp::on_postgres(solved_at_once()).await else { return };
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let id = app.submit().await;
        tasks.push(app.until(&id, |task| task["status"] == "solved").await);
    }
    let (told, cursor) = events(&app, OF_TASKS).await;
    assert_eq!(told.len(), 9);

    let app = app.restart(never_solved()).await;
    for task in &tasks {
        assert_eq!(app.task(task["id"].as_str().unwrap()).await, *task);
    }
    assert_eq!(events(&app, OF_TASKS).await.0, told);
    app.submitted().await;
    let (more, _) = events(&app, &format!("cursor={cursor}")).await;
    let kinds: Vec<_> = more.iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["task.created", "task.submitted"]);
}

#[tokio::test]
async fn a_second_start_migrates_nothing() {
    const APPLIED: &str =
        "SELECT string_agg(version || ' ' || installed_on, ',' ORDER BY version) FROM _sqlx_migrations";
    let Some(app) = TestApp::on_postgres(never_solved()).await else { return };
    let applied = app.connect().await.text(APPLIED).await;
    let app = app.restart(never_solved()).await;
    assert_eq!(app.connect().await.text(APPLIED).await, applied);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let Some(app) = TestApp::on_postgres(never_solved()).await else { return };
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'later', true, '', 0)";
    app.connect_and(later).await;
    let data = app.stop().await;
    let (code, _, explanation) = outcome(&mut pingbox(data.path(), &["serve", "--sandbox"]));
    assert_eq!(code, Some(1));
    assert!(explanation.contains("was written by a newer pingbox"), "{explanation}");
    assert_eq!(Database::of(data.path()).await.number("SELECT COUNT(*) FROM task").await, 0);
}

/// The URL of a database, with a login that nobody has.
async fn with_wrong_login(data: &Path) -> Option<Url> {
    let mut url: Url = database::on_postgres(data).await?.parse().unwrap();
    url.set_username("somebody_else").unwrap();
    url.set_password(Some(PASSWORD)).unwrap();
    Some(url)
}

#[tokio::test]
async fn a_login_that_is_refused_is_told_without_its_password() {
    let data = TempDir::new().unwrap();
    let Some(url) = with_wrong_login(data.path()).await else { return };
    let mut command = pingbox(data.path(), &["serve", "--sandbox"]);
    let (code, _, explanation) = outcome(command.env("PINGBOX_DATABASE__URL", url.as_str()));
    assert_eq!(code, Some(1));
    let place =
        format!("could not connect to PostgreSQL at {}:{}", url.host().unwrap(), url.port().unwrap_or(5432));
    assert!(explanation.contains(&place) && explanation.contains("check database.url"), "{explanation}");
    assert!(!explanation.contains(PASSWORD), "{explanation}");
}

#[test]
fn a_server_that_is_not_there_yet_is_waited_for_and_told_without_the_password() {
    let data = TempDir::new().unwrap();
    let url = format!("postgres://somebody:{PASSWORD}@127.0.0.1:9/pingbox");
    let mut command = pingbox(data.path(), &["serve", "--sandbox"]);
    let mut server = Server::starting(command.env("PINGBOX_DATABASE__URL", url));
    server.until_logged("PostgreSQL cannot be reached yet");
    assert!(server.logged().iter().all(|line| !line.contains(PASSWORD)));
}
