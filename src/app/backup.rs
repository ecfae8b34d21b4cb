//! A copy of the database, made beside a server that runs.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::store::Backup;
pub(crate) use crate::store::{BackedUp, BackupStep};

/// Copies the file `from` to the file `to`; `told` hears how far it is. It leaves nothing behind when it is told to
/// `stop`.
pub(crate) async fn back_up(
    (from, to): (&Path, &Path),
    replaces: bool,
    stop: &CancellationToken,
    told: &mut (dyn FnMut(BackupStep) + Send),
) -> anyhow::Result<BackedUp> {
    let backup = Backup { from, to, replaces };
    match stop.run_until_cancelled(Box::pin(backup.run(told))).await {
        Some(backed_up) => Ok(backed_up?),
        None => anyhow::bail!("stopped: there is no backup"),
    }
}
