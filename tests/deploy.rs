//! What lies in `deploy` uses settings that exist, and values that are taken.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use pingbox::app;
use pingbox::config::{Config, KEYS, Sources};
use serde_json::Value;

#[path = "support/metrics.rs"]
mod metrics;

/// Names the configuration file; not a setting itself.
const CONFIG: &str = "PINGBOX_CONFIG";

#[test]
fn every_variable_named_in_deploy_is_a_setting() {
    let mut named = 0;
    for path in files(&folder()) {
        for name in variables(&fs::read_to_string(&path).unwrap()) {
            assert!(is_known(&name), "{}: there is no setting {name}", path.display());
            named += 1;
        }
    }
    assert!(named > 10, "only {named} variables were found below {}", folder().display());
}

#[test]
fn a_variable_that_is_no_setting_is_found_out() {
    let text = "env:\n  - name: PINGBOX_PUBLIC__ULR\n  - name: PINGBOX_API__TOKEN_FILE\n";
    let names = variables(text);
    assert_eq!(names, ["PINGBOX_PUBLIC__ULR", "PINGBOX_API__TOKEN_FILE"]);
    assert_eq!(names.iter().map(|name| is_known(name)).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn the_values_of_the_config_map_are_taken() {
    let text = fs::read_to_string(folder().join("kubernetes/kustomization.yaml")).unwrap();
    let literals = text.lines().filter_map(|line| line.trim().strip_prefix("- ")?.split_once('='));
    let env: Vec<_> = literals.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert!(!env.is_empty(), "the ConfigMap has no literals");
    if let Err(errors) = Config::load(&Sources { env, ..Sources::default() }, true) {
        panic!("{errors}");
    }
}

#[test]
fn every_panel_of_the_dashboard_shows_figures_that_exist() {
    let text = fs::read_to_string(folder().join("grafana/pingbox.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(
        variables.iter().any(|variable| variable["type"] == "datasource"),
        "any Prometheus can be chosen"
    );
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids: Vec<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{panel}");
            check_figures(target["expr"].as_str().unwrap());
        }
    }
}

#[test]
fn every_alert_is_about_figures_that_exist_and_says_what_to_do() {
    let text = fs::read_to_string(folder().join("prometheus/alerts.yaml")).unwrap();
    let alerts: Vec<_> = text.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 10, "{} alerts are found", alerts.len());
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        let keys = ["expr:", "labels:", "severity:", "annotations:", "summary:", "description:"];
        for key in keys {
            assert!(alert.contains(&format!(" {key}")), "{name} has no {key}");
        }
        let (expression, _) = alert.split_once("labels:").unwrap();
        if !expression.contains("up{") {
            check_figures(expression);
        }
    }
    check_figures(&text);
}

/// An expression names at least one figure, and only such as there are.
fn check_figures(expression: &str) {
    let known = app::metric_names();
    let named = metrics::named(expression);
    assert!(!named.is_empty(), "{expression}");
    for name in named {
        // A sample of its own: what a histogram is called as a whole has none.
        assert!(known.contains(&name), "there is no figure {name}: {expression}");
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// All files below a folder, except for a `.env` with somebody's own values.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with(".env") {
            found.push(path);
        }
    }
    found
}

/// The names in a text that begin as our variables do.
fn variables(text: &str) -> Vec<String> {
    let is_part = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_';
    let words = text.split(|letter| !is_part(letter));
    words.filter(|word| word.starts_with("PINGBOX_")).map(str::to_owned).collect()
}

/// Whether it is a setting, or the file that holds its value.
fn is_known(name: &str) -> bool {
    let stem = name.strip_suffix("_FILE").unwrap_or(name);
    name == CONFIG || KEYS.iter().any(|key| key.variable() == name || key.variable() == stem)
}
