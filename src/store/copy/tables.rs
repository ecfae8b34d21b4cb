//! The tables that a deployment is in, and the statements that are made of them.

use super::marker;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Text,
    Bytes,
}

/// A table that both databases have.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// So many of the first columns are its key.
    pub(super) key: usize,
    pub(super) columns: &'static [(&'static str, Kind)],
}

const fn number(name: &'static str) -> (&'static str, Kind) {
    (name, Kind::Number)
}

const fn text(name: &'static str) -> (&'static str, Kind) {
    (name, Kind::Text)
}

const fn bytes(name: &'static str) -> (&'static str, Kind) {
    (name, Kind::Bytes)
}

/// Every table of `migrations/sqlite`, each behind those that it refers to. A test holds it against the migrations.
#[rustfmt::skip]
pub(super) const TABLES: &[Table] = &[
    Table { name: "memory", key: 1, columns: &[text("name"), text("value")] },
    Table { name: "token", key: 1, columns: &[
        number("id"), text("name"), bytes("digest"), text("scopes"), number("created_at"), number("last_used_at"),
    ] },
    Table { name: "task", key: 1, columns: &[
        number("id"), number("owner"), text("type"), text("status"), text("tag"), number("priority"), text("params"),
        text("captcha_id"), text("answer"), text("error"), text("via"), text("price"), number("price_estimated"),
        number("attempts"), number("doubtful"), text("reason"), text("extra"), number("created_at"), number("sent_at"),
        number("submitted_at"), number("answered_at"), number("expires_at"), number("due_at"), number("erased"),
        text("callback_url"), text("callback_receiver"), text("webhook_url"), text("webhook_receiver"),
    ] },
    Table { name: "task_file", key: 2, columns: &[number("task_id"), number("position"), text("field"), bytes("content")] },
    Table { name: "pingback", key: 1, columns: &[
        number("id"), text("captcha_id"), number("task_id"), text("code"), text("outcome"), text("price"), text("extra"),
        number("received_at"),
    ] },
    Table { name: "idempotency", key: 2, columns: &[
        number("owner"), text("key"), bytes("digest"), number("task_id"), number("created_at"),
    ] },
    Table { name: "task_token", key: 1, columns: &[text("digest"), number("task_id")] },
    Table { name: "report", key: 1, columns: &[
        number("task_id"), text("captcha_id"), text("verdict"), text("reply"), number("recorded"), number("created_at"),
        number("expires_at"), number("ended_at"),
    ] },
    Table { name: "credit", key: 1, columns: &[text("account"), number("calls"), number("refusals")] },
    Table { name: "hold", key: 2, columns: &[
        text("account"), text("script"), text("cause"), number("since"), number("until"), number("repeats"),
    ] },
    Table { name: "spend", key: 2, columns: &[
        number("day"), text("type"), number("tasks"), number("nanos"), number("estimated"),
    ] },
    Table { name: "pingback_url", key: 1, columns: &[text("url"), number("added_at")] },
    Table { name: "caller_url", key: 1, columns: &[
        number("id"), number("owner"), text("url"), text("target"), number("added_at"),
    ] },
    Table { name: "signing_secret", key: 1, columns: &[
        number("owner"), text("secret"), text("old_secret"), number("old_until"),
    ] },
    Table { name: "webhook", key: 1, columns: &[
        number("id"), number("owner"), number("sees_all"), text("url"), text("receiver"), text("types"), text("secret"),
        text("old_secret"), number("old_until"), number("created_at"), number("disabled_at"), text("disabled_why"),
    ] },
    Table { name: "event", key: 1, columns: &[
        number("id"), text("type"), number("time"), number("owner"), number("task_id"), number("pingback_id"),
        text("captcha_id"), number("attempts"), number("submitted_at"),
    ] },
    Table { name: "delivery", key: 1, columns: &[
        number("id"), text("type"), number("task_id"), number("event_id"), number("webhook_id"), number("owner"),
        text("url"), text("receiver"), text("status"), number("attempts"), number("last_status"), text("last_error"),
        number("created_at"), number("started_at"), number("planned_at"), number("due_at"), number("ended_at"),
        number("claimed_until"),
    ] },
];

/// Names in quotes, with commas between them.
fn quoted(columns: &[(&'static str, Kind)]) -> String {
    columns.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// `$first, …`, so many.
fn places(first: usize, count: usize) -> String {
    (first..first + count).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ")
}

impl Table {
    /// Every row but the one that says that a copy is under way.
    fn rows(&self) -> String {
        match self.name {
            "memory" => format!("FROM \"memory\" WHERE name <> '{}'", marker::NAME),
            name => format!("FROM \"{name}\" WHERE 1 = 1"),
        }
    }

    /// The rows behind a key, if there is one, in the order of their keys; at most so many as the last place says.
    pub(super) fn page(&self, is_first: bool) -> String {
        let (all, key) = (quoted(self.columns), quoted(&self.columns[..self.key]));
        let rows = self.rows();
        if is_first {
            return format!("SELECT {all} {rows} ORDER BY {key} LIMIT $1");
        }
        let (after, limit) = (places(1, self.key), self.key + 1);
        format!("SELECT {all} {rows} AND ({key}) > ({after}) ORDER BY {key} LIMIT ${limit}")
    }

    /// The same up to a key, which is included.
    pub(super) fn range(&self, is_first: bool) -> String {
        let (all, key) = (quoted(self.columns), quoted(&self.columns[..self.key]));
        let (rows, through) = (self.rows(), places(1, self.key));
        if is_first {
            let limit = self.key + 1;
            return format!("SELECT {all} {rows} AND ({key}) <= ({through}) ORDER BY {key} LIMIT ${limit}");
        }
        let (after, limit) = (places(self.key + 1, self.key), 2 * self.key + 1);
        format!(
            "SELECT {all} {rows} AND ({key}) <= ({through}) AND ({key}) > ({after}) ORDER BY {key} LIMIT ${limit}"
        )
    }

    /// The row with the greatest key.
    pub(super) fn last(&self) -> String {
        let key = &self.columns[..self.key];
        let downwards: Vec<_> = key.iter().map(|(name, _)| format!("\"{name}\" DESC")).collect();
        format!("SELECT {} {} ORDER BY {} LIMIT 1", quoted(self.columns), self.rows(), downwards.join(", "))
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> String {
        format!("SELECT COUNT(*) {}", self.rows())
    }

    /// Takes one array for each column.
    pub(super) fn insert(&self) -> String {
        let array = |(at, (_, kind)): (usize, &(&str, Kind))| match kind {
            Kind::Number => format!("${}::bigint[]", at + 1),
            Kind::Text => format!("${}::text[]", at + 1),
            Kind::Bytes => format!("${}::bytea[]", at + 1),
        };
        let arrays: Vec<_> = self.columns.iter().enumerate().map(array).collect();
        let (name, columns) = (self.name, quoted(self.columns));
        format!("INSERT INTO \"{name}\" ({columns}) SELECT * FROM UNNEST({})", arrays.join(", "))
    }
}

/// The names of all tables, in quotes, with commas between them.
pub(super) fn names() -> String {
    TABLES.iter().map(|table| format!("\"{}\"", table.name)).collect::<Vec<_>>().join(", ")
}
