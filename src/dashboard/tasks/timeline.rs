//! What happened to a task, in the order in which it did, and how long each step took.

use crate::dashboard::tasks::millis_between;
use crate::dashboard::when::span;
use crate::model::{Delivery, DeliveryStatus, Pingback, Report, Status, Task, Timestamp, Via};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) at: Timestamp,
    pub(super) what: String,
    /// More about it.
    pub(super) note: Option<String>,
    /// How long after the step before.
    pub(super) after: Option<String>,
    /// Whether it is what went wrong.
    pub(super) is_bad: bool,
}

impl Step {
    fn new(at: Timestamp, what: impl Into<String>) -> Self {
        Self { at, what: what.into(), note: None, after: None, is_bad: false }
    }

    fn note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    fn bad(self) -> Self {
        Self { is_bad: true, ..self }
    }
}

/// What is known of a task beside itself.
pub(super) struct Beside<'a> {
    pub(super) report: Option<&'a Report>,
    /// What came besides what settled it.
    pub(super) pingbacks: &'a [Pingback],
    pub(super) deliveries: &'a [Delivery],
}

/// All that happened, oldest first.
pub(super) fn steps(task: &Task, beside: &Beside<'_>) -> Vec<Step> {
    let mut steps = vec![Step::new(task.created_at, "Submitted to pingbox")];
    steps.extend(task.sent_at.map(|at| {
        let sent = Step::new(at, "Sent to the provider");
        if task.attempts > 1 { sent.note(format!("attempt {}", task.attempts)) } else { sent }
    }));
    steps.extend(task.submitted_at.map(|at| {
        let taken = Step::new(at, "Taken by the provider");
        match &task.captcha_id {
            Some(id) => taken.note(format!("as captcha {}", id.as_str())),
            None => taken,
        }
    }));
    steps.extend(task.answered_at.map(|at| end(task, at)));
    steps.extend(beside.pingbacks.iter().map(|pingback| {
        Step::new(pingback.received_at, "Another pingback came").note("kept, and not applied").bad()
    }));
    if let Some(report) = beside.report {
        steps.push(Step::new(report.created_at, format!("Reported as {}", report.verdict.as_str())));
        steps.extend(report.ended_at.map(|at| report_end(report, at)));
    }
    steps.extend(beside.deliveries.iter().filter_map(delivered));
    steps.sort_by_key(|step| step.at);
    let times: Vec<Timestamp> = steps.iter().map(|step| step.at).collect();
    for (step, before) in steps.iter_mut().skip(1).zip(times) {
        step.after = Some(span(millis_between(before, step.at)));
    }
    steps
}

fn end(task: &Task, at: Timestamp) -> Step {
    let how = match task.via {
        Some(Via::Pingback) => "by pingback",
        Some(Via::Reconcile) => "asked for with res.php",
        None => "without a word from the provider",
    };
    let code = task.error.as_ref().map_or_else(String::new, |error| format!("{}, ", error.as_str()));
    match task.status {
        Status::Solved => Step::new(at, "Solved").note(how),
        Status::Cancelled => Step::new(at, "Cancelled"),
        Status::Expired => Step::new(at, "Expired").note("no answer came in time").bad(),
        _ => Step::new(at, "Failed").note(format!("{code}{how}")).bad(),
    }
}

fn report_end(report: &Report, at: Timestamp) -> Step {
    let reply = report.reply.as_deref().unwrap_or_default();
    match reply {
        _ if report.is_recorded => Step::new(at, "The provider recorded the report"),
        Report::EXPIRED => Step::new(at, "The report could not be sent in time").bad(),
        reply => Step::new(at, "The provider refused the report").note(reply).bad(),
    }
}

fn delivered(delivery: &Delivery) -> Option<Step> {
    let name = if delivery.event.is_some() { "Webhook" } else { "Callback" };
    let host = delivery.host();
    let failure = delivery.last_error.as_deref().unwrap_or("no reply");
    match delivery.status {
        DeliveryStatus::Delivered => {
            let attempts = if delivery.attempts > 1 {
                format!(", attempt {}", delivery.attempts)
            } else {
                String::new()
            };
            Some(
                Step::new(delivery.ended_at?, format!("{name} delivered"))
                    .note(format!("to {host}{attempts}")),
            )
        }
        DeliveryStatus::Dead => Some(
            Step::new(delivery.ended_at?, format!("{name} given up on"))
                .note(format!("{host}: {failure}"))
                .bad(),
        ),
        DeliveryStatus::Waiting => {
            let note = match delivery.attempts {
                0 => format!("for {host}"),
                attempts => format!("for {host}; {attempts} attempts failed: {failure}"),
            };
            Some(Step::new(delivery.created_at, format!("{name} waits to be delivered")).note(note))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FieldValue, Fields, Submission, TaskId, TokenId, Verdict};

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1000)
    }

    fn solved() -> Task {
        let mut fields = Fields::default();
        for (name, value) in [("type", "text"), ("textcaptcha", "2 + 2?")] {
            fields.push(name.to_owned(), FieldValue::Text(value.to_owned()));
        }
        let submission = Submission::parse(fields).unwrap();
        let task = Task::new(TaskId::new(7).unwrap(), TokenId::LOCAL, &submission, at(0));
        Task {
            status: Status::Solved,
            captcha_id: Some("2122988149".parse().unwrap()),
            via: Some(Via::Pingback),
            attempts: 2,
            sent_at: Some(at(40)),
            submitted_at: Some(at(540)),
            answered_at: Some(at(3660)),
            ..task
        }
    }

    fn told(task: &Task, beside: &Beside<'_>) -> Vec<String> {
        let line = |step: Step| {
            let after = step.after.unwrap_or_default();
            format!("{after} {}: {}", step.what, step.note.unwrap_or_default())
        };
        steps(task, beside).into_iter().map(line).collect()
    }

    #[test]
    fn every_step_says_how_long_it_took() {
        let report = Report::new(&solved(), Verdict::Bad, at(70_000)).unwrap();
        let beside = Beside { report: Some(&report), pingbacks: &[], deliveries: &[] };
        assert_eq!(
            told(&solved(), &beside),
            [
                " Submitted to pingbox: ",
                "40 ms Sent to the provider: attempt 2",
                "500 ms Taken by the provider: as captcha 2122988149",
                "3.1 s Solved: by pingback",
                "1 min 6 s Reported as bad: ",
            ]
        );
    }

    #[test]
    fn how_a_report_ended_is_told() {
        let mut report = Report::new(&solved(), Verdict::Good, at(4000)).unwrap();
        for (reply, word) in [
            (Report::RECORDED, "recorded"),
            ("ERROR_DUPLICATE_REPORT", "recorded"),
            (Report::EXPIRED, "in time"),
            ("REPORT_NOT_RECORDED", "refused"),
        ] {
            report.answered(reply, at(5000));
            let beside = Beside { report: Some(&report), pingbacks: &[], deliveries: &[] };
            let last = told(&solved(), &beside).pop().unwrap();
            assert!(last.contains(word), "{last}");
        }
    }
}
