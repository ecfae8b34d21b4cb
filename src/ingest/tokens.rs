//! Writes about tokens.

use super::batch::Asked;
use super::chores::Chore;
use super::{Granted, Ingest, WriteError};
use crate::model::{NewToken, Timestamp, Token, TokenId};
use crate::store::{Revoked, StoreError, WriteTx};

/// Tokens that there may be: all of them are held in memory, and shown in one list.
pub(crate) const MOST_TOKENS: u32 = 1000;

/// A rare write about tokens that somebody waits for.
#[derive(Debug)]
pub(super) enum TokenChore {
    /// A new one, which this token makes.
    Add(Asked<(TokenId, NewToken), Granted<Token>>),
    /// One goes. The last with the scope admin goes only if there is one elsewhere.
    Revoke(Asked<(TokenId, bool), Revoked>),
    /// When some were last used.
    Used(Asked<Vec<(TokenId, Timestamp)>, ()>),
}

impl TokenChore {
    pub(super) async fn run(&mut self, tx: &mut WriteTx<'_>, now: Timestamp) -> Result<(), StoreError> {
        match self {
            Self::Add(asked) => {
                let (maker, new) = &asked.question;
                // It may have been revoked while the request was on its way.
                asked.answer = Some(if tx.may(*maker, true).await? {
                    tx.insert_token(new, MOST_TOKENS, now).await?.into()
                } else {
                    Granted::Withdrawn
                });
            }
            Self::Revoke(asked) => {
                let (id, has_other_admin) = asked.question;
                asked.answer = Some(tx.delete_token(id, has_other_admin).await?);
            }
            Self::Used(asked) => asked.answer = Some(tx.store_token_use(&asked.question).await?),
        }
        Ok(())
    }

    pub(super) fn finish(self, failure: Option<WriteError>) {
        match self {
            Self::Add(asked) => asked.finish(failure),
            Self::Revoke(asked) => asked.finish(failure),
            Self::Used(asked) => asked.finish(failure),
        }
    }
}

impl Ingest {
    /// Stores a token that the `maker` grants, unless there are [`MOST_TOKENS`].
    pub(crate) async fn add_token(
        &self,
        maker: TokenId,
        new: NewToken,
    ) -> Result<Granted<Token>, WriteError> {
        self.ask_chore(|asked| Chore::Token(TokenChore::Add(asked)), (maker, new)).await
    }

    /// Deletes a token, and its webhooks with it. The last one with the scope admin stays, unless one
    /// `has_other_admin`.
    pub(crate) async fn revoke_token(
        &self,
        id: TokenId,
        has_other_admin: bool,
    ) -> Result<Revoked, WriteError> {
        self.ask_chore(|asked| Chore::Token(TokenChore::Revoke(asked)), (id, has_other_admin)).await
    }

    /// Stores when tokens were last used.
    pub(crate) async fn note_token_use(&self, used: Vec<(TokenId, Timestamp)>) -> Result<(), WriteError> {
        self.ask_chore(|asked| Chore::Token(TokenChore::Used(asked)), used).await
    }
}
