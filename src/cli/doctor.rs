//! `pingbox doctor`: whether a server can do its work, or could start, and what helps if it cannot.

mod account;
mod check;
mod disk;
mod folder;
mod here;
mod ports;
mod probe;
mod selfcheck;
mod settings;

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use self::check::Check;
use self::here::Here;
use super::remote::{self, DOCTOR_TOKEN, RemoteArgs};
use super::{SettingsArgs, print};
use crate::client::{Client, Health, NoServer, Told};
use crate::model::Timestamp;

/// The arguments of `doctor`.
#[derive(Args, Debug)]
#[command(after_help = DOCTOR_TOKEN)]
pub(super) struct DoctorArgs {
    /// First have the server send again what it stopped sending, because you have put the cause right
    #[arg(long)]
    resume: bool,
    /// Then have one text captcha solved, to learn how its answer comes: this costs about 0.001
    #[arg(long)]
    probe: bool,
    /// Where no server answers: look at the settings as `serve --sandbox` would
    #[arg(long)]
    sandbox: bool,
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// What was found, with the replies that it is made from, as they came.
#[derive(Default)]
struct Findings {
    checks: Vec<Check>,
    readyz: Option<String>,
    account: Option<String>,
    checks_reply: Option<String>,
    /// Of the captcha that was spent.
    task: Option<String>,
    /// Why there is no more.
    trouble: Option<anyhow::Error>,
}

impl DoctorArgs {
    /// Fails, having printed what is known, when something needs an operator.
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut remote = self.remote.remote()?;
        let here = Here::new(self.settings, self.sandbox);
        let is_here = here.settle(&mut remote);
        let findings = match ask(&remote::connect(remote)?, self.resume, self.probe).await {
            Err(error) if is_here => {
                let checks = here.checks(&error.downcast::<NoServer>()?).await;
                Findings { checks, ..Findings::default() }
            }
            asked => asked?,
        };
        if self.remote.json {
            print(&findings.as_json())?;
        } else {
            print(&findings.checks.iter().map(Check::line).collect::<String>())?;
        }
        match findings.trouble {
            Some(trouble) => Err(trouble),
            None if findings.checks.iter().any(Check::is_failure) => Ok(ExitCode::FAILURE),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}

/// What the server knows; it fails only when that is nothing.
async fn ask(client: &Client, resume: bool, probe: bool) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    if resume {
        client.resume().await?;
        findings.checks.push(Check::ok("resume", "sending is tried again"));
    }
    let health = client.health().await?;
    findings.checks.push(database(&health.body));
    findings.readyz = Some(health.json);
    let account = match client.account().await {
        Ok(Told { json, body }) => {
            findings.account = Some(json);
            body
        }
        Err(error) => return Ok(Findings { trouble: Some(error), ..findings }),
    };
    findings.checks.extend(account::checks(&account));
    match client.checks().await {
        Ok(found) => {
            findings
                .checks
                .extend(selfcheck::checks(found.as_ref().map(|found| &found.body), Timestamp::by_system()));
            findings.checks_reply = found.map(|found| found.json);
        }
        Err(error) => findings.trouble = Some(error),
    }
    findings.checks.extend(account::limits(&account));
    if probe && findings.trouble.is_none() {
        match probe::probe(client, &account).await {
            Ok((check, task)) => {
                findings.checks.push(check);
                findings.task = task;
            }
            Err(error) => findings.trouble = Some(error),
        }
    }
    Ok(findings)
}

impl Findings {
    /// One line.
    fn as_json(&self) -> String {
        let checks = json!(self.checks);
        let replies = [&self.readyz, &self.account, &self.checks_reply, &self.task];
        let [readyz, account, found, task] =
            replies.map(|reply| reply.as_deref().map_or("null", str::trim_end));
        format!(
            "{{\"checks\":{checks},\"readyz\":{readyz},\"account\":{account},\"checks_reply\":{found},\"task\":{task}}}\n"
        )
    }
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
