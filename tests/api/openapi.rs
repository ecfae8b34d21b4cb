//! `/openapi.json` and `pingbox openapi`. That replies are as it says is looked at with every reply: `contract.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pingbox::app;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::contract::paths;
use crate::harness::{TestApp, never_solved};
use crate::program::{TOKEN, pingbox};

/// The paths that the scripts of the family are served at take any method.
const SCRIPTS: [&str; 2] = ["/in.php", "/res.php"];

/// What only a page of ours asks for.
const OF_PAGES: [&str; 1] = ["/docs/style.css"];

#[tokio::test]
async fn the_document_names_exactly_the_methods_that_each_path_takes() {
    let app = TestApp::spawn().await;
    for (path, described) in paths().iter().filter(|(path, _)| !SCRIPTS.contains(&path.as_str())) {
        let url = format!("{}{}", app.api, path.replace(['{', '}'], ""));
        let reply = app.http.request(Method::TRACE, url).send().await.unwrap();
        assert_eq!(reply.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = reply.headers()["allow"].to_str().unwrap().split(',').map(str::to_lowercase);
        let allowed: BTreeSet<String> = allowed.map(|method| method.trim().to_owned()).collect();
        let mut wanted: BTreeSet<String> = described.as_object().unwrap().keys().cloned().collect();
        if wanted.contains("get") {
            wanted.insert("head".to_owned());
        }
        assert_eq!(allowed, wanted, "{path}");
    }
}

#[test]
fn every_path_of_the_api_listener_is_in_the_document() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let mut routes = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // The public listener.
        if path.ends_with("pingback.rs") || !path.is_file() {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        for (at, _) in source.match_indices(".route(") {
            let route = source[at..].split('"').nth(1).unwrap();
            if OF_PAGES.contains(&route) {
                continue;
            }
            assert!(paths().contains_key(route), "{route} of {} is not in the document", path.display());
            routes += 1;
        }
    }
    assert_eq!(routes + SCRIPTS.len(), paths().len(), "a path is served elsewhere, or twice");
}

#[tokio::test]
async fn the_document_is_served_without_a_token_and_printed() {
    let app = TestApp::with(never_solved(), &[("PINGBOX_API__TOKEN", TOKEN)]).await;
    let url = format!("{}/openapi.json", app.api);
    let reply = app.http.get(&url).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    assert_eq!(reply.headers()["content-type"], "application/json");
    let tag = reply.headers()["etag"].clone();
    assert_eq!(reply.text().await.unwrap(), app::openapi());
    let again = app.http.get(&url).header("If-None-Match", tag).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    let other = app.http.get(&url).header("If-None-Match", "\"other\"").send().await.unwrap();
    assert_eq!(other.status(), StatusCode::OK);

    let data = TempDir::new().unwrap();
    let printed = pingbox(data.path(), &["openapi"]).output().unwrap();
    assert!(printed.status.success());
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), app::openapi());
}

#[test]
fn operations_have_names_of_their_own_and_every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document: Value = app::openapi().parse().unwrap();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    let operations = paths().values().flat_map(|path| path.as_object().unwrap().values());
    let names: Vec<&Value> = operations.map(|operation| &operation["operationId"]).collect();
    assert_eq!(names.iter().map(ToString::to_string).collect::<BTreeSet<_>>().len(), names.len());
}

#[test]
fn every_field_is_explained() {
    let document: Value = app::openapi().parse().unwrap();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let explained = |schema: &Value| schema.get("description").is_some_and(Value::is_string);
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            let by_reference =
                schema["$ref"].as_str().and_then(|path| document.pointer(path.trim_start_matches('#')));
            let is_refused = schema == &Value::Bool(false);
            assert!(
                is_refused || explained(schema) || by_reference.is_some_and(explained),
                "{field} of {name}"
            );
        }
    }
    assert_eq!(document["openapi"], json!("3.1.0"));
}
