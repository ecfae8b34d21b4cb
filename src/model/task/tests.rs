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

fn accepted() -> Sent {
    Sent::Accepted { captcha_id: "77".parse().unwrap(), at: NOW, ask_at: None }
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
    let mut task = sent(accepted());
    assert!(task.settle(&pingback("four"), Via::Pingback));
    let settled = task.clone();

    assert!(!task.settle(&pingback("five"), Via::Pingback));
    assert!(!task.settle(&pingback("ERROR_CAPTCHA_UNSOLVABLE"), Via::Pingback));
    assert!(!task.cancel(NOW));
    assert!(!task.expire(NOW.after(Duration::from_hours(24))));
    task.record_sent(Sent::Refused(ErrorCode::known("ERROR_UPLOAD")), NOW);
    assert_eq!(task, settled);
    assert_eq!((task.status, task.answer.as_deref()), (Status::Solved, Some("four")));
}

#[test]
fn a_notice_changes_nothing() {
    let mut task = sent(accepted());
    let before = task.clone();
    assert!(!task.settle(&pingback("ERROR_ZERO_BALANCE"), Via::Pingback));
    assert_eq!(task, before);
}

#[test]
fn a_captcha_id_is_kept_even_when_the_task_is_over() {
    let mut task = task();
    task.start_sending(NOW);
    task.settle(&pingback("four"), Via::Pingback);
    task.record_sent(accepted(), NOW);
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
    assert!(!sent(accepted()).cancel(NOW));
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
    task.record_sent(accepted(), NOW);
    assert_eq!((task.status, task.due_at, task.reason), (Status::Submitted, None, None));
}

#[test]
fn a_task_on_its_way_does_not_expire() {
    let mut task = task();
    let late = task.expires_at;
    task.start_sending(NOW);
    assert!(!task.expire(late));
    task.record_sent(accepted(), NOW);
    assert!(!task.expire(late.before(Duration::from_micros(1))));
    assert!(task.expire(late));
    assert_eq!(task.error, Some(ErrorCode::known("EXPIRED")));
}

#[test]
fn a_task_that_the_account_is_to_blame_for_steps_behind_the_others() {
    let mut task = sent(Sent::Held(Duration::from_secs(60)));
    assert_eq!((task.status, task.attempts, task.reason.clone()), (Status::Queued, 1, None));
    assert_eq!(task.due_at, Some(NOW.after(Duration::from_secs(61))));
    task.start_sending(NOW);
    task.record_sent(Sent::Unsent, NOW);
    assert_eq!((task.attempts, task.due_at), (1, None));
}

#[test]
fn a_task_expires_only_after_its_last_question() {
    let mut task = sent(accepted());
    let end = task.expires_at.before(Duration::from_secs(120));
    task.expires_at = end;
    task.ask_again(Some(end), NOW);
    // The question is due, and on its way.
    assert!(!task.expire(end));
    task.ask_again(None, end);
    assert_eq!(task.status, Status::Expired);

    let mut task = sent(accepted());
    task.expires_at = end;
    task.ask_again(Some(end), NOW);
    // It cannot be asked: it does not wait for ever.
    assert!(!task.expire(end.after(Duration::from_secs(59))));
    assert!(task.expire(end.after(Duration::from_secs(60))));
}

#[test]
fn a_task_that_the_provider_has_forgotten_expires_whatever_its_ttl() {
    let mut task = sent(accepted());
    task.expires_at = NOW.after(Duration::from_hours(24));
    assert!(!task.expire(NOW.after(Duration::from_secs(899))));
    assert!(task.expire(NOW.after(Duration::from_secs(900))));
}

#[test]
fn a_pingback_to_its_own_url_confirms_a_task() {
    let mut task = sent(Sent::Unanswered { reason: "reset".to_owned() });
    let pingback = pingback("four");
    task.confirm(&pingback.captcha_id, NOW);
    assert_eq!((task.status, task.captcha_id.as_ref()), (Status::Submitted, Some(&pingback.captcha_id)));
    assert!(task.settle(&pingback, Via::Pingback));
    // The reply to another attempt does not take the answer's id away.
    task.record_sent(Sent::Accepted { captcha_id: "78".parse().unwrap(), at: NOW, ask_at: None }, NOW);
    assert_eq!(task.captcha_id, Some(pingback.captcha_id));
}

#[test]
fn a_price_that_nobody_told_is_estimated_and_a_failure_costs_nothing() {
    let mut untold = pingback("four");
    untold.price = None;
    let mut task = sent(accepted());
    task.settle(&untold, Via::Reconcile);
    let price = task.price.as_ref().map(Price::as_str);
    assert_eq!((price, task.price_estimated, task.via), (Some("0.001"), true, Some(Via::Reconcile)));

    let mut failed = pingback("ERROR_CAPTCHA_UNSOLVABLE");
    failed.price = None;
    let mut task = sent(accepted());
    task.settle(&failed, Via::Pingback);
    assert_eq!((task.price, task.price_estimated), (None, false));
}

#[test]
fn a_captcha_id_that_comes_late_takes_the_task_out_of_the_queue() {
    let mut task = task();
    task.start_sending(NOW);
    task.record_sent(Sent::Unsent, NOW);
    assert_eq!(task.status, Status::Queued);
    task.record_sent(accepted(), NOW);
    assert_eq!(task.status, Status::Submitted);
}
