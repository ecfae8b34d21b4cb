//! The end: nobody is cut off.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, TestApp};

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
    // Connections are accepted in order: whoever is answered on a new one came after all of them.
    let probe = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    for _ in 0..10 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(probe.as_bytes()).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    }
    app.shutdown.cancel();
    for mut stream in waiting {
        let mut reply = String::new();
        let read = timeout(PATIENCE, stream.read_to_string(&mut reply)).await;
        read.expect("answered in time").unwrap();
        assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("\"status\":\"submitted\""), "{reply}");
    }
    app.stop().await;
}
