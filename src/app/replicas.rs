//! What a process does that shares its database with others.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::parts::Parts;
use super::setup;
use crate::account::Account;
use crate::config::{Auth, Config};
use crate::http::Access;
use crate::ingest::Heralds;
use crate::replicas::{Candidate, Echo, Lead, News};
use crate::reporter::ReportDesk;
use crate::store::{Store, TokenRow};

/// How often tokens are read, whatever was heard: one that is revoked opens nothing a second later.
const TOKEN_INTERVAL: Duration = Duration::from_millis(500);

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
    pub(super) config: &'a Config,
    pub(super) store: &'a Store,
    pub(super) account: &'a Account,
    pub(super) heralds: &'a Heralds,
    pub(super) desk: &'a Arc<ReportDesk>,
    pub(super) access: &'a Arc<Access>,
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
        let Shared { config, store, account, heralds, desk, access, lead } = shared;
        let Self { news, candidate } = self;
        let echo = Echo::new(store.clone(), heralds.clone(), Arc::clone(&news), lead.clone()).await?;
        parts.start("echo of other replicas", echo.run(shutdown.clone()));
        let keeping_up = account.clone().keep_up(Arc::clone(&news), shutdown.clone());
        parts.start("account shared with other replicas", keeping_up);
        parts.start("report desk", Arc::clone(desk).pass_on(Arc::clone(&news), shutdown.clone()));
        if config.api.auth == Auth::Token {
            let keeper = TokenKeeper {
                config: config.clone(),
                store: store.clone(),
                access: Arc::clone(access),
                news: Arc::clone(&news),
            };
            parts.start("keeper of the tokens", keeper.run(shutdown.clone()));
        }
        parts.start("ear for other replicas", news.hear(store.clone(), shutdown.clone()));
        parts.start("candidate for the lead", candidate.run(shutdown.clone()));
        Ok(())
    }
}

/// Has tokens that are made or revoked at one replica count at this one too.
struct TokenKeeper {
    config: Config,
    store: Store,
    access: Arc<Access>,
    news: Arc<News>,
}

impl TokenKeeper {
    async fn run(self, shutdown: CancellationToken) {
        let mut known: Option<Vec<TokenRow>> = None;
        while !shutdown.is_cancelled() {
            match shutdown.run_until_cancelled(self.store.tokens()).await {
                Some(Ok(tokens)) if known.as_ref() != Some(&tokens) => {
                    self.require(&tokens, known.is_none());
                    known = Some(tokens);
                }
                Some(Err(error)) => warn!(%error, "Could not read who may call: {error}"),
                Some(Ok(_)) | None => {}
            }
            shutdown.run_until_cancelled(timeout(TOKEN_INTERVAL, self.news.tokens.notified())).await;
        }
    }

    /// An open listener stays open until there is a first token.
    fn require(&self, stored: &[TokenRow], is_first: bool) {
        match setup::tokens(&self.config, stored.to_vec()) {
            Ok(tokens) if tokens.is_empty() && is_first => {}
            Ok(tokens) => self.access.require(tokens),
            Err(error) => warn!("The tokens that are known stay in use: {error}"),
        }
    }
}

#[cfg(test)]
mod tests;
