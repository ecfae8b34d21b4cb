//! What is on the account, asked for no more often than it is worth.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tracing::info;

use super::{Account, RESERVE, Unanswered};
use crate::model::{Price, Timestamp};
use crate::provider::{Question, Reply, Shape};

/// How long a balance counts as known.
const BALANCE_AGE: Duration = Duration::from_secs(60);
/// How long a caller waits for a new one: some SDKs give up after 5 s.
const BALANCE_DEADLINE: Duration = Duration::from_millis(3500);

/// What is on the account.
#[derive(Clone, Debug)]
pub(crate) struct Balance {
    /// A decimal, in the account's currency; it may be negative.
    pub(crate) amount: String,
    pub(crate) at: Timestamp,
}

/// What is known of the balance.
#[derive(Debug, Default)]
pub(super) struct BalanceSheet {
    known: Option<Balance>,
    /// When it was last asked for, whatever came of it.
    asked_at: Option<Timestamp>,
}

impl Account {
    /// What is on the account: asked for unless it was within the last minute. `None` if it was never
    /// known.
    pub(crate) async fn balance(&self) -> Option<Balance> {
        // One caller asks, the others wait for what it finds; none of them for long.
        drop(tokio::time::timeout(BALANCE_DEADLINE, self.ask_balance()).await);
        self.balance_sheet().known.clone()
    }

    /// What was on the account when it was last asked for. `None` if it was never known.
    pub(crate) fn known_balance(&self) -> Option<Balance> {
        self.balance_sheet().known.clone()
    }

    /// Has it asked for again although that was a short while ago: an operator has acted.
    pub(super) fn forget_balance_question(&self) {
        self.balance_sheet().asked_at = None;
    }

    async fn ask_balance(&self) {
        let _turn = self.0.asking_balance.lock().await;
        let now = Timestamp::now();
        if self.balance_sheet().asked_at.is_some_and(|asked_at| now.since(asked_at) < BALANCE_AGE) {
            return;
        }
        self.balance_sheet().asked_at = Some(now);
        let question = Question { action: "getbalance", params: &[], shape: Shape::Bare };
        match self.ask(&question, RESERVE).await {
            Ok(Reply::Ok { text, .. }) if is_amount(&text) => {
                self.balance_sheet().known = Some(Balance { amount: text, at: now });
            }
            Ok(_) => info!("The provider did not tell the balance"),
            // Nothing was sent.
            Err(Unanswered::Held(_) | Unanswered::Write(_)) => self.balance_sheet().asked_at = None,
            Err(error) => info!(%error, "Could not ask for the balance: {error}"),
        }
    }

    fn balance_sheet(&self) -> MutexGuard<'_, BalanceSheet> {
        // Nothing panics while it is held.
        self.0.balance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_amount(text: &str) -> bool {
    text.strip_prefix('-').unwrap_or(text).parse::<Price>().is_ok()
}
