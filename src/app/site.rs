//! The place where a service is to start, looked at without changing anything.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::bound;
use crate::config::{Config, DatabaseUrl};
use crate::selfcheck;
use crate::store::Server;
pub(crate) use crate::store::{Obstacle, look_for_file, look_for_folder};

/// How much room a disk has, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// What may still be written.
    pub(crate) free: u64,
    pub(crate) total: u64,
    pub(crate) keeping: Keeping,
}

/// For how long a disk keeps what is on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// As far as one can tell, for ever.
    Lasting,
    /// It is memory.
    UntilRestart,
    /// It is the writable layer of a container.
    WithContainer,
    /// It is somewhere in the network, where SQLite's locks do not work.
    Elsewhere,
}

/// Whether a listener could have this address. It does not listen there, and so is in nobody's way who starts meanwhile.
pub(crate) fn look_at_address(address: SocketAddr) -> io::Result<()> {
    bound(address).map(drop)
}

/// Whether the PostgreSQL server of `database.url` can be connected to within 5 s; where it is. `None`: there is none.
pub(crate) async fn look_at_postgres(config: &Config) -> Option<anyhow::Result<String>> {
    let DatabaseUrl::Postgres(url) = &config.database.url else { return None };
    let (listen_url, pool_size) = (config.database.listen_url.clone(), config.database.pool_size);
    let server = Server { url: url.clone(), listen_url, pool_size };
    // Boxed, because it is large.
    Some(Box::pin(server.look()).await.map_err(anyhow::Error::from))
}

/// The disk that this folder is on.
pub(crate) fn room(folder: &Path) -> io::Result<Room> {
    let selfcheck::Room { free, total } = selfcheck::Room::on(folder)?;
    Ok(Room { free, total, keeping: keeping(folder)? })
}

#[cfg(target_os = "linux")]
fn keeping(folder: &Path) -> io::Result<Keeping> {
    // statfs(2)
    const TMPFS: u32 = 0x0102_1994;
    const RAMFS: u32 = 0x8584_58f6;
    const OVERLAYFS: u32 = 0x794c_7630;
    const NFS: u32 = 0x6969;
    const CIFS: u32 = 0xff53_4d42;
    const SMB2: u32 = 0xfe53_4d42;
    // Its type is as wide as the machine's words, and signed on some.
    let kind = i128::from(rustix::fs::statfs(folder)?.f_type) & 0xffff_ffff;
    Ok(match u32::try_from(kind) {
        Ok(TMPFS | RAMFS) => Keeping::UntilRestart,
        Ok(OVERLAYFS) => Keeping::WithContainer,
        Ok(NFS | CIFS | SMB2) => Keeping::Elsewhere,
        _ => Keeping::Lasting,
    })
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "on Linux it can fail")]
fn keeping(_: &Path) -> io::Result<Keeping> {
    Ok(Keeping::Lasting)
}
