//! A start on a disk or a database that cannot be used: refused, with what to do, and exit code 1.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::database::Database;
use crate::failing::{Faults, IO_ERROR, NO_ACCESS, NO_SPACE, READ_ONLY};
use crate::program::{Server, free_address, outcome, pingbox};
use crate::room::Room;

fn serve(data: &Path) -> Command {
    pingbox(data, &["serve", "--sandbox"])
}

/// It ends with code 1, having said what is wrong and what helps, in one line that names the place.
fn is_refused(command: &mut Command, said: &[&str]) {
    let (code, stdout, stderr) = outcome(command);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    let last = stderr.lines().last().unwrap();
    assert!(last.starts_with("pingbox: "), "{stderr}");
    for text in said {
        assert!(last.contains(text), "{last:?} does not say {text:?}");
    }
}

/// A folder in which a service has run.
fn used() -> TempDir {
    let data = TempDir::new().unwrap();
    let (code, log) = Server::start(&mut serve(data.path())).terminate();
    assert_eq!(code, Some(0), "{log:#?}");
    data
}

#[test]
fn a_data_dir_that_is_a_file_is_refused() {
    let data = TempDir::new().unwrap();
    let file = data.path().join("data");
    std::fs::write(&file, "").unwrap();
    let mut command = serve(data.path());
    is_refused(command.env("PINGBOX_DATA__DIR", &file), &["is not a folder: set data.dir to"]);
    is_refused(command.env("PINGBOX_DATA__DIR", file.join("deeper")), &["is not a folder: set data.dir to"]);
}

#[test]
fn a_data_dir_that_may_not_be_written_is_refused() {
    let Some(faults) = Faults::none() else { return };
    let data = TempDir::new().unwrap();
    faults.begin(&[("open", "pingbox.db.lock", NO_ACCESS)]);
    is_refused(serve(data.path()).envs(faults.environment()), &["pingbox.db.lock", "may not write there"]);
}

#[test]
fn a_disk_that_is_full_at_the_start_is_told_of() {
    let Some(room) = Room::new(1) else { return };
    // Nothing was ever there: not even the database can be made.
    room.fill();
    is_refused(&mut room.inside(&serve(room.path())), &["pingbox.db", "free some"]);
    room.clear();
    let mut server = Server::start(&mut room.inside(&serve(room.path())));
    server.kill();
    room.fill();
    is_refused(
        &mut room.inside(&serve(room.path())),
        &["pingbox.db", "no space is left on its disk: free some"],
    );
    room.clear();
    Server::start(&mut room.inside(&serve(room.path())));
}

/// The lines of `doctor` that begin with `fail`, for a disk on which no service runs.
async fn failures(room: &Room) -> String {
    let mut command = pingbox(room.path(), &["doctor", "--sandbox"]);
    command.env("PINGBOX_API__LISTEN", free_address().await);
    let (code, text, stderr) = outcome(&mut room.inside(&command));
    assert_eq!((code, stderr.as_str()), (Some(1), ""), "{text}");
    let failures = text.lines().filter(|line| line.starts_with("fail") && !line.starts_with("fail  server "));
    failures.collect::<Vec<_>>().join("\n").replace(room.path().to_str().unwrap(), "DATA")
}

#[tokio::test]
async fn the_doctor_finds_a_disk_that_is_full_or_read_only() {
    let Some(room) = Room::new(200) else { return };
    assert_eq!(failures(&room).await, "");
    room.fill();
    insta::assert_snapshot!(failures(&room).await, @"fail  disk          0 MiB of 200 MiB are free -> free some space, or move data.dir to a larger disk; shorter retention.answers and retention.tasks keep the file of the database from growing further, but do not make it smaller");
    room.clear();
    assert_eq!(std::fs::read_dir(room.seen()).unwrap().count(), 0, "it leaves nothing behind");
    room.make_read_only();
    insta::assert_snapshot!(failures(&room).await, @"fail  data          DATA cannot be written (Read-only file system (os error 30)) -> mount its file system writable, or set data.dir to another folder");
}

#[test]
fn a_file_system_that_is_read_only_at_the_start_is_told_of() {
    let Some(room) = Room::new(4) else { return };
    room.make_read_only();
    is_refused(&mut room.inside(&serve(room.path())), &["pingbox.db.lock", "read-only"]);
}

#[test]
fn a_database_that_can_only_be_read_is_refused() {
    let Some(faults) = Faults::none() else { return };
    let data = used();
    // SQLite opens it for reading then.
    faults.begin(&[("open", "pingbox.db", READ_ONLY)]);
    is_refused(
        serve(data.path()).envs(faults.environment()),
        &["pingbox.db: it is read-only: make the file"],
    );
}

#[test]
fn a_disk_that_fails_at_the_start_is_told_of() {
    let Some(faults) = Faults::none() else { return };
    let data = used();
    for (rule, said) in [
        (("read", "pingbox.db", IO_ERROR), "its disk does not read or write: look at the system's log"),
        (("write", "pingbox.db-wal", IO_ERROR), "its disk does not read or write: look at the system's log"),
        (("write", "pingbox.db-wal", NO_SPACE), "no space is left on its disk: free some"),
        (("write", "pingbox.db-shm", NO_SPACE), "no space is left on its disk: free some"),
    ] {
        faults.begin(&[rule]);
        is_refused(serve(data.path()).envs(faults.environment()), &["pingbox.db: ", said]);
    }
    faults.end();
    Server::start(serve(data.path()).envs(faults.environment()));
}

#[test]
fn what_is_no_database_is_refused_and_left_as_it_is() {
    let data = TempDir::new().unwrap();
    let path = data.path().join("pingbox.db");
    std::fs::write(
        &path,
        "a shopping list, of more than a hundred bytes, so that it could be a header: ".repeat(9),
    )
    .unwrap();
    let before = std::fs::read(&path).unwrap();
    is_refused(
        &mut serve(data.path()),
        &["pingbox.db: it is damaged", "put back a backup", "file is not a database"],
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_database_that_another_program_holds_is_told_of() {
    let data = used();
    let mut other = Database::of(data.path()).await;
    other.lock().await;
    is_refused(&mut serve(data.path()), &["another program holds it locked: end that program"]);
    other.unlock().await;
    Server::start(&mut serve(data.path()));
}

#[test]
fn a_second_service_on_the_same_file_is_refused() {
    let data = TempDir::new().unwrap();
    let first = Server::start(&mut serve(data.path()));
    is_refused(&mut serve(data.path()), &["another pingbox uses the database", "a data.dir of its own"]);
    assert_eq!(first.terminate().0, Some(0));
    Server::start(&mut serve(data.path()));
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_as_it_is() {
    let data = used();
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'later', 1, x'00', 0)";
    Database::of(data.path()).await.execute(later).await;
    is_refused(&mut serve(data.path()), &["was written by a newer pingbox: use that version"]);
    assert_eq!(
        Database::of(data.path()).await.number("SELECT MAX(version) FROM _sqlx_migrations").await,
        9999
    );
}

/// What a backup is not made of either.
#[test]
fn a_backup_needs_a_database_of_pingbox() {
    let data = TempDir::new().unwrap();
    let backup = || pingbox(data.path(), &["backup", "copy.db"]);
    is_refused(&mut backup(), &["there is no database", "--config"]);
    std::fs::write(data.path().join("pingbox.db"), "x".repeat(5000)).unwrap();
    is_refused(&mut backup(), &["is no database of pingbox"]);
    assert!(!data.path().join("copy.db").exists());
}
