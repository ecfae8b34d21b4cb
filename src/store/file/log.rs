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

mod gathered;
#[cfg(test)]
mod tests;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::LazyLock;
use std::{ptr, slice};

use rusqlite::ffi;

use self::gathered::Gathered;
pub(super) use self::gathered::in_one_piece;

/// Under which name SQLite knows the files of the system, with such a log.
const NAME: &CStr = c"pingbox";

/// The name to open a database by, so that its log is written like this; `None` if SQLite knows no files here.
pub(super) fn files() -> Option<&'static CStr> {
    /// They are registered for as long as the process lives.
    static IS_REGISTERED: LazyLock<bool> = LazyLock::new(register);
    IS_REGISTERED.then_some(NAME)
}

/// What lies behind SQLite's own part of an open log. SQLite finds it by its first field.
#[repr(C)]
struct Log {
    /// What SQLite calls: the functions of the system's files, but for those below.
    methods: ffi::sqlite3_io_methods,
    system: System,
    gathered: Gathered,
}

/// The functions of the system's files that are not called by SQLite itself any more.
#[derive(Clone, Copy)]
struct System {
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
        let system = System {
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
        Some(Self { methods, system, gathered: Gathered::default() })
    }

    /// The one behind an open file, in the commit that this thread is in.
    ///
    /// # Safety
    /// The file must be one on which [`open`] has put it, and only one function at a time may have it.
    unsafe fn of<'f>(file: *mut ffi::sqlite3_file) -> &'f mut Self {
        // SAFETY: its first field is what the methods of such a file point to.
        let log = unsafe { &mut *(*file).pMethods.cast_mut().cast::<Self>() };
        log.gathered.catch_up();
        log
    }

    /// Writes what was gathered. When that fails it is gone, although SQLite was told that it is written: a commit during
    /// which anything fails is undone.
    ///
    /// # Safety
    /// It must be the one behind this file.
    unsafe fn put(&mut self, file: *mut ffi::sqlite3_file) -> c_int {
        let (piece, begin) = self.gathered.piece();
        let Ok(length) = c_int::try_from(piece.len()) else { return ffi::SQLITE_IOERR_WRITE };
        if length == 0 {
            return ffi::SQLITE_OK;
        }
        // SAFETY: the file is open, and so many bytes are there.
        let done = unsafe { (self.system.write)(file, piece.as_ptr().cast(), length, begin) };
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
        if !goes_on {
            // Nothing is being committed, or something is written over.
            log.gathered.pass(new, offset);
            return (log.system.write)(file, bytes, length, offset);
        }
        if log.gathered.add(new) { log.put(file) } else { ffi::SQLITE_OK }
    }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    length: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: as above.
    unsafe { when_written(file, |system| (system.read)(file, into, length, offset)) }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    // SAFETY: as above.
    unsafe { when_written(file, |system| (system.truncate)(file, length)) }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as above.
    unsafe { when_written(file, |system| (system.sync)(file, flags)) }
}

unsafe extern "C" fn size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: as above.
    unsafe { when_written(file, |system| (system.size)(file, size)) }
}

/// Does something with the file once all that was gathered is in it.
///
/// # Safety
/// As for [`Log::of`].
unsafe fn when_written(file: *mut ffi::sqlite3_file, act: impl FnOnce(System) -> c_int) -> c_int {
    // SAFETY: as above.
    let (written, system) = unsafe {
        let log = Log::of(file);
        (log.put(file), log.system)
    };
    if written == ffi::SQLITE_OK { act(system) } else { written }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as above. After this nothing comes to the log any more: it is dropped once, before the system forgets
    // the file.
    unsafe {
        let log = Log::of(file);
        let close = log.system.close;
        ptr::drop_in_place(log);
        close(file)
    }
}
