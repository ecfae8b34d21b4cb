//! What other replicas have committed, as the database tells it at once. A hint: what is told while the connection is
//! lost is not told again.

use std::str::FromStr;

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::{Duration, timeout};

use super::{Store, StoreError};

/// Where migrations tell of changes.
const CHANNEL: &str = "pingbox";
/// How long it may take to begin to listen, and to reply to whether the connection is still there.
const DEADLINE: Duration = Duration::from_secs(10);
/// After so long in silence that is asked.
const SILENCE: Duration = Duration::from_secs(30);

/// What there is to read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// New events.
    Events,
    /// Pauses, secrets, or the state of the registration.
    Account,
    /// Who may call.
    Tokens,
    /// Reports, new or ended.
    Reports,
}

impl FromStr for Topic {
    type Err = ();

    fn from_str(payload: &str) -> Result<Self, ()> {
        match payload {
            "events" => Ok(Self::Events),
            "account" => Ok(Self::Account),
            "tokens" => Ok(Self::Tokens),
            "reports" => Ok(Self::Reports),
            _ => Err(()),
        }
    }
}

/// A connection that listens.
pub(crate) struct Listener {
    listener: PgListener,
}

impl Store {
    /// Begins to listen; `None` where nobody else writes.
    pub(crate) async fn listen(&self) -> Result<Option<Listener>, StoreError> {
        let Some(options) = &self.listen_options else { return Ok(None) };
        let pool: PgPool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options.expose());
        let begin = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(Some(Listener { listener }))
        };
        timeout(DEADLINE, begin).await.unwrap_or(Err(StoreError::Failed(sqlx::Error::PoolTimedOut)))
    }
}

impl Listener {
    /// What is told next; `None` when the connection is lost.
    pub(crate) async fn next(&mut self) -> Result<Option<Topic>, StoreError> {
        loop {
            let Ok(told) = timeout(SILENCE, self.listener.try_recv()).await else {
                let asked = timeout(DEADLINE, sqlx::query("SELECT 1").execute(&mut self.listener)).await;
                match asked {
                    Ok(Ok(_)) => continue,
                    Ok(Err(_)) | Err(_) => return Ok(None),
                }
            };
            match told? {
                None => return Ok(None),
                Some(told) => {
                    // A newer version may tell of more.
                    if let Ok(topic) = told.payload().parse() {
                        return Ok(Some(topic));
                    }
                }
            }
        }
    }
}
