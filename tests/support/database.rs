//! Which database a test uses: with `PINGBOX_TEST_DATABASE=postgres` one of its own on PostgreSQL, else SQLite.
//!
//! Included with `#[path]` beside `postgres`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::postgres;

/// The URL of the database on PostgreSQL that belongs to this folder: made, and empty, when it is first asked for.
/// `None` where it is a SQLite file in the folder.
///
/// # Panics
/// When it is to be on PostgreSQL, and there is none.
pub(crate) async fn of(folder: &Path) -> Option<String> {
    static URLS: Mutex<Option<HashMap<PathBuf, String>>> = Mutex::new(None);
    if !is_postgres() {
        return None;
    }
    let known =
        URLS.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().get(folder).cloned();
    if known.is_some() {
        return known;
    }
    let url =
        postgres::database().await.expect("PINGBOX_TEST_DATABASE asks for PostgreSQL, so it has to be there");
    let mut urls = URLS.lock().unwrap_or_else(PoisonError::into_inner);
    Some(urls.get_or_insert_default().entry(folder.to_owned()).or_insert(url).clone())
}

/// Whether tests that work on either database are to use PostgreSQL.
pub(crate) fn is_postgres() -> bool {
    match postgres::variable("PINGBOX_TEST_DATABASE").as_deref() {
        Some("postgres") => true,
        Some("sqlite") | None => false,
        Some(other) => panic!("PINGBOX_TEST_DATABASE is sqlite or postgres, not {other:?}"),
    }
}
