//! A service with the emulated provider as a process of its own, and the commands that call it.

use std::process::Command;

use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::harness::{PATIENCE, reply};
use crate::program::{Server, get, http, outcome, pingbox};

/// A service whose provider answers at once.
pub(crate) fn served(knobs: &[&str], environment: &[(&str, &str)]) -> Served {
    Served::start(&[&["--delay", "0"], knobs].concat(), environment)
}

pub(crate) struct Served {
    pub(crate) server: Server,
    pub(crate) data: TempDir,
}

impl Served {
    /// With these knobs of the sandbox, which has no limits.
    pub(crate) fn start(knobs: &[&str], environment: &[(&str, &str)]) -> Self {
        let data = TempDir::new().unwrap();
        let line = [&["serve", "--sandbox", "--no-limits"], knobs].concat();
        let server = Server::start(pingbox(data.path(), &line).envs(environment.iter().copied()));
        Self { server, data }
    }

    /// A command that calls it.
    pub(crate) fn command(&self, line: &[&str]) -> Command {
        let mut command = pingbox(self.data.path(), line);
        command.env("PINGBOX_SERVER", self.server.url("api"));
        command
    }

    /// Exit code, standard output, standard error.
    pub(crate) fn outcome(&self, line: &[&str]) -> (Option<i32>, String, String) {
        outcome(&mut self.command(line))
    }

    /// Turns knobs of the sandbox.
    pub(crate) async fn turn(&self, knobs: Value) {
        let (status, reply) = reply(http().post(self.server.emulation() + "/sandbox").json(&knobs)).await;
        assert_eq!(status, StatusCode::OK, "{reply}");
    }

    /// The account once its registration is in this state.
    pub(crate) async fn until_registration_is(&self, state: &str) -> Value {
        let poll = async {
            loop {
                let account = get(self.server.url("api") + "/v1/account").await;
                if account["registration"]["state"] == state {
                    return account;
                }
            }
        };
        timeout(PATIENCE, poll).await.expect("it comes to that")
    }
}
