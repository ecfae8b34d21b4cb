//! `/docs`: the document as a page.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use pingbox::app;
use pingbox::sandbox::Knobs;
use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::contract::paths;
use crate::harness::{TestApp, never_solved};
use crate::program::TOKEN;

/// The page, as whoever has no token sees it.
async fn page(app: &TestApp) -> String {
    let reply = app.http.get(format!("{}/docs", app.api)).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    assert_eq!(reply.headers()["content-type"], "text/html; charset=utf-8");
    let policy = reply.headers()["content-security-policy"].to_str().unwrap();
    assert!(!policy.contains("script-src") && !policy.contains("unsafe"), "{policy}");
    reply.text().await.unwrap()
}

/// The values of an attribute.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    page.split(&format!(" {attribute}=\"")).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[tokio::test]
async fn the_page_shows_every_operation_and_type_and_needs_no_token() {
    let app = TestApp::with(never_solved(), &[("PINGBOX_API__TOKEN", TOKEN)]).await;
    let page = page(&app).await;
    let ids = values(&page, "id");
    let places: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(places.len(), ids.len(), "an id is there twice");
    for operation in paths().values().flat_map(|path| path.as_object().unwrap().values()) {
        let name = operation["operationId"].as_str().unwrap();
        assert!(places.contains(name), "{name}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = format!("<code>{}</code>", parameter["name"].as_str().unwrap());
            assert!(page.contains(&name), "{name}");
        }
    }
    let document: Value = app::openapi().parse().unwrap();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let (_, rest) = page.split_once(&format!(" id=\"type-{name}\"")).unwrap_or_else(|| panic!("{name}"));
        let (shown, _) = rest.split_once("</article>").unwrap();
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            assert_eq!(
                shown.contains(&format!("<code>{field}</code>")),
                schema.is_object(),
                "{field} of {name}"
            );
        }
    }
    for code in document["components"]["responses"].as_object().unwrap().keys() {
        for code in code.split('-') {
            assert!(page.contains(&format!("<code>{code}</code>")), "{code}");
        }
    }
}

#[tokio::test]
async fn the_page_leads_nowhere_else_and_asks_for_nothing_from_elsewhere() {
    let app = TestApp::spawn().await;
    let page = page(&app).await;
    let places: BTreeSet<&str> = values(&page, "id").into_iter().collect();
    for target in values(&page, "href") {
        let is_here = target.strip_prefix('#').is_some_and(|place| places.contains(place));
        assert!(is_here || ["/", "/openapi.json", "/docs/style.css", "data:,"].contains(&target), "{target}");
    }
    for word in ["<script", " src=", " style=", "<style", "javascript:"] {
        assert!(!page.contains(word), "{word}");
    }
    let styles = app.http.get(format!("{}/docs/style.css", app.api)).send().await.unwrap();
    assert_eq!(styles.headers()["content-type"], "text/css; charset=utf-8");
    let styles = styles.text().await.unwrap();
    assert!(!styles.contains("url(") && !styles.contains("@import"), "{styles}");
}

#[expect(clippy::disallowed_methods, reason = "it says where tests run, not how the service does")]
fn is_ci() -> bool {
    std::env::var("CI").as_deref() == Ok("true")
}

#[tokio::test]
async fn every_example_of_the_page_is_a_request_that_is_understood() {
    if Command::new("curl").arg("--version").output().is_err() {
        assert!(!is_ci(), "curl is missing");
        eprintln!("skipped: curl is missing");
        return;
    }
    let knobs = Knobs { check_ip: false, ..never_solved() };
    let environment = [
        ("PINGBOX_API__TOKEN", TOKEN),
        ("PINGBOX_API__MAX_WAIT", "1s"),
        ("PINGBOX_COMPAT__HOLD", "100ms"),
        ("PINGBOX_WEBHOOKS__ALLOW_PRIVATE", "127.0.0.1/32"),
    ];
    let app = TestApp::with(knobs, &environment).await;
    let folder = TempDir::new().unwrap();
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/captcha-01-x7k2p.png");
    fs::copy(image, folder.path().join("captcha.png")).unwrap();
    let page = page(&app).await;
    let mut tried = 0;
    for example in page.split("<code>curl ").skip(1) {
        let example = example.split("</code>").next().unwrap();
        let example = [("&#34;", "\""), ("&#39;", "'"), ("&#60;", "<"), ("&#62;", ">"), ("&#38;", "&")]
            .iter()
            .fold(example.to_owned(), |text, (escaped, letter)| text.replace(escaped, letter))
            // Nothing leaves this machine.
            .replace("https://example.com", "http://127.0.0.1:9");
        let command = format!("curl -sS --noproxy '*' -m 20 -w '\\n%{{http_code}}' {example}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]).current_dir(folder.path());
        shell.env("PINGBOX_SERVER", &app.api).env("PINGBOX_TOKEN", TOKEN);
        let done = spawn_blocking(move || shell.output()).await.unwrap().unwrap();
        let reply = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success(), "{example}: {reply}{}", String::from_utf8_lossy(&done.stderr));
        let status = reply.rsplit('\n').next().unwrap();
        let is_understood = ["200", "201", "202", "204", "409"].contains(&status)
            || status == "404" && !reply.contains("path_not_found");
        assert!(is_understood, "{example}: {reply}");
        let refuses_key =
            ["ERROR_WRONG_USER_KEY", "ERROR_KEY_DOES_NOT_EXIST"].iter().any(|code| reply.contains(code));
        assert!(!refuses_key, "{example}: {reply}");
        tried += 1;
    }
    let operations: usize = paths().values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(tried, operations);
}
