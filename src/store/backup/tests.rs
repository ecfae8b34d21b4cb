use tempfile::TempDir;

use super::*;
use crate::model::Timestamp;
use crate::store::Store;

/// A database with three tasks, and what a copy of it is compared with.
struct Bench {
    store: Store,
    folder: TempDir,
}

impl Bench {
    async fn open() -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::open(&folder.path().join("test.db"), Timestamp::now()).await.unwrap();
        store
            .execute(
                "INSERT INTO task (owner, type, status, priority, params, created_at, expires_at)
                SELECT 7, 'text', 'queued', 0, '[]', 1, 2 FROM json_each('[1, 2, 3]')",
            )
            .await;
        Self { store, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn back_up(&self, name: &str) -> Result<BackedUp, BackupError> {
        let (from, to) = (self.path("test.db"), self.path(name));
        Backup { from: &from, to: &to, replaces: false }.run(&mut |_| {}).await
    }

    async fn tally(&self, earlier: Option<&Tally>) -> Tally {
        let options = SqliteConnectOptions::new().filename(self.path("test.db")).read_only(true);
        Tally::of(&mut options.connect().await.unwrap(), earlier).await.unwrap()
    }
}

#[tokio::test]
async fn a_copy_has_what_the_original_has_but_for_the_name_of_the_feed() {
    let bench = Bench::open().await;
    let backed_up = bench.back_up("copy.db").await.unwrap();
    assert_eq!((backed_up.tasks, backed_up.events, backed_up.schema), (3, 3, file::newest_schema()));
    let copy = Store::open(&bench.path("copy.db"), Timestamp::now()).await.unwrap();
    let feed = "SELECT value FROM memory WHERE name = 'feed'";
    let [original, copied] = [bench.store.text(feed).await, copy.text(feed).await];
    assert_eq!(copied.len(), 8);
    assert_ne!(original, copied);
    let tasks = "SELECT group_concat(id || type || owner) FROM task";
    assert_eq!(bench.store.text(tasks).await, copy.text(tasks).await);
}

#[tokio::test]
async fn a_copy_has_no_key_of_sessions() {
    let bench = Bench::open().await;
    bench.store.execute("INSERT INTO memory (name, value) VALUES ('session_key', 'secret')").await;
    bench.back_up("copy.db").await.unwrap();
    let copy = Store::open(&bench.path("copy.db"), Timestamp::now()).await.unwrap();
    assert_eq!(copy.text("SELECT CAST(COUNT(*) AS TEXT) FROM memory WHERE name = 'session_key'").await, "0");
}

#[tokio::test]
async fn a_copy_that_lacks_something_is_not_taken_for_whole() {
    let bench = Bench::open().await;
    let before = bench.tally(None).await;
    let whole = bench.tally(Some(&before)).await;
    bench.store.execute("DELETE FROM task WHERE id = 2").await;
    let less = bench.tally(Some(&before)).await;
    let copied = |tally: &Tally| {
        let mut copy = tally.clone();
        copy.set_feed("another");
        copy
    };
    assert_eq!(copied(&whole).difference(&before, &whole), None);
    // A row is missing that was there before and after.
    let difference = copied(&less).difference(&before, &whole).unwrap();
    assert!(difference.contains("of 3 rows of the table task it has 2"), "{difference}");
    // What was deleted while it was made may be in it or not.
    assert_eq!(copied(&less).difference(&before, &less), None);
    assert_eq!(copied(&whole).difference(&before, &less), None);
    // The name of the feed has to be another one.
    assert!(whole.difference(&before, &whole).unwrap().contains("feed"));
}

#[tokio::test]
async fn a_backup_that_is_given_up_leaves_nothing() {
    let bench = Bench::open().await;
    let (from, to) = (bench.path("test.db"), bench.path("copy.db"));
    let backup = Backup { from: &from, to: &to, replaces: false };
    let mut told = |_| {};
    let mut running = Box::pin(backup.run(&mut told));
    // As far as it comes by itself before it has to wait for something.
    while futures_util::poll!(running.as_mut()).is_pending() {
        let names = std::fs::read_dir(bench.folder.path()).unwrap();
        if names
            .map(|entry| entry.unwrap().file_name())
            .any(|name| name.to_string_lossy().contains("partial"))
        {
            break;
        }
        tokio::task::yield_now().await;
    }
    drop(running);
    let names = std::fs::read_dir(bench.folder.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| name.starts_with("test.db")), "{names:?}");
}

#[tokio::test]
async fn a_file_of_something_else_is_not_copied() {
    let bench = Bench::open().await;
    let other = bench.path("other.db");
    let mut database =
        SqliteConnectOptions::new().filename(&other).create_if_missing(true).connect().await.unwrap();
    sqlx::query("CREATE TABLE task (id INTEGER)").execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    let to = bench.path("copy.db");
    let backup = Backup { from: &other, to: &to, replaces: false };
    let error = backup.run(&mut |_| {}).await.unwrap_err();
    assert!(matches!(error, BackupError::Foreign(_)), "{error:?}");
}
