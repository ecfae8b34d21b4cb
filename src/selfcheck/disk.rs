//! The room on a disk.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::FRESH;

/// How long a disk is waited for: one in the network may hang.
const PATIENCE: Duration = Duration::from_secs(2);

/// The room on a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// What users without privileges may still take up.
    pub(crate) free: u64,
    /// All there is.
    pub(crate) total: u64,
}

impl Room {
    /// That of the file system with this folder.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn on(folder: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Self { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
    }
}

/// The disk with a folder, looked at once at a time: one that hangs holds up one thread, whoever asks.
pub(super) struct Disk {
    folder: PathBuf,
    looks: Mutex<Looks>,
}

#[derive(Default)]
struct Looks {
    under_way: Option<JoinHandle<Option<Room>>>,
    /// The last one, and what it found within [`PATIENCE`].
    last: Option<(Instant, Option<Room>)>,
}

impl Disk {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, looks: Mutex::default() }
    }

    /// Its room, as it was found within the last 5 s; `None` when the system does not tell.
    pub(super) async fn room(&self) -> Option<Room> {
        let mut looks = self.looks.lock().await;
        if let Some((at, room)) = looks.last
            && at.elapsed() < FRESH
        {
            return room;
        }
        let look = looks.under_way.get_or_insert_with(|| {
            let folder = self.folder.clone();
            spawn_blocking(move || look(&folder))
        });
        let found = timeout(PATIENCE, look).await;
        if found.is_ok() {
            looks.under_way = None;
        } else {
            debug!("The disk of the database was not looked at within {} s", PATIENCE.as_secs());
        }
        let room = found.ok().and_then(Result::ok).flatten();
        looks.last = Some((Instant::now(), room));
        room
    }
}

fn look(folder: &Path) -> Option<Room> {
    let found = Room::on(folder);
    found.inspect_err(|error| debug!(%error, "Could not look at the disk of the database: {error}")).ok()
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_folder_has_the_room_of_its_disk_and_one_that_is_not_there_has_none() {
        let folder = tempfile::TempDir::new().unwrap();
        let room = Disk::new(folder.path().to_owned()).room().await.unwrap();
        assert!(room.total > 0 && room.free <= room.total, "{room:?}");
        assert_eq!(Disk::new(folder.path().join("missing")).room().await, None);
    }

    #[tokio::test]
    async fn a_disk_that_hangs_is_looked_at_once() {
        let folder = tempfile::TempDir::new().unwrap();
        let disk = Disk::new(folder.path().to_owned());
        let hanging = tokio::spawn(pending());
        let id = hanging.id();
        disk.looks.lock().await.under_way = Some(hanging);
        let start = Instant::now();
        assert_eq!(tokio::join!(disk.room(), disk.room()), (None, None));
        assert!(start.elapsed() < PATIENCE * 2, "who asks meanwhile does not wait again");
        let looks = disk.looks.lock().await;
        assert_eq!(looks.under_way.as_ref().map(JoinHandle::id), Some(id), "it is the same look");
    }
}
