//! A deployment moved from one database to another, while no server runs.

use tokio_util::sync::CancellationToken;

use super::use_ring;
use crate::config::CopyEnds;
use crate::model::Timestamp;
pub(crate) use crate::store::{Copied, Step};
use crate::store::{Copy, Server};

/// Connections of a copy for reading; more would be idle.
const POOL_SIZE: u32 = 1;

/// Copies everything and compares it; `told` hears how far it is. It ends early when it is told to `stop`: the next
/// one goes on from there.
pub(crate) async fn copy(
    ends: CopyEnds,
    stop: &CancellationToken,
    told: &mut (dyn FnMut(Step) + Send),
) -> anyhow::Result<Copied> {
    use_ring();
    let server = Server { url: ends.to, listen_url: ends.listen_url, pool_size: POOL_SIZE };
    // Boxed, because it is large.
    let opening = Box::pin(Copy::open(&ends.from, &server, Timestamp::now()));
    let opened = stop.run_until_cancelled(opening).await;
    let Some(opened) = opened else { anyhow::bail!("stopped before anything was copied") };
    let copy = opened?;
    let copied = Box::pin(copy.run(stop, told)).await;
    copy.close().await;
    Ok(copied?)
}
