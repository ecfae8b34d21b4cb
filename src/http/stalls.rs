//! A stream that does not wait for ever for its peer to read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a peer may take to make room for a single byte, once what the kernel holds for it is full.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends with an error when its peer takes nothing for [`PATIENCE`]. Nothing else would end it: who does not read
/// does not hang up either.
pub(super) struct Impatient<S> {
    stream: S,
    patience: Duration,
    /// Runs while a write waits. It is boxed, so that connections at rest do not carry it.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, patience: PATIENCE, stalled: None }
    }

    fn heed<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.heed(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.heed(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.heed(cx, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.heed(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up_on() {
        let (near, far) = duplex(64);
        let mut near = Impatient { patience: Duration::from_millis(50), ..Impatient::new(near) };
        let written = timeout(Duration::from_secs(5), near.write_all(&[0; 65])).await.expect("given up");
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(far);
    }

    #[tokio::test]
    async fn a_peer_that_reads_slowly_is_not() {
        let (near, mut far) = duplex(1);
        let mut near = Impatient { patience: Duration::from_secs(5), ..Impatient::new(near) };
        let writing = tokio::spawn(async move { near.write_all(b"abcdefgh").await });
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        assert_eq!((read.as_slice(), writing.await.unwrap().is_ok()), (&b"abcdefgh"[..], true));
    }

    #[tokio::test]
    async fn each_byte_that_is_taken_begins_the_wait_anew() {
        let (near, mut far) = duplex(1);
        let mut near = Impatient { patience: Duration::from_secs(3600), ..Impatient::new(near) };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut near).poll_write(&mut cx, b"a").is_ready());
        assert!(Pin::new(&mut near).poll_write(&mut cx, b"b").is_pending() && near.stalled.is_some());
        far.read_u8().await.unwrap();
        assert!(Pin::new(&mut near).poll_write(&mut cx, b"b").is_ready() && near.stalled.is_none());
    }
}
