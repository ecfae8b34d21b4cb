use super::*;
use crate::model::Fields;

const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

fn task() -> Task {
    let mut fields = Fields::default();
    for (name, value) in [("type", "text"), ("textcaptcha", "2 + 2?")] {
        fields.push(name.to_owned(), crate::model::FieldValue::Text(value.to_owned()));
    }
    let submission = Submission::parse(fields).unwrap();
    Task::new(TaskId::new(1).unwrap(), TokenId::LOCAL, &submission, NOW)
}

fn sent(outcome: Sent) -> Task {
    let mut task = task();
    task.start_sending(NOW);
    task.record_sent(outcome, NOW);
    task
}

fn pingback(code: &str) -> Pingback {
    Pingback {
        captcha_id: "77".parse().unwrap(),
        code: code.to_owned(),
        outcome: Outcome::of(code),
        price: "0.001".parse().ok(),
        extra: None,
        received_at: NOW,
    }
}

#[test]
fn the_first_final_status_wins_for_ever() {
    let mut task = sent(Sent::Accepted("77".parse().unwrap()));
    assert!(task.settle(&pingback("four")));
    let settled = task.clone();

    assert!(!task.settle(&pingback("five")));
    assert!(!task.settle(&pingback("ERROR_CAPTCHA_UNSOLVABLE")));
    assert!(!task.cancel(NOW));
    assert!(!task.expire(NOW.after(Duration::from_hours(24))));
    task.record_sent(Sent::Refused(ErrorCode::known("ERROR_UPLOAD")), NOW);
    assert_eq!(task, settled);
    assert_eq!((task.status, task.answer.as_deref()), (Status::Solved, Some("four")));
}

#[test]
fn a_notice_changes_nothing() {
    let mut task = sent(Sent::Accepted("77".parse().unwrap()));
    let before = task.clone();
    assert!(!task.settle(&pingback("ERROR_ZERO_BALANCE")));
    assert_eq!(task, before);
}

#[test]
fn a_captcha_id_is_kept_even_when_the_task_is_over() {
    let mut task = task();
    task.start_sending(NOW);
    task.settle(&pingback("four"));
    task.record_sent(Sent::Accepted("77".parse().unwrap()), NOW);
    assert_eq!(task.status, Status::Solved);
    assert_eq!(task.captcha_id, "77".parse().ok());
}

#[test]
fn an_unanswered_task_waits_out_its_give_up_time() {
    let mut task = sent(Sent::Unanswered { reason: "reset".to_owned() });
    assert_eq!(task.status, Status::Unconfirmed);
    let give_up = NOW.after(Duration::from_secs(90));
    assert!(!task.leave_unconfirmed(true, give_up.before(Duration::from_micros(1))));
    assert!(task.leave_unconfirmed(true, give_up));
    assert_eq!(task.status, Status::Queued);

    let mut task = sent(Sent::Unanswered { reason: "reset".to_owned() });
    assert!(task.leave_unconfirmed(false, give_up));
    assert_eq!((task.status, task.error), (Status::Failed, Some(ErrorCode::known("UNCONFIRMED"))));
}

#[test]
fn a_task_can_be_cancelled_while_the_provider_certainly_does_not_have_it() {
    assert!(task().cancel(NOW));
    assert!(sent(postponed()).cancel(NOW));
    assert!(!sent(Sent::Accepted("77".parse().unwrap())).cancel(NOW));
    let mut doubtful = sent(Sent::Unanswered { reason: "reset".to_owned() });
    assert!(!doubtful.cancel(NOW));
    assert!(doubtful.leave_unconfirmed(true, NOW.after(Duration::from_secs(90))));
    assert!(!doubtful.cancel(NOW));
}

fn postponed() -> Sent {
    Sent::Postponed { wait: Duration::from_secs(5), reason: "busy".to_owned() }
}

#[test]
fn a_task_that_is_turned_away_again_waits_twice_as_long() {
    let mut task = sent(postponed());
    let mut waits = Vec::new();
    for _ in 0..8 {
        waits.push(task.due_at.unwrap().since(NOW).as_secs());
        task.start_sending(NOW);
        task.record_sent(postponed(), NOW);
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
}

#[test]
fn a_late_yes_ends_the_doubt() {
    let mut task = sent(Sent::Unanswered { reason: "reset".to_owned() });
    task.record_sent(Sent::Accepted("77".parse().unwrap()), NOW);
    assert_eq!((task.status, task.due_at, task.reason), (Status::Submitted, None, None));
}

#[test]
fn a_task_on_its_way_does_not_expire() {
    let mut task = task();
    let late = task.expires_at;
    task.start_sending(NOW);
    assert!(!task.expire(late));
    task.record_sent(Sent::Accepted("77".parse().unwrap()), NOW);
    assert!(!task.expire(late.before(Duration::from_micros(1))));
    assert!(task.expire(late));
    assert_eq!(task.error, Some(ErrorCode::known("EXPIRED")));
}
