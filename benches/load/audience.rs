//! The readers of the event feed, and the pingbacks of whose events each has to see every one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Bench;
use crate::client::answer_to;
use crate::planned::{Planned, Sender};
use crate::stats::Latencies;
use crate::stream::{Buffer, Stream, Told};

/// Every reader parses one event in so many, and compares its answer; of all of them it looks at the number
/// and the captcha ID.
const PARSED: usize = 1009;
/// How long the server has for the readers before the first pingback.
const SETTLE: Duration = Duration::from_millis(300);
/// How much longer than asked the readers may take.
const GRACE: Duration = Duration::from_secs(30);

/// The pingbacks: their captcha IDs follow each other, and so do their times.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) first_captcha: u64,
    pub(crate) count: usize,
    /// A second.
    pub(crate) rate: u64,
    /// Of the events that they make.
    pub(crate) kind: &'static str,
}

/// What came to the readers.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// From the time at which a pingback should have been written to each reader's read.
    pub(crate) latencies: Latencies,
    /// Reads that brought events.
    pub(crate) reads: u32,
}

impl Plan {
    /// Sends all of it to the first address, and sees that each reader of the second gets all of it.
    pub(crate) async fn run(&self, bench: &Bench, [public, api]: [SocketAddr; 2]) -> anyhow::Result<Heard> {
        let mut streams = Vec::new();
        for _ in 0..bench.args.readers {
            streams.push(Stream::open(api, self.kind).await?);
        }
        let timed = Arc::new(Timed { plan: self.clone(), begin: Instant::now() + SETTLE });
        let sender = Sender::open(public)?;
        let (done, sent) = oneshot::channel();
        let planned = Arc::clone(&timed);
        // If the readers fail, nobody wants to know.
        thread::spawn(move || drop(done.send(sender.send_all(planned.pingbacks()))));
        let buffer = Arc::new(Buffer::new());
        let mut readers = JoinSet::new();
        for stream in streams {
            readers.spawn(Reader::new(&timed).read_all(stream, Arc::clone(&buffer)));
        }
        let all = async {
            let mut all = Heard::default();
            while let Some(reader) = readers.join_next().await {
                let heard = reader??;
                all.latencies.merge(&heard.latencies);
                all.reads += heard.reads;
            }
            anyhow::Ok(all)
        };
        let heard = timeout(SETTLE + bench.seconds() + GRACE, all).await;
        let heard = heard.context("not every reader got every event in time")??;
        sent.await??;
        Ok(heard)
    }
}

/// A plan, from a moment on.
#[derive(Debug)]
struct Timed {
    plan: Plan,
    begin: Instant,
}

impl Timed {
    /// When the pingback with this index is to be sent.
    fn at(&self, index: usize) -> Instant {
        let nanos = u128::try_from(index).unwrap_or(0) * 1_000_000_000 / u128::from(self.plan.rate);
        self.begin + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn pingbacks(&self) -> impl Iterator<Item = Planned> {
        let captchas = self.plan.first_captcha..;
        (0..self.plan.count).zip(captchas).map(|(index, captcha)| Planned { captcha, at: self.at(index) })
    }

    /// Which pingback an event is of.
    fn index(&self, event: Told<'_>) -> Option<usize> {
        let index = usize::try_from(event.captcha()?.checked_sub(self.plan.first_captcha)?).ok()?;
        (index < self.plan.count).then_some(index)
    }
}

/// One who reads all events, and sees that none is missing, comes twice or out of order.
#[derive(Debug)]
struct Reader {
    timed: Arc<Timed>,
    seen: Vec<bool>,
    left: usize,
    last: u64,
    heard: Heard,
}

impl Reader {
    fn new(timed: &Arc<Timed>) -> Self {
        let (seen, left) = (vec![false; timed.plan.count], timed.plan.count);
        Self { timed: Arc::clone(timed), seen, left, last: 0, heard: Heard::default() }
    }

    async fn read_all(mut self, mut stream: Stream, buffer: Arc<Buffer>) -> anyhow::Result<Heard> {
        while self.left > 0 {
            let mut now = None;
            stream.read(&buffer, |event| self.take(event, *now.get_or_insert_with(Instant::now))).await?;
            self.heard.reads += u32::from(now.is_some());
        }
        Ok(self.heard)
    }

    fn take(&mut self, event: Told<'_>, now: Instant) -> anyhow::Result<()> {
        ensure!(event.number > self.last, "event {} came after event {}", event.number, self.last);
        self.last = event.number;
        let index = self.timed.index(event).context("an event of another captcha")?;
        ensure!(!self.seen[index], "the event of pingback {index} came twice");
        self.seen[index] = true;
        self.left -= 1;
        self.heard.latencies.record(now.saturating_duration_since(self.timed.at(index)));
        if index.is_multiple_of(PARSED) {
            self.parse(event, index)?;
        }
        Ok(())
    }

    fn parse(&self, event: Told<'_>, index: usize) -> anyhow::Result<()> {
        let Plan { first_captcha, kind, .. } = self.timed.plan;
        let captcha = first_captcha + u64::try_from(index)?;
        let json: Value = serde_json::from_slice(event.json)?;
        ensure!(json["type"] == kind, "an event of type {}", json["type"]);
        ensure!(json["data"]["answer"]["text"] == answer_to(captcha), "the event of another answer");
        Ok(())
    }
}
