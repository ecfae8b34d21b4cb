//! `/metrics`: every figure is described, and says what happened.

use std::collections::{BTreeMap, BTreeSet};

use pingbox::app;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_TYPE};

use crate::harness::TestApp;
use crate::process::solved_at_once;

/// The text, as its media type.
async fn page(app: &TestApp, accept: &str) -> (String, String) {
    let reply = app.http.get(format!("{}/metrics", app.api)).header(ACCEPT, accept).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    let media_type = reply.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
    (media_type, reply.text().await.unwrap())
}

/// Every sample with its value, sums of seconds left out.
async fn samples(app: &TestApp) -> BTreeMap<String, i64> {
    let (_, text) = page(app, "*/*").await;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.filter_map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        Some((name.to_owned(), value.parse().ok()?))
    });
    samples.collect()
}

/// The text that is sent has these figures, each described, and no others.
fn check_description(text: &str, is_open: bool) {
    let words = |kind: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(&format!("# {kind} ")));
        lines.map(|line| line.split_once(' ').unwrap()).collect::<BTreeMap<_, _>>()
    };
    let (helps, types, units) = (words("HELP"), words("TYPE"), words("UNIT"));
    assert_eq!(helps.keys().collect::<Vec<_>>(), types.keys().collect::<Vec<_>>());
    let mut described = BTreeSet::new();
    for (name, kind) in &types {
        let help = helps[name];
        assert!(help.len() > 10 && help.ends_with('.'), "{name}: {help}");
        let endings = match *kind {
            "counter" if is_open => &["_total"][..],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        described.extend(endings.iter().map(|ending| format!("{name}{ending}")));
        assert_eq!(units.contains_key(name), is_open && name.ends_with("_seconds"), "{name}");
        let says_a_time = ["second", "how long"].iter().any(|word| help.to_lowercase().contains(word));
        assert!(
            !says_a_time || name.ends_with("_seconds") || *kind != "gauge" || help.starts_with("1 "),
            "{name}: {help}"
        );
    }
    assert_eq!(described, app::metric_names().into_iter().collect());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        assert!(described.contains(name), "{line}");
    }
}

#[tokio::test]
async fn every_figure_is_described_and_there_are_no_others() {
    let app = TestApp::with(solved_at_once(), &[("PINGBOX_SPEND__DAILY_LIMIT", "5")]).await;
    let id = app.submit().await;
    app.until(&id, |task| task["status"] == "solved").await;
    let (media_type, text) = page(&app, "*/*").await;
    assert!(media_type.starts_with("application/openmetrics-text"), "{media_type}");
    assert!(text.ends_with("# EOF\n"));
    check_description(&text, true);

    let (media_type, text) = page(&app, "text/plain; version=0.0.4").await;
    assert!(media_type.starts_with("text/plain; version=0.0.4"), "{media_type}");
    check_description(&text, false);
}

#[tokio::test]
async fn pingbacks_are_counted_by_what_came_of_them() {
    let app = TestApp::spawn().await;
    let (_, first) = app.submitted().await;
    let (_, second) = app.submitted().await;
    for (captcha_id, code) in [
        (&*first, "Friday"),
        (&first, "Friday"),
        (&first, "Sunday"),
        (&second, "ERROR_CAPTCHA_UNSOLVABLE"),
        ("991", "x"),
        ("992", "IP_BANNED"),
    ] {
        assert_eq!(app.pingback(captcha_id, code).await, StatusCode::OK);
    }
    assert_eq!(app.pingback("no number", "x").await, StatusCode::BAD_REQUEST);
    let samples = samples(&app).await;
    for (outcome, count) in [
        ("answer", 1),
        ("failure", 1),
        ("notice", 1),
        ("repeated", 1),
        ("late", 1),
        ("unmatched", 1),
        ("malformed", 1),
        ("overloaded", 0),
        ("not_stored", 0),
    ] {
        let name = format!("pingbox_pingbacks_total{{outcome=\"{outcome}\"}}");
        assert_eq!(samples[&name], count, "{outcome}");
    }
    assert_eq!(samples["pingbox_pingback_commit_seconds_count"], 6);
    let (_, text) = page(&app, "*/*").await;
    let sum = text.lines().find_map(|line| line.strip_prefix("pingbox_pingback_commit_seconds_sum "));
    assert!(sum.unwrap().parse::<f64>().unwrap() > 0.0);
}

#[tokio::test]
async fn tasks_are_counted_once_when_they_are_made_and_once_when_they_end() {
    let app = TestApp::spawn().await;
    let (_, solved) = app.submitted().await;
    let (open, _) = app.submitted().await;
    app.pingback(&solved, "Friday").await;
    // What comes after the end ends nothing.
    app.pingback(&solved, "Sunday").await;
    let samples = samples(&app).await;
    for (name, value) in [
        ("pingbox_tasks_created_total{type=\"text\"}", 2),
        ("pingbox_tasks_created_total{type=\"image\"}", 0),
        ("pingbox_tasks_ended_total{type=\"text\",outcome=\"solved\"}", 1),
        ("pingbox_tasks_ended_total{type=\"text\",outcome=\"failed\"}", 0),
        ("pingbox_outcomes_total{via=\"pingback\"}", 1),
        ("pingbox_outcomes_total{via=\"reconcile\"}", 0),
        ("pingbox_solve_seconds_count{type=\"text\"}", 1),
        ("pingbox_tasks_open{status=\"submitted\"}", 1),
        ("pingbox_tasks_open{status=\"queued\"}", 0),
        ("pingbox_registration{state=\"registered\"}", 1),
        ("pingbox_leads", 1),
    ] {
        assert_eq!(samples[name], value, "{name}");
    }
    assert_eq!(app.task(&open).await["status"], "submitted");
}

#[tokio::test]
async fn who_waits_and_who_asked_is_counted() {
    let app = TestApp::spawn().await;
    let (id, captcha_id) = app.submitted().await;
    let waiting = app.http.get(format!("{}/v1/tasks/{id}?wait=60", app.api)).send();
    let waiting = tokio::spawn(waiting);
    let waits = async { while samples(&app).await["pingbox_waiters{for=\"task\"}"] < 1 {} };
    tokio::time::timeout(crate::program::PATIENCE, waits).await.expect("it waits");
    let before = samples(&app).await;
    assert!(before["pingbox_connections{listener=\"api\"}"] >= 2);
    app.pingback(&captcha_id, "Friday").await;
    assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::OK);
    app.get("/v1/tasks/999999").await;
    let after = samples(&app).await;
    assert_eq!(after["pingbox_waiters{for=\"task\"}"], 0);
    for (status, more) in [("2xx", 1), ("4xx", 1)] {
        let name = format!("pingbox_http_requests_total{{route=\"tasks\",status=\"{status}\"}}");
        assert_eq!(after[&name] - before[&name], more, "{status}");
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_written_is_one_of_the_figures() {
    let app = TestApp::spawn().await;
    let (_, captcha_id) = app.submitted().await;
    let mut other = app.connect().await;
    other.lock().await;
    assert_eq!(app.pingback(&captcha_id, "Friday").await, StatusCode::SERVICE_UNAVAILABLE);
    let samples = samples(&app).await;
    other.unlock().await;
    let faults: Vec<_> = samples.keys().filter(|name| name.starts_with("pingbox_storage_fault")).collect();
    assert!(
        matches!(faults[..], [fault] if fault.starts_with("pingbox_storage_fault{access=\"write\",fault=\"")),
        "{faults:?}"
    );
    assert_eq!(samples["pingbox_pingbacks_total{outcome=\"not_stored\"}"], 1);
    assert!(samples["pingbox_commits_total{outcome=\"failed\"}"] >= 1);
}
