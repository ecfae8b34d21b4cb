//! What a process does that shares its database with others.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::parts::Parts;
use crate::account::Account;
use crate::ingest::Heralds;
use crate::replicas::{Candidate, Echo, Lead, News};
use crate::reporter::ReportDesk;
use crate::store::Store;

/// The others.
pub(super) struct Others {
    pub(super) news: Arc<News>,
    candidate: Candidate,
}

/// Whether this process leads; and the others, if it has any.
pub(super) fn lead(store: &Store) -> anyhow::Result<(Lead, Option<Others>)> {
    if !store.is_shared() {
        return Ok((Lead::always(), None));
    }
    let (lead, candidate) = Lead::among_others(store.clone())
        .map_err(|error| anyhow::anyhow!("the system gives no randomness: {error}"))?;
    Ok((lead, Some(Others { news: Arc::default(), candidate })))
}

/// What is to be kept up with them.
pub(super) struct Shared<'a> {
    pub(super) store: &'a Store,
    pub(super) account: &'a Account,
    pub(super) heralds: &'a Heralds,
    pub(super) desk: &'a Arc<ReportDesk>,
    pub(super) lead: &'a Lead,
}

impl Others {
    /// Starts everything that keeps up with them.
    pub(super) async fn start(
        self,
        shared: Shared<'_>,
        parts: &Parts,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let Shared { store, account, heralds, desk, lead } = shared;
        let Self { news, candidate } = self;
        let echo = Echo::new(store.clone(), heralds.clone(), Arc::clone(&news), lead.clone()).await?;
        parts.start("echo of other replicas", echo.run(shutdown.clone()));
        let keeping_up = account.clone().keep_up(Arc::clone(&news), shutdown.clone());
        parts.start("account shared with other replicas", keeping_up);
        parts.start("report desk", Arc::clone(desk).pass_on(Arc::clone(&news), shutdown.clone()));
        parts.start("ear for other replicas", news.hear(store.clone(), shutdown.clone()));
        parts.start("candidate for the lead", candidate.run(shutdown.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
