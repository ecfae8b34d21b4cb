//! Which replica does what only one may do: call the provider, and look after what is old.
//!
//! It leads by a lease in the database, for 3 s at a time, and renews it every second. Time is measured by the clock
//! of the database for the others, and by its own clock, which is not set back or forward, for itself; by that the
//! lease ends half a second earlier. So nobody else leads while it believes that it does. A process that has the
//! database to itself leads always.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::model::Secret;
use crate::store::{Store, StoreError};

/// How long a lease lasts. A crash is noticed after so much at the latest, and [`LOOK_INTERVAL`].
const LEASE: Duration = Duration::from_secs(3);
/// By so much earlier it ends for whoever has it: clocks run differently, and what was begun needs a moment.
const MARGIN: Duration = Duration::from_millis(500);
/// How often it is renewed.
const RENEW_INTERVAL: Duration = Duration::from_secs(1);
/// How often others look whether it has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// The lease that all this is about.
const NAME: &str = "lead";

/// Whether this replica leads, as everybody sees it who does something only then.
#[derive(Clone, Debug)]
pub(crate) struct Lead {
    /// The term that it is in, or was last in.
    term: watch::Receiver<Option<Term>>,
    /// Counts the parts that work in a term.
    working: Arc<watch::Sender<usize>>,
}

/// A time during which this replica leads.
#[derive(Clone, Debug)]
struct Term {
    /// Cancelled when it is over.
    over: CancellationToken,
    /// Until when nobody else leads; `None`: nobody else ever does.
    until: Option<Instant>,
}

/// Keeps the lease of one replica.
#[derive(Debug)]
pub(crate) struct Candidate {
    store: Store,
    /// A name that no other process has, made anew at each start.
    name: Secret,
    term: watch::Sender<Option<Term>>,
    working: Arc<watch::Sender<usize>>,
}

impl Lead {
    /// Of a process that has the database to itself.
    pub(crate) fn always() -> Self {
        let (_, term) = watch::channel(Some(Term { over: CancellationToken::new(), until: None }));
        Self { term, working: Arc::default() }
    }

    /// Of one among several, and who is to run for it.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub(crate) fn among_others(store: Store) -> Result<(Self, Candidate), getrandom::Error> {
        let (term, seen) = watch::channel(None);
        let working = Arc::new(watch::Sender::new(0));
        let candidate =
            Candidate { store, name: Secret::random_hex(8)?, term, working: Arc::clone(&working) };
        Ok((Self { term: seen, working }, candidate))
    }

    /// Whether this replica leads at this moment.
    pub(crate) fn is_held(&self) -> bool {
        self.term.borrow().as_ref().is_some_and(Term::is_running)
    }

    /// Does some work whenever this replica leads, until `shutdown`. The work is told when it is to end, and nothing
    /// else is begun before it has.
    pub(crate) async fn run<F: Future<Output = ()>>(
        mut self,
        shutdown: CancellationToken,
        work: impl Fn(CancellationToken) -> F,
    ) {
        while let Some(term) = shutdown.run_until_cancelled(self.next_term()).await {
            let working = AtWork::begin(&self.working);
            let over = CancellationToken::new();
            let ended = async {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = term.over.cancelled() => {}
                }
                over.cancel();
            };
            tokio::join!(ended, work(over.clone()));
            drop(working);
        }
    }

    async fn next_term(&mut self) -> Term {
        let begun = self.term.wait_for(|term| term.as_ref().is_some_and(Term::is_running)).await;
        let term = begun.ok().and_then(|term| term.clone());
        match term {
            Some(term) => term,
            // Nobody runs for it any more: the process ends.
            None => std::future::pending().await,
        }
    }
}

/// A part that works in a term, however that ends.
struct AtWork(Arc<watch::Sender<usize>>);

impl AtWork {
    fn begin(working: &Arc<watch::Sender<usize>>) -> Self {
        working.send_modify(|count| *count += 1);
        Self(Arc::clone(working))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Term {
    fn is_running(&self) -> bool {
        !self.over.is_cancelled() && self.until.is_none_or(|until| Instant::now() < until)
    }
}

impl Candidate {
    /// Runs for the lead until `shutdown` and until all that is done in it has ended; then others may have it.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let pause = match self.try_for_it().await {
                Ok(true) => RENEW_INTERVAL,
                Ok(false) => LOOK_INTERVAL,
                Err(error) => {
                    warn!(%error, "Could not look who leads: {error}");
                    LOOK_INTERVAL
                }
            };
            self.pause(pause, &shutdown).await;
        }
        let mut working = self.working.subscribe();
        while *working.borrow_and_update() > 0 && self.is_running() {
            if let Err(error) = self.try_for_it().await {
                warn!(%error, "Could not renew the lease: {error}");
            }
            drop(timeout_at(Instant::now() + RENEW_INTERVAL, working.changed()).await);
        }
        self.end_term();
        if let Err(error) = self.store.release_lease(NAME, self.name.expose()).await {
            warn!(%error, "Could not give up the lease: {error}");
        }
    }

    /// Takes or renews the lease; whether it is ours.
    async fn try_for_it(&self) -> Result<bool, StoreError> {
        // Before the request: the database counts from a later moment.
        let asked = Instant::now();
        let tried = self.store.take_lease(NAME, self.name.expose(), LEASE);
        let Ok(taken) = timeout_at(asked + LEASE - MARGIN, tried).await else {
            self.end_if_over();
            return Ok(false);
        };
        if !taken.inspect_err(|_| self.end_if_over())? {
            if self.end_term() {
                warn!("Another replica leads: this one was not heard of for too long");
            }
            return Ok(false);
        }
        let until = Some(asked + LEASE - MARGIN);
        let was_running = self.is_running();
        self.term.send_if_modified(|term| match term {
            Some(term) if was_running => {
                term.until = until;
                false
            }
            _ => {
                if let Some(term) = term {
                    term.over.cancel();
                }
                *term = Some(Term { over: CancellationToken::new(), until });
                true
            }
        });
        if !was_running {
            info!("This replica leads: it calls the provider, and looks after what is old");
        }
        Ok(true)
    }

    /// Sleeps, but ends the term as soon as it is over.
    async fn pause(&self, pause: Duration, shutdown: &CancellationToken) {
        let until = self.term.borrow().as_ref().filter(|term| term.is_running()).and_then(|term| term.until);
        let next = Instant::now() + pause;
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = sleep(next.min(until.unwrap_or(next)) - Instant::now()) => self.end_if_over(),
        }
    }

    fn is_running(&self) -> bool {
        self.term.borrow().as_ref().is_some_and(Term::is_running)
    }

    fn end_if_over(&self) {
        if !self.is_running() && self.end_term() {
            warn!("This replica does not lead any more: its lease could not be renewed");
        }
    }

    /// Whether there was one to end.
    fn end_term(&self) -> bool {
        let term = self.term.borrow().clone();
        let is_new = term.as_ref().is_some_and(|term| !term.over.is_cancelled());
        if let Some(term) = term {
            term.over.cancel();
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;

    /// Nothing here takes this long unless it is broken.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A replica that runs for the lead.
    struct Running {
        lead: Lead,
        shutdown: CancellationToken,
        candidate: JoinHandle<()>,
    }

    impl Running {
        fn start(store: Store) -> Self {
            let (lead, candidate) = Lead::among_others(store).unwrap();
            let shutdown = CancellationToken::new();
            Self { lead, candidate: tokio::spawn(candidate.run(shutdown.clone())), shutdown }
        }

        async fn until_it_leads(&self) {
            let mut term = self.lead.term.clone();
            let leads = term.wait_for(|term| term.as_ref().is_some_and(Term::is_running));
            timeout(PATIENCE, leads).await.expect("it leads").unwrap();
        }

        /// As a crash ends it: the lease is not given up.
        fn crash(&self) {
            self.candidate.abort();
        }
    }

    #[tokio::test]
    async fn one_leads_and_after_its_crash_another() {
        let Some(stores) = Store::several_on_postgres(2).await else { return };
        let mut stores = stores.into_iter();
        let first = Running::start(stores.next().unwrap());
        first.until_it_leads().await;
        let second = Running::start(stores.next().unwrap());
        first.crash();
        second.until_it_leads().await;
        assert!(!first.lead.is_held(), "its time was over before another's began");
    }

    #[tokio::test]
    async fn one_that_ends_gives_the_lead_away_when_what_it_did_has_ended() {
        let Some(stores) = Store::several_on_postgres(2).await else { return };
        let mut stores = stores.into_iter();
        let first = Running::start(stores.next().unwrap());
        let is_done = CancellationToken::new();
        let (done, at_work) = (is_done.clone(), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&at_work);
        let working = tokio::spawn(first.lead.clone().run(first.shutdown.clone(), move |over| {
            let (done, counted) = (done.clone(), Arc::clone(&counted));
            async move {
                counted.fetch_add(1, Ordering::SeqCst);
                over.cancelled().await;
                done.cancelled().await;
            }
        }));
        while at_work.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let second = Running::start(stores.next().unwrap());
        first.shutdown.cancel();
        // Longer than a lease lasts that nobody renews.
        sleep(LEASE + LOOK_INTERVAL).await;
        assert!(!second.lead.is_held(), "what was begun goes on");
        is_done.cancel();
        second.until_it_leads().await;
        working.await.unwrap();
        first.candidate.await.unwrap();
    }

    #[tokio::test]
    async fn whoever_cannot_renew_the_lease_stops_leading_before_it_ends() {
        let Some(stores) = Store::several_on_postgres(2).await else { return };
        let mut stores = stores.into_iter();
        let (own, other) = (stores.next().unwrap(), stores.next().unwrap());
        let first = Running::start(own.clone());
        first.until_it_leads().await;
        let term = first.lead.term.borrow().clone().unwrap();
        own.close().await;
        timeout(PATIENCE, term.over.cancelled()).await.expect("its work is told to end");
        assert!(!first.lead.is_held());
        let second = Running::start(other);
        second.until_it_leads().await;
    }

    #[tokio::test]
    async fn a_process_alone_leads_always_and_does_its_work_once() {
        let (lead, shutdown) = (Lead::always(), CancellationToken::new());
        let begun = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&begun);
        assert!(lead.is_held());
        let working = tokio::spawn(lead.clone().run(shutdown.clone(), move |over| {
            let counted = Arc::clone(&counted);
            async move {
                counted.fetch_add(1, Ordering::SeqCst);
                over.cancelled().await;
            }
        }));
        while begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        shutdown.cancel();
        timeout(PATIENCE, working).await.expect("it ends").unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 1);
    }
}
