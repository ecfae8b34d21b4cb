//! Where our own CA is kept: the folder `tls` in `data.dir`.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::{TlsError, trouble};

/// The most that is read of a file with certificates or a key in it, in bytes.
const FILE_LIMIT: u64 = 1024 * 1024;

/// Held while something is made. No other user can open it, or they could hold up the server.
const LOCK_FILE: &str = ".lock";
/// How long another process may hold the lock. Making a CA takes less than a second.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// The folder. Reading needs no lock, as each file is whole or not there.
pub(super) struct Folder {
    path: PathBuf,
}

/// The folder, held against other processes as long as this lives: a server and `pingbox tls ca` may
/// start at the same time, and are to make one CA.
pub(super) struct LockedFolder<'a> {
    folder: &'a Folder,
    /// The lock goes with it.
    _lock: File,
}

/// The folder's path.
pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("tls")
}

impl Folder {
    /// The folder, which need not be there.
    pub(super) fn below(data_dir: &Path) -> Self {
        Self { path: path(data_dir) }
    }

    /// Locks the folder, made when it is not there. It blocks for up to `patience` while another
    /// process has it.
    pub(super) fn lock(&self, patience: Duration) -> Result<LockedFolder<'_>, TlsError> {
        let unusable = |error: io::Error| {
            trouble(
                "could not use the folder",
                &self.path,
                format!("{error}: set data.dir to a folder that the user of pingbox may write to"),
            )
        };
        let path = self.file(LOCK_FILE);
        let lock = self.make().and_then(|()| {
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)
        });
        let lock = lock.map_err(unusable)?;
        let deadline = Instant::now() + patience;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(LockedFolder { folder: self, _lock: lock }),
                Err(TryLockError::Error(error)) => return Err(trouble("could not lock", &path, error)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_POLL),
                Err(TryLockError::WouldBlock) => {
                    let seconds = patience.as_secs();
                    let why = format!(
                        "another process has held it for {seconds} s: `fuser` names that process, end it"
                    );
                    return Err(trouble("could not lock", &path, why));
                }
            }
        }
    }

    /// Makes the folder for its owner alone, unless it is there: then it stays as its owner has it.
    fn make(&self) -> io::Result<()> {
        if let Some(data_dir) = self.path.parent() {
            fs::create_dir_all(data_dir)?;
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What is in a file; `None` when it is not there.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, TlsError> {
        match read(&self.file(name)) {
            Ok(content) => Ok(Some(content)),
            // That the folder is none is told by who would make it.
            Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => Ok(None),
            Err(error) => Err(trouble(
                "could not read",
                &self.file(name),
                format!("{error}: it must belong to the user that pingbox runs as"),
            )),
        }
    }

    /// Takes from everybody but the owner the rights to a file that is secret; the mode that it had, if
    /// that was wider.
    pub(super) fn narrow(&self, name: &str) -> io::Result<Option<u32>> {
        let path = self.file(name);
        let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
        let of_others = mode & 0o077;
        if of_others == 0 {
            return Ok(None);
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Some(mode))
    }
}

impl LockedFolder<'_> {
    /// Writes a file whole or not at all, and on disk when this returns.
    pub(super) fn write(&self, name: &str, content: &str, mode: u32) -> Result<(), TlsError> {
        let (path, draft) = (self.folder.file(name), self.folder.file(&format!(".{name}.new")));
        let write = || -> io::Result<()> {
            match fs::remove_file(&draft) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
            file.write_all(content.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.folder.path)?.sync_all()
        };
        write().map_err(|error| trouble("could not write", &path, error))
    }
}

/// What is in a file of certificates or a key.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(FILE_LIMIT + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_LIMIT {
        return Err(io::Error::other(format!("more than {FILE_LIMIT} bytes")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn nobody_else_can_open_what_is_locked() {
        let data = TempDir::new().unwrap();
        let folder = Folder::below(data.path());
        let _locked = folder.lock(LOCK_PATIENCE).unwrap();
        assert_eq!((mode(&folder.path), mode(&folder.file(LOCK_FILE))), (0o700, 0o600));
    }

    #[test]
    fn a_lock_that_another_does_not_let_go_is_told() {
        let data = TempDir::new().unwrap();
        let folder = Folder::below(data.path());
        let locked = folder.lock(LOCK_PATIENCE).unwrap();
        let error = folder.lock(Duration::ZERO).err().unwrap().to_string();
        assert!(error.contains("tls/.lock: another process"), "{error}");
        drop(locked);
        folder.lock(Duration::ZERO).unwrap();
    }
}
