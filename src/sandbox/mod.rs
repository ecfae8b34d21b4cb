//! The emulated provider: `in.php` and `res.php` to the letter of the API document, with invented
//! answers, knobs to make it misbehave, and a control endpoint.
//!
//! It shares nothing with the rest of the crate but ids, times and secrets: requests are decoded, checked
//! and answered by code of its own, so that it can catch the mistakes of the other side.
//!
//! All is kept in memory, and bounded: captchas for 30 minutes and up to 200,000, the last 10,000
//! requests, 100 pingback URLs, digests of 1,000 wrong keys.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `request`, `call`, `reply`, `broken` | the wire: parameters in any encoding; text, JSON, error codes |
//! | `submit`, `captcha`, `hints`, `image`, `proxy` | `in.php`, and what each captcha type is checked for |
//! | `result` | `res.php` |
//! | `state`, `task`, `account`, `limits`, `registry`, `journal` | what is remembered, behind one lock |
//! | `answers` | answers from a file, or made up |
//! | `question`, `typed` | what a person is shown who solves captchas by hand, and what is made of what was typed |
//! | `outbox`, `deliver` | the pingbacks |
//! | `rules` | what the client should have done otherwise |
//! | `knobs`, `fate`, `random` | what goes wrong, and how often |
//! | `control` | the endpoint for users and tests |

mod account;
mod answers;
mod broken;
mod call;
mod captcha;
mod control;
mod deliver;
mod fate;
mod hints;
mod image;
mod journal;
mod knobs;
mod limits;
mod outbox;
mod proxy;
mod question;
mod random;
mod registry;
mod reply;
mod request;
mod result;
mod rules;
mod state;
mod submit;
mod task;
mod typed;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::routing::get;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use account::{Amount, InvalidAmount};
pub use answers::{Answers, AnswersError};
pub use journal::{LoggedRequest, LoggedValue};
pub use knobs::{InvalidShare, Knobs, Share};
pub use question::{AnswerShape, Picture, Question};
pub use registry::{InvalidRegistration, Registration};
pub use rules::{BrokenRule, Usage};
pub use state::Counters;
pub use typed::NotTyped;

use crate::model::{CaptchaId, Secret, Timestamp};
use deliver::Clients;
use state::State;
use task::Outcome;

/// The key of the emulated account unless another is set. It opens nothing else.
pub const DEFAULT_KEY: &str = "5a4db0c5a4db0c5a4db0c5a4db0c0001";

/// How an emulation starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The one key that it accepts, 32 characters.
    pub key: Secret,
    /// The answers that are known beforehand.
    pub answers: Answers,
    /// How it behaves, until the knobs are turned.
    pub knobs: Knobs,
    /// A listener of this very process. Nobody is in between, so its certificate is not looked at when
    /// it is called as `localhost` or by its address.
    pub own: Option<SocketAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            key: Secret::new(DEFAULT_KEY),
            answers: Answers::default(),
            knobs: Knobs::default(),
            own: None,
        }
    }
}

/// Why an emulation cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A key of the provider's kind has 32 characters.
    #[error("the key must have 32 characters")]
    Key,
    /// The operating system gives no randomness.
    #[error("no randomness for captcha ids")]
    Randomness(#[from] getrandom::Error),
    /// The HTTP client for pingbacks cannot be set up.
    #[error("cannot set up the client for pingbacks")]
    Client(#[from] reqwest::Error),
}

/// Why a captcha cannot be solved by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SolveError {
    /// No captcha has this id.
    #[error("no such captcha")]
    Unknown,
    /// It has an answer, or has failed.
    #[error("the captcha is finished")]
    Finished,
    /// The answer is empty or longer than 4096 bytes.
    #[error("an answer has 1 to 4096 bytes")]
    Answer,
}

/// One emulated provider with one account. Clones share it.
#[derive(Clone, Debug)]
pub struct Sandbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    answers: Answers,
    clients: Clients,
    /// Never held over an await.
    state: Mutex<State>,
    /// Something is due earlier than before.
    wake: Notify,
    /// Deliveries have ended, so requests that hang may go.
    stopped: CancellationToken,
}

impl Sandbox {
    /// An emulation that accepts captchas, once it is served. Pingbacks need [`Sandbox::run`].
    ///
    /// # Errors
    /// When the key has no 32 characters, or the system gives no randomness or no HTTP client.
    pub fn new(settings: Settings) -> Result<Self, SandboxError> {
        if settings.key.expose().chars().count() != 32 {
            return Err(SandboxError::Key);
        }
        Ok(Self(Arc::new(Shared {
            answers: settings.answers,
            clients: Clients::new(settings.own)?,
            state: Mutex::new(State::new(settings.key, settings.knobs)?),
            wake: Notify::new(),
            stopped: CancellationToken::new(),
        })))
    }

    /// `/in.php`, `/res.php` and the control endpoint below `/sandbox`. The caller's address is expected
    /// among the request's extensions as a [`std::net::SocketAddr`]; without one it is 127.0.0.1.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/in.php", get(submit::in_php).post(submit::in_php))
            .route("/res.php", get(result::res_php).post(result::res_php))
            .merge(control::router())
            .with_state(self.clone())
    }

    /// The knobs as they stand, the balance being what is left on the account.
    #[must_use]
    pub fn knobs(&self) -> Knobs {
        self.state().knobs()
    }

    /// Turns all knobs, and sets the balance. Captchas taken before keep their fate.
    pub fn set_knobs(&self, knobs: Knobs) {
        self.state().set_knobs(knobs);
    }

    /// What happened since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state().counters
    }

    /// The rules of the provider that the client broke since the start, whether there are limits or not;
    /// none if it behaved.
    #[must_use]
    pub fn broken_rules(&self) -> Vec<BrokenRule> {
        self.state().rules.broken()
    }

    /// How many requests to `res.php` were made, and how many may be.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.state().rules.usage()
    }

    /// The last 10,000 requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.requests_after(0)
    }

    /// Those with a number above `number`.
    #[must_use]
    pub fn requests_after(&self, number: u64) -> Vec<LoggedRequest> {
        self.state().journal.after(number)
    }

    /// The captchas that are not finished, oldest first.
    #[must_use]
    pub fn pending(&self) -> Vec<CaptchaId> {
        let mut state = self.state();
        state.advance(Timestamp::now());
        state.tasks.waiting().filter_map(|id| id.to_string().parse().ok()).collect()
    }

    /// Ends a captcha that waits, at once: with this answer, or, if the text is an `ERROR_…` code, with
    /// that failure. Its pingback follows as planned.
    ///
    /// # Errors
    /// When no captcha with this id waits, or the answer is empty or too long.
    pub fn solve(&self, id: &CaptchaId, answer: &str) -> Result<(), SolveError> {
        if answer.is_empty() || answer.len() > answers::MAX_ANSWER_BYTES {
            return Err(SolveError::Answer);
        }
        let id: u64 = id.as_str().parse().map_err(|_| SolveError::Unknown)?;
        let now = Timestamp::now();
        let mut state = self.state();
        state.advance(now);
        if state.tasks.get_mut(id).ok_or(SolveError::Unknown)?.finished {
            return Err(SolveError::Finished);
        }
        if let Some(pingback) = state.finish(id, Some(Outcome::from_text(answer.to_owned())), now) {
            state.post(pingback);
        }
        self.0.wake.notify_one();
        Ok(())
    }

    /// Ends a captcha that waits as unsolvable, at once.
    ///
    /// # Errors
    /// When no captcha with this id waits.
    pub fn give_up(&self, id: &CaptchaId) -> Result<(), SolveError> {
        self.solve(id, reply::Code::UNSOLVABLE.as_str())
    }

    /// Whether captchas wait for a person from now on, in place of an answer that is made up. Those taken before are
    /// solved as they were to be.
    pub fn set_by_hand(&self, by_hand: bool) {
        self.state().knobs.by_hand = by_hand;
    }

    /// The captchas that wait for a person, oldest first.
    #[must_use]
    pub fn questions(&self) -> Vec<(CaptchaId, Arc<Question>)> {
        let mut state = self.state();
        state.advance(Timestamp::now());
        let questions = state.questions.iter();
        questions
            .filter_map(|(id, question)| Some((id.to_string().parse().ok()?, Arc::clone(question))))
            .collect()
    }

    /// What a person is asked by this captcha, while it waits for one.
    #[must_use]
    pub fn question(&self, id: &CaptchaId) -> Option<Arc<Question>> {
        self.state().questions.get(id.as_str().parse().ok()?).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock would be a bug; what it left is still the best there is.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
