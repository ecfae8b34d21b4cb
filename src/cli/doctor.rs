//! `pingbox doctor`: whether a running server can do its work, and what helps if it cannot.

mod account;
mod check;

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use self::check::Check;
use super::print;
use super::remote::{RemoteArgs, TOKEN_HELP};
use crate::client::{Account, Health, Told};

/// The arguments of `doctor`.
#[derive(Args, Debug)]
#[command(after_help = TOKEN_HELP)]
pub(super) struct DoctorArgs {
    /// First have the server send again what it stopped sending, because you have put the cause right
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

impl DoctorArgs {
    /// Fails, having printed what is known, when something needs an operator.
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.remote.connect()?;
        let mut checks = Vec::new();
        if self.resume {
            client.resume().await?;
            checks.push(Check::ok("resume", "sending is tried again"));
        }
        let health = client.health().await?;
        checks.push(database(&health.body));
        let account = client.account().await;
        if let Ok(account) = &account {
            checks.extend(account::checks(&account.body));
        }
        if self.remote.json {
            print(&as_json(&checks, &health, account.as_ref().ok()))?;
        } else {
            print(&checks.iter().map(Check::line).collect::<String>())?;
        }
        account?;
        Ok(if checks.iter().any(Check::is_failure) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// One line: the checks, and the two replies that they are made from, as they came.
fn as_json(checks: &[Check], health: &Told<Health>, account: Option<&Told<Account>>) -> String {
    let checks = json!(checks);
    let health = health.json.trim_end();
    let account = account.map_or("null", |account| account.json.trim_end());
    format!("{{\"checks\":{checks},\"readyz\":{health},\"account\":{account}}}\n")
}

/// Whether the server takes work at all.
fn database(health: &Health) -> Check {
    const NAME: &str = "database";
    if health.draining {
        return Check::fail(NAME, "not asked: the server is shutting down", "start it again");
    }
    match health.database.as_str() {
        "ok" => Check::ok(NAME, "takes writes"),
        trouble => Check::fail(NAME, trouble, "look at the server's log, and at the disk of data.dir"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(draining: bool, database: &str) -> String {
        super::database(&Health { draining, database: database.to_owned() }).line()
    }

    #[test]
    fn a_database_that_takes_no_writes_and_a_server_that_ends_need_an_operator() {
        assert_eq!(line(false, "ok"), "ok    database      takes writes\n");
        assert!(line(false, "disk full").starts_with("fail  database      disk full -> "));
        assert!(line(true, "not asked").starts_with("fail  database      not asked: "));
    }
}
