//! `in.php`: takes captchas.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;

use super::account::price;
use super::answers::Answers;
use super::call::{Call, Script, Stop};
use super::captcha::{Captcha, Kind};
use super::fate::{Cut, Fate};
use super::limits::NoSlot;
use super::question::Question;
use super::reply::{Code, Format, Reply, page};
use super::request::Parameters;
use super::state::State;
use super::task::{Outcome, Second, Task};
use super::{Sandbox, broken, deliver::Pingback};
use crate::model::Timestamp;

/// How long workers try, before a captcha is unsolvable.
const GIVE_UP: Duration = Duration::from_secs(90);
/// The same for reCAPTCHA V2.
const GIVE_UP_RECAPTCHA: Duration = Duration::from_mins(5);

/// How long a person may take who solves captchas by hand. It is well within the 15 minutes in which an answer can
/// be read.
const GIVE_UP_BY_HAND: Duration = Duration::from_mins(10);

/// A captcha and its answers, worked out before the state is locked.
pub(super) struct Plan {
    captcha: Captcha,
    answer: String,
    wrong: String,
    /// What a person is to be asked in place of the answer.
    question: Option<Question>,
}

/// A captcha that has an id.
pub(super) struct Taken {
    pub(super) id: u64,
    pub(super) due: Timestamp,
    cut: Option<Cut>,
    /// The pingback that goes out before the reply.
    early: Option<Pingback>,
}

/// `GET` and `POST /in.php`.
pub(super) async fn in_php(Extract(sandbox): Extract<Sandbox>, request: Request) -> Response {
    let mut call = match Call::read(Script::In, request).await {
        Ok(call) => call,
        Err(page) => return page,
    };
    let format = Format::of(&call.parameters);
    let now = Timestamp::now();
    let asked_at = sandbox.state().knobs.by_hand.then_some(now);
    let plan = Plan::of(&call.parameters, &sandbox.0.answers, asked_at);
    let taken = sandbox.state().submit(&mut call, plan, now);
    match taken {
        Ok(taken) => sandbox.hand_over(taken, format).await,
        Err(stop) => sandbox.stop(stop, format).await,
    }
}

impl Plan {
    /// Checks what was sent. With a time, a person is asked for what is not known beforehand.
    ///
    /// # Errors
    /// With the code for the first thing that is wrong with it.
    pub(super) fn of(
        parameters: &Parameters,
        answers: &Answers,
        asked_at: Option<Timestamp>,
    ) -> Result<Self, Code> {
        let captcha = Captcha::parse(parameters)?;
        let known = answers.known(&captcha);
        let asked_at = asked_at.filter(|_| known.is_none());
        let question = asked_at.map(|now| Question::of(parameters, &captcha, now));
        let answer = known.unwrap_or_else(|| Answers::made_up(&captcha));
        if answer == Code::CAPTCHA_IMAGE_BLOCKED.as_str() {
            return Err(Code::CAPTCHA_IMAGE_BLOCKED);
        }
        let wrong = Answers::wrong(&captcha, &answer);
        Ok(Self { captcha, answer, wrong, question })
    }
}

impl State {
    /// Takes a captcha, or says why not.
    pub(super) fn submit(
        &mut self,
        call: &mut Call,
        plan: Result<Plan, Code>,
        now: Timestamp,
    ) -> Result<Taken, Stop> {
        let taken = self.try_submit(call, plan, now);
        match &taken {
            Ok(_) => self.rules.took(),
            Err(stop) => self.rules.stopped(call, stop, now),
        }
        taken
    }

    fn try_submit(
        &mut self,
        call: &mut Call,
        plan: Result<Plan, Code>,
        now: Timestamp,
    ) -> Result<Taken, Stop> {
        let fate = self.admit(call, now)?;
        let cause = match &plan {
            Ok(Plan { captcha: Captcha { kind: Kind::Image { .. } | Kind::Text { .. }, .. }, .. }) => {
                NoSlot::Bid
            }
            _ => NoSlot::Queue,
        };
        if let Some(code) = &self.knobs.code {
            let code = Code::other(code);
            return Err(self.refuse(code, cause, now));
        }
        let plan = plan?;
        let is_too_much = |question| !self.questions.has_room_for(question);
        if fate.no_slot || plan.question.as_ref().is_some_and(is_too_much) {
            return Err(self.refuse(Code::NO_SLOT_AVAILABLE, cause, now));
        }
        if !self.account.reserve(price(&plan.captcha.kind)) {
            return Err(self.refuse(Code::ZERO_BALANCE, cause, now));
        }
        self.limits.count_captcha();
        self.counters.submitted += 1;
        if self.tasks.has_content(&plan.captcha.digest) {
            self.counters.sent_twice += 1;
        }
        Ok(self.take(plan, fate, call.parameters.text("pingback"), now))
    }

    /// Refuses a captcha that is in order, and counts the refusal towards a ban.
    fn refuse(&mut self, code: Code, cause: NoSlot, now: Timestamp) -> Stop {
        if code == Code::NO_SLOT_AVAILABLE {
            self.rules.count_no_slot(cause, now);
            if self.knobs.limits {
                self.limits.count_no_slot(cause, now);
            }
        }
        if code == Code::ZERO_BALANCE {
            self.rules.count_zero_balance(now);
            if self.knobs.limits {
                self.limits.count_zero_balance(now);
            }
        }
        Stop::Refused(code)
    }

    fn take(&mut self, plan: Plan, fate: Fate, pingback: Option<&str>, now: Timestamp) -> Taken {
        let kind = &plan.captcha.kind;
        let question = plan.question.filter(|_| !fate.unsolvable);
        let (give_up, delay) = match (&question, kind) {
            (Some(_), _) => (GIVE_UP_BY_HAND, GIVE_UP_BY_HAND),
            (None, Kind::Recaptcha) => (GIVE_UP_RECAPTCHA, fate.delay),
            (None, _) => (GIVE_UP, fate.delay),
        };
        let outcome = if fate.unsolvable || question.is_some() || delay > give_up {
            Outcome::Failure(Code::UNSOLVABLE)
        } else {
            Outcome::from_text(plan.answer)
        };
        let mut target = pingback.and_then(|url| self.registry.target(url, self.knobs.registration));
        if fate.lost && target.take().is_some() {
            self.counters.pingbacks_lost += 1;
        }
        let second = match (fate.wrong, fate.duplicate) {
            (true, _) => Some(Second::Wrong(plan.wrong)),
            (false, true) => Some(Second::Duplicate),
            (false, false) => None,
        };
        let id = self.tasks.add(Task {
            submitted_at: now,
            digest: plan.captcha.digest,
            is_recaptcha: *kind == Kind::Recaptcha,
            price: price(kind),
            outcome,
            finished: false,
            not_ready_at: None,
            reported: false,
            pingback: target,
            late: fate.late,
            second,
        });
        let early = match question {
            Some(question) => {
                self.questions.add(id, question);
                None
            }
            None if fate.early => self.finish(id, None, now),
            None => None,
        };
        Taken { id, due: now.after(delay.min(give_up)), cut: fate.cut, early }
    }
}

impl Sandbox {
    /// Tells the caller the id, and has the captcha solved in time, but not before that.
    async fn hand_over(&self, taken: Taken, format: Format) -> Response {
        if let Some(pingback) = taken.early {
            self.deliver(pingback).await;
        }
        let clock = Clock { sandbox: self.clone(), id: taken.id, due: taken.due };
        let reply = || format.encode(&Reply::Value(taken.id.to_string()));
        match taken.cut {
            None => reply().map(|body| clock.started_by(body)),
            Some(Cut::Empty) => Body::empty().into_response(),
            Some(Cut::Closed) => broken::closed(),
            Some(Cut::Half) => broken::half(reply()),
        }
    }

    /// The reply to a call that gets no further.
    pub(super) async fn stop(&self, stop: Stop, format: Format) -> Response {
        match stop {
            Stop::Page(status) => page(status),
            Stop::Refused(code) => format.encode(&Reply::Error(code)),
            Stop::Hang => {
                self.0.stopped.cancelled().await;
                broken::closed()
            }
        }
    }
}

/// Starts the time of a captcha when it is dropped.
struct Clock {
    sandbox: Sandbox,
    id: u64,
    due: Timestamp,
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.sandbox.state().tasks.schedule(self.id, self.due);
        self.sandbox.0.wake.notify_one();
    }
}

impl Clock {
    /// A body that starts the clock once the server has taken it, or has given up sending it.
    fn started_by(self, body: Body) -> Body {
        Body::new(body.map_err(move |error| {
            let _kept_as_long_as_the_body = &self;
            error
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;
    use crate::sandbox::knobs::Knobs;
    use crate::sandbox::random::Random;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(0).after(Duration::from_secs(seconds))
    }

    /// The code that a captcha ends with, once it is due, if workers need this long.
    fn code_after(delay: Duration, kind: Kind, due: Timestamp) -> Option<Outcome> {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap();
        let knobs = Knobs { delay_ms, ..Knobs::default() };
        let fate = Fate::draw(&knobs, &mut Random::from_seed(0));
        let mut state = State::new(Secret::new(""), knobs).unwrap();
        let captcha = Captcha { kind, digest: [0; 32] };
        let plan = Plan { captcha, answer: "right".to_owned(), wrong: "wrong".to_owned(), question: None };
        let taken = state.take(plan, fate, None, at(0));
        state.tasks.schedule(taken.id, taken.due);
        state.advance(due);
        let task = state.tasks.get_mut(taken.id).unwrap();
        task.finished.then(|| task.outcome.clone())
    }

    #[test]
    fn workers_give_up_after_90_seconds_and_after_300_on_recaptcha() {
        let slow = Duration::from_hours(1);
        let text = Kind::Text { cyrillic: false };
        let failed = Some(Outcome::Failure(Code::UNSOLVABLE));
        assert_eq!(code_after(slow, text.clone(), at(89)), None);
        assert_eq!(code_after(slow, text.clone(), at(90)), failed);
        assert_eq!(code_after(slow, Kind::Recaptcha, at(299)), None);
        assert_eq!(code_after(slow, Kind::Recaptcha, at(300)), failed);
        let right = Some(Outcome::Answer("right".to_owned()));
        assert_eq!(code_after(Duration::from_secs(90), text, at(90)), right);
    }

    #[test]
    fn a_person_has_ten_minutes_and_is_asked_no_longer() {
        let mut parameters = Parameters::default();
        parameters.add_form(b"textcaptcha=Who+am+I%3F");
        let plan = Plan::of(&parameters, &Answers::default(), Some(at(0))).unwrap();
        let knobs = Knobs { by_hand: true, delay_ms: 0, ..Knobs::default() };
        let fate = Fate::draw(&knobs, &mut Random::from_seed(0));
        let mut state = State::new(Secret::new(""), knobs).unwrap();
        let taken = state.take(plan, fate, None, at(0));
        state.tasks.schedule(taken.id, taken.due);
        state.advance(at(599));
        assert!(state.questions.get(taken.id).is_some());
        state.advance(at(600));
        assert!(state.questions.get(taken.id).is_none());
        assert!(state.tasks.get_mut(taken.id).unwrap().has_failed());
    }
}
