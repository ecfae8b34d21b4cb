//! Reads all of a file, to learn whether it is damaged, while nobody waits for that.

use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Between two looks at a file that is damaged.
const PAUSE: Duration = Duration::from_secs(5);

/// A look at the file, beside whoever is told meanwhile that it is damaged. It ends with its owner.
#[derive(Debug, Default)]
pub(super) struct Inspection {
    running: Option<JoinHandle<Result<bool, sqlx::Error>>>,
    next: Option<Instant>,
}

impl Inspection {
    /// Whether the look that was begun before has ended and found nothing; begins one if it is time.
    pub(super) async fn finds_it_sound(&mut self, options: &SqliteConnectOptions) -> bool {
        if let Some(ended) = self.running.take_if(|running| running.is_finished()) {
            self.next = Some(Instant::now() + PAUSE);
            // A look that failed has found out nothing.
            return matches!(ended.await, Ok(Ok(true)));
        }
        if self.running.is_none() && self.next.is_none_or(|next| next <= Instant::now()) {
            self.running = Some(tokio::spawn(is_sound(options.clone().read_only(true))));
        }
        false
    }
}

impl Drop for Inspection {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

async fn is_sound(options: SqliteConnectOptions) -> Result<bool, sqlx::Error> {
    let mut reader = options.connect().await?;
    let found = sqlx::query("PRAGMA quick_check(1)").fetch_one(&mut reader).await?;
    let is_sound = found.try_get::<&str, _>(0)? == "ok";
    reader.close().await?;
    Ok(is_sound)
}
