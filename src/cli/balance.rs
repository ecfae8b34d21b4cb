//! `pingbox balance`: what is on the account, and what went from it today.

use std::process::ExitCode;

use clap::Args;

use super::remote::{READ_TOKEN, RemoteArgs};
use crate::client::Account;

/// The arguments of `balance`.
#[derive(Args, Debug)]
#[command(after_help = READ_TOKEN)]
pub(super) struct BalanceArgs {
    #[command(flatten)]
    remote: RemoteArgs,
}

impl BalanceArgs {
    /// Fails, having printed the rest, when the balance is not known.
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let account = self.remote.connect()?.account().await?;
        self.remote.print(&account, in_words)?;
        Ok(if account.body.balance.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn in_words(account: &Account) -> String {
    let balance = account.balance.as_deref().unwrap_or("not known: `pingbox doctor` says why");
    let at = account.balance_at.as_deref().unwrap_or("never");
    let today = &account.spend.today;
    let limit = account.spend.daily_limit.as_deref().unwrap_or("none");
    format!("balance      {balance}\nas of        {at}\nspent today  {today}\ndaily limit  {limit}\n")
}
