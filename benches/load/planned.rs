//! Pingbacks that are sent at their times by one thread, whether or not the earlier ones were answered: more of
//! them a second than there could be threads, or those that become known only as it goes.

use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use anyhow::ensure;

use crate::client::{BlockingConnection, Pingback};

/// Kept-alive connections that take turns. With 5,000 pingbacks a second each has 40 ms for one; when that
/// is not enough the delay shows in the latency since the intended time.
const CONNECTIONS: usize = 200;

/// A pingback, and when it is to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) captcha: u64,
    pub(crate) at: Instant,
}

/// The one thread that sends them all: it sleeps to the microsecond, and is awake only for a moment.
#[derive(Debug)]
pub(crate) struct Sender {
    connections: Vec<BlockingConnection>,
}

impl Sender {
    pub(crate) fn open(public: SocketAddr) -> anyhow::Result<Self> {
        let connections = (0..CONNECTIONS).map(|_| BlockingConnection::open(public));
        Ok(Self { connections: connections.collect::<Result<_, _>>()? })
    }

    /// Sends each at its time; fails unless each is answered with 200.
    pub(crate) fn send_all(mut self, planned: impl Iterator<Item = Planned>) -> anyhow::Result<()> {
        let mut pingback = Pingback::new(0);
        let mut sent = 0;
        for Planned { captcha, at } in planned {
            let connection = &mut self.connections[sent % CONNECTIONS];
            if sent >= CONNECTIONS {
                see_acknowledged(connection)?;
            }
            pingback.set(captcha);
            thread::sleep(at.saturating_duration_since(Instant::now()));
            connection.send(pingback.request())?;
            sent += 1;
        }
        self.connections.iter_mut().take(sent).try_for_each(see_acknowledged)
    }
}

fn see_acknowledged(connection: &mut BlockingConnection) -> anyhow::Result<()> {
    let status = connection.receive()?;
    ensure!(status == 200, "{status} to a pingback");
    Ok(())
}
