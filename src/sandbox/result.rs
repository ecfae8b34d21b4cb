//! `res.php`: answers, reports, the balance, pingback URLs.

use std::str::FromStr as _;

use axum::extract::{Request, State as Extract};
use axum::response::Response;

use super::Sandbox;
use super::call::{Call, Script, Stop};
use super::registry::Address;
use super::reply::{Code, Format, Reply};
use super::request::Parameters;
use super::state::State;
use super::task::{Outcome, Task};
use crate::model::{CaptchaId, Timestamp};

/// The most ids in one request.
const MAX_IDS: usize = 1000;
/// Complaints are refused past 40 % of the solved captchas, but the first ten are never.
const FREE_COMPLAINTS: u64 = 10;

/// `GET` and `POST /res.php`.
pub(super) async fn res_php(Extract(sandbox): Extract<Sandbox>, request: Request) -> Response {
    let mut call = match Call::read(Script::Res, request).await {
        Ok(call) => call,
        Err(page) => return page,
    };
    let format = Format::of(&call.parameters);
    let admitted = sandbox.state().admit_result(&mut call, Timestamp::now());
    if let Err(stop) = admitted {
        return sandbox.stop(stop, format).await;
    }
    let reply = sandbox.result(&call).await.unwrap_or_else(Reply::Error);
    format.encode(&reply)
}

impl Sandbox {
    async fn result(&self, call: &Call) -> Result<Reply, Code> {
        let parameters = &call.parameters;
        if parameters.is_malformed() {
            return Err(Code::BAD_PARAMETERS);
        }
        for name in ["json", "header_acao"] {
            parameters.flag(name)?;
        }
        let address = || parameters.text("addr").ok_or(Code::BAD_PARAMETERS);
        match parameters.text("action") {
            Some("add_pingback") => self.add_pingback(call, address()?).await,
            Some("del_pingback") => {
                self.state().registry.delete(address()?);
                Ok(Reply::PingbackChanged)
            }
            Some("get_pingback") => Ok(Reply::Pingbacks(self.state().registry.list())),
            Some("getbalance") => Ok(Reply::Bare(self.state().account.balance.to_string())),
            Some(action) => self.state().about_captcha(action, parameters, Timestamp::now()),
            None => Err(Code::BAD_PARAMETERS),
        }
    }

    async fn add_pingback(&self, call: &Call, address: &str) -> Result<Reply, Code> {
        let address = Address::parse(address).ok_or(Code::BAD_PARAMETERS)?;
        let check_ip = self.state().knobs.check_ip;
        if check_ip && !address.points_to(call.address).await {
            return Err(Code::IP_ADDRESS);
        }
        if self.state().registry.add(address) {
            Ok(Reply::PingbackChanged)
        } else {
            Err(Code::BAD_PARAMETERS)
        }
    }
}

impl State {
    /// Admits a call, unless a knob refuses them all.
    pub(super) fn admit_result(&mut self, call: &mut Call, now: Timestamp) -> Result<(), Stop> {
        let admitted = self.admit(call, now).and_then(|_| match &self.knobs.result_code {
            Some(code) => Err(Code::other(code).into()),
            None => Ok(()),
        });
        if let Err(stop) = &admitted {
            self.rules.stopped(call, stop, now);
        }
        admitted
    }

    /// Notes which captchas a call asks for the answers to, whatever becomes of it.
    pub(super) fn note_asked(&mut self, parameters: &Parameters, now: Timestamp) {
        let ids = match (parameters.text("action"), parameters.text("ids")) {
            (Some("get"), Some(ids)) => ids,
            (Some("get" | "get2"), _) => parameters.text("id").unwrap_or_default(),
            _ => return,
        };
        for id in ids.split(',').take(MAX_IDS) {
            let id = id.trim().parse().unwrap_or_default();
            if let Some(task) = self.tasks.get_mut(id) {
                self.rules.asked(id, task, now);
            }
        }
    }

    /// Answers what concerns one captcha or several.
    ///
    /// # Errors
    /// With the code to answer instead.
    pub(super) fn about_captcha(
        &mut self,
        action: &str,
        parameters: &Parameters,
        now: Timestamp,
    ) -> Result<Reply, Code> {
        let id = parameters.text("id").unwrap_or_default();
        match (action, parameters.text("ids")) {
            ("get", Some(ids)) => self.answers(ids, now),
            ("get", None) => Ok(Reply::Value(self.answer(id, now)?.0)),
            ("get2", _) => {
                let (answer, task) = self.answer(id, now)?;
                Ok(Reply::Priced(answer, task.price))
            }
            ("reportbad", _) => self.report_bad(id, now),
            ("reportgood", _) => self.report_good(id, now),
            _ => Err(Code::BAD_PARAMETERS),
        }
    }

    /// The answers to several captchas, in their order; a code stands where there is none.
    fn answers(&mut self, ids: &str, now: Timestamp) -> Result<Reply, Code> {
        if ids.split(',').count() > MAX_IDS {
            return Err(Code::BAD_PARAMETERS);
        }
        let pieces: Vec<String> = ids
            .split(',')
            .map(|id| match self.answer(id.trim(), now) {
                Ok((answer, _)) => answer,
                Err(code) => code.as_str().to_owned(),
            })
            .collect();
        Ok(Reply::Bare(pieces.join("|")))
    }

    fn answer(&mut self, id: &str, now: Timestamp) -> Result<(String, &mut Task), Code> {
        let task = self.task(id)?;
        if !task.is_readable(now) {
            return Err(Code::WRONG_CAPTCHA_ID);
        }
        if !task.finished {
            task.not_ready_at = Some(now);
            return Err(Code::NOT_READY);
        }
        match &task.outcome {
            Outcome::Answer(answer) => Ok((answer.clone(), task)),
            Outcome::Failure(code) => Err(code.clone()),
        }
    }

    fn task(&mut self, id: &str) -> Result<&mut Task, Code> {
        let id = CaptchaId::from_str(id).map_err(|_| Code::WRONG_ID_FORMAT)?;
        let number: u64 = id.as_str().parse().map_err(|_| Code::WRONG_CAPTCHA_ID)?;
        self.tasks.get_mut(number).ok_or(Code::WRONG_CAPTCHA_ID)
    }

    fn report_bad(&mut self, id: &str, now: Timestamp) -> Result<Reply, Code> {
        let complaints = self.counters.reported_bad + 1;
        let too_many =
            self.knobs.limits && complaints > FREE_COMPLAINTS && complaints * 10 > self.counters.solved * 4;
        let task = self.reportable(id, now)?;
        if too_many {
            return Err(Code::REPORT_NOT_RECORDED);
        }
        task.reported = true;
        let price = task.price;
        self.account.refund(price);
        self.counters.reported_bad += 1;
        Ok(recorded())
    }

    fn report_good(&mut self, id: &str, now: Timestamp) -> Result<Reply, Code> {
        self.reportable(id, now)?.reported = true;
        self.counters.reported_good += 1;
        Ok(recorded())
    }

    /// A solved captcha that can be reported on, for the first time.
    fn reportable(&mut self, id: &str, now: Timestamp) -> Result<&mut Task, Code> {
        let task = self.task(id)?;
        let is_solved = task.finished && matches!(task.outcome, Outcome::Answer(_));
        if !is_solved || !task.is_readable(now) {
            return Err(Code::REPORT_NOT_RECORDED);
        }
        if task.reported {
            return Err(Code::DUPLICATE_REPORT);
        }
        Ok(task)
    }
}

fn recorded() -> Reply {
    Reply::Bare("OK_REPORT_RECORDED".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Secret;
    use crate::sandbox::account::Amount;
    use crate::sandbox::knobs::Knobs;

    /// A state that holds one captcha, solved at 0.
    fn solved() -> (State, String) {
        let mut state = State::new(Secret::new(""), Knobs::default()).unwrap();
        let price = Amount::from_micros(500);
        assert!(state.account.reserve(price));
        let id = state.tasks.add(Task {
            submitted_at: Timestamp::from_micros(0),
            digest: [0; 32],
            is_recaptcha: false,
            price,
            outcome: Outcome::from_text("x".to_owned()),
            finished: false,
            not_ready_at: None,
            reported: false,
            pingback: None,
            late: None,
            second: None,
        });
        assert_eq!(state.finish(id, None, Timestamp::from_micros(0)), None);
        (state, id.to_string())
    }

    fn minutes(minutes: u64) -> Timestamp {
        Timestamp::from_micros(1).after(Duration::from_mins(minutes))
    }

    #[test]
    fn an_answer_can_be_read_and_reported_on_for_15_minutes() {
        let (mut state, id) = solved();
        assert!(state.answer(&id, minutes(14)).is_ok());
        assert_eq!(state.answer(&id, minutes(15)).unwrap_err(), Code::WRONG_CAPTCHA_ID);
        assert_eq!(state.report_good(&id, minutes(15)), Err(Code::REPORT_NOT_RECORDED));
        assert_eq!(state.report_bad(&id, minutes(14)), Ok(recorded()));
        assert_eq!(state.knobs().balance, Knobs::default().balance);
    }

    #[test]
    fn a_captcha_is_unknown_after_30_minutes() {
        let (mut state, id) = solved();
        state.advance(minutes(30));
        assert_eq!(state.report_bad(&id, minutes(30)), Err(Code::WRONG_CAPTCHA_ID));
    }
}
