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
        let mut findings = Findings::default();
        let asked = findings.ask(&remote::connect(remote)?, self.resume, self.probe).await;
        findings.trouble = asked.err();
        // Where something listens, it is probably the server of these settings that holds what a start would need.
        if is_here && let Some(silence) = findings.absence() {
            let checks = here.checks(silence).await;
            findings.checks.extend(checks);
            findings.trouble = None;
        }
        if self.remote.json && !findings.checks.is_empty() {
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

impl Findings {
    /// Adds what the server knows, as far as it tells.
    async fn ask(&mut self, client: &Client, resume: bool, probe: bool) -> anyhow::Result<()> {
        if resume {
            client.resume().await?;
            self.checks.push(Check::ok("resume", "sending is tried again"));
        }
        let health = client.health().await?;
        self.checks.push(database(&health.body));
        self.readyz = Some(health.json);
        let Told { json, body: account } = client.account().await?;
        self.account = Some(json);
        self.checks.extend(account::checks(&account));
        let found = client.checks().await;
        if let Ok(found) = &found {
            let found = found.as_ref().map(|found| &found.body);
            self.checks.extend(selfcheck::checks(found, Timestamp::by_system()));
        }
        self.checks.extend(account::limits(&account));
        let (json, found) = found?.map(|Told { json, body }| (json, body)).unzip();
        self.checks_reply = json;
        if probe {
            let public_url = found.as_ref().map(|found| &found.public_url);
            let (check, task) = probe::probe(client, &account, public_url).await?;
            self.checks.push(check);
            self.task = task;
        }
        Ok(())
    }

    /// That nothing is there, if that is why there is no more.
    fn absence(&self) -> Option<&NoServer> {
        self.trouble.as_ref()?.downcast_ref().filter(|silence: &&NoServer| silence.is_absent)
    }

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
