//! Where our own CA is kept: the folder `tls` in `data.dir`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{TlsError, trouble};

/// The most that is read of a file with certificates or a key in it, in bytes.
const FILE_LIMIT: u64 = 1024 * 1024;

/// The folder, held against other processes as long as this lives: a server and `pingbox tls ca` may
/// start at the same time, and are to make one CA.
pub(super) struct Folder {
    path: PathBuf,
    /// Its lock goes with it.
    handle: File,
}

/// The folder's path.
pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("tls")
}

impl Folder {
    /// Opens it, made when it is not there.
    pub(super) fn open(data_dir: &Path) -> Result<Self, TlsError> {
        let path = path(data_dir);
        let opened = DirBuilder::new().recursive(true).mode(0o755).create(&path).and_then(|()| {
            let handle = File::open(&path)?;
            handle.lock()?;
            Ok(handle)
        });
        match opened {
            Ok(handle) => Ok(Self { path, handle }),
            Err(error) => Err(trouble(
                "could not use the folder",
                &path,
                format!("{error}: set data.dir to a folder that the user of pingbox may write to"),
            )),
        }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What is in a file; `None` when it is not there.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, TlsError> {
        match read(&self.file(name)) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(trouble(
                "could not read",
                &self.file(name),
                format!("{error}: it must belong to the user that pingbox runs as"),
            )),
        }
    }

    /// Writes a file whole or not at all, and on disk when this returns.
    pub(super) fn write(&self, name: &str, content: &str, mode: u32) -> Result<(), TlsError> {
        let (path, draft) = (self.file(name), self.file(&format!(".{name}.new")));
        let write = || -> io::Result<()> {
            match fs::remove_file(&draft) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
            file.write_all(content.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            self.handle.sync_all()
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
