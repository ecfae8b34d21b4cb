//! A reader of the event feed, lean enough to stand beside a hundred others.

use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};
use memchr::memmem::Finder;
use memchr::{memchr, memchr_iter};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What is read at a time.
const READ_BYTES: usize = 256 * 1024;
/// The longest head of a reply.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// What stands before a captcha ID.
static CAPTCHA_ID: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""captcha_id":""#));

/// An event, as it arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    /// Its number in the feed.
    pub(crate) number: u64,
    /// The event in JSON.
    pub(crate) json: &'a [u8],
}

impl Told<'_> {
    /// The captcha ID that it speaks of, found without parsing the rest.
    pub(crate) fn captcha(&self) -> Option<u64> {
        let begin = CAPTCHA_ID.find(self.json)? + CAPTCHA_ID.needle().len();
        let end = begin + memchr(b'"', &self.json[begin..])?;
        number(&self.json[begin..end])
    }
}

/// What all readers of a thread read into, one after another.
#[derive(Debug)]
pub(crate) struct Buffer(Mutex<Vec<u8>>);

impl Buffer {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(vec![0; READ_BYTES]))
    }
}

/// A stream of events that is being read.
#[derive(Debug)]
pub(crate) struct Stream {
    connection: TcpStream,
    events: Events,
}

impl Stream {
    /// Begins with what happens from here on. Whatever happens after this has returned is in it.
    pub(crate) async fn open(api: SocketAddr, types: &str) -> anyhow::Result<Self> {
        let mut connection = TcpStream::connect(api).await.context("could not connect")?;
        let request = format!(
            "GET /v1/events?types={types} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
        );
        connection.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            ensure!(head.len() < MAX_HEAD_BYTES, "the head of a stream is too long");
            head.push(connection.read_u8().await.context("no stream")?);
        }
        let head = String::from_utf8(head)?.to_ascii_lowercase();
        ensure!(head.starts_with("http/1.1 200 "), "no stream, but {head:.80}");
        ensure!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "a stream that is not chunked");
        Ok(Self { connection, events: Events::default() })
    }

    /// Waits for the next bytes, and hands on the events that are whole now.
    pub(crate) async fn read(
        &mut self,
        buffer: &Buffer,
        on_event: impl FnMut(Told<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.connection.readable().await?;
        let mut buffer = buffer.0.lock().unwrap_or_else(PoisonError::into_inner);
        match self.connection.try_read(&mut buffer) {
            Ok(0) => bail!("a stream was closed"),
            Ok(read) => self.events.push(&buffer[..read], on_event),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Makes events of what arrives: lines within the chunks of HTTP.
#[derive(Debug, Default)]
struct Events {
    /// Bytes to come of the chunk.
    left: usize,
    /// What there is of the line that says how long the next chunk is.
    frame: Vec<u8>,
    /// What there is of a line that is not whole yet.
    line: Vec<u8>,
    /// From the event's line `id: `.
    number: Option<u64>,
}

impl Events {
    fn push(
        &mut self,
        mut bytes: &[u8],
        mut on_event: impl FnMut(Told<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            if self.left == 0 {
                bytes = self.next_chunk(bytes)?;
                continue;
            }
            let (chunk, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left -= chunk.len();
            bytes = rest;
            let mut begin = 0;
            for end in memchr_iter(b'\n', chunk) {
                let end_of_line = &chunk[begin..end];
                begin = end + 1;
                if self.line.is_empty() {
                    take_line(&mut self.number, end_of_line, &mut on_event)?;
                } else {
                    self.line.extend_from_slice(end_of_line);
                    take_line(&mut self.number, &self.line, &mut on_event)?;
                    self.line.clear();
                }
            }
            self.line.extend_from_slice(&chunk[begin..]);
        }
        Ok(())
    }

    /// Reads on in the line that says how long the next chunk is; what is behind.
    fn next_chunk<'a>(&mut self, bytes: &'a [u8]) -> anyhow::Result<&'a [u8]> {
        let end = memchr(b'\n', bytes);
        let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        self.frame.extend_from_slice(line);
        if end.is_some() {
            let size = std::str::from_utf8(&self.frame)?.trim();
            // The chunk before ends with an empty line.
            if !size.is_empty() {
                self.left = usize::from_str_radix(size, 16).context("a chunk without length")?;
                ensure!(self.left > 0, "a stream has ended");
            }
            self.frame.clear();
        }
        Ok(rest)
    }
}

fn take_line(
    event: &mut Option<u64>,
    line: &[u8],
    on_event: &mut impl FnMut(Told<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if let Some(json) = line.strip_prefix(b"data: ") {
        return on_event(Told { number: event.take().context("an event without id")?, json });
    }
    if let Some(cursor) = line.strip_prefix(b"id: ") {
        let dash = memchr(b'-', cursor).context("a cursor without number")?;
        *event = Some(number(&cursor[dash + 1..]).context("a cursor without number")?);
    }
    ensure!(line != b"event: reset", "a stream has lost events");
    Ok(())
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
