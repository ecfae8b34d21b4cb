//! The room on a disk.

use std::path::PathBuf;

use tokio::task::spawn_blocking;
use tracing::debug;

/// The room on a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// What users without privileges may still take up.
    pub(crate) free: u64,
    /// All there is.
    pub(crate) total: u64,
}

impl Room {
    /// That of the file system with this folder; `None` when the system does not tell.
    pub(super) async fn on(folder: PathBuf) -> Option<Self> {
        // A file system of the network may take its time.
        let found = spawn_blocking(move || rustix::fs::statvfs(&folder)).await.ok()?;
        let stat =
            found.inspect_err(|error| debug!(%error, "Could not look at the disk of the database: {error}"));
        let stat = stat.ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Some(Self { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_has_the_room_of_its_disk_and_one_that_is_not_there_has_none() {
        let folder = tempfile::TempDir::new().unwrap();
        let room = Room::on(folder.path().to_owned()).await.unwrap();
        assert!(room.total > 0 && room.free <= room.total, "{room:?}");
        assert_eq!(Room::on(folder.path().join("missing")).await, None);
    }
}
