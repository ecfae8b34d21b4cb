use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::*;

/// A connection with so few pages in memory that a transaction writes to the log before it ends, and reads from it.
fn writer(path: &Path) -> Connection {
    let writer = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), files().unwrap()).unwrap();
    let settings = "PRAGMA journal_mode = WAL; PRAGMA cache_size = 10; PRAGMA wal_autocheckpoint = 40;
        CREATE TABLE kept (id INTEGER PRIMARY KEY, text TEXT NOT NULL);";
    writer.execute_batch(settings).unwrap();
    writer
}

#[test]
fn what_was_undone_does_not_lie_over_what_others_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let (writer, other) = (writer(&path), Connection::open(&path).unwrap());
    for round in 1..20 {
        // What is undone is read again from the database, and not from the log.
        other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        take(&writer, Step::Insert(380 + round));
        writer.execute_batch("ROLLBACK").unwrap();
        other.execute_batch("INSERT INTO kept (text) VALUES ('of another')").unwrap();
        in_one_piece(|| writer.execute_batch("INSERT INTO kept (text) VALUES ('of the writer')")).unwrap();
        for found in [content(&other), content_after_a_crash(&path)] {
            assert_eq!(found.0, i64::from(round) * 2);
        }
    }
}

/// A log that is open, as SQLite has it.
struct Open {
    /// For the file itself. SQLite gives room for what may be aligned as pointers are.
    memory: Vec<u64>,
    path: PathBuf,
    _folder: TempDir,
}

impl Open {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("test.db"), b"").unwrap();
        let path = folder.path().join("test.db-wal");
        // A name ends with two zeros: behind the first one SQLite looks for parameters.
        let name = [path.as_os_str().as_encoded_bytes(), b"\0\0"].concat();
        let flags = ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE | ffi::SQLITE_OPEN_WAL;
        // SAFETY: the files stay registered, and there is as much memory as they ask for.
        let (memory, opened) = unsafe {
            let system = ffi::sqlite3_vfs_find(files().unwrap().as_ptr());
            let mut memory = vec![0_u64; usize::try_from((*system).szOsFile).unwrap().div_ceil(8)];
            let file = memory.as_mut_ptr().cast();
            let opened = (*system).xOpen.unwrap()(system, name.as_ptr().cast(), file, flags, ptr::null_mut());
            (memory, opened)
        };
        assert_eq!(opened, ffi::SQLITE_OK);
        Self { memory, path, _folder: folder }
    }

    fn file(&mut self) -> (*mut ffi::sqlite3_file, ffi::sqlite3_io_methods) {
        let file = self.memory.as_mut_ptr().cast::<ffi::sqlite3_file>();
        // SAFETY: it is open.
        (file, unsafe { *(*file).pMethods })
    }

    fn write(&mut self, bytes: &[u8], offset: i64) {
        let (file, methods) = self.file();
        let length = c_int::try_from(bytes.len()).unwrap();
        // SAFETY: it is open, and so many bytes are there.
        let written = unsafe { methods.xWrite.unwrap()(file, bytes.as_ptr().cast(), length, offset) };
        assert_eq!(written, ffi::SQLITE_OK);
    }

    /// How much is in the file.
    fn length(&self) -> u64 {
        std::fs::metadata(&self.path).unwrap().len()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let (file, methods) = self.file();
        // SAFETY: it is open, and nobody has it any more.
        unsafe { methods.xClose.unwrap()(file) };
    }
}

#[test]
fn whoever_looks_at_the_file_finds_in_it_what_was_written() {
    for look in ["read", "size", "sync", "truncate"] {
        let mut log = Open::new();
        in_one_piece(|| {
            log.write(&[1; 32], 0);
            assert_eq!(log.length(), 0, "{look}: it is gathered");
            let (file, methods) = log.file();
            let (mut read, mut size) = ([0_u8; 4], 0);
            // SAFETY: it is open, and there is room for what is read.
            let done = unsafe {
                match look {
                    "read" => methods.xRead.unwrap()(file, read.as_mut_ptr().cast(), 4, 0),
                    "size" => methods.xFileSize.unwrap()(file, &raw mut size),
                    "sync" => methods.xSync.unwrap()(file, ffi::SQLITE_SYNC_NORMAL),
                    _ => methods.xTruncate.unwrap()(file, 32),
                }
            };
            assert_eq!(done, ffi::SQLITE_OK, "{look}");
            assert_eq!(log.length(), 32, "{look}");
        });
    }
}

#[test]
fn outside_of_a_commit_it_is_written_at_once() {
    let mut log = Open::new();
    log.write(&[1; 32], 0);
    assert_eq!(log.length(), 32);
}

/// What a connection is told.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Inserts so many rows.
    Insert(u16),
    /// Makes every row of this remainder longer, so that pages that are in the log already are written again.
    Lengthen(u8),
    /// Does and undoes something within the transaction.
    Undone(u16),
    Commit,
    Rollback,
    /// Moves the log into the database, and begins it anew.
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..400_u16).prop_map(Step::Insert),
        2 => (0..7_u8).prop_map(Step::Lengthen),
        1 => (1..400_u16).prop_map(Step::Undone),
        3 => Just(Step::Commit),
        1 => Just(Step::Rollback),
        1 => Just(Step::Checkpoint),
    ]
}

fn take(writer: &Connection, step: Step) {
    let insert = |rows: u16| {
        format!(
            "WITH RECURSIVE row (at) AS (SELECT 1 UNION ALL SELECT at + 1 FROM row WHERE at < {rows})
            INSERT INTO kept (text) SELECT printf('%.*c', 40 + at % 900, 'x') FROM row;"
        )
    };
    let sql = match step {
        Step::Insert(rows) => insert(rows),
        Step::Lengthen(remainder) => {
            format!("UPDATE kept SET text = text || '{remainder} and more' WHERE id % 7 = {remainder};")
        }
        Step::Undone(rows) => format!("SAVEPOINT s; {} ROLLBACK TO s; RELEASE s;", insert(rows)),
        Step::Commit => "COMMIT; BEGIN IMMEDIATE;".to_owned(),
        Step::Rollback => "ROLLBACK; BEGIN IMMEDIATE;".to_owned(),
        Step::Checkpoint => "COMMIT; PRAGMA wal_checkpoint(TRUNCATE); BEGIN IMMEDIATE;".to_owned(),
    };
    let is_commit = matches!(step, Step::Commit | Step::Checkpoint);
    let execute = || writer.execute_batch(&sql);
    if is_commit { in_one_piece(execute) } else { execute() }.unwrap();
}

fn content(connection: &Connection) -> (i64, i64, String) {
    let sql = "SELECT COUNT(*), COALESCE(SUM(id * length(text)), 0), COALESCE(MAX(text), '') FROM kept";
    connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
}

/// What one who opens the files as they are now finds, as after a crash.
fn content_after_a_crash(path: &Path) -> (i64, i64, String) {
    let folder = tempfile::tempdir().unwrap();
    for ending in ["", "-wal"] {
        let name = format!("test.db{ending}");
        std::fs::copy(path.with_file_name(&name), folder.path().join(&name)).unwrap();
    }
    let connection = Connection::open(folder.path().join("test.db")).unwrap();
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    content(&connection)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_committed_is_in_the_file_and_others_read_it(
        steps in proptest::collection::vec(step(), 1..24), waits in any::<bool>(), fits in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let writer = writer(&path);
        writer.pragma_update(None, "synchronous", if waits { "FULL" } else { "OFF" }).unwrap();
        // Or with so many that all of it is written by the commit, in more than one piece.
        writer.pragma_update(None, "cache_size", if fits { 1000 } else { 10 }).unwrap();
        let reader = Connection::open(&path).unwrap();
        let mut committed = content(&reader);
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        for step in steps {
            let before = content(&writer);
            take(&writer, step);
            match step {
                Step::Commit | Step::Checkpoint => committed = before,
                Step::Rollback => prop_assert_eq!(&content(&writer), &committed),
                Step::Undone(_) => prop_assert_eq!(content(&writer), before),
                Step::Insert(_) | Step::Lengthen(_) => {}
            }
            prop_assert_eq!(&content(&reader), &committed);
            prop_assert_eq!(&content_after_a_crash(&path), &committed);
        }
    }
}
