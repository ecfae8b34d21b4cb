//! The emulated provider: beside the service, or alone.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::parts::Parts;
use super::setup::{self, use_ring};
use super::{Listeners, OTHER_FILES, SHUTDOWN_DEADLINE, bind};
use crate::http::{Places, Room, Server};
use crate::provider::Credentials;
use crate::sandbox::{self, Sandbox};

/// Runs the emulation on a port of its own; its account.
pub(super) async fn start_sandbox(
    mut settings: sandbox::Settings,
    listeners: &Listeners,
    parts: &Parts,
    shutdown: &CancellationToken,
) -> anyhow::Result<(Sandbox, Credentials)> {
    let key = settings.key.clone();
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), "the sandbox")?;
    let base_url = setup::local_url("http", listener.local_addr()?)?;
    settings.own = Some(listeners.public.local_addr()?);
    let sandbox = Sandbox::new(settings).context("could not start the sandbox")?;
    let server = Server {
        listener,
        site: sandbox.router(),
        room: Room::new(Places::alone(listeners.places / 2)),
        addresses: None,
        tls: None,
        has_scripts: false,
        requests: None,
    };
    parts.start("sandbox's listener", server.run(shutdown.clone()));
    parts.start("sandbox", sandbox.clone().run(shutdown.clone()));
    info!(%base_url, "The sandbox takes the place of the provider: nothing is charged, answers are made up");
    Ok((sandbox, Credentials { base_url, key, soft_id: None }))
}

/// Runs the emulated provider alone, until `shutdown`.
///
/// # Errors
/// When the port is taken.
pub async fn run_sandbox(
    listen: SocketAddr,
    settings: sandbox::Settings,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    use_ring();
    let listener = bind(listen, "--listen")?;
    let address = listener.local_addr()?;
    let sandbox = Sandbox::new(settings).context("could not start the sandbox")?;
    let places = setup::places(OTHER_FILES);
    let server = Server {
        listener,
        site: sandbox.router(),
        room: Room::new(Places::alone(places / 2)),
        addresses: None,
        tls: None,
        has_scripts: false,
        requests: None,
    };
    info!(%address, "The sandbox is ready: use http://{address} as the provider's address");
    let parts = TaskTracker::new();
    parts.spawn(server.run(shutdown.clone()));
    parts.spawn(sandbox.run(shutdown.clone()));
    parts.close();
    shutdown.cancelled().await;
    if timeout(SHUTDOWN_DEADLINE, parts.wait()).await.is_err() {
        warn!("Some requests did not end in time");
    }
    Ok(())
}
