//! A PostgreSQL server for one test, which may restart it.
//!
//! Included with `#[path]` beside `postgres`.

use tokio::time::timeout;

use super::postgres::{FORGETFUL, PATIENCE, Server};

/// What a crash of the machine would cost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Durability {
    /// Everything: nothing waits for the disk.
    Off,
    /// Nothing, as in production.
    On,
}

/// How a server ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shutdown {
    /// Transactions are rolled back and clients told.
    Fast,
    /// As in a crash: it recovers at its next start.
    Immediate,
}

impl Shutdown {
    fn mode(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

/// A server that was started here; it ends when dropped. Its port stays the same. Its user `postgres` needs no
/// password, and may have any.
pub(crate) struct Cluster {
    server: Server,
}

impl Cluster {
    /// `None` where there is no PostgreSQL, as with `postgres::database`.
    ///
    /// # Panics
    /// When there is none and `CI=true`, or when it fails.
    pub(crate) async fn start(durability: Durability) -> Option<Self> {
        let settings: &[&str] = match durability {
            Durability::Off => FORGETFUL,
            Durability::On => &[],
        };
        let server = Server::start(settings).await.unwrap_or_else(|error| panic!("{error}"))?;
        Some(Self { server })
    }

    /// Makes an empty database; its URL.
    pub(crate) async fn create_database(&self) -> String {
        self.server.create_database().await
    }

    /// Ends it and starts it again; until then nobody listens.
    pub(crate) async fn restart(&self, shutdown: Shutdown) {
        self.control(&format!("-l log -m {} restart", shutdown.mode())).await;
    }

    /// Ends it; until `start_again` connections are refused.
    pub(crate) async fn stop(&self, shutdown: Shutdown) {
        self.control(&format!("-m {} stop", shutdown.mode())).await;
    }

    /// Starts it after `stop`; whoever connects afterwards is served.
    pub(crate) async fn start_again(&self) {
        self.control("-l log start").await;
    }

    /// Ends every client's connection but the one that does so; how many those were. They are gone afterwards, but
    /// there may be others already.
    pub(crate) async fn terminate_backends(&self) -> usize {
        // Not a condition: it might be tried before those that spare this connection.
        const END: &str = "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
                           WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        const LEFT: &str = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1)";
        let mut connection = self.server.connect().await;
        let end = async {
            let ended: Vec<i32> = sqlx::query_scalar(END).fetch_all(&mut connection).await?;
            while sqlx::query_scalar::<_, i64>(LEFT).bind(&ended).fetch_one(&mut connection).await? > 0 {}
            Ok::<_, sqlx::Error>(ended.len())
        };
        timeout(PATIENCE, end).await.expect("they end in time").expect("the server answers")
    }

    async fn control(&self, action: &str) {
        let done = self.server.run(&format!("pg_ctl -D $data -w -t 30 {action}")).await;
        done.unwrap_or_else(|error| panic!("{error}"));
    }
}
