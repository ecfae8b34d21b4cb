//! TLS of both listeners, with certificates of our own and from elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use reqwest::StatusCode;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{PATIENCE, TestApp, base64, never_solved, solved_at_once};
use crate::program::{Server, free_address, http, outcome, pingbox};

const OWN: [(&str, &str); 2] = [("PINGBOX_PUBLIC__TLS", "self_signed"), ("PINGBOX_API__TLS", "self_signed")];

/// A client of the test's own, which sees what it is shown.
struct Caller {
    stream: TlsStream<TcpStream>,
}

impl Caller {
    /// Connects to `ADDRESS`, or `https://ADDRESS`, and trusts this certificate alone.
    async fn connect(address: &str, trusted: &CertificateDer<'static>) -> Self {
        let address = address.trim_start_matches("https://");
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        Self { stream }
    }

    /// The server's certificate.
    fn shown(&self) -> CertificateDer<'static> {
        self.stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }

    async fn send(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.unwrap();
    }

    /// Asks for `/livez`; the connection stays open.
    async fn is_served(&mut self) -> bool {
        self.send("/livez").await;
        let mut reply = [0; 1024];
        let length = timeout(PATIENCE, self.stream.read(&mut reply)).await.expect("answered").unwrap();
        reply[..length].starts_with(b"HTTP/1.1 200 ")
    }
}

fn ca_of(data: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(data.join("tls/ca.pem")).unwrap()
}

/// A certificate for 127.0.0.1 that vouches for itself, in files that are named alike.
struct Elsewhere {
    certificate: CertificateDer<'static>,
    cert: PathBuf,
    key: PathBuf,
}

impl Elsewhere {
    /// Writes a new one to `cert.pem` and `key.pem`.
    fn write(folder: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let pem = |label: &str, der: &[u8]| {
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64(der))
        };
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&cert, pem("CERTIFICATE", made.cert.der())).unwrap();
        std::fs::write(&key, pem("PRIVATE KEY", made.signing_key.serialized_der())).unwrap();
        Self { certificate: made.cert.der().clone(), cert, key }
    }

    fn environment(&self) -> [(String, String); 6] {
        let of =
            |section: &str, key: &str, value: &str| (format!("PINGBOX_{section}__{key}"), value.to_owned());
        let (cert, key) = (self.cert.to_str().unwrap(), self.key.to_str().unwrap());
        [
            of("API", "TLS", "files"),
            of("API", "TLS_CERT", cert),
            of("API", "TLS_KEY", key),
            of("PUBLIC", "TLS", "files"),
            of("PUBLIC", "TLS_CERT", cert),
            of("PUBLIC", "TLS_KEY", key),
        ]
    }
}

#[tokio::test]
async fn both_listeners_speak_tls_with_a_certificate_of_our_own() {
    let app = TestApp::with(never_solved(), &OWN).await;
    assert!(app.api.starts_with("https://") && app.public.starts_with("https://"));
    let (id, captcha_id) = app.submitted().await;
    assert_eq!(app.pingback(&captcha_id, "42").await, StatusCode::OK);
    assert_eq!(app.task(&id).await["answer"]["text"], "42");
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_ca_refuses() {
    let app = TestApp::with(never_solved(), &OWN).await;
    for url in [&app.api, &app.public] {
        let error = http().get(format!("{url}/livez")).send().await.unwrap_err();
        assert!(error.is_connect(), "{error:?}");
    }
    assert_eq!(app.get("/v1/tasks").await.0, StatusCode::OK, "the refusals cost nothing else");
}

#[tokio::test]
async fn one_listener_may_have_tls_alone() {
    let app = TestApp::with(never_solved(), &OWN[..1]).await;
    assert!(app.api.starts_with("http://"));
    let (_, captcha_id) = app.submitted().await;
    assert_eq!(app.pingback(&captcha_id, "42").await, StatusCode::OK);
}

#[tokio::test]
async fn the_sandbox_sends_its_pingbacks_over_tls() {
    let files = TempDir::new().unwrap();
    let elsewhere = Elsewhere::write(files.path()).environment();
    let elsewhere: Vec<_> = elsewhere.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for environment in [&OWN[..1], &elsewhere[3..]] {
        let app = TestApp::with(solved_at_once(), environment).await;
        let id = app.submit().await;
        let task = app.until(&id, |task| task["status"] == "solved").await;
        assert_eq!(task["via"], "pingback");
        assert!(serde_json::to_string(&app.sandbox.requests()).unwrap().contains("https"));
        app.stop().await;
    }
}

#[tokio::test]
async fn a_client_reaches_it_by_every_name_that_was_given() {
    let names = ("PINGBOX_API__TLS_NAMES", "api.solvecaptcha.com,2captcha.com");
    let app = TestApp::with(never_solved(), &[OWN[1], names]).await;
    let address: std::net::SocketAddr = app.api.trim_start_matches("https://").parse().unwrap();
    let ca = std::fs::read(app.data().join("tls/ca.pem")).unwrap();
    for (name, is_ours) in [("api.solvecaptcha.com", true), ("2captcha.com", true), ("rucaptcha.com", false)]
    {
        let client = reqwest::Client::builder().no_proxy().resolve(name, address);
        let client = client.tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()]).build().unwrap();
        let reply = client.get(format!("https://{name}:{}/livez", address.port())).send().await;
        assert_eq!(reply.is_ok(), is_ours, "{name}");
    }
}

#[tokio::test]
async fn the_ca_survives_a_restart_and_its_certificates_do_not() {
    let app = TestApp::with(never_solved(), &OWN).await;
    let ca = ca_of(app.data());
    let first = Caller::connect(&app.api, &ca).await.shown();
    let app = app.restart_with(never_solved(), &OWN).await;
    assert_eq!(ca_of(app.data()), ca);
    assert_ne!(Caller::connect(&app.api, &ca).await.shown(), first);
}

#[tokio::test]
async fn http_1_1_is_what_is_agreed_on() {
    let app = TestApp::with(never_solved(), &OWN).await;
    let mut roots = RootCertStore::empty();
    roots.add(ca_of(app.data())).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(ring).with_protocol_versions(&[version]).unwrap();
        let mut config = config.with_root_certificates(roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = TcpStream::connect(app.api.trim_start_matches("https://")).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let connection = stream.get_ref().1;
        assert_eq!(connection.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(connection.protocol_version(), Some(version.version));
    }
}

#[tokio::test]
async fn handshakes_that_stall_hold_up_neither_callers_nor_the_end() {
    let app = TestApp::with(never_solved(), &OWN).await;
    let mut stalled = Vec::new();
    for url in [&app.api, &app.public] {
        for _ in 0..20 {
            stalled.push(TcpStream::connect(url.trim_start_matches("https://")).await.unwrap());
        }
    }
    let (_, captcha_id) = app.submitted().await;
    assert_eq!(app.pingback(&captcha_id, "42").await, StatusCode::OK);
    app.stop().await;
    for mut stream in stalled {
        let read = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert_eq!(read.expect("it is closed").unwrap(), 0);
    }
}

#[tokio::test]
async fn who_waits_over_tls_is_answered_at_the_end() {
    let app = TestApp::with(never_solved(), &OWN).await;
    let (id, _) = app.submitted().await;
    let ca = ca_of(app.data());
    let mut waiting = Caller::connect(&app.api, &ca).await;
    waiting.send(&format!("/v1/tasks/{id}?wait=300")).await;
    // Requests on connections that came later are answered: it is waiting by now.
    for _ in 0..10 {
        assert!(Caller::connect(&app.api, &ca).await.is_served().await);
    }
    app.shutdown.cancel();
    let mut reply = String::new();
    // A connection that ends without TLS's own farewell is an error here.
    timeout(PATIENCE, waiting.stream.read_to_string(&mut reply)).await.expect("answered").unwrap();
    assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("\"status\":\"submitted\""), "{reply}");
    app.stop().await;
}

#[tokio::test]
async fn sighup_exchanges_the_certificate_under_living_connections() {
    let data = TempDir::new().unwrap();
    let first = Elsewhere::write(data.path());
    let mut server = Server::start(pingbox(data.path(), &["serve", "--sandbox"]).envs(first.environment()));
    let listeners = [server.address("api"), server.address("public")];
    let mut old = Vec::new();
    for address in &listeners {
        let mut caller = Caller::connect(address, &first.certificate).await;
        assert!(caller.shown() == first.certificate && caller.is_served().await);
        old.push(caller);
    }

    let second = Elsewhere::write(data.path());
    server.hang_up();
    server.until_logged("The public listener has its certificate anew");
    server.until_logged("The api listener has its certificate anew");
    for address in &listeners {
        let caller = Caller::connect(address, &second.certificate).await;
        assert_eq!(caller.shown(), second.certificate);
    }
    for caller in &mut old {
        assert!(caller.is_served().await, "it lives on");
    }

    for (file, content) in [(&second.cert, "no certificate"), (&second.key, "no key")] {
        let whole = std::fs::read(file).unwrap();
        std::fs::write(file, content).unwrap();
        server.hang_up();
        server.until_logged("The public listener keeps the certificate it has");
        server.until_logged("The api listener keeps the certificate it has");
        std::fs::write(file, whole).unwrap();
    }
    assert!(Caller::connect(&listeners[0], &second.certificate).await.is_served().await);
    let (code, _) = server.terminate();
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn sighup_ends_no_server_whatever_its_tls_is() {
    let own = |tls: &str| [("PINGBOX_API__TLS", tls.to_owned()), ("PINGBOX_PUBLIC__TLS", tls.to_owned())];
    for (tls, logged) in [("off", "api.token was read again"), ("self_signed", "has its certificate anew")] {
        let data = TempDir::new().unwrap();
        let mut server = Server::start(pingbox(data.path(), &["serve", "--sandbox"]).envs(own(tls)));
        for _ in 0..2 {
            server.hang_up();
            server.until_logged(logged);
        }
        let (code, log) = server.terminate();
        assert_eq!(code, Some(0), "{log:#?}");
    }
    let data = TempDir::new().unwrap();
    let mut server = Server::start(&mut pingbox(data.path(), &["sandbox", "--listen", "127.0.0.1:0"]));
    server.hang_up();
    server.until_logged("there is nothing to read again");
    assert_eq!(server.terminate().0, Some(0));
}

#[tokio::test]
async fn the_ca_that_is_printed_beforehand_is_the_one_that_is_used() {
    let data = TempDir::new().unwrap();
    let (code, printed, _) = outcome(&mut pingbox(data.path(), &["tls", "ca"]));
    assert_eq!(code, Some(0));
    let server = Server::start(pingbox(data.path(), &["serve", "--sandbox"]).envs(OWN));
    let ca = CertificateDer::from_pem_slice(printed.as_bytes()).unwrap();
    for listener in ["api", "public"] {
        assert!(Caller::connect(&server.address(listener), &ca).await.is_served().await);
    }
    let (_, again, _) = outcome(&mut pingbox(data.path(), &["tls", "ca"]));
    assert_eq!(again, printed);
    let (_, told, _) = outcome(&mut pingbox(data.path(), &["tls", "ca", "--json"]));
    let told: Value = told.parse().unwrap();
    assert_eq!(told["certificate"], printed);
    assert_eq!(told["file"], data.path().join("tls/ca.pem").to_str().unwrap());
    assert!(told["expires_at"].is_string() && told["sha256"].as_str().unwrap().len() == 64, "{told}");
}

#[test]
fn a_data_folder_that_cannot_be_used_for_the_ca_is_told() {
    let data = TempDir::new().unwrap();
    std::fs::write(data.path().join("taken"), "").unwrap();
    let mut command = pingbox(data.path(), &["tls", "ca"]);
    let (code, printed, explanation) = outcome(command.env("PINGBOX_DATA__DIR", "taken"));
    assert_eq!((code, printed.as_str()), (Some(1), ""));
    assert!(explanation.contains("taken/tls") && explanation.contains("set data.dir"), "{explanation}");
}

#[test]
fn files_that_do_not_serve_are_told_by_the_check_and_at_the_start() {
    let data = TempDir::new().unwrap();
    let at = |name: &str| data.path().join(name);
    std::fs::rename(Elsewhere::write(data.path()).key, at("other.pem")).unwrap();
    Elsewhere::write(data.path());
    std::fs::write(at("empty.pem"), "").unwrap();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    std::fs::write(at("encrypted.pem"), encrypted).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(at("broken.pem"), broken).unwrap();
    let (cert, key) = ("api.tls_cert", "api.tls_key");
    for (cert_file, key_file, setting, why) in [
        ("cert.pem", "key.pem", "", ""),
        ("missing.pem", "key.pem", cert, "missing.pem: No such file"),
        ("empty.pem", "key.pem", cert, "BEGIN CERTIFICATE"),
        ("broken.pem", "key.pem", cert, "is damaged"),
        ("key.pem", "key.pem", cert, "there is no certificate"),
        ("cert.pem", "missing.pem", key, "missing.pem: No such file"),
        ("cert.pem", "cert.pem", key, "there is no private key"),
        ("cert.pem", "encrypted.pem", key, "passphrase"),
        ("cert.pem", "other.pem", key, "does not belong to"),
    ] {
        for command in [&["config", "check", "--sandbox"][..], &["serve", "--sandbox"]] {
            let is_good = setting.is_empty();
            if is_good && command[0] == "serve" {
                continue;
            }
            let mut command = pingbox(data.path(), command);
            command.env("PINGBOX_API__TLS", "files");
            command.env("PINGBOX_API__TLS_CERT", cert_file).env("PINGBOX_API__TLS_KEY", key_file);
            let (code, _, explanation) = outcome(&mut command);
            assert_eq!(code, Some(i32::from(!is_good)), "{cert_file} {key_file} {explanation}");
            assert!(explanation.contains(setting) && explanation.contains(why), "{why}: {explanation}");
            assert!(!explanation.contains("AAAA"), "{explanation}");
        }
    }
}

#[tokio::test]
async fn commands_trust_the_ca_that_they_are_told_of() {
    let data = TempDir::new().unwrap();
    let server = Server::start(pingbox(data.path(), &["serve", "--sandbox"]).envs(OWN));
    let url = format!("https://{}", server.address("api"));
    let balance = |environment: &[(&str, &str)]| {
        let mut command = pingbox(data.path(), &["balance", "--server", &url]);
        outcome(command.envs(environment.iter().copied()))
    };
    let (code, printed, explanation) = balance(&[("PINGBOX_CA_FILE", "tls/ca.pem")]);
    assert_eq!(code, Some(0), "{explanation}");
    assert!(printed.starts_with("balance"), "{printed}");
    let (code, _, explanation) = balance(&[]);
    assert_eq!(code, Some(1));
    assert!(explanation.contains("PINGBOX_CA_FILE") && explanation.contains("tls ca"), "{explanation}");
    let (code, _, explanation) = balance(&[("PINGBOX_CA_FILE", "tls/ca-key.pem")]);
    assert_eq!(code, Some(1));
    assert!(explanation.contains("there is no certificate"), "{explanation}");

    let (_, by_flag, _) =
        outcome(&mut pingbox(data.path(), &["balance", "--server", &url, "--ca-file", "tls/ca.pem"]));
    assert!(by_flag.starts_with("balance"), "{by_flag}");
    let health = ["healthcheck", "--server", &url];
    let (code, _, explanation) = outcome(&mut pingbox(data.path(), &health));
    assert!(code == Some(1) && explanation.contains("--ca-file"), "{explanation}");
    let health = [&health[..], &["--ca-file", "tls/ca.pem"]].concat();
    assert_eq!(outcome(&mut pingbox(data.path(), &health)).0, Some(0));
}

#[tokio::test]
async fn a_healthcheck_finds_its_own_server_whatever_that_is_called() {
    let data = TempDir::new().unwrap();
    let files = Elsewhere::write(data.path()).environment();
    let own = [("PINGBOX_API__TLS", "self_signed"), ("PINGBOX_API__TLS_NAMES", "a.example")];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for environment in [&own[..], &files] {
        let address = free_address().await;
        let with = |command: &str, flag: &[&str]| {
            let mut command = pingbox(data.path(), &[&[command], flag].concat());
            command.envs(environment.iter().cloned()).env("PINGBOX_API__LISTEN", &address);
            command
        };
        let server = Server::start(&mut with("serve", &["--sandbox"]));
        let (code, _, explanation) = outcome(&mut with("healthcheck", &[]));
        assert_eq!(code, Some(0), "{explanation}");
        server.terminate();
    }
}

#[tokio::test]
async fn whoever_may_read_the_folder_of_the_ca_cannot_hold_up_the_server() {
    let data = TempDir::new().unwrap();
    assert_eq!(outcome(&mut pingbox(data.path(), &["tls", "ca"])).0, Some(0));
    // Locks need no more than the right to read.
    for path in ["tls", "tls/ca.pem"] {
        let held = std::fs::File::open(data.path().join(path)).unwrap();
        held.lock().unwrap();
        let mut server = Server::start(pingbox(data.path(), &["serve", "--sandbox"]).envs(OWN));
        server.hang_up();
        server.until_logged("The api listener has its certificate anew");
        assert_eq!(server.terminate().0, Some(0));
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_to_its_end_holds_up_neither_callers_nor_the_end() {
    let data = TempDir::new().unwrap();
    let files = Elsewhere::write(data.path());
    let server = Server::start(pingbox(data.path(), &["serve", "--sandbox"]).envs(files.environment()));
    std::fs::remove_file(&files.cert).unwrap();
    assert!(Command::new("mkfifo").arg(&files.cert).status().unwrap().success());
    server.hang_up();
    // It is open once the server reads, which then waits for what never comes.
    let cert = files.cert.clone();
    let opening = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(cert));
    let _open = timeout(PATIENCE, opening).await.expect("the server reads it").unwrap().unwrap();
    for listener in ["api", "public"] {
        assert!(Caller::connect(&server.address(listener), &files.certificate).await.is_served().await);
    }
    let (code, log) = server.terminate();
    assert_eq!(code, Some(0));
    assert!(!log.iter().any(|line| line.contains("did not end in time")), "{log:#?}");
}

#[test]
fn a_ca_that_begins_later_than_the_clock_says_is_told() {
    let data = TempDir::new().unwrap();
    assert_eq!(outcome(&mut pingbox(data.path(), &["tls", "ca"])).0, Some(0));
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.not_before = rcgen::date_time_ymd(3000, 1, 1);
    params.not_after = rcgen::date_time_ymd(3010, 1, 1);
    let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64(made.der()));
    std::fs::write(data.path().join("tls/ca.pem"), pem).unwrap();
    let (code, printed, warned) = outcome(&mut pingbox(data.path(), &["tls", "ca"]));
    assert_eq!(code, Some(0));
    assert!(printed.starts_with("-----BEGIN CERTIFICATE-----"), "{printed}");
    assert!(warned.contains("begins on 3000-01-01") && warned.contains("set the clock"), "{warned}");
}
