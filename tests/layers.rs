//! The arrows between the rooms point one way, and each outside crate lives in its own rooms.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each room may use of the others. Only `app` knows them all, and only `main` knows `cli`.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("config", &["model"]),
    ("sandbox", &["model"]),
    ("store", &["model"]),
    ("sync", &[]),
    ("waiters", &["model", "sync"]),
    ("counters", &[]),
    ("provider", &["model"]),
    ("client", &["model"]),
    ("telemetry", &["config"]),
    ("tls", &["model"]),
    ("shutdown", &[]),
    ("ingest", &["counters", "model", "store", "waiters"]),
    ("feed", &["model", "store"]),
    ("replicas", &["model", "store", "ingest"]),
    ("account", &["model", "store", "provider", "ingest", "replicas"]),
    ("dispatcher", &["model", "store", "provider", "ingest", "account"]),
    ("registrar", &["model", "store", "provider", "account"]),
    ("reconciler", &["model", "store", "provider", "ingest", "account"]),
    ("reporter", &["model", "store", "provider", "ingest", "account", "replicas"]),
    ("delivery", &["model", "store", "provider", "ingest"]),
    ("retention", &["model", "store", "ingest"]),
    ("selfcheck", &["model", "provider"]),
    ("dashboard", &["model", "store", "feed", "ingest", "account", "http", "sandbox"]),
    (
        "http",
        &[
            "counters",
            "model",
            "store",
            "waiters",
            "feed",
            "provider",
            "ingest",
            "account",
            "reporter",
            "replicas",
            "selfcheck",
        ],
    ),
    ("fuzzing", &["config", "http", "model", "provider"]),
    (
        "app",
        &[
            "account",
            "config",
            "dashboard",
            "delivery",
            "dispatcher",
            "feed",
            "http",
            "ingest",
            "model",
            "provider",
            "reconciler",
            "registrar",
            "replicas",
            "reporter",
            "retention",
            "sandbox",
            "selfcheck",
            "store",
            "tls",
            "waiters",
        ],
    ),
    ("cli", &["app", "client", "config", "model", "sandbox", "shutdown", "telemetry"]),
];

/// Where a crate may be used.
const HOMES: &[(&str, &[&str])] = &[
    ("axum", &["http", "dashboard", "sandbox", "app"]),
    ("askama", &["dashboard", "http"]),
    ("hyper", &["http", "sandbox"]),
    ("sqlx", &["store"]),
    ("rusqlite", &["store"]),
    ("rustls", &["tls", "http", "app", "sandbox", "client", "provider", "selfcheck", "delivery", "account"]),
    ("tokio_rustls", &["http"]),
    ("rcgen", &["tls"]),
    ("reqwest", &["provider", "selfcheck", "client", "delivery", "sandbox"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("indicatif", &["cli"]),
    ("schemars", &["model", "http"]),
    ("anyhow", &["app", "cli", "client", "telemetry"]),
];

/// The room that a file belongs to, with its text.
fn files() -> Vec<(String, PathBuf, String)> {
    fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push(path);
            }
        }
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&source, &mut paths);
    let room = |path: &Path| {
        let first = path.strip_prefix(&source).unwrap().components().next().unwrap();
        first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
    };
    paths.into_iter().map(|path| (room(&path), path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The words that follow `prefix` in code, comments left out.
fn named(text: &str, prefix: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut found = BTreeSet::new();
    for line in code {
        for (at, _) in line.match_indices(prefix) {
            let before = line[..at].chars().next_back();
            let rest = &line[at + prefix.len()..];
            let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':') {
                found.insert(word);
            }
        }
    }
    found
}

#[test]
fn every_room_uses_only_the_rooms_below_it() {
    for (room, path, text) in files() {
        if ["main", "lib"].contains(&room.as_str()) {
            continue;
        }
        let allowed = ARROWS.iter().find(|(name, _)| *name == room);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{room} is a new room: give it its arrows here"));
        for used in named(&text, "crate::") {
            let is_own = used == room || used.is_empty();
            assert!(is_own || allowed.contains(&used.as_str()), "{} uses {used}", path.display());
        }
        // `use crate::{a, b}` would hide a room from this test.
        assert!(!text.contains("use crate::{"), "{}: name one room in each `use crate::`", path.display());
    }
}

#[test]
fn every_crate_stays_in_its_rooms() {
    for (room, path, text) in files() {
        for (name, homes) in HOMES {
            let used = !named(&text, &format!("{name}::")).is_empty();
            assert!(
                !used || homes.contains(&room.as_str()) || room == "main",
                "{} uses {name}",
                path.display()
            );
        }
    }
}

#[test]
fn only_config_reads_the_environment_and_only_the_clock_the_time() {
    for (_, path, text) in files() {
        let ends = |name: &str| path.ends_with(name);
        assert!(
            !text.contains("env::var") || ends("config/sources.rs"),
            "{} reads the environment",
            path.display()
        );
        let clock = text.contains("SystemTime::now") || text.contains("jiff::Timestamp::now");
        assert!(!clock || ends("model/clock.rs"), "{} reads the clock", path.display());
    }
}
