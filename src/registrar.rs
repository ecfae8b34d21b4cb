//! Keeps our pingback URL registered: the provider sends answers only to URLs that it knows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::account::{Account, RESERVE, Registration, Unanswered, remedy};
use crate::model::{Gate, Remedy, Script, Secret, Timestamp};
use crate::provider::{PingbackUrl, Question, Reply, Secrets, Shape, explain};
use crate::store::Store;

/// First pause after a try that brought nothing; it doubles up to [`INTERVAL`].
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Between looks at the list of URLs. Each is a request to `res.php`, which are rationed.
const INTERVAL: Duration = Duration::from_secs(600);
/// How long a new secret is stored before tasks are sent with it: every replica reads the secrets once a second, and
/// each of them may get the answers. One that could not read them for so long says so to whom it does not know.
const KNOWN_TO_ALL: Duration = Duration::from_secs(3);
/// How long a retired URL stays after its last task is done: pingbacks may come late.
const GRACE: Duration = Duration::from_secs(900);

/// Keeps our URL registered, puts a new one in its place when that is wanted, and takes old ones away
/// when their tasks are done. URLs that others added are left alone.
pub(crate) struct Registrar {
    pub(crate) account: Account,
    pub(crate) store: Store,
    /// Whether to register it; else an operator does.
    pub(crate) is_wanted: bool,
}

impl Registrar {
    /// Looks after the registration until `shutdown`.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        let mut changes = self.account.changes();
        loop {
            let before = self.account.registration().borrow().clone();
            let Some(state) = shutdown.run_until_cancelled(self.step(&before)).await else { return };
            pause = match &state {
                Registration::Done | Registration::Refused(_) | Registration::Off => INTERVAL,
                _ => pause,
            };
            self.log(&before, &state);
            self.account.set_registration(state).await;
            let wait = pause;
            pause = if wait == INTERVAL { FIRST_PAUSE } else { (pause * 2).min(INTERVAL) };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.account.urls().wanted.notified() => {}
                () = self.resumed(&mut changes) => {}
            }
        }
    }

    /// Waits until an operator ends a stop. What ends by itself is met by the next try.
    async fn resumed(&self, changes: &mut watch::Receiver<u64>) {
        let mut was_stopped = self.account.gate(Script::Res) == Gate::Stopped;
        while changes.changed().await.is_ok() {
            let is_stopped = self.account.gate(Script::Res) == Gate::Stopped;
            if std::mem::replace(&mut was_stopped, is_stopped) && !is_stopped {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// One look, and what follows from it.
    async fn step(&self, before: &Registration) -> Registration {
        let secrets = self.account.urls().secrets();
        let wanted = secrets.next.clone().unwrap_or_else(|| secrets.current.clone());
        let url = self.account.urls().with(wanted).filter(|_| self.is_wanted);
        let Some(url) = url else {
            self.drop_retired().await;
            return Registration::Off;
        };
        let state = match self.register(&url, before).await {
            Ok(state) => state,
            // Only what is urgent is paid for at the moment; the provider had it the last time.
            Err(Unanswered::NoCredit) if *before == Registration::Done => Registration::Done,
            Err(Unanswered::Failed(error)) => Registration::Unreachable(explain(&error)),
            Err(error) => Registration::Unreachable(error.to_string()),
        };
        if state == Registration::Done {
            self.promote(secrets.next).await;
            self.drop_retired().await;
            return state;
        }
        if secrets.next.is_some() && *before == Registration::Done {
            // The URL in use is as good as before.
            self.give_up_rotation(&state).await;
            return Registration::Done;
        }
        state
    }

    /// Adds the URL unless it is there.
    async fn register(&self, url: &PingbackUrl, before: &Registration) -> Result<Registration, Unanswered> {
        // A look that only makes sure leaves the last calls to others.
        let reserve = if *before == Registration::Done { RESERVE } else { 0 };
        let list = Question { action: "get_pingback", params: &[], shape: Shape::Value };
        if let Reply::Ok { text, .. } = self.account.ask(&list, reserve).await? {
            if text.split('|').any(|known| url.is_listed_as(known)) {
                return Ok(Registration::Done);
            }
            let is_new = self.account.urls().secrets().next.is_some();
            if *before == Registration::Done && !is_new {
                warn!(%url, "The provider has lost the pingback URL {url}: it is added again");
            }
        }
        let url = url.expose();
        let add = Question { action: "add_pingback", params: &[("addr", &url)], shape: Shape::Value };
        Ok(match self.account.ask(&add, 0).await? {
            Reply::Ok { .. } => Registration::Done,
            Reply::Error(code) if matches!(code.remedy(), Remedy::Request | Remedy::FailTask) => {
                Registration::Refused(code)
            }
            // It is about the account, not the URL.
            Reply::Error(code) => Registration::Unreachable(format!("{code}: {}", code.message())),
            Reply::Cut | Reply::Garbage => {
                Registration::Unreachable("the provider answered with something that is no reply".to_owned())
            }
        })
    }

    /// The provider knows the new URL: tasks are sent with it from now on.
    async fn promote(&self, new: Option<Secret>) {
        let Some(new) = new else { return };
        if self.store.is_shared() {
            tokio::time::sleep(KNOWN_TO_ALL).await;
        }
        let promote = |secrets: &mut Secrets| {
            let next = secrets.next.take_if(|next| next.matches(new.expose()));
            let is_next = next.is_some();
            if let Some(next) = next {
                secrets.rotate(next, Timestamp::now());
            }
            is_next
        };
        match self.account.change_secrets(promote).await {
            Ok(_) => {
                info!("Tasks are sent with the new pingback URL; the old one stays until its tasks are done");
            }
            Err(error) => warn!(%error, "Could not change to the new pingback URL: {error}"),
        }
    }

    /// The provider will not have the new URL: the old one stays.
    async fn give_up_rotation(&self, state: &Registration) {
        let Registration::Refused(_) = state else { return };
        error!("The pingback URL could not be changed: the registration of the new one is {state}");
        if let Err(error) = self.account.change_secrets(|secrets| secrets.next.take().is_some()).await {
            warn!(%error, "Could not store that the pingback URL stays: {error}");
        }
    }

    /// Takes away the oldest URL whose tasks are done.
    async fn drop_retired(&self) {
        let Some(old) = self.account.urls().secrets().retired.into_iter().next() else { return };
        if Timestamp::now().since(old.since) < GRACE
            || self.store.has_open_tasks_from_before(old.since).await.unwrap_or(true)
        {
            return;
        }
        let url = self.account.urls().with(old.secret.clone()).filter(|_| self.is_wanted);
        if let Some(url) = url {
            let url = url.expose();
            let delete = Question { action: "del_pingback", params: &[("addr", &url)], shape: Shape::Value };
            let is_gone = match self.account.ask(&delete, RESERVE).await {
                Ok(Reply::Ok { .. }) => true,
                // It was not there.
                Ok(Reply::Error(code)) => matches!(code.remedy(), Remedy::Request | Remedy::FailTask),
                _ => false,
            };
            if !is_gone {
                return;
            }
        }
        let forget = |secrets: &mut Secrets| {
            secrets.retired.retain(|retired| !retired.secret.matches(old.secret.expose()));
            true
        };
        match self.account.change_secrets(forget).await {
            Ok(_) => info!("A pingback URL from before a rotation is gone: its tasks are done"),
            Err(error) => warn!(%error, "Could not forget an old pingback URL: {error}"),
        }
    }

    /// Once per change.
    fn log(&self, before: &Registration, after: &Registration) {
        if before == after {
            return;
        }
        let Some(url) = self.account.urls().current() else { return };
        match after {
            Registration::Done => info!(%url, "The pingback URL is registered: {url}"),
            Registration::Refused(code) => {
                let remedy = remedy(code);
                error!(
                    %url,
                    code = code.as_str(),
                    "The provider refuses the pingback URL {url} with {code}: {remedy}. Until then answers are \
                     asked for"
                );
            }
            other => warn!(%url, "Could not register the pingback URL {url}: {other}"),
        }
    }
}
