//! The end: nobody is cut off.

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, TestApp};
use crate::program::{Server, pingbox};

const WAITERS: usize = 100;

#[tokio::test]
async fn every_waiter_is_told_how_things_stand() {
    let app = TestApp::spawn().await;
    let (id, _) = app.submitted().await;
    let address = app.api.trim_start_matches("http://").to_owned();
    let request = format!("GET /v1/tasks/{id}?wait=300 HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut waiting = Vec::new();
    for _ in 0..WAITERS {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    app.until_accepted().await;
    app.shutdown.cancel();
    for mut stream in waiting {
        let mut reply = String::new();
        let read = timeout(PATIENCE, stream.read_to_string(&mut reply)).await;
        read.expect("answered in time").unwrap();
        assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("\"status\":\"submitted\""), "{reply}");
    }
    app.stop().await;
}

/// Streams, and as many long-polls.
const READERS: usize = 1000;

/// What comes until the connection ends.
async fn rest(mut stream: TcpStream) -> String {
    let mut reply = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut reply)).await.expect("ended in time").unwrap();
    String::from_utf8(reply).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_and_as_many_long_polls_end_properly_at_sigterm() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&mut pingbox(folder.path(), &["serve", "--sandbox"]));
    let address = server.address("api");
    let ask = async |path: &str, accept: &str| {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };
    let mut polls = Vec::new();
    for _ in 0..READERS {
        polls.push(ask("/v1/events?cursor=now&wait=300", "application/json").await);
    }
    let mut streams = Vec::new();
    for _ in 0..READERS {
        let mut stream = ask("/v1/events", "text/event-stream").await;
        // The first bytes say that it is being served. Connections are accepted in order, so the polls are too.
        timeout(PATIENCE, stream.read_u8()).await.expect("answered in time").unwrap();
        streams.push(stream);
    }
    let ended = tokio::task::spawn_blocking(|| server.terminate());
    for stream in streams {
        let reply = rest(stream).await;
        assert!(reply.contains("retry: 2000\n\n") && reply.ends_with("\n\n\r\n0\r\n\r\n"), "{reply}");
    }
    for poll in polls {
        let reply = rest(poll).await;
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
        assert!(reply.contains("{\"events\":[],\"cursor\":\"") && reply.ends_with("\"}"), "{reply}");
    }
    let (code, log) = ended.await.unwrap();
    assert_eq!(code, Some(0), "{log:#?}");
    assert!(!log.iter().any(|line| line.contains("did not end in time")), "{log:#?}");
}
