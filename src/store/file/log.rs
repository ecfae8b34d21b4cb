//! The write-ahead log, written in one piece for each transaction.
//!
//! SQLite writes each page of the log by two calls to the system, one for the page's header and one for the page. For a
//! commit of a dozen pages that takes 78 µs, and one call for all of them 14 µs; it was a quarter of what the writer's
//! thread did. So the log of the writer's connection is a file of the system with one difference: what a commit writes to it one
//! after the other is gathered, and is written with the page that ends the transaction. SQLite then has the disk
//! hold it, and only then lets readers see it, as ever.
//!
//! Nothing is gathered but in a commit, and nothing outlives it: until it is over no other connection writes to the log,
//! so what is written late cannot lie over what somebody else has written meanwhile.
//!
//! This is the one place with code that the compiler cannot check: SQLite's interface for files is one of C.
#![expect(unsafe_code, reason = "SQLite calls the functions of a file through pointers")]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{ptr, slice};

use rusqlite::ffi;

/// What is gathered at most, in bytes: of a longer piece SQLite's files write the length's last 17 bits, and fail when
/// those are 0. A larger transaction is written in several pieces.
const MOST: usize = 0x1_ffff;
/// A page's header: its number, the size of the database if a transaction ends with it, else 0, and what tells whether
/// it is whole. (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>)
const HEADER: usize = 24;

/// Under which name SQLite knows the files of the system, with such a log.
const NAME: &CStr = c"pingbox";

/// The name to open a database by, so that its log is written like this; `None` if SQLite knows no files here.
pub(super) fn files() -> Option<&'static CStr> {
    /// They are registered for as long as the process lives.
    static IS_REGISTERED: LazyLock<bool> = LazyLock::new(register);
    IS_REGISTERED.then_some(NAME)
}

thread_local! {
    /// The number of the commit that this thread is in.
    static COMMIT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Does a commit, on a connection that was opened by [`files`], with its log in one piece.
pub(super) fn in_one_piece<T>(commit: impl FnOnce() -> T) -> T {
    static LAST: AtomicU64 = AtomicU64::new(0);
    /// However it ends.
    struct Over;
    impl Drop for Over {
        fn drop(&mut self) {
            COMMIT.set(None);
        }
    }
    COMMIT.set(Some(LAST.fetch_add(1, Ordering::Relaxed)));
    let _over = Over;
    commit()
}

/// What a commit has written to the log, and is not in the file yet.
#[derive(Debug, Default)]
struct Gathered {
    /// The number of the commit; `None` outside of one.
    commit: Option<u64>,
    bytes: Vec<u8>,
    /// Where in the file they begin; if there are none, where the last ones ended.
    begin: i64,
    /// Whether a transaction ends with the page whose header was the last.
    ends: bool,
}

impl Gathered {
    /// What another commit left came to no good end.
    fn go_over_to(&mut self, commit: Option<u64>) {
        if self.commit != commit {
            self.commit = commit;
            self.bytes.clear();
        }
    }

    fn is_continued_at(&self, offset: i64) -> bool {
        self.commit.is_some() && self.end() == offset
    }

    /// Where what continues it is written.
    fn end(&self) -> i64 {
        // As little as is gathered has no part in an overflow of what SQLite takes for an offset.
        self.begin.saturating_add(i64::try_from(self.bytes.len()).unwrap_or(i64::MAX))
    }

    fn has_room_for(&self, bytes: &[u8]) -> bool {
        self.bytes.len() + bytes.len() <= MOST
    }

    /// Takes note of what is written; whether a transaction ends with it.
    fn ends_with(&mut self, bytes: &[u8]) -> bool {
        // A page may come in two parts.
        let Ok(header) = <&[u8; HEADER]>::try_from(bytes) else { return self.ends };
        self.ends = header[4..8] != [0; 4];
        false
    }

    /// It is in the file, or lost.
    fn clear(&mut self) {
        self.begin = self.end();
        self.bytes.clear();
    }
}

/// What lies behind SQLite's own part of an open log. SQLite finds it by its first field.
#[repr(C)]
struct Log {
    /// What SQLite calls: the functions of the system's files, but for those below.
    methods: ffi::sqlite3_io_methods,
    file: File,
    gathered: Gathered,
}

/// The functions of the system's files that are not called by SQLite itself any more.
#[derive(Clone, Copy)]
struct File {
    close: unsafe extern "C" fn(*mut ffi::sqlite3_file) -> c_int,
    read: unsafe extern "C" fn(*mut ffi::sqlite3_file, *mut c_void, c_int, i64) -> c_int,
    write: unsafe extern "C" fn(*mut ffi::sqlite3_file, *const c_void, c_int, i64) -> c_int,
    truncate: unsafe extern "C" fn(*mut ffi::sqlite3_file, i64) -> c_int,
    sync: unsafe extern "C" fn(*mut ffi::sqlite3_file, c_int) -> c_int,
    size: unsafe extern "C" fn(*mut ffi::sqlite3_file, *mut i64) -> c_int,
}

/// Tells SQLite of these files; whether it takes them.
fn register() -> bool {
    // SAFETY: SQLite's own files are never unregistered, nor what is registered here ever freed. Of what is copied only
    // the link to the next ones may change meanwhile, which the registration sets anew.
    unsafe {
        let system = ffi::sqlite3_vfs_find(ptr::null());
        let Some(of_system) = system.as_ref() else { return false };
        let (Some(place), true) = (place(of_system), of_system.xOpen.is_some()) else { return false };
        let Ok(size) = c_int::try_from(place + size_of::<Log>()) else { return false };
        let files = Box::leak(Box::new(ffi::sqlite3_vfs {
            szOsFile: size,
            zName: NAME.as_ptr(),
            // For `open`. The system's own functions need theirs only there, where they are given it.
            pAppData: system.cast(),
            xOpen: Some(open),
            ..*of_system
        }));
        ffi::sqlite3_vfs_register(files, 0) == ffi::SQLITE_OK
    }
}

/// Where in an open file's memory its [`Log`] is.
fn place(system: &ffi::sqlite3_vfs) -> Option<usize> {
    Some(usize::try_from(system.szOsFile).ok()?.next_multiple_of(align_of::<Log>()))
}

unsafe extern "C" fn open(
    files: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: `files` is what was registered, so its data is the system's, which lives as long. SQLite has the memory
    // at `file` for as much as `szOsFile` says, aligned for pointers, and leaves it where it is until it is closed. The
    // system's part of it is the first.
    unsafe {
        let system = (*files).pAppData.cast::<ffi::sqlite3_vfs>();
        let Some(open) = (*system).xOpen else { return ffi::SQLITE_CANTOPEN };
        let opened = open(system, name, file, flags, flags_out);
        if opened != ffi::SQLITE_OK || flags & ffi::SQLITE_OPEN_WAL == 0 {
            return opened;
        }
        let (Some(place), Some(log)) = (place(&*system), Log::around(&*(*file).pMethods)) else {
            return opened;
        };
        let behind = file.byte_add(place).cast::<Log>();
        behind.write(log);
        (*file).pMethods = behind.cast();
        opened
    }
}

impl Log {
    /// `None` for files that lack what a log needs.
    fn around(methods: &ffi::sqlite3_io_methods) -> Option<Self> {
        let file = File {
            close: methods.xClose?,
            read: methods.xRead?,
            write: methods.xWrite?,
            truncate: methods.xTruncate?,
            sync: methods.xSync?,
            size: methods.xFileSize?,
        };
        let methods = ffi::sqlite3_io_methods {
            xClose: Some(close),
            xRead: Some(read),
            xWrite: Some(write),
            xTruncate: Some(truncate),
            xSync: Some(sync),
            xFileSize: Some(size),
            ..*methods
        };
        Some(Self { methods, file, gathered: Gathered::default() })
    }

    /// The one behind an open file, in the commit that this thread is in.
    ///
    /// # Safety
    /// The file must be one on which [`open`] has put it, and only one function at a time may have it.
    unsafe fn of<'f>(file: *mut ffi::sqlite3_file) -> &'f mut Self {
        // SAFETY: its first field is what the methods of such a file point to.
        let log = unsafe { &mut *(*file).pMethods.cast_mut().cast::<Self>() };
        log.gathered.go_over_to(COMMIT.get());
        log
    }

    /// Writes what was gathered. When that fails it is gone, although SQLite was told that it is written: a commit during
    /// which anything fails is undone.
    ///
    /// # Safety
    /// It must be the one behind this file.
    unsafe fn put(&mut self, file: *mut ffi::sqlite3_file) -> c_int {
        let Gathered { bytes, begin, .. } = &self.gathered;
        let Ok(length) = c_int::try_from(bytes.len()) else { return ffi::SQLITE_IOERR_WRITE };
        if length == 0 {
            return ffi::SQLITE_OK;
        }
        // SAFETY: the file is open, and so many bytes are there.
        let done = unsafe { (self.file.write)(file, bytes.as_ptr().cast(), length, *begin) };
        self.gathered.clear();
        done
    }
}

// SAFETY, of all of the following: SQLite calls them only with a file that `open` has opened and nothing has closed, and
// by one thread at a time, as the connection of the file is used.

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    offset: i64,
) -> c_int {
    let Ok(count) = usize::try_from(length) else { return ffi::SQLITE_IOERR_WRITE };
    // SAFETY: as above; there are so many bytes to write.
    unsafe {
        let log = Log::of(file);
        let new = slice::from_raw_parts(bytes.cast::<u8>(), count);
        let goes_on = log.gathered.is_continued_at(offset);
        if !goes_on || !log.gathered.has_room_for(new) {
            let done = log.put(file);
            if done != ffi::SQLITE_OK {
                return done;
            }
        }
        let ends = log.gathered.ends_with(new);
        if !goes_on {
            // Nothing is being committed, or something is written over.
            log.gathered.begin = offset.saturating_add(length.into());
            return (log.file.write)(file, bytes, length, offset);
        }
        log.gathered.bytes.extend_from_slice(new);
        if ends { log.put(file) } else { ffi::SQLITE_OK }
    }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    length: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        let log = Log::of(file);
        match log.put(file) {
            ffi::SQLITE_OK => (log.file.read)(file, into, length, offset),
            failed => failed,
        }
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    // SAFETY: as above.
    unsafe {
        let log = Log::of(file);
        match log.put(file) {
            ffi::SQLITE_OK => (log.file.truncate)(file, length),
            failed => failed,
        }
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        let log = Log::of(file);
        match log.put(file) {
            ffi::SQLITE_OK => (log.file.sync)(file, flags),
            failed => failed,
        }
    }
}

unsafe extern "C" fn size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: as above.
    unsafe {
        let log = Log::of(file);
        match log.put(file) {
            ffi::SQLITE_OK => (log.file.size)(file, size),
            failed => failed,
        }
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as above. After this nothing comes to the log any more: it is dropped once, before the system forgets
    // the file.
    unsafe {
        let log = Log::of(file);
        let close = log.file.close;
        ptr::drop_in_place(log);
        close(file)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use rusqlite::{Connection, OpenFlags};

    use super::*;

    /// A page of the log, whose header says how large the database is after the transaction that it ends.
    fn header(ends_at: u8) -> [u8; HEADER] {
        let mut header = [7; HEADER];
        header[4..8].copy_from_slice(&[0, 0, 0, ends_at]);
        header
    }

    #[test]
    fn a_transaction_ends_with_the_page_whose_header_says_so() {
        let mut gathered = Gathered::default();
        let page = [1; 512];
        let pieces: [(&[u8], bool); 8] = [
            (&[7; 32], false),
            (&header(0), false),
            (&page, false),
            (&header(9), false),
            (&page[..100], true),
            (&page[100..], true),
            (&header(0), false),
            (&page, false),
        ];
        for (at, (bytes, ends)) in pieces.into_iter().enumerate() {
            assert_eq!(gathered.ends_with(bytes), ends, "{at}");
        }
    }

    #[test]
    fn it_goes_on_where_the_last_piece_ended() {
        let mut gathered = Gathered { commit: Some(1), bytes: vec![1; 100], begin: 32, ends: false };
        assert!(gathered.is_continued_at(132));
        gathered.clear();
        assert!(gathered.is_continued_at(132));
        assert!(!gathered.is_continued_at(32));
        assert!(gathered.has_room_for(&vec![1; MOST]));
        gathered.bytes.push(1);
        gathered.go_over_to(Some(1));
        assert!(!gathered.has_room_for(&vec![1; MOST]));
    }

    #[test]
    fn what_a_commit_left_is_forgotten() {
        let mut gathered = Gathered { commit: Some(1), bytes: vec![1; 100], begin: 32, ends: false };
        gathered.go_over_to(Some(2));
        assert!(gathered.bytes.is_empty());
        assert!(gathered.is_continued_at(32));
        gathered.go_over_to(None);
        assert!(!gathered.is_continued_at(32), "only a commit is gathered");
    }

    /// A connection with so few pages in memory that a transaction writes to the log before it ends, and reads from it.
    fn writer(path: &Path) -> Connection {
        let writer =
            Connection::open_with_flags_and_vfs(path, OpenFlags::default(), files().unwrap()).unwrap();
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
            in_one_piece(|| writer.execute_batch("INSERT INTO kept (text) VALUES ('of the writer')"))
                .unwrap();
            for found in [content(&other), content_after_a_crash(&path)] {
                assert_eq!(found.0, i64::from(round) * 2);
            }
        }
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
            steps in proptest::collection::vec(step(), 1..24), waits in any::<bool>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("test.db");
            let writer = writer(&path);
            writer.pragma_update(None, "synchronous", if waits { "FULL" } else { "OFF" }).unwrap();
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
}
