//! The TLS handshake, before the first request of a connection.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

/// How long a client may take for it: as long as for a request's head.
const DEADLINE: Duration = Duration::from_secs(10);
/// What a client is told that does not speak TLS. The end of the connection is the end of the text.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
    this port speaks TLS: the URL must begin with https://\n";

/// What a listener needs to agree with clients on their encryption.
#[derive(Clone)]
pub(crate) struct Handshake {
    acceptor: TlsAcceptor,
    deadline: Duration,
}

impl Handshake {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Self {
        Self { acceptor: TlsAcceptor::from(config), deadline: DEADLINE }
    }

    /// The encrypted stream; `None` when there is no agreement in time. Strangers come by all day, so
    /// that is nothing to warn of.
    pub(super) async fn perform(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let agreed = timeout(self.deadline, self.agree(stream)).await;
        agreed.unwrap_or_else(|_| {
            debug!("A client did not complete its TLS handshake in time");
            None
        })
    }

    async fn agree(&self, mut stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let mut first = [0];
        let is_http = match stream.peek(&mut first).await {
            Ok(0) => return None,
            Ok(_) => first[0].is_ascii_uppercase(),
            // The handshake meets it again.
            Err(_) => false,
        };
        if is_http {
            let done = explain(&mut stream).await;
            debug!(ok = done.is_ok(), "A client spoke plain HTTP to a TLS port");
            return None;
        }
        self.acceptor
            .accept(stream)
            .await
            .inspect_err(|error| debug!(%error, "A TLS handshake failed: {error}"))
            .ok()
    }
}

/// Answers a method's first letter, which no TLS record begins with.
async fn explain(stream: &mut TcpStream) -> std::io::Result<()> {
    // What is not read resets the connection when it is closed, and with it the reply.
    let mut request = [0; 4096];
    let _read_so_far = stream.read(&mut request).await?;
    stream.write_all(PLAIN_HTTP).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::Router;
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign::CertifiedKey;
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::http::{Places, Room, Server};

    const PATIENCE: Duration = Duration::from_secs(20);
    /// What a handshake begins with.
    const HELLO: &[u8] = &[0x16];

    #[derive(Debug)]
    struct NoCertificate;

    impl ResolvesServerCert for NoCertificate {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            None
        }
    }

    async fn listener(deadline: Duration) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_cert_resolver(Arc::new(NoCertificate));
        let tls = Handshake { deadline, ..Handshake::new(Arc::new(config)) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let site = Router::new();
        let server = Server {
            listener,
            site,
            room: Room::new(Places::alone(4)),
            addresses: None,
            tls: Some(tls),
            has_scripts: false,
            requests: None,
        };
        let shutdown = CancellationToken::new();
        (address, shutdown.clone(), tokio::spawn(server.run(shutdown)))
    }

    async fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// What the other side says until it closes the connection.
    async fn said(mut stream: TcpStream) -> String {
        let mut text = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("it is closed").unwrap();
        text
    }

    #[tokio::test]
    async fn a_handshake_that_does_not_go_on_is_closed() {
        let (address, ..) = listener(Duration::from_millis(50)).await;
        for begun in [&b""[..], HELLO] {
            assert_eq!(said(send(address, begun).await).await, "");
        }
    }

    #[tokio::test]
    async fn a_handshake_that_does_not_go_on_holds_up_neither_others_nor_the_end() {
        let (address, shutdown, running) = listener(Duration::from_secs(3600)).await;
        let stalled = [send(address, b"").await, send(address, HELLO).await];
        // It came after them, so they are let in by now.
        assert!(said(send(address, b"GET / HTTP/1.1\r\n\r\n").await).await.contains("https://"));
        shutdown.cancel();
        timeout(PATIENCE, running).await.expect("it ends").unwrap();
        for stream in stalled {
            assert_eq!(said(stream).await, "");
        }
    }

    #[tokio::test]
    async fn handshakes_count_among_the_connections() {
        let (address, shutdown, running) = listener(Duration::from_secs(3600)).await;
        let mut stalled: Vec<_> = Vec::new();
        for _ in 0..4 {
            stalled.push(send(address, HELLO).await);
        }
        let mut fifth = send(address, b"GET / HTTP/1.1\r\n\r\n").await;
        let answered = timeout(Duration::from_millis(100), fifth.read_u8()).await;
        assert!(answered.is_err(), "there is no place left: {answered:?}");
        drop(stalled.pop());
        assert!(said(fifth).await.contains("400 Bad Request"), "a place became free");
        shutdown.cancel();
        timeout(PATIENCE, running).await.expect("it ends").unwrap();
    }

    #[tokio::test]
    async fn plain_http_is_told_what_the_port_speaks() {
        let (address, ..) = listener(PATIENCE).await;
        let reply = said(send(address, b"POST /v1/tasks HTTP/1.1\r\nHost: a\r\n\r\n").await).await;
        assert!(reply.starts_with("HTTP/1.1 400 ") && reply.ends_with("https://\n"), "{reply}");
    }
}
