//! A lean HTTP/1.1 client: one request at a time on a connection that is kept alive.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The secret segment of the pingback URL.
pub(crate) const SECRET: &str = "load-harness-secret-0123456789";
/// The length of an answer. Tokens of the token captchas are about as long.
const CODE_CHARS: usize = 500;
/// The length of a captcha ID.
pub(crate) const ID_DIGITS: usize = 11;
/// The longest reply: a page of tasks with long answers.
const MAX_REPLY_BYTES: usize = 4 * 1024 * 1024;
/// How long a blocking client waits for a reply.
const PATIENCE: Duration = Duration::from_secs(15);

/// A connection with a request under way at most.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// A reply; its body is in the connection's buffer.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("could not connect")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::new() })
    }

    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Reply<'_>> {
        self.send(request).await?;
        self.receive().await
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(request).await?)
    }

    pub(crate) async fn receive(&mut self) -> anyhow::Result<Reply<'_>> {
        self.received.clear();
        let (status, body) = loop {
            if let Some(whole) = whole_reply(&self.received)? {
                break whole;
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                bail!("the connection was closed before the reply");
            }
        };
        Ok(Reply { status, body: &self.received[body] })
    }

    /// Whether the server has neither replied nor hung up.
    pub(crate) fn is_silent(&self) -> bool {
        let read = self.stream.try_read(&mut [0; 1]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// `GET`, which has to succeed; the reply's JSON.
    pub(crate) async fn get_json(&mut self, path: &str) -> anyhow::Result<serde_json::Value> {
        let reply = self.exchange(&get(path)).await?;
        ensure!(reply.status == 200, "{} to GET {path:.80}", reply.status);
        Ok(serde_json::from_slice(reply.body)?)
    }
}

/// The same for threads that sleep to the microsecond, which an async timer does not.
#[derive(Debug)]
pub(crate) struct BlockingConnection {
    stream: std::net::TcpStream,
    received: Vec<u8>,
}

impl BlockingConnection {
    pub(crate) fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Sends the request; the status of its reply.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.send(request)?;
        self.receive()
    }

    pub(crate) fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(request)?)
    }

    /// The status of the reply to what was sent.
    pub(crate) fn receive(&mut self) -> anyhow::Result<u16> {
        self.received.clear();
        let mut chunk = [0; 4096];
        loop {
            if let Some((status, _)) = whole_reply(&self.received)? {
                return Ok(status);
            }
            let read = self.stream.read(&mut chunk).context("no reply")?;
            ensure!(read > 0, "the connection was closed before the reply");
            self.received.extend_from_slice(&chunk[..read]);
        }
    }
}

/// The status of a reply and where its body is, once all of it is there. All servers here state the
/// length of what they send.
fn whole_reply(received: &[u8]) -> anyhow::Result<Option<(u16, Range<usize>)>> {
    ensure!(received.len() <= MAX_REPLY_BYTES, "the reply is too long");
    let Some(head) = received.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&received[..head])?;
    let status = text.get(9..12).and_then(|digits| digits.parse().ok()).context("the reply has no status")?;
    let length = text.split("\r\n").filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    let body = head + 4..head + 4 + length.context("the reply has no length")?;
    Ok((received.len() >= body.end).then_some((status, body)))
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes()
}

pub(crate) fn post(path: &str, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The answer that the harness gives to a captcha: no two are alike.
pub(crate) fn answer_to(captcha_id: u64) -> String {
    let filler = (b'a'..=b'z').cycle().map(char::from);
    format!("{captcha_id:0ID_DIGITS$}").chars().chain(filler).take(CODE_CHARS).collect()
}

/// A pingback that is ready to be sent, for one captcha after another.
#[derive(Clone, Debug)]
pub(crate) struct Pingback {
    request: Vec<u8>,
    /// Where the ID is.
    places: Vec<usize>,
}

impl Pingback {
    pub(crate) fn new(captcha_id: u64) -> Self {
        Self::to(&format!("/pingback/{SECRET}"), captcha_id)
    }

    /// For a server where each captcha has a path of its own below this one.
    pub(crate) fn below(path: &str, captcha_id: u64) -> Self {
        let mut pingback = Self::to(&format!("{path}/{captcha_id:0ID_DIGITS$}"), captcha_id);
        pingback.places.push("POST ".len() + path.len() + "/".len());
        pingback
    }

    fn to(path: &str, captcha_id: u64) -> Self {
        let body = message(captcha_id);
        let request = post(path, "application/x-www-form-urlencoded", &body);
        let code = request.len() - CODE_CHARS;
        Self { request, places: vec![code - "&code=".len() - ID_DIGITS, code] }
    }

    pub(crate) fn request(&self) -> &[u8] {
        &self.request
    }

    /// Writes another captcha's ID and answer in place of the last one's.
    pub(crate) fn set(&mut self, captcha_id: u64) {
        let mut rest = captcha_id;
        for digit in (0..ID_DIGITS).rev() {
            let ascii = b'0' + u8::try_from(rest % 10).expect("a digit is small");
            for place in &self.places {
                self.request[place + digit] = ascii;
            }
            rest /= 10;
        }
    }
}

/// The body of a pingback.
pub(crate) fn message(captcha_id: u64) -> String {
    format!("id={captcha_id:0ID_DIGITS$}&code={}", answer_to(captcha_id))
}
