//! Every figure that there is: the one table behind what is sent and behind `docs/metrics.md`.

/// A figure, or several that differ by their labels.
#[derive(Debug)]
pub(super) struct Metric {
    /// Without `pingbox_`, and without what its kind adds to it.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    /// What it says, without a full stop.
    pub(super) help: &'static str,
}

/// How a figure moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows, from the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Spans of time in seconds, by how long they were.
    Histogram,
    /// Always 1: what it says is in its labels.
    Info,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    /// What the names of its samples end with.
    pub(super) const fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["_total"],
            Self::Gauge => &[""],
            Self::Histogram => &["_bucket", "_sum", "_count"],
            Self::Info => &["_info"],
        }
    }
}

/// Makes one constant of each figure, and the list of all.
macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $constant: Metric =
            Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*
        /// All of them, in the order in which they are sent.
        pub(super) const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    BUILD: Info "build" ["version"] "Which version runs";
    START_TIME: Gauge "start_time_seconds" [] "When the process started, in seconds since 1970";
    PINGBACKS: Counter "pingbacks" ["outcome"] "Pingbacks with a valid secret, by what came of them: answer and failure settled a task; notice is about the account; repeated, late (differs from how its task ended) and unmatched settled none; malformed, overloaded (the queue was full) and not_stored were not taken";
    PINGBACK_COMMIT: Histogram "pingback_commit_seconds" [] "From a pingback that was read to its commit, after which its sender hears 200";
    UNMATCHED_RECEIVED: Counter "unmatched_received" [] "Pingbacks that were kept because no task has their captcha ID";
    UNMATCHED_DROPPED: Counter "unmatched_dropped" [] "Those of them that went because there were too many";
    TASKS_CREATED: Counter "tasks_created" ["type"] "Tasks that were submitted";
    TASKS_ENDED: Counter "tasks_ended" ["type", "outcome"] "Tasks that ended: solved, failed, expired, cancelled";
    TASKS_OPEN: Gauge "tasks_open" ["status"] "Tasks that have not ended, of all replicas: queued, submitting, submitted, unconfirmed. At most 100,000 of each are counted";
    OUTCOMES: Counter "outcomes" ["via"] "Outcomes that the provider gave, by how they came: by pingback, or because they were asked for (reconcile)";
    SOLVE: Histogram "solve_seconds" ["type"] "From the captcha's submission to its answer, of tasks that a pingback solved; types of which none were submitted are left out";
    COMMITS: Counter "commits" ["outcome"] "Transactions of the writer: stored, failed";
    COMMIT: Histogram "commit_seconds" [] "How long transactions took that were stored";
    WRITES: Counter "writes" [] "Writes that were stored: divided by commits, how many shared a transaction";
    WRITE_QUEUE: Gauge "write_queue_length" [] "Writes that wait for the writer";
    WRITE_QUEUE_LIMIT: Gauge "write_queue_limit" [] "Writes that may wait now: beyond it, pingbacks and submissions get 503. Fewer than 4096 while more comes in than is written";
    STORAGE_FAULT: Gauge "storage_fault" ["access", "fault"] "1 for what keeps the database from being read or written; none while all is well";
    WAITERS: Gauge "waiters" ["for"] "Callers that wait: for tasks to end, for in.php (sending), for answers by captcha ID, for events. Who waits for several tasks counts for each";
    CONNECTIONS: Gauge "connections" ["listener"] "Open connections";
    CONNECTIONS_LIMIT: Gauge "connections_limit" ["listener"] "Connections that the listener takes at the moment. Some places are for whoever comes first to either, so this is less while the other one holds them";
    REQUESTS: Counter "http_requests" ["route", "status"] "Replies of the api listener, by part of the API and class of status";
    WRONG_TOKENS: Counter "wrong_tokens" [] "Requests to the api listener with a token that is none";
    DELIVERIES: Counter "deliveries" ["outcome"] "Attempts to tell receivers of callers: delivered, retried (failed, and tried again later), dead (given up)";
    DELIVERIES_WAITING: Gauge "deliveries_waiting" [] "Messages that wait for their delivery, of all replicas. At most 100,000 are counted";
    RETIRED: Counter "retired" ["what"] "What retention erased (answers) or deleted";
    PROVIDER_REQUESTS: Counter "provider_requests" ["script", "action", "outcome"] "Requests to the provider, by what came of them: ok, its code, or why there was no reply";
    BACKOFF: Gauge "backoff_seconds" ["script", "code"] "How long the provider is left alone, by script and cause; -1 until an operator has acted; none while it is called";
    CALL_CREDIT: Gauge "call_credit" [] "Calls of res.php that are left";
    REFUSAL_CREDIT: Gauge "refusal_credit" [] "Replies of ERROR_NO_SLOT_AVAILABLE that are left";
    REGISTRATION: Gauge "registration" ["state"] "1 for how our pingback URL stands at the provider: pending, off, registered, refused, unreachable";
    POLLING: Gauge "polling" [] "1 while answers are asked for because no pingbacks come";
    BALANCE: Gauge "balance" [] "What was on the account when a caller last had the provider asked (GET /v1/account), in its currency; none before";
    BALANCE_TIME: Gauge "balance_time_seconds" [] "When that was, in seconds since 1970";
    SPENT_TODAY: Gauge "spent_today" ["type"] "What the day's answers cost (UTC), in the account's currency, of all replicas";
    SPEND_LIMIT: Gauge "spend_limit" [] "spend.daily_limit; none where there is none";
    LEADS: Gauge "leads" [] "1 while this process calls the provider, and looks after what is old: always, unless replicas share its database";
    HEARS_OTHERS: Gauge "hears_others" [] "1 while what other replicas do is heard at once; else it is seen within a second. None where there are none";
}

/// The names of all samples, as they are sent.
pub(crate) fn names() -> Vec<String> {
    let names = |metric: &Metric| {
        let name = metric.name;
        metric.kind.endings().iter().map(move |ending| format!("pingbox_{name}{ending}")).collect::<Vec<_>>()
    };
    ALL.iter().flat_map(names).collect()
}

/// The table of `docs/metrics.md`.
pub(crate) fn in_markdown() -> String {
    let mut lines =
        vec!["| name | kind | labels | what it says |".to_owned(), "| --- | --- | --- | --- |".to_owned()];
    for Metric { name, kind, labels, help } in ALL {
        let ending = if *kind == Kind::Histogram { "" } else { kind.endings()[0] };
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (kind.as_str(), labels.join(", "));
        lines.push(format!("| `pingbox_{name}{ending}` | {kind} | {labels} | {help} |"));
    }
    lines.join("\n")
}
