//! A client of the API, for the command line.

use std::time::Duration;

use anyhow::Context as _;

/// How long a reply may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// A running server.
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
}

impl Client {
    /// A client of the server at this address, such as `http://127.0.0.1:8081`.
    pub(crate) fn new(server: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(DEADLINE).no_proxy().build()?;
        Ok(Self { http, server: server.trim_end_matches('/').to_owned() })
    }

    /// Whether the server is ready, and what it says of itself.
    pub(crate) async fn readiness(&self) -> anyhow::Result<(bool, String)> {
        let reply = self.http.get(format!("{}/readyz", self.server)).send().await;
        let reply = reply.with_context(|| format!("no pingbox answers at {}", self.server))?;
        let is_ready = reply.status().is_success();
        Ok((is_ready, reply.text().await?))
    }
}
