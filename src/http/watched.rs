//! The stream below hyper, watched for two things that hyper keeps to itself: when a request begins, and
//! that it refuses one by itself, because its head is too long or none.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::model::ErrorCode;

/// How much of a refused request is still read, and for how long: who is cut off while sending hears
/// nothing.
const MOST_DRAINED: usize = 4 * 1024 * 1024;
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// A stream that notes when bytes arrive, and puts hyper's refusal of a head into the family's words where it was meant for `in.php` or `res.php`.
pub(super) struct Watched<S> {
    stream: S,
    /// Set when bytes arrive; whoever waits for a head clears it.
    started: Arc<AtomicBool>,
    /// `None` where there are no scripts.
    refusals: Option<Refusals>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, started: Arc<AtomicBool>, has_scripts: bool) -> Self {
        Self { stream, started, refusals: has_scripts.then(Refusals::default) }
    }
}

/// What is known of the request that is being read, and what became of hyper's refusal. A request that is
/// not for a script leaves nothing here.
#[derive(Default)]
struct Refusals {
    stage: Stage,
    /// The first bytes of a head that came in pieces.
    start: Vec<u8>,
    /// How much of a request for a script was looked at, and the last bytes of that, for what is cut in two.
    seen: usize,
    tail: Vec<u8>,
    wants_json: bool,
    /// Our own reply in place of hyper's, as far as it is not written.
    reply: Option<Vec<u8>>,
    /// What is read and thrown away after it, and until when.
    drain: Option<(usize, Pin<Box<Sleep>>)>,
}

/// Whom the request is for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Unknown,
    Script,
    Other,
}

/// Method and path are within the first so many bytes.
const START: usize = 128;
/// hyper's longest head, and a little more.
const MOST_SEEN: usize = 512 * 1024;
const JSON: [&[u8]; 4] = [b"?json=1&", b"&json=1&", b"?json=1 ", b"&json=1 "];

impl Refusals {
    /// Takes note of bytes that came in; `begins`: they are the first of a head.
    fn read(&mut self, bytes: &[u8], begins: bool) {
        if begins {
            self.stage = Stage::Unknown;
            self.start.clear();
            self.tail.clear();
            (self.seen, self.wants_json) = (0, false);
        }
        if self.stage == Stage::Unknown {
            self.stage = self.judge(bytes);
        }
        if self.stage == Stage::Other || self.wants_json || self.seen >= MOST_SEEN {
            return;
        }
        self.seen += bytes.len();
        let has_json = |piece: &[u8]| piece.windows(8).any(|eight| JSON.contains(&eight));
        self.tail.extend_from_slice(&bytes[..bytes.len().min(7)]);
        self.wants_json = has_json(&self.tail) || has_json(bytes);
        self.tail.extend_from_slice(bytes.get(7..).map_or(&[], |rest| &rest[rest.len().saturating_sub(7)..]));
        self.tail.drain(..self.tail.len().saturating_sub(7));
    }

    /// Whom the request is for, as far as its first bytes tell. They are kept only while they do not.
    fn judge(&mut self, bytes: &[u8]) -> Stage {
        if self.start.is_empty() && path(bytes).is_some() {
            return stage_of(path(bytes));
        }
        let room = START - self.start.len();
        self.start.extend_from_slice(&bytes[..bytes.len().min(room)]);
        match path(&self.start) {
            None if self.start.len() < START => Stage::Unknown,
            path => stage_of(path),
        }
    }

    /// Whether these are bytes that hyper writes by itself, and that ours take the place of: every reply of
    /// a script has status 200.
    fn takes_over(&mut self, bytes: &[u8]) -> bool {
        if self.stage == Stage::Script && self.drain.is_none() {
            let refusal = match bytes.get(..13) {
                Some(b"HTTP/1.1 414 " | b"HTTP/1.1 431 ") => Some(TOO_LONG),
                Some(b"HTTP/1.1 400 ") => Some(BAD),
                _ => None,
            };
            if let Some(refusal) = refusal {
                self.reply = Some(self.reply(refusal));
                self.drain = Some((0, Box::pin(sleep(DRAIN_DEADLINE))));
            }
        }
        self.reply.is_some()
    }

    fn reply(&self, (code, detail): (&str, &str)) -> Vec<u8> {
        let (kind, body) = if self.wants_json {
            let body = format!(r#"{{"status":0,"request":"{code}","error_text":"{detail}"}}"#);
            ("application/json", body)
        } else {
            ("text/plain; charset=utf-8", code.to_owned())
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        [head, body].concat().into_bytes()
    }
}

/// The path of a request, once all of it is there.
fn path(start: &[u8]) -> Option<&[u8]> {
    let target = &start[start.iter().position(|&byte| byte == b' ')? + 1..];
    Some(&target[..target.iter().position(|byte| b" ?".contains(byte))?])
}

fn stage_of(path: Option<&[u8]>) -> Stage {
    let mut parts = path.unwrap_or_default().rsplit(|&byte| byte == b'/');
    match parts.find(|part| !part.is_empty()) {
        Some(b"in.php" | b"res.php") => Stage::Script,
        _ => Stage::Other,
    }
}

/// Codes for what hyper refuses, and what they are about.
const TOO_LONG: (&str, &str) =
    (ErrorCode::TOO_BIG, "query and headers are too long: send the image in the body instead");
const BAD: (&str, &str) =
    ("ERROR_BAD_PARAMETERS", "this is no HTTP request: encode what stands in the query");

impl<S: AsyncWrite + Unpin> Watched<S> {
    /// Writes our own reply in place of hyper's, of which all is said to be written then. `None`: there is
    /// nothing to take the place of.
    fn poll_take_over(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        length: usize,
    ) -> Option<Poll<io::Result<usize>>> {
        let refusals = self.refusals.as_mut()?;
        if !refusals.takes_over(first) {
            return None;
        }
        while let Some(reply) = refusals.reply.as_mut().filter(|reply| !reply.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, reply) {
                Poll::Ready(Ok(written)) => drop(reply.drain(..written)),
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Pending => return Some(Poll::Pending),
            }
        }
        refusals.reply = None;
        Some(Poll::Ready(Ok(length)))
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Reads what is still being sent, and throws it away.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((drained, deadline)) = self.refusals.as_mut().and_then(|refusals| refusals.drain.as_mut())
        else {
            return Poll::Ready(());
        };
        let mut scratch = [0; 4096];
        while *drained < MOST_DRAINED && deadline.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => *drained += buffer.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            let begins = !self.started.swap(true, Ordering::Relaxed);
            if let Some(refusals) = &mut self.refusals {
                refusals.read(&buf.filled()[before..], begins);
            }
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(taken_over) = self.poll_take_over(cx, buf, buf.len()) {
            return taken_over;
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        self.poll_drain(cx).map(Ok)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.first().map_or(&[][..], |slice| slice);
        let length = bufs.iter().map(|slice| slice.len()).sum();
        if let Some(taken_over) = self.poll_take_over(cx, first, length) {
            return taken_over;
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written in place of hyper's refusal of a request that came in these pieces.
    fn in_place_of(refusal: &[u8], pieces: &[&str]) -> Option<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _guard = runtime.enter();
        let mut refusals = Refusals::default();
        for (index, piece) in pieces.iter().enumerate() {
            refusals.read(piece.as_bytes(), index == 0);
        }
        refusals.takes_over(refusal).then(|| String::from_utf8(refusals.reply.unwrap()).unwrap())
    }

    const TOO_LONG: &[u8] = b"HTTP/1.1 414 URI Too Long\r\n\r\n";

    #[test]
    fn what_is_meant_for_a_script_is_put_into_other_words() {
        for (pieces, is_json) in [
            (&["POST /in.php?key=k&a=bbbb"][..], false),
            (&["GET /res.php?json=1&ids=1,2,3"], true),
            (&["GET /in.", "php?key=k&js", "on=1&body=aaaa"], true),
            (&["G", "ET /in.php?json=0&xjson=1&json=10"], false),
            (&["GET http://2captcha.com/in.php?a=b"], false),
            (&["GET //in.php?a=b&json=1 HTTP/1.1"], true),
        ] {
            let reply = in_place_of(TOO_LONG, pieces).unwrap_or_else(|| panic!("{pieces:?}"));
            let (head, body) = reply.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
            assert_eq!(body.starts_with('{'), is_json, "{pieces:?}: {body}");
            assert!(body.contains("ERROR_TOO_BIG_CAPTCHA_FILESIZE"));
        }
        let bad = in_place_of(b"HTTP/1.1 400 Bad Request\r\n\r\n", &["GET /in.php?a=\"b HTTP/1.1"]).unwrap();
        assert!(bad.ends_with("ERROR_BAD_PARAMETERS"), "{bad}");
    }

    #[test]
    fn what_is_meant_for_others_and_what_is_no_refusal_stays() {
        for request in ["GET /v1/tasks?ids=/in.php", "GET", "GET /in.phpx", "GET /x?y=/in.php"] {
            assert_eq!(in_place_of(TOO_LONG, &[request, "more, such as /in.php?json=1&"]), None, "{request}");
        }
        assert_eq!(in_place_of(b"HTTP/1.1 200 OK\r\n\r\n", &["GET /in.php"]), None);
    }
}
