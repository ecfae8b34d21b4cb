//! Where a copy goes: first under a name of its own in the same folder, then, when it is sound, under the one that it is
//! to have.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::super::fault::Fault;
use super::BackupError;
use crate::model::hex;

/// A file that is being made. Dropped, it is deleted.
#[derive(Debug)]
pub(super) struct Target {
    folder: PathBuf,
    path: PathBuf,
    scratch: PathBuf,
    replaces: bool,
}

impl Target {
    /// Begins it: an empty file that only its owner reads, as the database.
    pub(super) fn new(database: &Path, path: &Path, replaces: bool) -> Result<Self, BackupError> {
        let (folder, path) = place(path)?;
        check(database, &path, replaces)?;
        let mut random = [0; 4];
        getrandom::fill(&mut random)
            .map_err(|error| BackupError::Write(path.clone(), io::Error::other(error)))?;
        let scratch = beside(&path, &format!(".{}.partial", hex(&random)));
        let made = File::options().write(true).create_new(true).mode(0o600).open(&scratch);
        made.map_err(|error| BackupError::Write(scratch.clone(), error))?;
        Ok(Self { folder, path, scratch, replaces })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// The same as SQLite takes it. It begins with a slash, so it is no URL.
    pub(super) fn scratch_name(&self) -> Result<&str, BackupError> {
        self.scratch.to_str().ok_or_else(|| BackupError::Name(self.scratch.clone()))
    }

    /// How many there are so far.
    pub(super) fn bytes(&self) -> u64 {
        fs::metadata(&self.scratch).map_or(0, |file| file.len())
    }

    pub(super) fn failed(&self, source: sqlx::Error) -> BackupError {
        BackupError::Copy { path: self.path.clone(), fault: Fault::of(&source), source }
    }

    /// Gives it its name. When this returns, a power cut does not take it away.
    pub(super) fn keep(self) -> Result<(), BackupError> {
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::AlreadyExists => BackupError::Exists(self.path.clone()),
            _ => BackupError::Write(self.path.clone(), error),
        };
        File::open(&self.scratch).and_then(|file| file.sync_all()).map_err(failed)?;
        if self.replaces {
            fs::rename(&self.scratch, &self.path).map_err(failed)?;
        } else {
            rename_to_new(&self.scratch, &self.path).map_err(failed)?;
        }
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        for scratch in [self.scratch.clone(), beside(&self.scratch, "-journal")] {
            // It may have its name already.
            drop(fs::remove_file(scratch));
        }
    }
}

/// Renames a file unless there is one of the new name, also if that came a moment ago.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system cannot do that. The look before was the last one.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            if fs::exists(to)? {
                return Err(ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        renamed => Ok(renamed?),
    }
}

/// The folder of a file that need not be there, and the file by a name that does not depend on where we are.
fn place(path: &Path) -> Result<(PathBuf, PathBuf), BackupError> {
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return Err(BackupError::Folder(path.to_owned())),
    };
    let Some(name) = path.file_name() else { return Err(BackupError::Folder(path.to_owned())) };
    let folder = folder.canonicalize().map_err(|error| BackupError::Write(folder.to_owned(), error))?;
    let path = folder.join(name);
    Ok((folder, path))
}

/// Refuses what is in use, what is there already, and what would be in the way.
fn check(database: &Path, path: &Path, replaces: bool) -> Result<(), BackupError> {
    let database = database.canonicalize().unwrap_or_else(|_| database.to_owned());
    let files_of_it = ["", "-wal", "-shm", "-journal", ".lock"].map(|suffix| beside(&database, suffix));
    if files_of_it.iter().any(|file| file == path || is_same_file(file, path)) {
        return Err(BackupError::Own(path.to_owned()));
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => return Err(BackupError::Folder(path.to_owned())),
        Ok(_) if !replaces => return Err(BackupError::Exists(path.to_owned())),
        Ok(_) | Err(_) => {}
    }
    let leftovers = ["-wal", "-shm", "-journal"].map(|suffix| beside(path, suffix));
    match leftovers.into_iter().find(|file| file.exists()) {
        Some(leftover) => Err(BackupError::Leftover(leftover)),
        None => Ok(()),
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// The file whose name has this at its end.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}
