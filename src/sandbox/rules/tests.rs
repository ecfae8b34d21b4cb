//! A client that behaves, and one that does not, with a clock of their own.

use std::net::IpAddr;

use super::*;
use crate::model::Secret;
use crate::sandbox::answers::Answers;
use crate::sandbox::knobs::{Knobs, Share};
use crate::sandbox::request::Parameters;
use crate::sandbox::state::State;
use crate::sandbox::submit::Plan;
use crate::sandbox::{Amount, DEFAULT_KEY};

const QUESTION: &str = "textcaptcha=What+day+is+it";
const TOKEN: &str = "method=hcaptcha&sitekey=x";
const RECAPTCHA: &str = "method=userrecaptcha&googlekey=x&pageurl=http://a.example/";
const BALANCE: &str = "action=getbalance";

/// Knobs without bans, under which no captcha is solved before 80 s.
fn slow() -> Knobs {
    Knobs { delay_ms: 80_000, limits: false, ..Knobs::default() }
}

/// Knobs under which `in.php` refuses with this code, or `res.php` does.
fn refusing(code: &str) -> Knobs {
    Knobs { code: Some(code.to_owned()), ..slow() }
}

fn refusing_results(code: &str) -> Knobs {
    Knobs { result_code: Some(code.to_owned()), ..slow() }
}

/// One that calls the emulation. Times are milliseconds since the start.
struct Client {
    state: State,
    address: IpAddr,
}

impl Client {
    fn new(knobs: Knobs) -> Self {
        let state = State::new(Secret::new(DEFAULT_KEY), knobs).unwrap();
        Self { state, address: IpAddr::from([10, 0, 0, 1]) }
    }

    fn call(&self, script: Script, form: &str) -> Call {
        let mut parameters = Parameters::default();
        parameters.add_form(format!("key={DEFAULT_KEY}&{form}").as_bytes());
        Call::new(script, self.address, parameters)
    }

    /// Calls `in.php`; the id of the captcha, if it was taken.
    fn submit(&mut self, form: &str, millis: u64) -> Option<u64> {
        let mut call = self.call(Script::In, form);
        let plan = Plan::of(&call.parameters, &Answers::default(), None);
        let taken = self.state.submit(&mut call, plan, at(millis)).ok()?;
        self.state.tasks.schedule(taken.id, taken.due);
        Some(taken.id)
    }

    /// Submits a captcha that is taken; its id.
    fn id(&mut self, form: &str, millis: u64) -> u64 {
        self.submit(form, millis).expect("it is taken")
    }

    /// Calls `res.php`.
    fn result(&mut self, query: &str, millis: u64) {
        let mut call = self.call(Script::Res, query);
        if self.state.admit_result(&mut call, at(millis)).is_ok() {
            let action = call.parameters.text("action").unwrap_or_default();
            // An error is an answer like any other.
            drop(self.state.about_captcha(action, &call.parameters, at(millis)));
        }
    }

    fn get(&mut self, id: u64, millis: u64) {
        self.result(&format!("action=get&id={id}"), millis);
    }

    fn broken(&self) -> Vec<(&'static str, u64)> {
        self.state.rules.broken().iter().map(|broken| (broken.rule, broken.count)).collect()
    }

    fn detail(&self) -> String {
        self.state.rules.broken()[0].detail.clone()
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_micros(0).after(Duration::from_millis(millis))
}

/// What is broken by a client that calls `in.php` at the first time, sees its knobs reset, and does
/// `then` at the second.
fn broken_after(knobs: Knobs, then: impl Fn(&mut Client, u64), millis: u64) -> Vec<(&'static str, u64)> {
    let mut client = Client::new(knobs);
    client.submit(TOKEN, 0);
    client.state.set_knobs(slow());
    then(&mut client, millis);
    client.broken()
}

fn submit(client: &mut Client, millis: u64) {
    client.submit(TOKEN, millis);
}

fn ask_balance(client: &mut Client, millis: u64) {
    client.result(BALANCE, millis);
}

const NONE: [(&str, u64); 0] = [];

#[test]
fn a_client_that_keeps_the_times_of_the_document_breaks_no_rule() {
    let mut client = Client::new(slow());
    for turn in 0..1000 {
        client.submit(QUESTION, turn * 50);
    }
    let id = client.id(RECAPTCHA, 60_000);
    for ask in 0..10 {
        client.get(id, 70_000 + ask * 5000);
    }
    client.result("action=reportgood&id=1", 70_001);
    client.result(BALANCE, 70_002);
    assert_eq!(client.broken(), NONE);
    assert_eq!(client.state.rules.usage(), Usage { results: 12, captchas: 1001, allowed: 21_220 });
}

#[test]
fn the_61st_submission_within_3_seconds_is_one_too_many() {
    let mut client = Client::new(slow());
    for turn in 0..60 {
        client.submit(QUESTION, turn);
    }
    assert_eq!(client.broken(), NONE);
    client.submit(QUESTION, 2999);
    assert_eq!(client.broken(), [("too_many_turns", 1)]);
    assert_eq!(client.detail(), "more than 60 requests to in.php within 3 s");
    client.submit(QUESTION, 3001);
    assert_eq!(client.broken(), [("too_many_turns", 1)]);
}

#[test]
fn results_past_20_a_captcha_and_1200_are_too_many() {
    let mut client = Client::new(slow());
    client.submit(QUESTION, 0);
    for _ in 0..1220 {
        client.result(BALANCE, 10);
    }
    assert_eq!(client.broken(), NONE);
    client.result("action=get&id=1", 10);
    client.result("action=get&id=1&key=wrong", 10);
    assert_eq!(client.broken(), [("too_many_results", 1)]);
    assert_eq!(client.detail(), "1221 requests to res.php for 1 captchas, which allow 1220");
    // What is hung up on, or gets a page, was asked all the same.
    client.state.set_knobs(Knobs { hang: Share::ALWAYS, ..slow() });
    client.result(BALANCE, 10);
    assert_eq!(client.state.rules.usage().results, 1222);
}

#[test]
fn a_captcha_is_asked_for_5_seconds_after_it_was_taken_or_10_for_recaptcha() {
    for (form, least) in [(QUESTION, 5000), (TOKEN, 5000), (RECAPTCHA, 10_000)] {
        for (early, count) in [(101, 1), (100, 0)] {
            for action in ["get", "get2"] {
                let mut client = Client::new(slow());
                let id = client.id(form, 0);
                client.result(&format!("action={action}&id={id}"), least - early);
                let counts: Vec<_> = client.broken().iter().map(|(_, count)| *count).collect();
                assert_eq!(counts.iter().sum::<u64>(), count, "{form} {action} {early}");
            }
        }
    }
}

#[test]
fn each_of_several_ids_counts_as_asked_for() {
    let mut client = Client::new(slow());
    let (one, two) = (client.id(QUESTION, 0), client.id(QUESTION, 1));
    client.result(&format!("action=get&ids={one},{two},7,x"), 4000);
    assert_eq!(client.broken(), [("asked_too_early", 2)]);
    assert_eq!(
        client.detail(),
        format!("captcha {two} was asked for 3.9 s after it was taken, not 5 s or more")
    );
}

#[test]
fn a_captcha_is_asked_for_again_5_seconds_after_it_was_not_ready() {
    let mut client = Client::new(slow());
    let (one, two) = (client.id(QUESTION, 0), client.id(QUESTION, 0));
    client.get(one, 5000);
    client.get(two, 6000);
    client.get(one, 9900);
    assert_eq!(client.broken(), NONE);
    // Ready or not by then: the client could not know.
    client.state.finish(one, None, at(10_000));
    client.get(one, 14_799);
    assert_eq!(client.broken(), [("asked_again_too_soon", 1)]);
    assert_eq!(
        client.detail(),
        format!("captcha {one} was asked for 4.8 s after CAPCHA_NOT_READY, not 5 s or more")
    );
}

#[test]
fn a_captcha_is_not_asked_for_after_15_minutes() {
    let mut client = Client::new(slow());
    let id = client.id(QUESTION, 0);
    client.get(id, 900_000);
    client.result(&format!("action=reportgood&id={id}"), 900_001);
    assert_eq!(client.broken(), NONE);
    client.get(id, 900_001);
    assert_eq!(client.broken(), [("asked_after_15_minutes", 1)]);
}

#[test]
fn no_slot_asks_for_5_seconds_even_if_there_is_one_by_then() {
    let no_slot = || Knobs { no_slot: Share::ALWAYS, ..slow() };
    let broken = [("ignored_no_slot", 1)];
    assert_eq!(broken_after(no_slot(), submit, 250), NONE);
    assert_eq!(broken_after(no_slot(), submit, 251), broken);
    assert_eq!(broken_after(no_slot(), submit, 4899), broken);
    assert_eq!(broken_after(no_slot(), submit, 4900), NONE);
    assert_eq!(broken_after(no_slot(), ask_balance, 1000), NONE);
    assert_eq!(broken_after(refusing("ERROR_NO_SLOT_AVAILABLE"), submit, 1000), broken);
}

#[test]
fn a_client_that_hammers_is_never_taken_for_one_that_could_not_know() {
    let mut client = Client::new(Knobs { no_slot: Share::ALWAYS, ..slow() });
    for turn in 0..10 {
        client.submit(TOKEN, turn * 100);
    }
    // Those from 300 ms on.
    assert_eq!(client.broken(), [("ignored_no_slot", 7)]);
    assert_eq!(client.detail(), "in.php was called 0.3 s after ERROR_NO_SLOT_AVAILABLE");
}

#[test]
fn zero_balance_asks_for_60_seconds_even_if_money_came() {
    let poor = || Knobs { balance: Amount::default(), ..slow() };
    let broken = [("ignored_zero_balance", 1)];
    assert_eq!(broken_after(poor(), submit, 250), NONE);
    assert_eq!(broken_after(poor(), submit, 59_899), broken);
    assert_eq!(broken_after(poor(), submit, 59_900), NONE);
    assert_eq!(broken_after(poor(), ask_balance, 1000), NONE);
    assert_eq!(broken_after(refusing("ERROR_ZERO_BALANCE"), submit, 1000), broken);
}

#[test]
fn a_page_asks_for_5_seconds_at_the_script_that_answered_it() {
    let pages = || Knobs { html_5xx: Share::ALWAYS, ..slow() };
    let broken = [("ignored_page", 1)];
    assert_eq!(broken_after(pages(), submit, 250), NONE);
    assert_eq!(broken_after(pages(), submit, 4899), broken);
    assert_eq!(broken_after(pages(), submit, 4900), NONE);
    assert_eq!(broken_after(pages(), ask_balance, 1000), NONE);

    let mut client = Client::new(pages());
    client.result(BALANCE, 0);
    client.state.set_knobs(slow());
    client.submit(TOKEN, 1000);
    assert_eq!(client.broken(), NONE);
    client.result(BALANCE, 1000);
    assert_eq!(client.broken(), broken);
}

#[test]
fn a_ban_lasts_its_time_for_every_request_though_its_knob_was_turned_back() {
    for (code, seconds) in [
        ("MAX_USER_TURN", 10),
        ("ERROR: 1001", 600),
        ("ERROR: 1002", 300),
        ("ERROR: 1003", 30),
        ("ERROR: 1004", 600),
        ("ERROR: 1005", 300),
    ] {
        let broken = [("ignored_ban", 1)];
        for then in [submit, ask_balance] {
            assert_eq!(broken_after(refusing(code), then, 250), NONE, "{code}");
            assert_eq!(broken_after(refusing(code), then, 251), broken, "{code}");
            assert_eq!(broken_after(refusing(code), then, seconds * 1000 - 101), broken, "{code}");
            assert_eq!(broken_after(refusing(code), then, seconds * 1000 - 100), NONE, "{code}");
        }
        let mut client = Client::new(refusing_results(code));
        client.result(BALANCE, 0);
        client.submit(TOKEN, 1000);
        assert_eq!(client.broken(), broken, "{code}");
    }
    for code in ["IP_BANNED", "ERROR: 1006", "ERROR_BAD_PARAMETERS"] {
        assert_eq!(broken_after(refusing(code), submit, 1000), NONE, "{code}");
    }
}

#[test]
fn a_ban_that_is_waited_out_each_time_is_never_ignored() {
    let mut client = Client::new(refusing("MAX_USER_TURN"));
    for turn in 0..5 {
        client.submit(TOKEN, turn * 9900);
    }
    assert_eq!(client.broken(), NONE);
    client.submit(TOKEN, 40_000);
    assert_eq!(client.broken(), [("ignored_ban", 1)]);
    assert_eq!(client.detail(), "in.php was called 0.4 s after MAX_USER_TURN, a ban of 10 s");
}

#[test]
fn an_address_that_is_banned_is_alone_in_that_and_a_wrong_key_is_no_account() {
    let mut client = Client::new(refusing("ERROR: 1004"));
    client.submit(TOKEN, 0);
    client.state.set_knobs(slow());
    client.address = IpAddr::from([10, 0, 0, 2]);
    client.submit(TOKEN, 1000);
    assert_eq!(client.broken(), NONE);
    client.address = IpAddr::from([10, 0, 0, 1]);
    client.result("key=wrong", 1000);
    assert_eq!(client.broken(), [("ignored_ban", 1)]);

    let stranger = |client: &mut Client, millis: u64| client.result("key=wrong", millis);
    assert_eq!(broken_after(refusing("ERROR: 1001"), stranger, 1000), NONE);
}

#[test]
fn a_wrong_key_is_not_sent_again() {
    let mut client = Client::new(slow());
    client.submit("key=wrong", 0);
    client.result("key=wrong", 250);
    client.result("key=other", 1000);
    assert_eq!(client.broken(), NONE);
    client.result("key=wrong", 3_600_000);
    assert_eq!(client.broken(), [("wrong_key_again", 1)]);
    assert_eq!(client.detail(), "a key was sent again 3600 s after it was refused");
}

#[test]
fn a_key_that_a_knob_refuses_is_not_sent_again_while_it_does() {
    let mut client = Client::new(refusing("ERROR_WRONG_USER_KEY"));
    client.submit(TOKEN, 0);
    client.submit(TOKEN, 1000);
    assert_eq!(client.broken(), [("wrong_key_again", 1)]);
    client.state.set_knobs(slow());
    client.submit(TOKEN, 2000);
    assert_eq!(client.broken(), [("wrong_key_again", 1)]);
}

#[test]
fn no_more_than_1000_wrong_keys_are_remembered_as_digests() {
    let mut client = Client::new(slow());
    for key in 0..1500 {
        client.result(&format!("key={key}"), 0);
    }
    assert_eq!(client.state.rules.refused_keys.len(), MAX_KEYS);
    client.result("key=0", 1000);
    assert_eq!(client.broken(), NONE);
    client.result("key=1499", 1000);
    assert_eq!(client.broken(), [("wrong_key_again", 1)]);
}

#[test]
fn the_120th_refusal_within_a_minute_is_one_too_many() {
    for (knobs, code) in [
        (Knobs { no_slot: Share::ALWAYS, ..slow() }, "ERROR_NO_SLOT_AVAILABLE"),
        (Knobs { balance: Amount::default(), ..slow() }, "ERROR_ZERO_BALANCE"),
    ] {
        let mut client = Client::new(knobs);
        for turn in 0..119 {
            client.submit(QUESTION, turn * 500);
        }
        assert!(!client.broken().iter().any(|(rule, _)| *rule == "too_many_refusals"));
        client.submit(QUESTION, 59_999);
        assert!(client.broken().contains(&("too_many_refusals", 1)), "{:?}", client.broken());
        let details: Vec<_> = client.state.rules.broken().into_iter().map(|broken| broken.detail).collect();
        assert!(details.contains(&format!("120 times {code} within 60 s")), "{details:?}");
    }
}

#[test]
fn three_times_as_many_refusals_as_captchas_are_too_many_from_the_120th() {
    let full = || Knobs { no_slot: Share::ALWAYS, ..slow() };
    let rules_after = |taken: u64, refused: u64, form: &str| {
        let mut client = Client::new(slow());
        for turn in 0..taken {
            client.submit(TOKEN, turn * 1000);
        }
        client.state.set_knobs(full());
        for turn in 0..refused {
            client.submit(form, 100_000 + turn * 5000);
        }
        client.broken()
    };
    assert_eq!(rules_after(0, 119, TOKEN), NONE);
    assert_eq!(rules_after(40, 120, TOKEN), [("too_many_no_slots", 1)]);
    assert_eq!(rules_after(41, 122, TOKEN), NONE);
    assert_eq!(rules_after(41, 123, TOKEN), [("too_many_no_slots", 1)]);
    // The bid, not the queue, has no slot for these.
    assert_eq!(rules_after(0, 130, QUESTION), NONE);
}

#[test]
fn a_ban_for_real_is_known_from_its_first_refusal() {
    let mut client = Client::new(Knobs { limits: true, ..slow() });
    for _ in 0..61 {
        client.submit(QUESTION, 0);
    }
    client.submit(QUESTION, 9800);
    assert_eq!(client.broken(), [("too_many_turns", 1), ("ignored_ban", 1)]);
    client.submit(QUESTION, 10_000);
    assert_eq!(client.broken(), [("too_many_turns", 1), ("ignored_ban", 1)]);
}
