//! The addresses of a name, judged.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::model::AddressRules;

/// Addresses of one name that are looked at. A name with more is refused: nobody could say of the rest.
const MAX_ADDRESSES: usize = 64;
/// Questions to the system's resolver at a time. It cannot be hurried: those that nobody waits for any more
/// count too. When there are as many, others are refused, and come again later.
const MAX_LOOKUPS: usize = 64;

/// Gives the addresses of a name only if the rules allow **all** of them: one that may be called beside one
/// that may not is how a name is moved from the first to the second under our eyes.
pub(super) struct Guard {
    pub(super) rules: AddressRules,
    pub(super) names: Arc<dyn Resolve>,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (rules, finding) = (self.rules.clone(), self.names.resolve(name));
        Box::pin(async move {
            let found: Vec<SocketAddr> = finding.await?.take(MAX_ADDRESSES + 1).collect();
            if found.len() > MAX_ADDRESSES {
                return Err("the name has too many addresses".into());
            }
            found.iter().try_for_each(|address| rules.judge(address.ip()))?;
            Ok::<Addrs, _>(Box::new(found.into_iter()))
        })
    }
}

/// The system's resolver.
pub(crate) struct SystemNames {
    lookups: Arc<Semaphore>,
}

impl SystemNames {
    pub(crate) fn new() -> Self {
        Self::with_room_for(MAX_LOOKUPS)
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
