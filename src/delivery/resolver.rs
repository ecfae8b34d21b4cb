//! The addresses of a name, judged.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::model::{AddressRules, ForbiddenAddress};
use crate::provider::OwnListeners;

/// Addresses of one name that are looked at. A name with more is refused: nobody could say of the rest.
const MAX_ADDRESSES: usize = 64;
/// Questions to the system's resolver at a time. It cannot be hurried: those that nobody waits for any more
/// count too. When there are as many, others are refused, and come again later.
const MAX_LOOKUPS: usize = 64;

/// Which addresses may be called.
#[derive(Clone)]
pub(super) struct Judge {
    pub(super) rules: AddressRules,
    /// Never called, even where the rules allow their address.
    pub(super) own: OwnListeners,
}

/// Why an address is not called.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum NotCalled {
    #[error("the receiver has {0}")]
    Forbidden(ForbiddenAddress),
    #[error("the receiver is pingbox itself")]
    Ourselves,
}

impl Judge {
    pub(super) fn judge(&self, address: SocketAddr) -> Result<(), NotCalled> {
        self.rules.judge(address.ip()).map_err(NotCalled::Forbidden)?;
        if self.own.take(address) { Err(NotCalled::Ourselves) } else { Ok(()) }
    }
}

/// Gives the addresses of a name only if **all** of them may be called: one that may be called beside one
/// that may not is how a name is moved from the first to the second under our eyes.
pub(super) struct Guard {
    pub(super) judge: Judge,
    pub(super) names: Arc<dyn Resolve>,
    /// The port that is called. A resolver is not told it, so there is one for each that matters.
    pub(super) port: u16,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (judge, port, finding) = (self.judge.clone(), self.port, self.names.resolve(name));
        Box::pin(async move {
            let found: Vec<SocketAddr> = finding.await?.take(MAX_ADDRESSES + 1).collect();
            if found.len() > MAX_ADDRESSES {
                return Err("the name has too many addresses".into());
            }
            found.iter().try_for_each(|address| judge.judge(SocketAddr::new(address.ip(), port)))?;
            Ok::<Addrs, _>(Box::new(found.into_iter()))
        })
    }
}

/// The system's resolver.
pub(crate) struct SystemNames {
    lookups: Arc<Semaphore>,
}

impl SystemNames {
    pub(crate) fn shared() -> Arc<dyn Resolve> {
        Arc::new(Self::with_room_for(MAX_LOOKUPS))
    }

    pub(super) fn with_room_for(lookups: usize) -> Self {
        Self { lookups: Arc::new(Semaphore::new(lookups)) }
    }
}

/// [`MAX_LOOKUPS`] are under way.
#[derive(Debug, thiserror::Error)]
#[error("too many look-ups of names are under way")]
pub(super) struct TooManyLookups;

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        let lookups = Arc::clone(&self.lookups);
        Box::pin(async move {
            let turn = lookups.try_acquire_owned().map_err(|_| TooManyLookups)?;
            let found = spawn_blocking(move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                drop(turn);
                found.map(Iterator::collect::<Vec<_>>)
            });
            let found: io::Result<Vec<SocketAddr>> = found.await?;
            Ok::<Addrs, _>(Box::new(found?.into_iter()))
        })
    }
}
