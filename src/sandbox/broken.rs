//! Replies that do not arrive whole.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// A reply that ends before its first byte: the server closes the connection.
pub(super) fn closed() -> Response {
    Body::new(Closed).into_response()
}

/// The reply with its head, which promises the whole of the body, and half of that; then the server
/// closes the connection.
pub(super) fn half(reply: Response) -> Response {
    reply.map(|body| Body::new(Half { length: HttpBody::size_hint(&body), body, next: Part::Data }))
}

type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

fn break_off() -> Polled {
    let why = std::io::Error::from(std::io::ErrorKind::ConnectionAborted);
    Poll::Ready(Some(Err(axum::Error::new(why))))
}

struct Closed;

impl HttpBody for Closed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
        break_off()
    }
}

struct Half {
    /// The whole, which a reply of the two scripts has in one piece.
    body: Body,
    length: SizeHint,
    next: Part,
}

#[derive(Clone, Copy)]
enum Part {
    Data,
    /// Time for the server to send what it has: it drops that when a body fails.
    Pause,
    End,
}

impl HttpBody for Half {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        match self.next {
            Part::Data => {
                let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
                self.next = Part::Pause;
                Poll::Ready(
                    frame.map(|frame| frame.map(|frame| frame.map_data(|data| data.slice(..data.len() / 2)))),
                )
            }
            Part::Pause => {
                self.next = Part::End;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Part::End => break_off(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length
    }
}
