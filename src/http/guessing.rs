//! Wrong tokens: each address hears so many refusals at once, and waits for those behind them.
//!
//! What protects a token is that it has 128 bits. This keeps a broken client, or somebody who tries, from using up
//! the process, and says that there is one.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tracing::warn;

use super::addresses::Rates;

/// Refusals that one address hears each second.
const RATE: NonZeroU32 = NonZeroU32::new(1).expect("not zero");
/// Refusals that one address hears at once: a script that starts with an old token tries a few times.
const BURST: NonZeroU32 = NonZeroU32::new(10).expect("not zero");
/// The longest that a refusal waits. Clients of the drop-in give up after 5 s.
const LONGEST: Duration = Duration::from_secs(3);
/// How often is said that somebody shows wrong tokens.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// How many wrong tokens have come, and from where.
#[derive(Debug)]
pub(super) struct Guessing {
    refusals: Rates,
    count: AtomicU64,
    warned: Mutex<Option<Instant>>,
}

impl Default for Guessing {
    fn default() -> Self {
        Self { refusals: Rates::new(RATE, BURST), count: AtomicU64::new(0), warned: Mutex::default() }
    }
}

impl Guessing {
    /// Counts a wrong token, and waits until its sender may hear that it is one: not at all for the first ones.
    pub(super) async fn wait(&self, caller: IpAddr) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if self.refusals.may(caller) {
            return;
        }
        if self.is_time_to_warn() {
            warn!(
                %caller,
                "Many wrong tokens come from {caller}: their refusals are slowed down. Give that caller a token that \
                 is known, or keep it off"
            );
        }
        // However many wait there, none of them does so for longer: what it holds on to is a connection.
        drop(timeout(LONGEST, self.refusals.wait(caller)).await);
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn is_time_to_warn(&self) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = warned.is_none_or(|at| at.elapsed() >= WARN_INTERVAL);
        if is_time {
            *warned = Some(Instant::now());
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_first_refusals_come_at_once_and_those_behind_them_wait() {
        let guessing = Guessing::default();
        let (one, other) = (Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::new(192, 0, 2, 2).into());
        for _ in 0..BURST.get() {
            assert!(guessing.wait(one).now_or_never().is_some());
        }
        assert!(guessing.wait(one).now_or_never().is_none(), "the next one waits");
        assert!(guessing.wait(other).now_or_never().is_some(), "another address does not");
        assert_eq!(guessing.count(), u64::from(BURST.get()) + 2);
        // It ends by itself.
        guessing.wait(one).await;
    }
}
