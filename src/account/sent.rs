//! What a reply of `in.php`, or the want of one, means for its task.

use crate::model::{ErrorCode, Remedy, Sent, Timestamp, WAIT_AFTER_GARBAGE};
use crate::provider::{ProviderError, Reply, explain};

/// What became of a task whose reply came at `now`. `ask_at` plans when its answer is asked for.
pub(super) fn outcome(
    result: Result<Reply, ProviderError>,
    now: Timestamp,
    ask_at: impl FnOnce(Timestamp) -> Option<Timestamp>,
) -> Sent {
    let unanswered = |reason: &str| Sent::Unanswered { reason: reason.to_owned() };
    let reply = match result {
        Ok(reply) => reply,
        // Nothing was sent: this alone may be repeated at once.
        Err(error) if error.is_unsent() => return Sent::Unsent,
        Err(error) => return unanswered(&explain(&error)),
    };
    match reply {
        Reply::Ok { text, .. } => match text.parse() {
            Ok(captcha_id) => Sent::Accepted { captcha_id, at: now, ask_at: ask_at(now) },
            Err(_) => unanswered("the provider's reply holds no captcha ID"),
        },
        Reply::Error(code) => refused(code),
        Reply::Cut => unanswered("the provider's reply was cut off"),
        Reply::Garbage => {
            let reason = "the provider answered with something that is no reply".to_owned();
            Sent::Postponed { wait: WAIT_AFTER_GARBAGE, reason }
        }
    }
}

fn refused(code: ErrorCode) -> Sent {
    let reason = || format!("{code}: {}", code.message());
    match code.remedy() {
        Remedy::FailTask | Remedy::Request => Sent::Refused(code),
        // It may be this type alone, or its bid: others get their turn.
        Remedy::Wait(wait) if code.as_str() == ErrorCode::NO_SLOT => {
            Sent::Postponed { wait, reason: reason() }
        }
        Remedy::Wait(wait) | Remedy::Suspend(wait) => Sent::Held(wait),
        Remedy::Operator => Sent::Held(WAIT_AFTER_GARBAGE),
        Remedy::NotReady => Sent::Postponed { wait: WAIT_AFTER_GARBAGE, reason: reason() },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::provider::Shape;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn replied(body: &str) -> Sent {
        outcome(Ok(Reply::parse(body, Shape::Value)), NOW, |_| None)
    }

    #[test]
    fn only_a_clear_yes_is_a_yes() {
        let accepted = Sent::Accepted { captcha_id: "2122988149".parse().unwrap(), at: NOW, ask_at: None };
        assert_eq!(replied("OK|2122988149"), accepted);
        for unclear in ["OK|", "OK|abc", "", "{\"status\":1,"] {
            assert!(matches!(replied(unclear), Sent::Unanswered { .. }), "{unclear:?}");
        }
    }

    #[test]
    fn a_refusal_fails_the_task_or_postpones_it_by_its_code() {
        for code in ["ERROR_PAGEURL", "ERROR_NEVER_SEEN", "ERROR_EMPTY_ACTION"] {
            assert_eq!(replied(code), Sent::Refused(ErrorCode::known(code)));
        }
        for turned_away in ["ERROR_NO_SLOT_AVAILABLE", "<html>", "CAPCHA_NOT_READY"] {
            let sent = replied(turned_away);
            assert!(matches!(sent, Sent::Postponed { wait, .. } if wait.as_secs() == 5), "{sent:?}");
        }
        for (code, secs) in [("ERROR_ZERO_BALANCE", 60), ("ERROR: 1002", 300), ("ERROR_WRONG_USER_KEY", 5)] {
            assert_eq!(replied(code), Sent::Held(Duration::from_secs(secs)), "{code}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_replied_becomes_of_the_task_what_its_class_says(
            body in "(OK\\|[0-9]{0,12}|ERROR_[A-Z_]{1,30}|ERROR: [0-9]{4}|[A-Z_]{0,20}|<.{0,30}|\\{.{0,40})",
        ) {
            let sent = replied(&body);
            let is_as_expected = match Reply::parse(&body, Shape::Value) {
                Reply::Ok { .. } => matches!(sent, Sent::Accepted { .. } | Sent::Unanswered { .. }),
                Reply::Cut => matches!(sent, Sent::Unanswered { .. }),
                Reply::Garbage => matches!(sent, Sent::Postponed { .. }),
                Reply::Error(code) => match code.remedy() {
                    Remedy::FailTask | Remedy::Request => sent == Sent::Refused(code),
                    _ => matches!(sent, Sent::Postponed { .. } | Sent::Held(_)),
                },
            };
            proptest::prop_assert!(is_as_expected, "{body}: {sent:?}");
        }
    }
}
