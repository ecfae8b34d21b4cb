//! The stream below hyper, watched for two things that hyper keeps to itself: when a request begins, and
//! that it refuses one because its head is too long.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How much of a refused request is still read, and for how long: who is cut off while sending hears
/// nothing.
const MOST_DRAINED: usize = 4 * 1024 * 1024;
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// A stream that notes when bytes arrive, and puts hyper's refusal of a head over 64 kB into the family's
/// words where it was meant for `in.php` or `res.php`.
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

/// What is known of the request that is being read, and what became of hyper's refusal.
#[derive(Default)]
struct Refusals {
    is_for_script: bool,
    wants_json: bool,
    /// Our own reply in place of hyper's, as far as it is not written.
    reply: Option<&'static [u8]>,
    /// What is read and thrown away after it, and until when.
    drain: Option<(usize, Pin<Box<Sleep>>)>,
}

const AS_TEXT: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 30\r\n\
    connection: close\r\n\r\nERROR_TOO_BIG_CAPTCHA_FILESIZE";
const AS_JSON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 136\r\n\
    connection: close\r\n\r\n{\"status\":0,\"request\":\"ERROR_TOO_BIG_CAPTCHA_FILESIZE\",\"error_text\":\
    \"the query has more than 64 kB: send the image in the body instead\"}";

impl Refusals {
    /// Takes note of bytes that came in; `begins`: they are the first of a head.
    fn read(&mut self, bytes: &[u8], begins: bool) {
        if begins {
            let path = bytes.splitn(3, |&byte| byte == b' ').nth(1).unwrap_or_default();
            self.is_for_script = [&b"/in.php"[..], b"/res.php"].iter().any(|script| path.starts_with(script));
            self.wants_json = false;
        }
        if self.is_for_script && !self.wants_json {
            self.wants_json = bytes.windows(6).any(|six| six == b"json=1");
        }
    }

    /// Whether these are bytes that hyper writes by itself, and that ours take the place of.
    fn takes_over(&mut self, bytes: &[u8]) -> bool {
        let is_refusal = bytes.starts_with(b"HTTP/1.1 414 ") || bytes.starts_with(b"HTTP/1.1 431 ");
        if is_refusal && self.is_for_script && self.drain.is_none() {
            self.reply = Some(if self.wants_json { AS_JSON } else { AS_TEXT });
            self.drain = Some((0, Box::pin(sleep(DRAIN_DEADLINE))));
        }
        self.reply.is_some()
    }
}

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
        while let Some(reply) = refusals.reply.filter(|reply| !reply.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, reply) {
                Poll::Ready(Ok(written)) => refusals.reply = Some(&reply[written..]),
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

    #[test]
    fn the_replies_say_their_own_length() {
        for reply in [AS_TEXT, AS_JSON] {
            let text = std::str::from_utf8(reply).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{} {head}", body.len());
        }
    }

    #[test]
    fn only_what_is_meant_for_a_script_is_put_into_other_words() {
        let refusal = b"HTTP/1.1 414 URI Too Long\r\n\r\n";
        for (request, is_taken_over) in [
            (&b"POST /in.php?key=k&a=bbbb"[..], true),
            (b"GET /res.php?ids=1,2,3", true),
            (b"GET /v1/tasks?ids=1,2,3", false),
            (b"GET", false),
        ] {
            let mut refusals = Refusals { is_for_script: true, ..Refusals::default() };
            refusals.read(request, true);
            refusals.read(b"more of it, such as /in.php", false);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let _guard = runtime.enter();
            assert_eq!(refusals.takes_over(refusal), is_taken_over);
            assert!(!Refusals::default().takes_over(b"HTTP/1.1 200 OK\r\n\r\n"));
        }
    }
}
