//! Strangers that send slowly, or nothing: their connections end on time, and nobody else waits for them.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::figures::{Latencies, mib, say};
use crate::process::SECRET;
use crate::program::{KEY, NOWHERE, PATIENCE, Server, pingbox};
use crate::sender::{connect, exchange, may_open, pingback, pingback_head};

/// Where the provider is.
const PROVIDER: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);
/// Where whoever knows the secret, and sends slowly all the same, is.
const SLOW_PROVIDER: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 10);
/// Connections that one address opens: those that it may hold, and as many that wait.
const OF_ONE_ADDRESS: usize = 512;
/// When a head, a body, and a connection at rest are given up.
const HEAD: Duration = Duration::from_secs(10);
const BODY: Duration = Duration::from_secs(15);
const REST: Duration = Duration::from_secs(150);
/// How late that may be seen where a machine is busy.
const SLACK: Duration = Duration::from_secs(20);
/// The longest that a pingback may take, whatever strangers do: they could hold a place for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Open files of a service that holds few connections.
const FEW_FILES: u64 = 600;
/// What an attack may leave behind in memory: what grew with it and is kept, such as maps.
const GROWTH_BYTES: u64 = 16 << 20;

/// The service, allowed to open so many files if that is to be fewer than usual.
fn start(data: &Path, open_files: Option<u64>) -> Server {
    let mut command = pingbox(data, &["serve"]);
    if let Some(open_files) = open_files {
        let mut limited = Command::new("sh");
        limited.arg("-c").arg(format!(r#"ulimit -n {open_files}; exec "$0" "$@""#));
        limited.arg(command.get_program()).args(command.get_args()).env_clear().current_dir(data);
        limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command = limited;
    }
    command
        .env("PINGBOX_PINGBACK__SECRET", SECRET)
        .env("PINGBOX_PROVIDER__BASE_URL", NOWHERE)
        .env("PINGBOX_PROVIDER__API_KEY", KEY);
    Server::start(&mut command)
}

fn public(server: &Server) -> SocketAddr {
    server.address("public").parse().unwrap()
}

/// How many connections the public listener may hold, by its own word.
fn places(server: &mut Server) -> u64 {
    let entries = server.logged().iter().filter_map(|line| line.parse::<Value>().ok()).collect::<Vec<_>>();
    entries.iter().find_map(|entry| entry["public"].as_u64()).expect("it is in the log")
}

/// The address of attacker `number`, if each opens as many connections as it can.
fn address(number: usize) -> Ipv4Addr {
    let host = u16::try_from(number / OF_ONE_ADDRESS).unwrap();
    let [high, low] = host.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low + 1)
}

/// What an attacker does with a connection.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Sends one byte of a head a second.
    Head,
    /// Sends one byte of a body a second, without the secret or with it.
    Body,
    BodyWithSecret,
    /// Sends nothing.
    Nothing,
    /// Asks for what anybody may, once.
    Livez,
}

impl Way {
    /// When its connection has to be closed.
    fn deadline(self) -> Duration {
        match self {
            Self::Head | Self::Nothing => HEAD,
            // It is refused before its body is read.
            Self::Body => Duration::ZERO,
            Self::BodyWithSecret => BODY,
            Self::Livez => REST,
        }
    }

    /// When it is too late. Whoever waits to be let in waits for as long as the head of another takes.
    fn latest(self) -> Duration {
        self.deadline() + HEAD + SLACK
    }

    fn begin(self) -> Vec<u8> {
        let unsaid = "Content-Length: 100\r\n\r\n";
        match self {
            Self::Head => b"POST /pingback/".to_vec(),
            Self::Body => format!("{}{unsaid}", pingback_head("not-the-secret-0123456789")).into_bytes(),
            Self::BodyWithSecret => format!("{}{unsaid}", pingback_head(SECRET)).into_bytes(),
            Self::Nothing => Vec::new(),
            Self::Livez => b"GET /livez HTTP/1.1\r\nHost: pingbox\r\n\r\n".to_vec(),
        }
    }
}

/// Holds a connection as long as the server lets it; how long that was. `None` for one that the server never had: where
/// its queue is full the system drops what ends a handshake, and this side hears of it only when it sends.
async fn attack(way: Way, from: Ipv4Addr, to: SocketAddr) -> Option<Duration> {
    let mut stream = connect(from, to).await;
    let begun = Instant::now();
    drop(stream.write_all(&way.begin()).await);
    let (mut reading, mut writing) = stream.split();
    let drip = async {
        while matches!(way, Way::Head | Way::Body | Way::BodyWithSecret)
            && writing.write_all(b"a").await.is_ok()
        {
            sleep(Duration::from_secs(1)).await;
        }
        std::future::pending::<()>().await;
    };
    let ended = async {
        let mut said = Vec::new();
        // A reset is an end too.
        drop(reading.read_to_end(&mut said).await);
    };
    let is_closed = tokio::select! {
        () = drip => false,
        () = ended => true,
        () = sleep(way.latest()) => false,
    };
    let held = begun.elapsed();
    if is_closed {
        return Some(held);
    }
    drop(stream.write_all(b"a").await);
    let heard = timeout(BODY, stream.read(&mut [0])).await;
    let is_unknown = matches!(heard, Ok(Err(error)) if error.kind() == ErrorKind::ConnectionReset);
    (!is_unknown).then_some(held)
}

/// Attackers at work, and how long each of them was let.
struct Attack {
    way: Way,
    attackers: JoinSet<Option<Duration>>,
}

impl Attack {
    fn begin(way: Way, count: usize, first: usize, to: SocketAddr) -> Self {
        let mut attackers = JoinSet::new();
        for number in first..first + count {
            let from = if matches!(way, Way::BodyWithSecret) { SLOW_PROVIDER } else { address(number) };
            attackers.spawn(attack(way, from, to));
        }
        Self { way, attackers }
    }

    /// Fails unless all of them were closed on time.
    async fn check(mut self) {
        let mut held = Vec::new();
        while let Some(ended) = self.attackers.join_next().await {
            held.extend(ended.unwrap());
        }
        let longest = held.iter().max().copied().unwrap_or_default();
        assert!(longest < self.way.latest(), "{:?}: a connection was held for {longest:?}", self.way);
        say(&format!("{:?}: closed after {}", self.way, Latencies::of(held).show()));
    }
}

/// The provider at work beside them: pingbacks on a connection that it keeps, and each time on a new one besides.
struct Provider {
    is_over: CancellationToken,
    /// How long the pingbacks took.
    working: JoinHandle<[Vec<Duration>; 2]>,
}

impl Provider {
    /// Nobody has heard of it before.
    fn begin(to: SocketAddr) -> Self {
        let is_over = CancellationToken::new();
        let end = is_over.clone();
        let working = tokio::spawn(async move {
            let (mut stream, mut took) = (introduce(to).await, [Vec::new(), Vec::new()]);
            for number in 0.. {
                let begun = Instant::now();
                send(&mut stream, &format!("7{number:08}")).await;
                took[0].push(begun.elapsed());
                let begun = Instant::now();
                send(&mut connect(PROVIDER, to).await, &format!("8{number:08}")).await;
                took[1].push(begun.elapsed());
                if end.run_until_cancelled(sleep(Duration::from_millis(20))).await.is_none() {
                    break;
                }
            }
            took
        });
        Self { is_over, working }
    }

    /// Fails unless all of them were answered with 200.
    async fn end(self) {
        self.is_over.cancel();
        let [kept, new] = timeout(PATIENCE, self.working).await.expect("it ends").unwrap();
        say(&format!("pingbacks on a kept connection: {}", Latencies::of(kept).show()));
        say(&format!("pingbacks, each on a new connection: {}", Latencies::of(new).show()));
    }
}

/// The connection over which the provider was heard first. Before it has shown the secret it is a stranger like any
/// other, whose connection may end to make room; then it comes again.
async fn introduce(to: SocketAddr) -> TcpStream {
    let begun = Instant::now();
    while begun.elapsed() < LONGEST_WAIT {
        let mut stream = connect(PROVIDER, to).await;
        let request = pingback("700", "Friday");
        if let Ok(Ok(200)) = timeout(LONGEST_WAIT, exchange(&mut stream, &request)).await {
            return stream;
        }
    }
    panic!("the provider is never heard");
}

async fn send(stream: &mut TcpStream, captcha_id: &str) {
    let request = pingback(captcha_id, "Friday");
    let sent =
        timeout(LONGEST_WAIT, exchange(stream, &request)).await.expect("the provider is not kept waiting");
    assert_eq!(sent.unwrap(), 200);
}

/// How many attack in which way.
type Attackers = [(Way, usize); 5];

/// All of them at once, and the provider beside them.
async fn everybody_at_once(attackers: Attackers) {
    if !may_open(attackers.iter().map(|(_, count)| count).sum::<usize>() + 1000) {
        return;
    }
    let data = TempDir::new().unwrap();
    let mut server = start(data.path(), None);
    let (to, places) = (public(&server), places(&mut server));
    // What the first requests need once is not the attackers'.
    send(&mut connect(PROVIDER, to).await, "1").await;
    let before = server.memory();
    let provider = Provider::begin(to);
    let (mut attacks, mut first) = (Vec::new(), 0);
    for (way, count) in attackers {
        attacks.push(Attack::begin(way, count, first, to));
        first += count;
    }
    for attack in attacks {
        attack.check().await;
    }
    provider.end().await;
    let (first_look, peak) = (Instant::now(), server.most_memory());
    // Allocators give back after a while; the system's does not at all.
    while cfg!(feature = "jemalloc") && server.memory() > before + GROWTH_BYTES {
        let waited = first_look.elapsed();
        assert!(waited < PATIENCE, "of {} MiB there are {} left", mib(peak), mib(server.memory()));
        sleep(Duration::from_millis(500)).await;
    }
    say(&format!(
        "{first} attackers at {places} places; resident before {} MiB, at most {} MiB, {:.1?} later {} MiB",
        mib(before),
        mib(peak),
        first_look.elapsed(),
        mib(server.memory())
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_strangers_are_closed_on_time_and_hold_up_no_pingback() {
    everybody_at_once([
        (Way::Head, 200),
        (Way::Body, 20),
        (Way::BodyWithSecret, 50),
        (Way::Nothing, 700),
        (Way::Livez, 0),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes three minutes; needs 15,000 open files"]
async fn thousands_of_slow_strangers_are_closed_on_time_and_hold_up_no_pingback() {
    everybody_at_once([
        (Way::Head, 2000),
        (Way::Body, 100),
        (Way::BodyWithSecret, 500),
        (Way::Nothing, 5000),
        (Way::Livez, 5000),
    ])
    .await;
}

/// Strangers take every place, and come back at once when they are sent away; the provider comes after them.
async fn strangers_take_every_place(address_of: fn(usize) -> Ipv4Addr) {
    if !may_open(3000) {
        return;
    }
    let data = TempDir::new().unwrap();
    let mut server = start(data.path(), Some(FEW_FILES));
    let (to, places) = (public(&server), places(&mut server));
    let strangers = usize::try_from(places).unwrap() * 3;
    let mut attackers = JoinSet::new();
    for number in 0..strangers {
        attackers.spawn(async move {
            loop {
                attack(Way::Livez, address_of(number), to).await;
                sleep(Duration::from_millis(200)).await;
            }
        });
    }
    // Each of them was there by now.
    sleep(Duration::from_secs(2)).await;
    let provider = Provider::begin(to);
    sleep(Duration::from_secs(5)).await;
    provider.end().await;
    say(&format!("{strangers} strangers who come again at {places} places"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_from_many_addresses_do_not_shut_the_provider_out() {
    strangers_take_every_place(|number| {
        let [high, low] = u16::try_from(number / 64).unwrap().to_be_bytes();
        Ipv4Addr::new(127, 2, high, low + 1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_at_one_address_does_not_shut_the_provider_out() {
    strangers_take_every_place(|_| Ipv4Addr::new(127, 3, 0, 1)).await;
}
