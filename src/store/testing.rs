//! Stores of tests, on whichever database they are to run.

#[path = "../../tests/support/database.rs"]
mod database;
#[path = "../../tests/support/postgres.rs"]
pub(super) mod postgres;

use tempfile::TempDir;

use super::{Server, Store};
use crate::model::{Secret, Timestamp};

/// A test has a few readers at a time.
const POOL_SIZE: u32 = 2;

impl Store {
    /// The database that belongs to this folder, made or opened again.
    pub(crate) async fn for_test(folder: &TempDir) -> Self {
        match database::of(folder.path()).await {
            Some(url) => Self::on_server(url).await,
            None => Self::open(&folder.path().join("test.db"), Timestamp::now()).await.unwrap(),
        }
    }

    /// So many on one empty database on PostgreSQL, as replicas have it; `None` where there is none.
    pub(crate) async fn several_on_postgres(count: u32) -> Option<Vec<Self>> {
        let url = postgres::database().await?;
        let mut stores = Vec::new();
        for _ in 0..count {
            stores.push(Self::on_server(url.clone()).await);
        }
        Some(stores)
    }

    /// The same on PostgreSQL, whatever the others are on; `None` where there is none.
    pub(crate) async fn on_postgres(folder: &TempDir) -> Option<Self> {
        let url = database::on_postgres(folder.path()).await?;
        Some(Self::on_server(url).await)
    }

    async fn on_server(url: String) -> Self {
        let server = Server { url: Secret::new(url), listen_url: None, pool_size: POOL_SIZE };
        Self::connect(&server).await.unwrap()
    }
}
