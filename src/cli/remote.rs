//! What every command that calls a running server takes.

use std::path::PathBuf;

use clap::Args;

use super::print;
use crate::app;
use crate::client::{Client, Told, Trust};
use crate::config::{Remote, ServerUrl};

/// Which server, and in which form it is quoted. The token is not here: other users of a machine see
/// arguments.
#[derive(Args, Debug)]
pub(super) struct RemoteArgs {
    #[arg(long, value_name = "URL", global = true, help = SERVER_HELP)]
    server: Option<ServerUrl>,
    #[arg(long, value_name = "FILE", global = true, help = CA_HELP)]
    ca_file: Option<PathBuf>,
    /// Print the server's JSON as it came
    #[arg(long, global = true)]
    pub(super) json: bool,
}

const SERVER_HELP: &str = "The server's address [env: PINGBOX_SERVER] [default: http://127.0.0.1:8081]";

/// What `--ca-file` is, for `--help`.
pub(super) const CA_HELP: &str =
    "The CA (PEM) to trust, as `pingbox tls ca` prints it [env: PINGBOX_CA_FILE]";

/// Where the token comes from, and what it has to be good for, for `--help`.
macro_rules! token_help {
    ($needs:literal) => {
        concat!(
            "The token is read from PINGBOX_TOKEN, or from the file that PINGBOX_TOKEN_FILE names. It needs ",
            $needs,
            "."
        )
    };
}

pub(super) const READ_TOKEN: &str = token_help!("the scope read");
pub(super) const SUBMIT_TOKEN: &str = token_help!("the scope submit");
pub(super) const SOLVE_TOKEN: &str = token_help!("the scopes submit and read");
pub(super) const ADMIN_TOKEN: &str = token_help!("the scope admin");
pub(super) const DOCTOR_TOKEN: &str =
    token_help!("the scope read, for --probe submit as well, and for --resume admin");

impl RemoteArgs {
    pub(super) fn connect(&self) -> anyhow::Result<Client> {
        connect(self.remote()?)
    }

    /// The server that is to be called.
    pub(super) fn remote(&self) -> anyhow::Result<Remote> {
        Ok(Remote::from_process(self.server.clone(), self.ca_file.clone())?)
    }

    /// Prints what the server said, as it came or in words.
    pub(super) fn print<T>(&self, told: &Told<T>, in_words: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        if self.json { print(&format!("{}\n", told.json.trim_end())) } else { print(&in_words(&told.body)) }
    }
}

/// A client of this server.
pub(super) fn connect(Remote { server, token, ca, .. }: Remote) -> anyhow::Result<Client> {
    app::use_ring();
    Client::new(server.as_str(), token, &Trust::from(ca))
}
