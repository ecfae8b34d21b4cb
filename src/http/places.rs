//! How many connections the listeners may hold together, and who may have which.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places at the public listener that callers never take. The provider and a few proxies need fewer, and more than
/// come at a time wait in the kernel's queue for a moment.
const KEPT_FOR_PUBLIC: usize = 768;

/// The places of one listener: some are its own, others are for whoever comes first to either.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    own: Arc<Semaphore>,
    common: Arc<Semaphore>,
}

/// A place for one connection, given back when dropped.
pub(super) type Place = OwnedSemaphorePermit;

impl Places {
    /// So many, which it shares with nobody.
    pub(crate) fn alone(places: usize) -> Self {
        Self { own: Arc::new(Semaphore::new(places)), common: Arc::new(Semaphore::new(0)) }
    }

    /// Divides so many between the public listener and that of the API. Callers wait by the thousand, and may have all
    /// but a few; strangers can take up what the public one may have, so that is half.
    pub(crate) fn divide(places: usize) -> (Self, Self) {
        let half = places / 2;
        let kept = half.min(KEPT_FOR_PUBLIC);
        let common = Arc::new(Semaphore::new(half - kept));
        let public = Self { own: Arc::new(Semaphore::new(kept)), common: Arc::clone(&common) };
        let api = Self { own: Arc::new(Semaphore::new(places - half)), common };
        (public, api)
    }

    /// How many there are for further connections at the moment.
    pub(crate) fn free(&self) -> usize {
        self.own.available_permits() + self.common.available_permits()
    }

    /// Waits for one.
    pub(super) async fn take(&self) -> Place {
        let (own, common) = (Arc::clone(&self.own), Arc::clone(&self.common));
        let place = tokio::select! {
            // So that the common ones are left to the other listener.
            biased;
            place = own.acquire_owned() => place,
            place = common.acquire_owned() => place,
        };
        place.expect("the semaphores are never closed")
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn take_all(places: &Places) -> Vec<Place> {
        std::iter::from_fn(|| places.take().now_or_never()).collect()
    }

    #[test]
    fn callers_take_all_but_a_few_places() {
        let (public, api) = Places::divide(19_872);
        assert_eq!((public.free(), api.free()), (9936, 19_104));
        let callers = take_all(&api);
        assert_eq!((callers.len(), public.free()), (19_104, 768));
        assert_eq!(take_all(&public).len(), 768);
    }

    #[test]
    fn strangers_take_no_more_than_half_of_them() {
        let (public, api) = Places::divide(19_872);
        let strangers = take_all(&public);
        assert_eq!((strangers.len(), api.free()), (9936, 9936));
    }

    #[test]
    fn few_places_are_divided_evenly() {
        let (public, api) = Places::divide(472);
        let strangers = take_all(&public);
        assert_eq!((strangers.len(), take_all(&api).len()), (236, 236));
    }

    #[test]
    fn who_waits_takes_the_first_place_of_either_kind_that_becomes_free() {
        let (public, api) = Places::divide(2000);
        let (mut callers, strangers) = (take_all(&api), take_all(&public));
        assert_eq!((callers.len(), strangers.len()), (1232, 768));
        let mut next = Box::pin(public.take());
        assert!(next.as_mut().now_or_never().is_none());
        // The last one that a caller took is a common one.
        callers.pop();
        assert!(next.now_or_never().is_some());
    }
}
