//! Pingbacks that are sent at fixed times, whether or not the earlier ones were answered.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::client::{BlockingConnection, Pingback};

/// Threads that send pingbacks, each one every `SENDERS`th. With 2,000 a second each has 16 ms for
/// one; when that is not enough the delay shows in the latency since the intended time.
const SENDERS: usize = 32;

/// When a pingback was to be sent, was sent, and was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) index: usize,
    pub(crate) intended: Instant,
    pub(crate) written: Instant,
    pub(crate) acknowledged: Instant,
}

/// What to answer, how fast, and how.
pub(crate) struct Schedule {
    pub(crate) captchas: Vec<u64>,
    /// A second.
    pub(crate) rate: u64,
    /// The captcha is filled in.
    pub(crate) pingback: Pingback,
    /// The status of each reply.
    pub(crate) status: u16,
}

impl Schedule {
    /// Sends every pingback at its time, however long the others take.
    pub(crate) fn send_all(&self, to: SocketAddr) -> anyhow::Result<Vec<Sent>> {
        let connections: Vec<BlockingConnection> = (0..SENDERS.min(self.captchas.len()))
            .map(|_| BlockingConnection::open(to))
            .collect::<Result<_, _>>()?;
        let step = connections.len();
        let begin = Instant::now() + Duration::from_millis(20);
        thread::scope(|scope| {
            let senders: Vec<_> = connections
                .into_iter()
                .enumerate()
                .map(|(first, connection)| {
                    scope.spawn(move || self.send_every(step, first, begin, connection))
                })
                .collect();
            let mut all = Vec::new();
            for sender in senders {
                all.extend(sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??);
            }
            Ok(all)
        })
    }

    fn send_every(
        &self,
        step: usize,
        first: usize,
        begin: Instant,
        mut connection: BlockingConnection,
    ) -> anyhow::Result<Vec<Sent>> {
        let mut sent = Vec::new();
        let mut pingback = self.pingback.clone();
        for (index, &captcha) in self.captchas.iter().enumerate().skip(first).step_by(step) {
            pingback.set(captcha);
            let nanos = 1_000_000_000 / self.rate * u64::try_from(index)?;
            let intended = begin + Duration::from_nanos(nanos);
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            let written = Instant::now();
            let status = connection.exchange(pingback.request())?;
            ensure!(status == self.status, "{status} to a pingback");
            sent.push(Sent { index, intended, written, acknowledged: Instant::now() });
        }
        Ok(sent)
    }
}
