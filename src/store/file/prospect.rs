//! What a start would find where its file is to be, looked at without leaving anything there.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::{beside, remedy};

/// What would keep a start from its files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Obstacle {
    /// Where the folder is to be, there is something else.
    #[error("{} is not a folder", .0.display())]
    NoFolder(PathBuf),
    /// It cannot be made or written.
    #[error("{} cannot be written ({error})", path.display())]
    Unwritable { path: PathBuf, error: io::Error },
    /// Another process has it.
    #[error("another pingbox uses the database {}", .0.display())]
    InUse(PathBuf),
}

impl Obstacle {
    /// What to do about it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::NoFolder(_) => "set data.dir to a folder that pingbox may write in",
            Self::Unwritable { error, .. } if error.kind() == ErrorKind::ReadOnlyFilesystem => {
                "mount its file system writable, or set data.dir to another folder"
            }
            Self::Unwritable { error, .. } => remedy(error),
            Self::InUse(_) => {
                "end it, or set PINGBOX_SERVER to where it listens; else set data.dir to another folder"
            }
        }
    }
}

/// Whether a start could use this file as its database, or make it.
///
/// # Errors
/// With what is in its way.
pub(crate) fn look_for_file(path: &Path) -> Result<(), Obstacle> {
    look_for_folder(path.parent().unwrap_or(Path::new("")))?;
    let path_of_lock = beside(path, ".lock");
    for path in [path, &path_of_lock, &beside(path, "-wal"), &beside(path, "-shm")] {
        match access(path, Access::READ_OK | Access::WRITE_OK).map_err(io::Error::from) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Obstacle::Unwritable { path: path.to_owned(), error });
            }
            _ => {}
        }
    }
    let taken = File::open(&path_of_lock).map(|lock| lock.try_lock_shared());
    match taken {
        Ok(Err(TryLockError::WouldBlock)) => Err(Obstacle::InUse(path.to_owned())),
        _ => Ok(()),
    }
}

/// What there is of this folder already: itself, or the nearest folder around it, in which a start could make it.
///
/// # Errors
/// With what is in its way.
pub(crate) fn look_for_folder(folder: &Path) -> Result<PathBuf, Obstacle> {
    for place in folder.ancestors() {
        let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
        let unwritable = |error| Obstacle::Unwritable { path: place.to_owned(), error };
        match fs::metadata(place) {
            Ok(found) if found.is_dir() => {
                let needed = Access::WRITE_OK | Access::EXEC_OK;
                access(place, needed).map_err(|error| unwritable(error.into()))?;
                return Ok(place.to_owned());
            }
            Ok(_) => return Err(Obstacle::NoFolder(place.to_owned())),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(unwritable(error)),
        }
    }
    Err(Obstacle::Unwritable { path: folder.to_owned(), error: ErrorKind::NotFound.into() })
}

#[cfg(test)]
mod tests {
    use super::super::lock;
    use super::*;
    use crate::model::Timestamp;
    use crate::store::Store;

    /// What is in this folder, by name.
    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_folder_that_is_missing_is_looked_at_by_what_is_around_it_and_not_made() {
        let around = tempfile::tempdir().unwrap();
        let file = around.path().join("deep/deeper/pingbox.db");
        look_for_file(&file).unwrap();
        assert_eq!(look_for_folder(file.parent().unwrap()).unwrap(), around.path());
        assert_eq!(names(around.path()), Vec::<String>::new());
        assert_eq!(look_for_folder(Path::new("no-such-folder")).unwrap(), Path::new("."));
    }

    #[test]
    fn a_folder_that_is_a_file_is_none() {
        let around = tempfile::tempdir().unwrap();
        let file = around.path().join("file");
        fs::write(&file, "").unwrap();
        for folder in [file.clone(), file.join("below")] {
            let error = look_for_folder(&folder).unwrap_err();
            assert!(matches!(&error, Obstacle::NoFolder(found) if *found == file), "{error}");
        }
    }

    #[tokio::test]
    async fn a_file_in_use_is_seen_and_stays_usable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let store = Store::open(&path, Timestamp::now()).await.unwrap();
        let error = look_for_file(&path).unwrap_err();
        assert!(matches!(error, Obstacle::InUse(_)), "{error}");
        store.close().await;
        drop(store);
        look_for_file(&path).unwrap();
        Store::open(&path, Timestamp::now()).await.unwrap();
    }

    #[tokio::test]
    async fn a_start_outlasts_a_look_at_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let look = File::create(beside(&path, ".lock")).unwrap();
        look.lock_shared().unwrap();
        // The first try is before its first wait.
        let (taken, ()) = tokio::join!(lock(&path), async { drop(look) });
        taken.unwrap();
    }
}
