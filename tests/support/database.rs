//! Which database a test uses: with `PINGBOX_TEST_DATABASE=postgres` one of its own on PostgreSQL, else SQLite.
//!
//! Included with `#[path]` beside `postgres`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::postgres;

/// The URL of the database on PostgreSQL that belongs to this folder: made, and empty, when it is first asked for.
/// `None` where it is a SQLite file in the folder.
///
/// # Panics
/// When it is to be on PostgreSQL, and there is none.
pub(crate) async fn of(folder: &Path) -> Option<String> {
    if !is_on_postgres(folder) {
        return None;
    }
    let url = on_postgres(folder).await;
    Some(url.expect("PINGBOX_TEST_DATABASE asks for PostgreSQL, so it has to be there"))
}

/// The same, and from here on the folder's database is on PostgreSQL whatever those of others are on; `None` where
/// there is no PostgreSQL.
pub(crate) async fn on_postgres(folder: &Path) -> Option<String> {
    let known = urls().get(folder).cloned();
    if known.is_some() {
        return known;
    }
    let url = postgres::database().await?;
    Some(urls().entry(folder.to_owned()).or_insert(url).clone())
}

/// Whether the folder's database is, or will be, on PostgreSQL.
pub(crate) fn is_on_postgres(folder: &Path) -> bool {
    urls().contains_key(folder) || is_postgres()
}

/// Whether tests that work on either database are to use PostgreSQL.
fn is_postgres() -> bool {
    match postgres::variable("PINGBOX_TEST_DATABASE").as_deref() {
        Some("postgres") => true,
        Some("sqlite") | None => false,
        Some(other) => panic!("PINGBOX_TEST_DATABASE is sqlite or postgres, not {other:?}"),
    }
}

/// The databases on PostgreSQL by the folders that they belong to.
fn urls() -> MutexGuard<'static, BTreeMap<PathBuf, String>> {
    static URLS: Mutex<BTreeMap<PathBuf, String>> = Mutex::new(BTreeMap::new());
    URLS.lock().unwrap_or_else(PoisonError::into_inner)
}
