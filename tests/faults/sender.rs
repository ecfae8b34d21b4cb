//! Connections as cheap as they get, from any loopback address: who sends pingbacks, and who only wants to be in the way.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::database::postgres::variable;
use crate::figures::say;
use crate::process::SECRET;
use crate::program::PATIENCE;

/// Lets this process open as many files as the system allows; `false`, and a word on it, where these are too few.
///
/// # Panics
/// When they are too few and `CI=true`.
pub(crate) fn may_open(files: usize) -> bool {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let is_enough = maximum.is_none_or(|maximum| maximum >= u64::try_from(files).unwrap());
    let text = format!("{files} files have to be open, and ulimit -Hn allows {maximum:?}");
    assert!(is_enough || variable("CI").as_deref() != Some("true"), "{text}");
    if !is_enough {
        say(&format!("skipped: {text}"));
    }
    is_enough
}

/// Connects from this loopback address, again where the kernel's queue is full.
pub(crate) async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let connected = async {
        loop {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from((from, 0))).unwrap();
            match socket.connect(to).await {
                Ok(stream) => return stream,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let stream = timeout(PATIENCE, connected).await.expect("connected in time");
    stream.set_nodelay(true).unwrap();
    stream
}

/// A request that POSTs a pingback, to be answered on a connection that is kept.
pub(crate) fn pingback(captcha_id: &str, code: &str) -> Vec<u8> {
    let body = format!("id={captcha_id}&code={code}");
    format!("{}Content-Length: {}\r\n\r\n{body}", pingback_head(SECRET), body.len()).into_bytes()
}

/// What such a request begins with, but for the length of its body.
pub(crate) fn pingback_head(secret: &str) -> String {
    format!(
        "POST /pingback/{secret} HTTP/1.1\r\nHost: pingbox\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    )
}

/// Sends a request; the status of its reply.
pub(crate) async fn exchange(stream: &mut TcpStream, request: &[u8]) -> io::Result<u16> {
    stream.write_all(request).await?;
    let mut reply = Vec::new();
    loop {
        if stream.read_buf(&mut reply).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(status) = status_of_whole(&reply) {
            return Ok(status);
        }
    }
}

/// The status of a reply, once all of it is there. The public listener states the length of all it sends.
fn status_of_whole(reply: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(reply);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("it has a length");
    let is_whole = body.len() >= length.parse::<usize>().unwrap();
    is_whole.then(|| head[9..12].parse().unwrap())
}
