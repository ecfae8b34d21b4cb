use std::collections::BTreeMap;

use sqlx::{Connection as _, PgConnection, Row as _, raw_sql};
use tempfile::TempDir;

use super::tables::Kind;
use super::*;
use crate::model::{SigningSecret, TaskId, TokenId};
use crate::store::testing::postgres;
use crate::store::{AccountId, DeliveryFilter, EventFilter, Store, TaskFilter};

const NOW: Timestamp = Timestamp::from_micros(3_000_000);

/// A deployment that has been at work: tasks of every status, and rows in every table.
const DEPLOYMENT: &[&str] = &[
    "INSERT INTO token (name, digest, scopes, created_at)
     VALUES ('first', CAST(zeroblob(31) || x'01' AS BLOB), 'admin', 1), ('gone', zeroblob(32), 'read', 2)",
    "DELETE FROM token WHERE name = 'gone'",
    "INSERT INTO memory (name, value) VALUES ('used_with', 'account'), ('loop_mark', 'abc'), ('ümlaut', '\u{1f916}')",
    "INSERT INTO webhook (owner, sees_all, url, receiver, types, secret, old_secret, old_until, created_at)
     VALUES (1, 1, 'https://a.example/', 'a.example:443', ',task.solved,task.failed,pingback.unmatched,',
             'whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=',
             'whsec_MTEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=', 9, 3)",
    "INSERT INTO signing_secret (owner, secret) VALUES (0, 'whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=')",
    "INSERT INTO task (owner, type, status, tag, priority, params, created_at, expires_at, callback_url,
                       callback_receiver, webhook_url, webhook_receiver)
     SELECT value % 2, iif(value % 3 = 0, 'image', 'text'), 'queued', iif(value % 2 = 0, 'tag ' || value, NULL), -value,
            '[[\"method\",\"post\"]]', value, 4000000000000000, iif(value % 5 = 0, 'http://b.example/' || value, NULL),
            iif(value % 5 = 0, 'b.example:80', NULL), iif(value % 7 = 0, 'http://c.example/' || value, NULL),
            iif(value % 7 = 0, 'c.example:80', NULL)
     FROM json_each('[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25]')",
    "INSERT INTO task_file (task_id, position, field, content)
     SELECT task.id, value, 'file_' || value, CAST(zeroblob(900) || task.id AS BLOB)
     FROM task JOIN json_each('[0,1]') WHERE task.type = 'image'",
    "INSERT INTO idempotency (owner, key, digest, task_id, created_at)
     SELECT owner, 'key ' || id || char(233, 0x1f916), zeroblob(32), id, id FROM task WHERE id <= 7",
    "INSERT INTO task_token (digest, task_id) SELECT lower(hex(zeroblob(31))) || printf('%02x', id), id FROM task",
    "UPDATE task SET status = 'submitting', attempts = 1, sent_at = 100 + id WHERE id > 3",
    "UPDATE task SET status = 'submitted', captcha_id = '90000000' || id, submitted_at = 200 + id, due_at = 300
     WHERE id > 5",
    "UPDATE task SET status = 'unconfirmed', due_at = 400, doubtful = 1 WHERE id IN (6, 7)",
    "UPDATE task SET status = 'solved', answer = 'an''s\\wer ' || id || char(10, 233), price = '0.0005',
                     via = 'pingback', answered_at = 1000 + id, extra = '{}' WHERE id BETWEEN 10 AND 16",
    "UPDATE task SET status = 'failed', error = 'ERROR_CAPTCHA_UNSOLVABLE', answered_at = 2000 WHERE id IN (17, 20, 21)",
    "UPDATE task SET status = 'expired', answered_at = 2001, answer = '' WHERE id = 18",
    "UPDATE task SET status = 'cancelled', answered_at = 2002, reason = 'no need' WHERE id = 19",
    "DELETE FROM task WHERE id = 25",
    "INSERT INTO pingback (captcha_id, task_id, code, outcome, received_at)
     VALUES ('777', NULL, 'for nobody', 'answer', 5), ('888', 12, 'other', 'answer', 6), ('0', NULL, 'IP_BANNED', 'notice', 7)",
    "INSERT INTO report (task_id, captcha_id, verdict, reply, recorded, created_at, expires_at, ended_at)
     VALUES (10, '9000000010', 'bad', 'OK_REPORT_RECORDED', 1, 5, 6, 7), (11, '9000000011', 'good', NULL, 0, 5, 6, NULL)",
    "INSERT INTO credit (account, calls, refusals) VALUES
     ('0101010101010101010101010101010101010101010101010101010101010101', 11, 12)",
    "INSERT INTO hold (account, script, cause, since, until, repeats) VALUES
     ('0101010101010101010101010101010101010101010101010101010101010101', 'in.php', 'MAX_USER_TURN', 1, 2, 3),
     ('0101010101010101010101010101010101010101010101010101010101010101', 'res.php', 'IP_BANNED', 1, NULL, 0)",
    "INSERT INTO pingback_url (url, added_at) VALUES ('http://d.example/', 1), ('http://D.example/', 2)",
    "INSERT INTO caller_url (owner, url, target, added_at) VALUES (0, 'e.example', 'http://e.example/', 1)",
    "UPDATE delivery SET status = 'dead', attempts = 3, last_status = 500, ended_at = 9, claimed_until = 8 WHERE id % 2 = 0",
    // The feed does not begin with its first event.
    "DELETE FROM event WHERE id <= 2",
];

/// Puts a deployment on disk, which nobody uses.
async fn deployment(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("pingbox.db");
    let store = Store::open(&path, NOW).await.unwrap();
    for sql in DEPLOYMENT {
        store.execute(sql).await;
    }
    store.close().await;
    path
}

fn server(url: &str) -> Server {
    Server { url: crate::model::Secret::new(url), listen_url: None, pool_size: 2 }
}

async fn open(from: &Path, to: &str) -> Result<Copy, CopyError> {
    let mut copy = Copy::open(from, &server(to), NOW).await?;
    copy.limits = Limits { rows: 3, bytes: 1500 };
    Ok(copy)
}

/// Copies, but stops when `is_enough` says so; how many batches were told of.
async fn copy_until(
    from: &Path,
    to: &str,
    mut is_enough: impl FnMut(Step, u32) -> bool + Send,
) -> (Result<Copied, CopyError>, u32) {
    let copy = match open(from, to).await {
        Ok(copy) => copy,
        Err(error) => return (Err(error), 0),
    };
    let (stop, mut batches) = (CancellationToken::new(), 0);
    let mut told = |step| {
        batches += u32::from(matches!(step, Step::Rows { .. }));
        if is_enough(step, batches) {
            stop.cancel();
        }
    };
    let copied = copy.run(&stop, &mut told).await;
    copy.close().await;
    (copied, batches)
}

async fn copy(from: &Path, to: &str) -> Result<Copied, CopyError> {
    copy_until(from, to, |_, _| false).await.0
}

/// All that the program reads of a deployment, in its own words.
async fn seen(store: &Store) -> Vec<String> {
    let everybodys = TaskFilter { limit: 100, ..TaskFilter::default() };
    let tasks = store.list_tasks(&everybodys).await.unwrap().tasks;
    let account = AccountId::new([1; 32]);
    let mut seen = vec![
        format!("{:?} {:?}", store.feed_id().await.unwrap(), store.feed_ends().await.unwrap()),
        format!("{:?}", store.events(0, &EventFilter::ALL, 1000).await.unwrap()),
        format!("{:?}", store.tokens().await.unwrap()),
        format!("{:?}", store.webhooks(None).await.unwrap()),
        format!("{:?}", store.deliveries().await),
        format!("{:?}", store.list_deliveries(&DeliveryFilter::default(), None, 100).await.unwrap()),
        format!("{:?}", store.unmatched(None, 100).await.unwrap()),
        format!("{:?}", store.open_reports(100).await.unwrap()),
        format!("{:?} {:?}", store.credit(&account).await.unwrap(), store.backoff(&account).await.unwrap()),
        format!("{:?}", store.spent(NOW).await.unwrap()),
        format!("{:?}", store.caller_urls(TokenId::LOCAL).await.unwrap()),
        format!("{:?}", store.recall("used_with").await.unwrap()),
        format!("{:?}", store.callback_urls().await),
        store.text("SELECT secret || old_secret || old_until FROM webhook").await,
        store.text("SELECT value FROM memory WHERE name = 'ümlaut'").await,
    ];
    let mut added = store.added_urls().await.unwrap();
    added.sort();
    seen.push(format!("{added:?}"));
    for task in &tasks {
        let captcha = store.captcha(task.id).await.unwrap();
        seen.push(format!("{task:?} {captcha:?} {:?}", store.report(task.id).await.unwrap()));
    }
    let mut writing = store.writing().await;
    let mut tx = writing.begin().await.unwrap();
    let fresh = SigningSecret::parse("whsec_MjEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").unwrap();
    seen.push(tx.signing_keys(TokenId::LOCAL, &fresh).await.unwrap().current.expose().to_owned());
    seen.push(format!("next {}", tx.task_numbers(1).await.unwrap()));
    seen.push(format!("copy {}", tx.is_unfinished_copy().await.unwrap()));
    seen
}

async fn assert_same(from: &Path, to: &str) {
    let file = Store::open(from, NOW).await.unwrap();
    let of_file = seen(&file).await;
    file.close().await;
    let copy = Store::connect(&server(to)).await.unwrap();
    let of_copy = seen(&copy).await;
    copy.close().await;
    assert!(of_file.len() > 30, "{of_file:#?}");
    assert_eq!(of_file, of_copy);
}

async fn change(to: &str, sql: &'static str) {
    let mut connection = PgConnection::connect(to).await.unwrap();
    raw_sql(sql).execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn every_table_and_column_of_both_migrations_is_known() {
    const COLUMNS: &str =
        "SELECT m.name AS of, p.name, p.type, p.pk FROM sqlite_schema AS m, pragma_table_info(m.name) AS p
        WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite!_%' ESCAPE '!' AND m.name <> '_sqlx_migrations'";
    const ON_SERVER: &str =
        "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name NOT IN ('_sqlx_migrations', 'lease', 'feed', 'turn')";
    let (mut known, mut on_server) = (BTreeMap::new(), BTreeMap::new());
    for table in TABLES {
        for (at, (column, kind)) in table.columns.iter().enumerate() {
            let of = (table.name.to_owned(), (*column).to_owned());
            let (file, server) = match kind {
                Kind::Number => ("INTEGER", "bigint"),
                Kind::Text => ("TEXT", "text"),
                Kind::Bytes => ("BLOB", "bytea"),
            };
            let place = if at < table.key { i64::try_from(at).unwrap() + 1 } else { 0 };
            known.insert(of.clone(), (file.to_owned(), place));
            on_server.insert(of, server.to_owned());
        }
    }
    let folder = TempDir::new().unwrap();
    let source = Store::open(&folder.path().join("test.db"), NOW).await.unwrap();
    let crate::store::db::Pool::Sqlite(pool, _) = &source.reader else { panic!("it is a file") };
    let rows = sqlx::query(COLUMNS).fetch_all(pool).await.unwrap();
    let found = rows.iter().map(|row| ((row.get(0), row.get(1)), (row.get(2), row.get(3))));
    assert_eq!(found.collect::<BTreeMap<(String, String), (String, i64)>>(), known);

    let Some(url) = postgres::database().await else { return };
    let copy = Store::connect(&server(&url)).await.unwrap();
    let crate::store::db::Pool::Postgres(pool, _) = &copy.reader else { panic!("it is a server") };
    let rows = sqlx::query(ON_SERVER).fetch_all(pool).await.unwrap();
    let found = rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2)));
    assert_eq!(found.collect::<BTreeMap<(String, String), String>>(), on_server);
}

#[tokio::test]
async fn a_copy_is_what_the_file_is() {
    let Some(url) = postgres::database().await else { return };
    let folder = TempDir::new().unwrap();
    let path = deployment(&folder).await;
    let copied = copy(&path, &url).await.unwrap();
    for table in &copied.tables {
        assert!(table.rows > 0, "{} is to be filled", table.table);
    }
    assert_eq!((copied.tables.len(), copied.texts_with_nul, copied.resumed), (TABLES.len(), 0, false));
    assert_same(&path, &url).await;
}

#[tokio::test]
async fn a_copy_that_is_broken_off_anywhere_goes_on_there() {
    let folder = TempDir::new().unwrap();
    let path = deployment(&folder).await;
    let Some(url) = postgres::database().await else { return };
    let (copied, all) = copy_until(&path, &url, |_, _| false).await;
    let whole = copied.unwrap();
    for enough in [1, 8, all / 3, all / 2, all * 2 / 3, all - 1] {
        let url = postgres::database().await.unwrap();
        let (stopped, _) = copy_until(&path, &url, |_, batches| batches == enough).await;
        assert!(matches!(stopped, Err(CopyError::Stopped)), "{enough} {stopped:?}");
        let mut begun = None;
        let (copied, _) = copy_until(&path, &url, |step, _| {
            if let Step::Copying { rows, done } = step {
                begun = Some((rows, done));
            }
            false
        })
        .await;
        let (rows, done) = begun.unwrap();
        assert!(done > 0 && (enough >= all / 2 || done < rows), "{enough}: {done} of {rows}");
        assert_eq!(copied.unwrap(), Copied { resumed: true, ..whole.clone() });
        assert_same(&path, &url).await;
    }
}

#[tokio::test]
async fn a_difference_is_noticed_and_the_next_run_puts_it_right() {
    const CHANGES: &[(&str, &str)] = &[
        ("task", "UPDATE task SET answer = answer || ' ' WHERE id = 12"),
        ("task", "UPDATE task SET answer = NULL WHERE id = 18"),
        ("task_file", "UPDATE task_file SET content = content || '\\x00' WHERE task_id = 3 AND position = 1"),
        ("event", "SET pingbox.copying = 'on'; DELETE FROM event WHERE id = 20"),
        ("token", "UPDATE token SET id = 2"),
        ("caller_url", "INSERT INTO caller_url SELECT 9, 1, url, target, 1 FROM caller_url"),
        ("memory", "UPDATE memory SET value = 'sandbox' WHERE name = 'used_with'"),
    ];
    let folder = TempDir::new().unwrap();
    let path = deployment(&folder).await;
    for (wanted, sql) in CHANGES {
        let Some(url) = postgres::database().await else { return };
        let is_copied = |step, _| matches!(step, Step::Comparing { .. });
        assert!(matches!(copy_until(&path, &url, is_copied).await.0, Err(CopyError::Stopped)));
        change(&url, sql).await;
        match copy(&path, &url).await {
            Err(CopyError::Differs { table, .. }) => assert_eq!(table, *wanted, "{sql}"),
            other => panic!("{sql}: {other:?}"),
        }
        assert!(!copy(&path, &url).await.unwrap().resumed);
        assert_same(&path, &url).await;
    }
}

#[tokio::test]
async fn a_file_that_was_used_meanwhile_is_copied_anew() {
    let Some(url) = postgres::database().await else { return };
    let folder = TempDir::new().unwrap();
    let path = deployment(&folder).await;
    let (stopped, _) = copy_until(&path, &url, |_, batches| batches == 20).await;
    assert!(matches!(stopped, Err(CopyError::Stopped)), "{stopped:?}");
    let store = Store::open(&path, NOW).await.unwrap();
    store.execute("UPDATE task SET status = 'solved', answer = 'late', answered_at = 9 WHERE id = 6").await;
    store.close().await;
    assert!(!copy(&path, &url).await.unwrap().resumed);
    assert_same(&path, &url).await;
}

#[tokio::test]
async fn a_database_that_is_used_is_refused_and_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    let path = deployment(&folder).await;
    for sql in [
        "INSERT INTO token (name, digest, scopes, created_at) VALUES ('a', 'b', 'read', 1)",
        "INSERT INTO memory (name, value) VALUES ('used_with', 'sandbox')",
    ] {
        let Some(url) = postgres::database().await else { return };
        let store = Store::connect(&server(&url)).await.unwrap();
        store.close().await;
        change(&url, sql).await;
        let refused = copy(&path, &url).await;
        assert!(matches!(refused, Err(CopyError::Used(_))), "{refused:?}");
        let store = Store::connect(&server(&url)).await.unwrap();
        assert_eq!(store.number("SELECT (SELECT COUNT(*) FROM task)").await, 0);
        assert_eq!(store.number("SELECT COUNT(*) FROM memory WHERE name = 'copy'").await, 0);
        store.close().await;
    }
}

#[tokio::test]
async fn an_unfinished_copy_of_another_file_is_refused() {
    let Some(url) = postgres::database().await else { return };
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (one, other) = (deployment(&one).await, deployment(&other).await);
    let (stopped, _) = copy_until(&one, &url, |_, batches| batches == 5).await;
    assert!(matches!(stopped, Err(CopyError::Stopped)), "{stopped:?}");
    let refused = copy(&other, &url).await;
    assert!(matches!(refused, Err(CopyError::OtherCopy(_))), "{refused:?}");
    copy(&one, &url).await.unwrap();
    let refused = copy(&one, &url).await;
    assert!(matches!(refused, Err(CopyError::Used(_))), "a finished copy is a database in use: {refused:?}");
}

#[tokio::test]
async fn a_copy_that_is_overtaken_by_another_ends() {
    let Some(url) = postgres::database().await else { return };
    let folder = TempDir::new().unwrap();
    let path = deployment(&folder).await;
    let twin = folder.path().join("twin.db");
    std::fs::copy(&path, &twin).unwrap();
    let slow = open(&path, &url).await.unwrap();
    slow.target.begin(&slow.identity).await.unwrap();
    copy(&twin, &url).await.unwrap();
    let late = slow.target.number(&slow.identity).await;
    assert!(matches!(late, Err(CopyError::Overtaken)), "{late:?}");
    slow.close().await;
}

#[tokio::test]
async fn a_file_in_use_or_of_something_else_is_refused() {
    let Some(url) = postgres::database().await else { return };
    let folder = TempDir::new().unwrap();
    let path = deployment(&folder).await;
    let store = Store::open(&path, NOW).await.unwrap();
    let refused = copy(&path, &url).await;
    assert!(matches!(refused, Err(CopyError::InUse(_))), "{refused:?}");
    store.close().await;

    let refused = copy(&folder.path().join("other.db"), &url).await;
    assert!(matches!(refused, Err(CopyError::Missing(_))), "{refused:?}");
    for text in ["", "no database at all"] {
        let path = folder.path().join("foreign.db");
        std::fs::write(&path, text).unwrap();
        let refused = copy(&path, &url).await;
        assert!(matches!(refused, Err(CopyError::Foreign(_))), "{refused:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "it is left as it is");
    }
}

#[tokio::test]
async fn nul_characters_are_replaced_and_counted() {
    let Some(url) = postgres::database().await else { return };
    let folder = TempDir::new().unwrap();
    let path = deployment(&folder).await;
    let store = Store::open(&path, NOW).await.unwrap();
    store.execute("UPDATE task SET answer = char(0) || 'a' || char(0) WHERE id IN (12, 13)").await;
    store.execute("UPDATE pingback SET code = 'b' || char(0) WHERE id = 1").await;
    store.close().await;
    // What an earlier run copied counts too.
    let (stopped, _) = copy_until(&path, &url, |step, _| matches!(step, Step::Comparing { .. })).await;
    assert!(matches!(stopped, Err(CopyError::Stopped)), "{stopped:?}");
    assert_eq!(copy(&path, &url).await.unwrap().texts_with_nul, 3);
    let store = Store::connect(&server(&url)).await.unwrap();
    let task = store.tasks(&[TaskId::new(12).unwrap()]).await.unwrap().remove(0);
    assert_eq!(task.answer.as_deref(), Some("\u{fffd}a\u{fffd}"));
    store.close().await;

    let Some(url) = postgres::database().await else { return };
    let store = Store::open(&path, NOW).await.unwrap();
    store.execute("UPDATE idempotency SET key = key || char(0) WHERE task_id = 2").await;
    store.close().await;
    let refused = copy(&path, &url).await;
    assert!(matches!(refused, Err(CopyError::NulInKey("idempotency"))), "{refused:?}");
}

#[tokio::test]
async fn an_empty_deployment_is_copied_too() {
    let Some(url) = postgres::database().await else { return };
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("pingbox.db");
    Store::open(&path, NOW).await.unwrap().close().await;
    assert_eq!(copy(&path, &url).await.unwrap().rows, 1, "the name of the feed");
    let copy = Store::connect(&server(&url)).await.unwrap();
    assert_eq!(copy.feed_ends().await.unwrap().latest, 0);
    copy.close().await;
}
