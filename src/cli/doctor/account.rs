//! The checks of the account at the provider.

use super::check::Check;
use crate::client::Account;
use crate::model::Price;

/// Codes that say that the key is wrong.
const KEY_CODES: [&str; 2] = ["ERROR_KEY_DOES_NOT_EXIST", "ERROR_WRONG_USER_KEY"];
/// What helps when the provider's address leads to pingbox itself.
const LOOP_REMEDY: &str = "set provider.resolve to the provider's IP address and start pingbox again; or remove the \
                           provider from the hosts file, then run `pingbox doctor --resume`";
const ZERO_BALANCE: &str = "ERROR_ZERO_BALANCE";
/// Below one part in so many of the most there can be, the call credit is low.
const LOW_CREDIT: u32 = 4;

/// What `/v1/account` tells of the way to answers, in the order in which one thing hides the next.
pub(super) fn checks(account: &Account) -> [Check; 4] {
    [sending(account), key(account), balance(account), registration(account)]
}

/// What it tells of what may still be used up.
pub(super) fn limits(account: &Account) -> [Check; 2] {
    [credit(account), spending(account)]
}

fn sending(account: &Account) -> Check {
    const NAME: &str = "sending";
    let holds = || account.backoff.holds();
    if let Some((script, hold)) = holds().find(|(_, hold)| hold.until.is_none()) {
        let reason = format!("{script} is not called since {}: {}", hold.since, hold.explained());
        if hold.is_loop() {
            return Check::fail(NAME, reason, LOOP_REMEDY);
        }
        return Check::fail(NAME, reason, "put that right, then run `pingbox doctor --resume`");
    }
    if let Some((script, hold)) = holds().next() {
        let until = hold.until.as_deref().unwrap_or_default();
        let reason = format!("{script} is not called until {until}: {}", hold.explained());
        if hold.is_by_code() {
            return Check::note(NAME, reason);
        }
        if hold.is_loop() {
            return Check::fail(NAME, reason, LOOP_REMEDY);
        }
        return Check::fail(
            NAME,
            reason,
            "check the network, DNS and provider.base_url; it goes on by itself",
        );
    }
    match &account.reason {
        Some(reason) => Check::note(NAME, format!("tasks wait: {reason}")),
        None => Check::ok(NAME, "tasks are sent"),
    }
}

fn key(account: &Account) -> Check {
    const NAME: &str = "key";
    match (account.backoff.find(&KEY_CODES), &account.balance) {
        (Some(hold), _) => Check::fail(
            NAME,
            hold.explained(),
            "set provider.api_key to the key of 32 characters from your account settings page at the \
             provider, and start pingbox again",
        ),
        (None, Some(_)) => Check::ok(NAME, "the provider takes it"),
        (None, None) => Check::note(NAME, "not proven: the provider did not tell the balance"),
    }
}

fn balance(account: &Account) -> Check {
    const NAME: &str = "balance";
    const REMEDY: &str = "top up the account at the provider: sending goes on by itself";
    let is_spent = |balance: &str| !balance.parse::<Price>().is_ok_and(|amount| amount.nanos() > 0);
    match (account.backoff.find(&[ZERO_BALANCE]), &account.balance) {
        (_, Some(balance)) if is_spent(balance) => {
            Check::fail(NAME, format!("{balance}: no money is left"), REMEDY)
        }
        (Some(hold), _) => Check::fail(NAME, hold.explained(), REMEDY),
        (None, Some(balance)) => Check::ok(NAME, balance),
        (None, None) if account.backoff.res_php.is_some() => {
            Check::note(NAME, "not known: res.php is not called at the moment")
        }
        (None, None) if is_low(account) => {
            Check::note(NAME, "not known: the calls that are left are kept for answers")
        }
        (None, None) => Check::note(NAME, "not known: the provider did not tell it").with("ask again"),
    }
}

fn registration(account: &Account) -> Check {
    const NAME: &str = "registration";
    let registration = &account.registration;
    let url = registration.url.as_deref();
    match (registration.state.as_str(), url) {
        ("registered", Some(url)) => Check::ok(NAME, format!("the provider knows {url}")),
        ("refused", _) => Check::fail(
            NAME,
            &registration.detail,
            "it is tried again every 10 minutes; until then answers are asked for (polling mode)",
        ),
        ("off", None) => {
            Check::note(NAME, "polling mode: answers are asked for, because public.url is not set").with(
                "set public.url to where the provider reaches the public listener: answers come sooner then",
            )
        }
        ("off", Some(url)) => Check::note(NAME, "pingback.register is off")
            .with(&format!("see to it that the provider knows {url}")),
        ("pending", _) => Check::note(NAME, "not tried yet"),
        _ => Check::note(NAME, &registration.detail),
    }
}

fn is_low(account: &Account) -> bool {
    account.credit.left <= account.credit.most / LOW_CREDIT
}

fn credit(account: &Account) -> Check {
    const NAME: &str = "credit";
    let credit = &account.credit;
    let left = format!("{} of {} calls of res.php are left", credit.left, credit.most);
    if is_low(account) {
        let remedy = format!(
            "each captcha that is sent brings {}; until then answers may come late",
            credit.per_captcha
        );
        return Check::note(NAME, left).with(&remedy);
    }
    Check::ok(NAME, left)
}

fn spending(account: &Account) -> Check {
    const NAME: &str = "spending";
    let today = &account.spend.today;
    let Some(limit) = &account.spend.daily_limit else {
        return Check::ok(NAME, format!("{today} today, without a limit"));
    };
    let nanos = |amount: &str| amount.parse::<Price>().map_or(0, |amount| amount.nanos());
    // The next task may be too dear before the limit itself is reached.
    let is_stopped = account.reason.as_ref().is_some_and(|reason| reason.contains("spend.daily_limit"));
    let reason = format!("{today} of {limit} today");
    if is_stopped || nanos(today) >= nanos(limit) {
        return Check::fail(NAME, reason, "raise spend.daily_limit, or wait until tomorrow (UTC)");
    }
    Check::ok(NAME, reason)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Cause;

    /// The lines for a sound account with these changes, each a path in its JSON and what is there.
    fn lines(changes: &[(&str, Value)]) -> Vec<String> {
        let mut account = json!({
            "balance": "12.5", "balance_at": "2026-01-31T12:00:00.000Z",
            "spend": {"today": "0.5", "daily_limit": "2", "by_type": {}},
            "credit": {"left": 1200, "most": 1200, "per_captcha": 20},
            "backoff": {"in_php": null, "res_php": null},
            "registration": {"state": "registered", "url": "https://a.example/pingback/***", "url_mode": "shared",
                             "detail": "registered"},
            "answers": "pingback", "reason": null,
        });
        for (path, value) in changes {
            *account.pointer_mut(path).unwrap() = value.clone();
        }
        let account: Account = serde_json::from_value(account).unwrap();
        checks(&account).iter().chain(&limits(&account)).map(Check::line).collect()
    }

    /// The lines that are not as those of a sound account.
    fn unsound(changes: &[(&str, Value)]) -> Vec<String> {
        lines(changes).into_iter().filter(|line| !line.starts_with("ok ")).collect()
    }

    fn hold(code: &str, until: Option<&str>) -> Value {
        let since = "2026-01-31T12:00:00.000Z";
        json!({"code": code, "reason": "its meaning", "since": since, "until": until, "stopped": until.is_none()})
    }

    const LATER: Option<&str> = Some("2026-01-31T12:00:30.000Z");

    #[test]
    fn a_sound_account_has_nothing_to_note() {
        insta::assert_snapshot!(lines(&[]).concat(), @r"
        ok    sending       tasks are sent
        ok    key           the provider takes it
        ok    balance       12.5
        ok    registration  the provider knows https://a.example/pingback/***
        ok    credit        1200 of 1200 calls of res.php are left
        ok    spending      0.5 of 2 today
        ");
    }

    #[test]
    fn a_stop_for_the_key_is_two_failures_and_any_other_stop_one() {
        let key = hold("ERROR_KEY_DOES_NOT_EXIST", None);
        let found = unsound(&[("/backoff/in_php", key.clone()), ("/backoff/res_php", key)]);
        insta::assert_snapshot!(found.concat(), @r"
        fail  sending       in.php is not called since 2026-01-31T12:00:00.000Z: ERROR_KEY_DOES_NOT_EXIST: its meaning -> put that right, then run `pingbox doctor --resume`
        fail  key           ERROR_KEY_DOES_NOT_EXIST: its meaning -> set provider.api_key to the key of 32 characters from your account settings page at the provider, and start pingbox again
        ");
        let banned = hold("IP_BANNED", None);
        let found = unsound(&[("/backoff/in_php", banned.clone()), ("/backoff/res_php", banned)]);
        insta::assert_snapshot!(found.concat(), @"fail  sending       in.php is not called since 2026-01-31T12:00:00.000Z: IP_BANNED: its meaning -> put that right, then run `pingbox doctor --resume`");
    }

    #[test]
    fn a_pause_that_the_provider_asks_for_needs_nobody() {
        let found = unsound(&[("/backoff/in_php", hold("MAX_USER_TURN", LATER))]);
        insta::assert_snapshot!(found.concat(), @"note  sending       in.php is not called until 2026-01-31T12:00:30.000Z: MAX_USER_TURN: its meaning");
        let found = unsound(&[("/backoff/res_php", hold("ERROR: 1005", LATER))]);
        insta::assert_snapshot!(found.concat(), @"note  sending       res.php is not called until 2026-01-31T12:00:30.000Z: ERROR: 1005: its meaning");
    }

    #[test]
    fn a_provider_that_cannot_be_talked_to_needs_somebody() {
        for code in ["no_connection", "no_reply", "garbage"] {
            let found = unsound(&[("/backoff/in_php", hold(code, LATER))]).concat();
            assert!(found.starts_with("fail  sending ") && found.contains("provider.base_url"), "{found}");
            assert!(!found.contains(code), "{found}");
        }
    }

    #[test]
    fn a_provider_that_leads_back_to_pingbox_needs_an_operator() {
        let hold = |code, until| {
            let mut hold = hold(code, until);
            hold["reason"] = json!(Cause::named(code).message());
            hold
        };
        let stopped = unsound(&[("/backoff/in_php", hold("loop", None))]);
        let paused = unsound(&[("/backoff/in_php", hold("own_address", LATER))]);
        insta::assert_snapshot!([stopped, paused].concat().concat(), @r"
        fail  sending       in.php is not called since 2026-01-31T12:00:00.000Z: a request to the provider came back to pingbox itself -> set provider.resolve to the provider's IP address and start pingbox again; or remove the provider from the hosts file, then run `pingbox doctor --resume`
        fail  sending       in.php is not called until 2026-01-31T12:00:30.000Z: the provider's address leads to pingbox itself -> set provider.resolve to the provider's IP address and start pingbox again; or remove the provider from the hosts file, then run `pingbox doctor --resume`
        ");
    }

    #[test]
    fn no_money_is_a_failure_however_it_shows() {
        for balance in ["0", "0.000", "-0.5"] {
            let found = unsound(&[("/balance", json!(balance))]).concat();
            assert!(found.starts_with("fail  balance ") && found.contains("-> top up"), "{found}");
        }
        let found = unsound(&[("/backoff/in_php", hold("ERROR_ZERO_BALANCE", LATER))]);
        insta::assert_snapshot!(found.concat(), @r"
        note  sending       in.php is not called until 2026-01-31T12:00:30.000Z: ERROR_ZERO_BALANCE: its meaning
        fail  balance       ERROR_ZERO_BALANCE: its meaning -> top up the account at the provider: sending goes on by itself
        ");
    }

    #[test]
    fn an_unknown_balance_is_noted_with_its_reason() {
        let unknown = ("/balance", Value::Null);
        insta::assert_snapshot!(unsound(std::slice::from_ref(&unknown)).concat(), @r"
        note  key           not proven: the provider did not tell the balance
        note  balance       not known: the provider did not tell it -> ask again
        ");
        let found = unsound(&[unknown.clone(), ("/credit/left", json!(300))]);
        insta::assert_snapshot!(found.concat(), @r"
        note  key           not proven: the provider did not tell the balance
        note  balance       not known: the calls that are left are kept for answers
        note  credit        300 of 1200 calls of res.php are left -> each captcha that is sent brings 20; until then answers may come late
        ");
        let found = unsound(&[unknown, ("/backoff/res_php", hold("ERROR: 1003", LATER))]);
        insta::assert_snapshot!(found.concat(), @r"
        note  sending       res.php is not called until 2026-01-31T12:00:30.000Z: ERROR: 1003: its meaning
        note  key           not proven: the provider did not tell the balance
        note  balance       not known: res.php is not called at the moment
        ");
    }

    #[test]
    fn only_a_refused_registration_is_a_failure() {
        let url = "/registration/url";
        let [state, detail] = ["/registration/state", "/registration/detail"];
        let refused = "refused: ERROR_IP_ADDRES: its remedy";
        let found = [
            unsound(&[(state, json!("refused")), (detail, json!(refused))]),
            unsound(&[(state, json!("off")), (url, Value::Null)]),
            unsound(&[(state, json!("off"))]),
            unsound(&[(state, json!("pending"))]),
            unsound(&[(state, json!("unreachable")), (detail, json!("unreachable: why"))]),
        ];
        insta::assert_snapshot!(found.concat().concat(), @r"
        fail  registration  refused: ERROR_IP_ADDRES: its remedy -> it is tried again every 10 minutes; until then answers are asked for (polling mode)
        note  registration  polling mode: answers are asked for, because public.url is not set -> set public.url to where the provider reaches the public listener: answers come sooner then
        note  registration  pingback.register is off -> see to it that the provider knows https://a.example/pingback/***
        note  registration  not tried yet
        note  registration  unreachable: why
        ");
    }

    #[test]
    fn a_reached_limit_is_a_failure_also_when_only_the_next_task_is_too_dear() {
        let reason = "spend.daily_limit would be exceeded: tasks are sent again tomorrow";
        insta::assert_snapshot!(unsound(&[("/reason", json!(reason))]).concat(), @r"
        note  sending       tasks wait: spend.daily_limit would be exceeded: tasks are sent again tomorrow
        fail  spending      0.5 of 2 today -> raise spend.daily_limit, or wait until tomorrow (UTC)
        ");
        insta::assert_snapshot!(unsound(&[("/spend/today", json!("2.0"))]).concat(), @"fail  spending      2.0 of 2 today -> raise spend.daily_limit, or wait until tomorrow (UTC)");
        let unlimited = lines(&[("/spend/daily_limit", Value::Null)]);
        assert_eq!(unlimited[5], "ok    spending      0.5 today, without a limit\n");
    }
}
