//! `pingbox pingback`: the URLs that the provider knows.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::remote::{ADMIN_TOKEN, RemoteArgs};
use crate::client::{PingbackList, Rotated, Rotation};

/// The arguments of `pingback`.
#[derive(Args, Debug)]
#[command(after_help = ADMIN_TOKEN)]
pub(super) struct PingbackArgs {
    #[command(subcommand)]
    command: PingbackCommand,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, Subcommand)]
enum PingbackCommand {
    /// List the URLs that the provider knows
    List,
    /// Add a URL for programs other than pingbox
    Add {
        /// The URL
        url: String,
    },
    /// Delete a URL
    Del {
        /// The URL as the list has it, or all
        url: String,
        /// Also if it was not added with pingbox, or is pingbox's own
        #[arg(long)]
        force: bool,
    },
    /// Give pingbox's own URL another secret; the old one stays valid until its tasks are done
    Rotate,
}

impl PingbackArgs {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.remote.connect()?;
        match self.command {
            PingbackCommand::List => self.remote.print(&client.pingbacks().await?, table)?,
            PingbackCommand::Add { url } => {
                let added = client.add_pingback(&url).await?;
                self.remote.print(&added, |added| format!("added {}\n", added.url))?;
            }
            PingbackCommand::Del { url, force } => {
                let deleted = client.delete_pingback(&url, force).await?;
                self.remote.print(&deleted, |deleted| format!("deleted {}\n", deleted.url))?;
            }
            PingbackCommand::Rotate => self.remote.print(&client.rotate_pingback().await?, rotated)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// One URL a line, and whose it is.
fn table(list: &PingbackList) -> String {
    if list.pingbacks.is_empty() {
        return "the provider knows no pingback URL\n".to_owned();
    }
    let whose = |is_ours, is_added_here| match (is_ours, is_added_here) {
        (true, _) => "pingbox's own",
        (false, true) => "added with pingbox",
        (false, false) => "added by others",
    };
    let lines = list.pingbacks.iter();
    let lines = lines.map(|known| format!("{}  {}", known.url, whose(known.is_ours, known.is_added_here)));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

fn rotated(rotated: &Rotated) -> String {
    let state = match rotated.state {
        Rotation::Registering => "the new URL is used as soon as the provider knows it",
        Rotation::InUse => "the new URL is used from now on: register it, since pingback.register is off",
    };
    format!("{state}; the old one stays valid until its tasks are done\n")
}
