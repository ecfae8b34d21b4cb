//! `pingbox token`: who may call a running server.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::remote::{ADMIN_TOKEN, RemoteArgs};
use crate::client::{NewToken, TokenList};
use crate::model::Scopes;

/// The arguments of `token`.
#[derive(Args, Debug)]
#[command(after_help = ADMIN_TOKEN)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token, and print it: it is shown this once
    Create {
        /// Who is to have it, for the list
        #[arg(long)]
        name: String,
        /// What it may do: submit, read, admin, with commas between them
        #[arg(long, default_value = "submit,read")]
        scopes: Scopes,
    },
    /// List the tokens, and when each was last used
    List,
    /// Revoke a token: it opens nothing any more, and its webhooks go with it
    Revoke {
        /// Its id, as the list has it
        id: u64,
    },
}

impl TokenArgs {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.remote.connect()?;
        match self.command {
            TokenCommand::Create { name, scopes } => {
                let made = client.create_token(&name, scopes).await?;
                self.remote.print(&made, |NewToken { token }| format!("{token}\n"))?;
            }
            TokenCommand::List => self.remote.print(&client.tokens().await?, table)?,
            TokenCommand::Revoke { id } => {
                let told = client.revoke_token(id).await?;
                self.remote.print(&told, |()| format!("revoked token {id}\n"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// One token a line.
fn table(list: &TokenList) -> String {
    if list.tokens.is_empty() {
        return "there is no token but the one that api.token sets, if it does\n".to_owned();
    }
    let cells = list.tokens.iter().map(|token| {
        let used = token.last_used_at.as_deref().unwrap_or("never");
        [token.id.as_str(), &token.name, &token.scopes.join(","), &token.created_at, used].map(str::to_owned)
    });
    let head = ["id", "name", "scopes", "made", "last used"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(cells).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    rows.iter().fold(String::new(), |table, row| {
        let line = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        table + line.collect::<Vec<_>>().join("  ").trim_end() + "\n"
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_one_token_a_line() {
        let made = "2026-11-28T10:00:00.000Z";
        let me =
            json!({"id": "1", "name": "me", "scopes": ["admin"], "created_at": made, "last_used_at": null});
        let rig = json!({
            "id": "12", "name": "Prüfstand", "scopes": ["submit", "read"], "created_at": made, "last_used_at": made
        });
        let list: TokenList = serde_json::from_value(json!({"tokens": [me, rig]})).unwrap();
        insta::assert_snapshot!(table(&list), @"
        id  name       scopes       made                      last used
        1   me         admin        2026-11-28T10:00:00.000Z  never
        12  Prüfstand  submit,read  2026-11-28T10:00:00.000Z  2026-11-28T10:00:00.000Z
        ");
    }
}
