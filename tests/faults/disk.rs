//! The disk fails under a service that runs: slower or 503, never wrong, and well again when the disk is.

use std::path::Path;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::database::Database;
use crate::failing::{Faults, IO_ERROR, NO_SPACE, READ_ONLY, STALE};
use crate::program::{PATIENCE, outcome, pingbox};
use crate::room::Room;
use crate::trial::Trial;

const WAL: &str = "pingbox.db-wal";

/// A fault that keeps everything from being written begins and ends, twice.
async fn comes_and_goes(rule: (&str, &str, i32), why: &str) {
    let Some(faults) = Faults::none() else { return };
    let data = TempDir::new().unwrap();
    let mut trial = Trial::start(data.path(), &faults.environment()).await;
    for round in 1..=2 {
        let (id, captcha_id) = trial.submitted().await;
        let taken = trial.taken();
        faults.begin(&[rule]);
        for _ in 0..5 {
            trial.turns_everybody_away(&captcha_id, why).await;
        }
        assert_eq!(trial.taken(), taken, "nothing was sent that could not be stored");
        let told = trial.logged("The database cannot be written");
        assert_eq!(told.len(), round, "{told:#?}");
        assert!(told[round - 1].contains(why), "{told:#?}");
        faults.end();
        trial.until_ready().await;
        trial.works(&id, &captcha_id).await;
        trial.process.server.until_logged("The database takes writes again");
    }
    let complaints = trial.complaints();
    assert_eq!(complaints.len(), 2, "each fault is told once: {complaints:#?}");
    trial.kill_and_inspect(data.path()).await;
}

#[tokio::test]
async fn a_disk_without_room_for_the_log_is_told_of_and_heals() {
    comes_and_goes(("write", WAL, NO_SPACE), "no space is left").await;
}

#[tokio::test]
async fn a_disk_that_fails_to_write_is_told_of_and_heals() {
    comes_and_goes(("write", WAL, IO_ERROR), "does not read or write").await;
}

#[tokio::test]
async fn a_disk_that_fails_to_sync_is_told_of_and_heals() {
    comes_and_goes(("sync", WAL, IO_ERROR), "does not read or write").await;
}

/// As a kernel does that has seen errors: what is open cannot be written, what is opened only be read.
#[tokio::test]
async fn a_file_system_that_became_read_only_is_told_of_and_heals() {
    let Some(faults) = Faults::none() else { return };
    let data = TempDir::new().unwrap();
    let mut trial = Trial::start(data.path(), &faults.environment()).await;
    let (id, captcha_id) = trial.submitted().await;
    let everything = ["pingbox.db", WAL, "pingbox.db-shm"];
    faults.begin(&everything.map(|file| [("write", file, READ_ONLY), ("open", file, READ_ONLY)]).concat());
    assert_eq!(trial.pingback(&captcha_id, "Friday").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let (_, told) = trial.get("/readyz").await;
    for _ in 0..3 {
        trial.turns_everybody_away(&captcha_id, "the database cannot be written").await;
    }
    faults.end();
    trial.until_ready().await;
    trial.works(&id, &captcha_id).await;
    let complaints = trial.complaints();
    assert!(complaints.len() <= 2, "{told}: {complaints:#?}");
    trial.kill_and_inspect(data.path()).await;
}

/// Commits go on while the log cannot be moved into the database; afterwards it is, and its room is used again.
#[tokio::test]
async fn a_checkpoint_that_fails_stops_nothing_and_is_made_up_for() {
    let Some(faults) = Faults::none() else { return };
    let data = TempDir::new().unwrap();
    let mut trial = Trial::start(data.path(), &faults.environment()).await;
    let log = || std::fs::metadata(data.path().join(WAL)).unwrap().len();
    faults.begin(&[("write", "pingbox.db", NO_SPACE), ("sync", "pingbox.db", IO_ERROR)]);
    // Longer than a log is before it is moved: 1,000 pages of 4 KiB.
    for number in 0.. {
        let code = "x".repeat(30_000);
        assert_eq!(trial.pingback(&format!("9{number}"), &code).await.status(), StatusCode::OK);
        if log() > 8 * 1024 * 1024 {
            break;
        }
    }
    assert_eq!(trial.get("/readyz").await.0, StatusCode::OK);
    faults.end();
    let before = log();
    for number in 0..300 {
        let code = "y".repeat(30_000);
        assert_eq!(trial.pingback(&format!("8{number}"), &code).await.status(), StatusCode::OK);
    }
    assert!(log() < before + 1024 * 1024, "from {before} to {} bytes", log());
    let (id, captcha_id) = trial.submitted().await;
    trial.works(&id, &captcha_id).await;
    trial.kill_and_inspect(data.path()).await;
}

/// SQLite ends a transaction by itself when it cannot read: the connection must not be taken for one that is in it.
#[tokio::test]
async fn readers_of_a_disk_that_failed_see_what_is_written_afterwards() {
    let Some(faults) = Faults::none() else { return };
    let data = TempDir::new().unwrap();
    let mut trial = Trial::start(data.path(), &faults.environment()).await;
    let mut failed = 0;
    for _ in 0..20 {
        // What was written a moment ago is in nobody's memory yet.
        let (id, captcha_id) = trial.submitted().await;
        faults.begin(&[("read", WAL, STALE), ("read", "pingbox.db", STALE)]);
        let (status, page) = trial.get("/v1/events?cursor=earliest&limit=1000").await;
        assert!(matches!(status.as_u16(), 200 | 503), "{status}: {page}");
        failed += u32::from(status == StatusCode::SERVICE_UNAVAILABLE);
        faults.end();
        trial.until_ready().await;
        trial.works(&id, &captcha_id).await;
    }
    assert!(failed > 0, "no read has failed");
    let told = trial.logged("The database cannot be read");
    assert!(!told.is_empty() && told.len() <= 20, "{told:#?}");
    // Nobody reads the past, so the log can be moved into the database as a whole.
    trial.until_ready().await;
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let rows: Vec<(i64, i64, i64)> = Database::of(data.path()).await.rows(checkpoint).await;
    assert_eq!(rows, [(0, 0, 0)]);
    trial.kill_and_inspect(data.path()).await;
}

/// SQLite calls a database damaged that the disk fails to read. It is looked through before it is used again.
#[tokio::test]
async fn what_only_seemed_damaged_is_used_again() {
    let Some(faults) = Faults::none() else { return };
    let data = TempDir::new().unwrap();
    let mut trial = Trial::start(data.path(), &faults.environment()).await;
    let (id, captcha_id) = trial.submitted().await;
    faults.begin(&[("read", WAL, IO_ERROR), ("read", "pingbox.db", IO_ERROR)]);
    let found = async { while trial.get("/v1/events?cursor=earliest").await.0 == StatusCode::OK {} };
    timeout(PATIENCE, found).await.expect("it is found");
    for _ in 0..3 {
        trial.turns_everybody_away(&captcha_id, "it is damaged").await;
    }
    faults.end();
    trial.until_ready().await;
    trial.works(&id, &captcha_id).await;
    assert_eq!(trial.logged("is not damaged: it is used again").len(), 1);
    trial.kill_and_inspect(data.path()).await;
}

/// A real disk that fills up while pingbacks come, and is emptied again.
#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let Some(room) = Room::new(16) else { return };
    let mut trial = Trial::in_room(&room).await;
    let (id, captcha_id) = trial.submitted().await;
    let mut acknowledged = 0;
    room.fill();
    for number in 0.. {
        let reply = trial.pingback(&format!("9{number}"), &"z".repeat(20_000)).await;
        if reply.status() != StatusCode::OK {
            assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
            break;
        }
        acknowledged = number + 1;
    }
    // No room for anything: also a small one needs a page.
    let full = async {
        let mut number = 0;
        while trial.pingback(&format!("7{number}"), "small").await.status() == StatusCode::OK {
            number += 1;
        }
    };
    timeout(PATIENCE, full).await.expect("it fills up");
    trial.turns_everybody_away(&captcha_id, "no space is left").await;
    room.clear();
    trial.until_ready().await;
    trial.works(&id, &captcha_id).await;
    trial.process.server.kill();
    let found = room.copied();
    let mut database = Database::of(found.path()).await;
    assert!(database.is_whole().await);
    let kept: Vec<(String,)> = database.rows("SELECT captcha_id FROM pingback").await;
    for number in 0..acknowledged {
        assert!(kept.contains(&(format!("9{number}"),)), "9{number} is lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_tells_of_a_disk_that_is_full() {
    let Some(room) = Room::new(16) else { return };
    let trial = Trial::in_room(&room).await;
    room.fill();
    let elsewhere = TempDir::new().unwrap();
    let mut doctor = pingbox(elsewhere.path(), &["doctor"]);
    let (code, text, explanation) = outcome(doctor.env("PINGBOX_SERVER", &trial.process.api));
    assert_eq!(code, Some(1), "{text}{explanation}");
    let line = text.lines().find(|line| line.contains("  disk  ")).unwrap();
    assert!(line.starts_with("fail  disk          0 MiB of 16 MiB are free -> free some space"), "{line}");
}

/// A foreign transaction that lasts longer than anybody waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_locked_keeps_nobody_waiting_for_long() {
    let data = TempDir::new().unwrap();
    let mut trial = Trial::start(data.path(), &[]).await;
    let (id, captcha_id) = trial.submitted().await;
    let mut other = Database::of(data.path()).await;
    other.lock().await;
    // More than one transaction takes along, three times over.
    let mut writing = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..700 {
        let request = trial.process.http.delete(format!("{}/v1/tasks/{id}", trial.process.api));
        writing.spawn(async move { request.send().await.unwrap().status() });
    }
    for status in writing.join_all().await {
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
    // The write that is under way waits for 5 s; one after the other they would take 20 s.
    assert!(begun.elapsed() < Duration::from_secs(14), "{:?}", begun.elapsed());
    trial.turns_everybody_away(&captcha_id, "another program holds it locked").await;
    other.unlock().await;
    trial.until_ready().await;
    trial.works(&id, &captcha_id).await;
    let complaints = trial.complaints();
    assert_eq!(complaints.len(), 1, "{complaints:#?}");
    trial.kill_and_inspect(data.path()).await;
}

/// It might store what nobody finds after the next start.
#[tokio::test]
async fn a_database_that_was_moved_away_takes_nothing_until_it_is_back() {
    let data = TempDir::new().unwrap();
    let mut trial = Trial::start(data.path(), &[]).await;
    let (id, captcha_id) = trial.submitted().await;
    let (here, there) = (data.path().join("pingbox.db"), data.path().join("elsewhere.db"));
    std::fs::rename(&here, &there).unwrap();
    trial.turns_everybody_away(&captcha_id, "deleted, moved or replaced").await;
    std::fs::write(&here, "another one").unwrap();
    trial.turns_everybody_away(&captcha_id, "deleted, moved or replaced").await;
    std::fs::rename(&there, &here).unwrap();
    trial.until_ready().await;
    trial.works(&id, &captcha_id).await;
    trial.kill_and_inspect(data.path()).await;
}

/// Whatever else could still be stored: a damaged database takes nothing more, and its next start is refused.
#[tokio::test]
async fn a_database_that_is_found_damaged_takes_nothing_more() {
    let data = TempDir::new().unwrap();
    let mut trial = Trial::start(data.path(), &[]).await;
    let (id, captcha_id) = trial.submitted().await;
    let mut other = Database::of(data.path()).await;
    let rows: Vec<(i64, i64, i64)> = other.rows("PRAGMA wal_checkpoint(TRUNCATE)").await;
    assert_eq!(rows[0].0, 0);
    drop(other);
    damage(&data.path().join("pingbox.db"));
    // A commit has everybody read anew; then somebody comes upon it.
    trial.pingback("91", "x").await;
    let found = async {
        while trial.get("/v1/events?cursor=earliest").await.0 == StatusCode::OK {
            trial.pingback("92", "y").await;
        }
    };
    timeout(PATIENCE, found).await.expect("it is found");
    for _ in 0..3 {
        trial.turns_everybody_away(&captcha_id, "it is damaged").await;
    }
    let told = trial.complaints();
    assert!(!told.is_empty() && told.len() <= 2, "once for reading, once for writing: {told:#?}");
    assert!(told.iter().all(|line| line.contains("put back a backup")), "{told:#?}");
    let (status, problem) = trial.get(&format!("/v1/tasks/{id}")).await;
    assert!(status.is_success() || problem["code"] == json!("database_unavailable"), "{problem}");
    trial.process.server.kill();
    let (code, _, stderr) = outcome(&mut pingbox(data.path(), &["serve", "--sandbox"]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("it is damaged: stop pingbox, and put back a backup"), "{stderr}");
}

/// Writes over all but the first page.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[4096..].fill(0x5a);
    std::fs::write(path, bytes).unwrap();
}
