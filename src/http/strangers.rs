//! Who has to leave when a listener is full: connections of peers that never showed the secret, oldest first.
//!
//! Whoever has many addresses can open as many connections as the listener holds. A sender that shows the secret must
//! not wait behind them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The connections that may be told to leave, by the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    next: u64,
    connections: BTreeMap<u64, Stranger>,
}

#[derive(Debug)]
struct Stranger {
    ip: IpAddr,
    leave: oneshot::Sender<()>,
}

/// A connection that may be told to leave, until dropped.
#[derive(Debug)]
pub(crate) struct Stay {
    strangers: Arc<Strangers>,
    number: u64,
    leave: oneshot::Receiver<()>,
}

impl Strangers {
    pub(super) fn stay(self: &Arc<Self>, ip: IpAddr) -> Stay {
        let (sender, leave) = oneshot::channel();
        let mut present = self.lock();
        let number = present.next;
        present.next += 1;
        present.connections.insert(number, Stranger { ip, leave: sender });
        Stay { strangers: Arc::clone(self), number, leave }
    }

    /// Tells the oldest connection to leave whose peer is still a stranger; `false` if there is none. Peers that are
    /// none any more may stay from here on.
    pub(super) fn send_one_away(&self, is_stranger: impl Fn(IpAddr) -> bool) -> bool {
        let mut present = self.lock();
        while let Some((_, oldest)) = present.connections.pop_first() {
            // It may be about to end by itself.
            if is_stranger(oldest.ip) && oldest.leave.send(()).is_ok() {
                return true;
            }
        }
        false
    }

    /// Nothing panics while it holds this lock, so what is behind it is whole.
    fn lock(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stay {
    /// Returns when the connection has to leave; never, once it may stay.
    pub(crate) async fn is_over(&mut self) {
        if (&mut self.leave).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.strangers.lock().connections.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_oldest_stranger_leaves_first_and_whoever_is_known_stays() {
        let strangers = Arc::new(Strangers::default());
        let mut stays =
            ["192.0.2.1", "203.0.113.9", "192.0.2.2", "192.0.2.3"].map(|text| strangers.stay(ip(text)));
        let known = ip("203.0.113.9");
        let is_stranger = |ip| ip != known;
        assert!(strangers.send_one_away(is_stranger) && strangers.send_one_away(is_stranger));
        let told: Vec<bool> = stays.iter_mut().map(|stay| stay.is_over().now_or_never().is_some()).collect();
        assert_eq!(told, [true, false, true, false]);
    }

    #[test]
    fn whoever_has_left_is_not_told_to() {
        let strangers = Arc::new(Strangers::default());
        let stay = strangers.stay(ip("192.0.2.1"));
        drop(stay);
        assert!(!strangers.send_one_away(|_| true));
        assert!(strangers.lock().connections.is_empty());
    }
}
