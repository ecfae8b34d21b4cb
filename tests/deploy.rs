//! What lies in `deploy` uses settings that exist, and values that are taken.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use pingbox::config::{Config, KEYS, Sources};

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
