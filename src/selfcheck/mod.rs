//! Whether the service is where its callers and the provider are told that it is: it calls itself by the public URL,
//! and looks at the disk that it works on.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `key` | how a call of our own is known, and its answer |
//! | `visit` | one call, and what came of it |
//! | `failure` | why there was no reply |
//! | `disk` | the room on a disk |

mod disk;
mod failure;
mod key;
mod visit;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};
use url::Url;

pub(crate) use disk::Room;
pub(crate) use key::CheckKey;
pub(crate) use visit::Finding;

use self::disk::Disk;
use self::visit::Visitor;
use crate::provider::PingbackUrl;

/// How long a finding counts, and how far apart calls and looks are: whoever asks often has us send no more.
const FRESH: Duration = Duration::from_secs(5);

/// What looks after the service from outside.
pub(crate) struct SelfCheck {
    visitor: Visitor,
    /// Held by the one caller for whom a call is made; the others wait for what it finds.
    last: Mutex<Last>,
    /// Where the file of the database is; `None` when a server has it.
    disk: Option<Disk>,
}

/// The last call.
enum Last {
    Never,
    /// It was broken off, because its caller left.
    Begun(Instant),
    Done(Instant, Finding),
}

impl SelfCheck {
    /// One for a service with this public URL, if it has any, and the file of its database in this folder.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub(crate) fn new(
        key: CheckKey,
        base_url: Option<&Url>,
        folder: Option<PathBuf>,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            visitor: Visitor::new(key, base_url)?,
            last: Mutex::new(Last::Never),
            disk: folder.map(Disk::new),
        })
    }

    /// Where the URL leads, as it was found within the last 5 s.
    pub(crate) async fn visit(&self, url: &PingbackUrl) -> Finding {
        let mut last = self.last.lock().await;
        match &*last {
            Last::Done(at, finding) if at.elapsed() < FRESH => return finding.clone(),
            Last::Begun(at) => sleep_until(*at + FRESH).await,
            Last::Never | Last::Done(..) => {}
        }
        *last = Last::Begun(Instant::now());
        let finding = self.visitor.visit(url).await;
        *last = Last::Done(Instant::now(), finding.clone());
        finding
    }

    /// The room on the disk of the database, as it was found within the last 5 s; `None` when a server has it, or the
    /// system does not tell.
    pub(crate) async fn room(&self) -> Option<Room> {
        self.disk.as_ref()?.room().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::time::sleep;

    use super::*;
    use crate::model::Secret;

    #[tokio::test]
    async fn a_call_that_was_broken_off_is_not_made_again_at_once() {
        drop(rustls::crypto::ring::default_provider().install_default());
        // It answers nobody.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let key = CheckKey::of(&Secret::new("key"));
        let selfcheck = SelfCheck::new(key, Some(&url), None).unwrap();
        let url = PingbackUrl::new(url, Secret::new("secret"));
        tokio::select! {
            found = selfcheck.visit(&url) => panic!("{found:?}"),
            called = listener.accept() => drop(called.unwrap()),
        }
        tokio::select! {
            found = selfcheck.visit(&url) => panic!("{found:?}"),
            _ = listener.accept() => panic!("it is called again"),
            () = sleep(FRESH / 10) => {}
        }
    }
}
