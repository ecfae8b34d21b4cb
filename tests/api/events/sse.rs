//! Server-sent events, read the way the HTML standard says.

use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use tokio::time::timeout;

use crate::harness::{PATIENCE, TestApp};

/// A stream that is being read.
pub(super) struct Sse {
    pub(super) response: Response,
    /// What came behind the last line that is whole.
    rest: Vec<u8>,
    /// The id that a browser would bring back.
    pub(super) last_id: String,
}

/// What stands between two empty lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Block {
    pub(super) id: Option<String>,
    pub(super) event: String,
    pub(super) data: String,
    pub(super) comments: Vec<String>,
    pub(super) retry: Option<String>,
}

impl Sse {
    pub(super) async fn open(app: &TestApp, query: &str, last_event_id: Option<&str>) -> Self {
        let request = Self::request(app, query);
        Self::begin(match last_event_id {
            Some(id) => request.header("Last-Event-ID", id),
            None => request,
        })
        .await
    }

    pub(super) async fn open_as(app: &TestApp, token: &str, query: &str) -> Self {
        Self::begin(Self::request(app, query).bearer_auth(token)).await
    }

    fn request(app: &TestApp, query: &str) -> RequestBuilder {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.get(format!("{}/v1/events?{query}", app.api)).header("Accept", "text/event-stream")
    }

    async fn begin(request: RequestBuilder) -> Self {
        let response = timeout(PATIENCE, request.send()).await.expect("answered").unwrap();
        Self { response, rest: Vec::new(), last_id: String::new() }
    }

    /// The next block; `None` at the end of the stream.
    pub(super) async fn block(&mut self) -> Option<Block> {
        let mut block = Block::default();
        let mut is_empty = true;
        loop {
            let line = self.line().await?;
            if line.is_empty() && !is_empty {
                if let Some(id) = &block.id {
                    self.last_id.clone_from(id);
                }
                return Some(block);
            }
            is_empty = is_empty && line.is_empty();
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "" if !line.is_empty() => block.comments.push(value),
                "id" => block.id = Some(value),
                "event" => block.event = value,
                "data" => block.data += &value,
                "retry" => block.retry = Some(value),
                _ => {}
            }
        }
    }

    /// The next block that has data; `None` at the end of the stream.
    pub(super) async fn event(&mut self) -> Option<Block> {
        loop {
            let block = self.block().await?;
            if !block.data.is_empty() {
                return Some(block);
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            let chunk = timeout(PATIENCE.max(Duration::from_secs(30)), self.response.chunk()).await;
            self.rest.extend_from_slice(&chunk.expect("a sign of life").unwrap()?);
        }
    }
}
