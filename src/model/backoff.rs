//! When the provider wants to be left alone: one state for everything that is sent to it.

use std::fmt;
use std::time::Duration;

use super::{ErrorCode, Remedy, Timestamp, WAIT_AFTER_GARBAGE};

/// The first pause after a connection that could not be made, and the longest: nothing was sent, so
/// all that is spared is our own network.
const NO_CONNECTION: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The same after a reply that never came, or that is no reply.
const NO_SENSE: (Duration, Duration) = (WAIT_AFTER_GARBAGE, Duration::from_secs(300));
/// Waits after `ERROR_NO_SLOT_AVAILABLE`, by how many more of them the account can afford. The API
/// document asks for 5 s and says that who gets too many is blocked.
const NO_SLOT_WAITS: [(u32, Duration); 4] = [
    (40, Duration::from_secs(5)),
    (20, Duration::from_secs(15)),
    (1, Duration::from_secs(60)),
    (0, Duration::from_secs(300)),
];

/// A clock that is set back by more than this does not prolong a pause.
const CLOCK_STEP: Duration = Duration::from_secs(300);

/// One of the provider's two scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Script {
    /// `in.php` takes captchas.
    In,
    /// `res.php` does everything else.
    Res,
}

impl Script {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::In, Self::Res];

    /// The name, as the database and metrics have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in.php",
            Self::Res => "res.php",
        }
    }
}

/// Why nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The provider cannot be reached.
    NoConnection,
    /// Its address is one that we listen on ourselves.
    OwnAddress,
    /// A request came back to us.
    Loop,
    /// A request got no reply, or one that broke off.
    NoReply,
    /// What came was no reply, such as an HTML page.
    Garbage,
    /// The provider's code.
    Code(ErrorCode),
}

impl Cause {
    /// The provider's code, if it is one.
    #[must_use]
    pub const fn code(&self) -> Option<&ErrorCode> {
        match self {
            Self::Code(code) => Some(code),
            Self::NoConnection | Self::OwnAddress | Self::Loop | Self::NoReply | Self::Garbage => None,
        }
    }

    /// A word for it, or the code: what the database and callers read.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::NoConnection => "no_connection",
            Self::OwnAddress => "own_address",
            Self::Loop => "loop",
            Self::NoReply => "no_reply",
            Self::Garbage => "garbage",
            Self::Code(code) => code.as_str(),
        }
    }

    /// The cause of that name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "no_connection" => Self::NoConnection,
            "own_address" => Self::OwnAddress,
            "loop" => Self::Loop,
            "no_reply" => Self::NoReply,
            "garbage" => Self::Garbage,
            code => Self::Code(ErrorCode::known(code)),
        }
    }

    /// What it means, for people.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self {
            Self::NoConnection => "the provider cannot be reached",
            Self::OwnAddress => "the provider's address leads to pingbox itself",
            Self::Loop => "a request to the provider came back to pingbox itself",
            Self::NoReply => "the provider did not reply",
            Self::Garbage => "the provider answered with something that is no reply",
            Self::Code(code) => code.message(),
        }
    }

    /// Whether the way to the provider leads back to us.
    #[must_use]
    pub const fn is_loop(&self) -> bool {
        matches!(self, Self::OwnAddress | Self::Loop)
    }

    /// Whether it concerns both scripts.
    fn is_for_both(&self) -> bool {
        match self {
            Self::Code(code) => !matches!(code.remedy(), Remedy::Wait(_)),
            cause => cause.is_loop(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "{code}: {}", code.message()),
            other => f.write_str(other.message()),
        }
    }
}

/// What came of a request, as far as it concerns the requests after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It was dealt with; others will be.
    Welcome,
    /// It was not, for this reason.
    Trouble(Cause),
}

impl Signal {
    /// What a code says of the account. Codes of a task, or of a single request, are no trouble.
    #[must_use]
    pub fn of(code: &ErrorCode) -> Self {
        match code.remedy() {
            Remedy::FailTask | Remedy::NotReady | Remedy::Request => Self::Welcome,
            Remedy::Wait(_) | Remedy::Suspend(_) | Remedy::Operator => {
                Self::Trouble(Cause::Code(code.clone()))
            }
        }
    }
}

/// A pause that the provider asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub cause: Cause,
    /// When it was asked for.
    pub since: Timestamp,
    /// When one request may find out whether it is over; `None`: when an operator has acted.
    pub until: Option<Timestamp>,
    /// How often in a row the request after the pause met the same trouble.
    pub repeats: u32,
}

/// Whether a request may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Yes.
    Open,
    /// One, alone: its reply tells whether the pause is over.
    Probe,
    /// Not before this time.
    Until(Timestamp),
    /// Not before an operator has acted.
    Stopped,
}

/// The pauses in force, by script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    in_php: Option<Hold>,
    res_php: Option<Hold>,
}

impl Backoff {
    /// The state that was stored.
    #[must_use]
    pub fn restored(holds: impl IntoIterator<Item = (Script, Hold)>) -> Self {
        let mut backoff = Self::default();
        for (script, hold) in holds {
            *backoff.place(script) = Some(hold);
        }
        backoff
    }

    /// The pause that a script is in.
    #[must_use]
    pub const fn hold(&self, script: Script) -> Option<&Hold> {
        match script {
            Script::In => self.in_php.as_ref(),
            Script::Res => self.res_php.as_ref(),
        }
    }

    const fn place(&mut self, script: Script) -> &mut Option<Hold> {
        match script {
            Script::In => &mut self.in_php,
            Script::Res => &mut self.res_php,
        }
    }

    /// Whether a request to the script may start.
    #[must_use]
    pub fn gate(&self, script: Script, now: Timestamp) -> Gate {
        match self.hold(script) {
            None => Gate::Open,
            Some(Hold { until: None, .. }) => Gate::Stopped,
            Some(hold @ Hold { until: Some(until), .. }) if hold.is_running(now) => Gate::Until(*until),
            Some(_) => Gate::Probe,
        }
    }

    /// Takes in what came of a request to `script`; whether that changed anything. `refusals` is what
    /// [`Terms::REFUSALS`](super::Terms::REFUSALS) leaves.
    pub fn note(&mut self, script: Script, signal: Signal, refusals: u32, now: Timestamp) -> bool {
        let before = self.clone();
        match signal {
            Signal::Welcome => {
                // A request from before the pause says nothing about it.
                let is_over = |hold: &Hold| hold.until.is_some() && !hold.is_running(now);
                if self.hold(script).is_some_and(is_over) {
                    *self.place(script) = None;
                }
            }
            Signal::Trouble(cause) => {
                for affected in Script::ALL {
                    if affected == script || cause.is_for_both() {
                        extend(self.place(affected), &cause, refusals, now);
                    }
                }
            }
        }
        *self != before
    }

    /// The way to the provider was looked at again: whether it leads back to us is found out anew. Whether
    /// that changed anything.
    pub fn forget_loops(&mut self) -> bool {
        let before = self.clone();
        for script in Script::ALL {
            self.place(script).take_if(|hold| hold.cause.is_loop());
        }
        *self != before
    }

    /// What this becomes by a change from `before` to `after` that somebody made who did not know of it. Where this
    /// has changed too, what holds longer counts; an end of a pause ends no other one.
    #[must_use]
    pub fn changed(&self, before: &Self, after: &Self) -> Self {
        let mut changed = self.clone();
        for script in Script::ALL {
            let (known, before, after) = (self.hold(script), before.hold(script), after.hold(script));
            let hold = match (known, after) {
                _ if before == after => continue,
                _ if known == before => after,
                (Some(known), Some(after)) if after.lasts_beyond(known) => Some(after),
                (None, after) => after,
                (known, _) => known,
            };
            *changed.place(script) = hold.cloned();
        }
        changed
    }

    /// An operator has acted: everything may be tried again.
    pub fn resume(&mut self) {
        *self = Self::default();
    }
}

impl Hold {
    /// Whether it ends later than the other, which may have no end.
    fn lasts_beyond(&self, other: &Self) -> bool {
        match (self.until, other.until) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(until), Some(other)) => until > other,
        }
    }

    /// Whether its time is not over. A clock that was set back by much does not make it longer.
    fn is_running(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now < until && self.since.since(now) <= CLOCK_STEP)
    }
}

/// Begins a pause, or goes on with the one in force.
fn extend(hold: &mut Option<Hold>, cause: &Cause, refusals: u32, now: Timestamp) {
    let mut repeats = 0;
    let mut earliest = now;
    if let Some(known) = hold {
        let Some(until) = known.until else { return };
        if known.is_running(now) {
            // It was under way when the pause began.
            (repeats, earliest) = (known.repeats, until);
        } else if known.cause == *cause {
            repeats = known.repeats.saturating_add(1);
        }
    }
    let until = span(cause, repeats, refusals).map(|span| now.after(span).max(earliest));
    // What began before the pause, and asks for less, does not give it another name.
    let is_covered = until.is_some_and(|until| until <= earliest) && hold.is_some();
    if !is_covered {
        *hold = Some(Hold { cause: cause.clone(), since: now, until, repeats });
    }
}

/// How long a pause is; `None`: until an operator acts.
fn span(cause: &Cause, repeats: u32, refusals: u32) -> Option<Duration> {
    let growing =
        |(first, longest): (Duration, Duration)| Some((first * (1 << repeats.min(10))).min(longest));
    let code = match cause {
        // Nothing was sent either, and the next look at the address costs nobody anything.
        Cause::NoConnection | Cause::OwnAddress => return growing(NO_CONNECTION),
        Cause::Loop => return None,
        Cause::NoReply | Cause::Garbage => return growing(NO_SENSE),
        Cause::Code(code) => code,
    };
    match code.remedy() {
        Remedy::Operator => None,
        Remedy::Wait(_) if code.as_str() == ErrorCode::NO_SLOT => {
            let wait = NO_SLOT_WAITS.iter().find(|(least, _)| refusals >= *least);
            Some(wait.map_or(WAIT_AFTER_GARBAGE, |(_, wait)| *wait))
        }
        Remedy::Wait(span) | Remedy::Suspend(span) => Some(span),
        Remedy::FailTask | Remedy::NotReady | Remedy::Request => growing(NO_SENSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
    const PLENTY: u32 = 79;

    fn after(seconds: u64) -> Timestamp {
        AT.after(Duration::from_secs(seconds))
    }

    fn trouble(code: &str) -> Signal {
        Signal::of(&ErrorCode::known(code))
    }

    #[test]
    fn each_code_asks_for_its_own_pause() {
        for (code, seconds) in [
            ("ERROR_NO_SLOT_AVAILABLE", 5),
            ("ERROR_ZERO_BALANCE", 60),
            ("MAX_USER_TURN", 10),
            ("ERROR: 1001", 600),
            ("ERROR: 1002", 300),
            ("ERROR: 1003", 30),
            ("ERROR: 1004", 600),
            ("ERROR: 1005", 300),
        ] {
            let mut backoff = Backoff::default();
            assert!(backoff.note(Script::In, trouble(code), PLENTY, AT));
            assert_eq!(backoff.gate(Script::In, AT), Gate::Until(after(seconds)), "{code}");
            assert_eq!(backoff.gate(Script::In, after(seconds)), Gate::Probe, "{code}");
        }
    }

    /// The pauses after this trouble with `in.php`.
    fn paused(code: &str) -> Backoff {
        let mut backoff = Backoff::default();
        backoff.note(Script::In, trouble(code), PLENTY, AT);
        backoff
    }

    #[test]
    fn of_two_changes_at_once_the_longer_pause_holds() {
        let (none, minute, ever) =
            (Backoff::default(), paused("ERROR_ZERO_BALANCE"), paused("ERROR_WRONG_USER_KEY"));
        let ten_seconds = paused("MAX_USER_TURN");
        // Nobody else changed anything.
        assert_eq!(none.changed(&none, &minute), minute);
        assert_eq!(minute.changed(&minute, &none), none);
        // Somebody else has found out something meanwhile.
        for (theirs, ours, both) in [
            (&ten_seconds, &minute, &minute),
            (&minute, &ten_seconds, &minute),
            (&ever, &minute, &ever),
            (&minute, &ever, &ever),
        ] {
            let changed = theirs.changed(&none, ours);
            assert_eq!(changed.hold(Script::In), both.hold(Script::In), "{theirs:?} and {ours:?}");
        }
        // What concerns both scripts concerns the other one too, whatever is known of the first.
        assert_eq!(minute.changed(&none, &ever).hold(Script::Res), ever.hold(Script::Res));
    }

    #[test]
    fn the_end_of_one_pause_does_not_end_another() {
        let (none, minute, ever) =
            (Backoff::default(), paused("ERROR_ZERO_BALANCE"), paused("ERROR_WRONG_USER_KEY"));
        assert_eq!(ever.changed(&minute, &none).hold(Script::In), ever.hold(Script::In));
        // Somebody else has ended it, and we begin it anew.
        assert_eq!(none.changed(&minute, &ever), ever);
        assert_eq!(none.changed(&minute, &minute), none);
    }

    #[test]
    fn a_suspended_account_leaves_both_scripts_alone_and_a_full_queue_only_one() {
        for (code, res_php) in [
            ("ERROR_NO_SLOT_AVAILABLE", Gate::Open),
            ("ERROR_ZERO_BALANCE", Gate::Open),
            ("ERROR: 1003", Gate::Until(after(30))),
            ("ERROR_KEY_DOES_NOT_EXIST", Gate::Stopped),
        ] {
            let mut backoff = Backoff::default();
            backoff.note(Script::In, trouble(code), PLENTY, AT);
            assert_eq!(backoff.gate(Script::Res, AT), res_php, "{code}");
        }
    }

    #[test]
    fn a_loop_stops_both_scripts_and_an_address_of_ours_lets_them_look_again() {
        let mut backoff = Backoff::default();
        for seconds in [1, 2] {
            let now = after(10 * seconds);
            backoff.note(Script::Res, Signal::Trouble(Cause::OwnAddress), PLENTY, now);
            let again = Gate::Until(now.after(Duration::from_secs(seconds)));
            assert_eq!(Script::ALL.map(|script| backoff.gate(script, now)), [again, again]);
        }
        backoff.note(Script::In, Signal::Trouble(Cause::Loop), PLENTY, after(20));
        let gates = |backoff: &Backoff| Script::ALL.map(|script| backoff.gate(script, after(1_000_000)));
        assert_eq!(gates(&backoff), [Gate::Stopped; 2]);

        assert!(backoff.forget_loops() && !backoff.forget_loops());
        assert_eq!(gates(&backoff), [Gate::Open; 2]);
        backoff.note(Script::In, trouble("ERROR_WRONG_USER_KEY"), PLENTY, AT);
        assert!(!backoff.forget_loops());
        assert_eq!(gates(&backoff), [Gate::Stopped; 2]);
    }

    #[test]
    fn a_pause_ends_by_a_probe_that_is_welcome() {
        let mut backoff = Backoff::default();
        backoff.note(Script::In, trouble("ERROR_ZERO_BALANCE"), PLENTY, AT);
        // Sent before the pause began.
        assert!(!backoff.note(Script::In, Signal::Welcome, PLENTY, after(1)));
        assert!(backoff.note(Script::In, Signal::Welcome, PLENTY, after(60)));
        assert_eq!(backoff.gate(Script::In, after(60)), Gate::Open);
    }

    #[test]
    fn only_an_operator_ends_a_stop() {
        let mut backoff = Backoff::default();
        backoff.note(Script::Res, trouble("ERROR_WRONG_USER_KEY"), PLENTY, AT);
        for signal in [Signal::Welcome, trouble("ERROR_NO_SLOT_AVAILABLE"), trouble("ERROR: 1003")] {
            assert!(!backoff.note(Script::In, signal, PLENTY, after(3600)));
        }
        assert_eq!(backoff.gate(Script::In, after(1_000_000)), Gate::Stopped);
        backoff.resume();
        assert_eq!(backoff.gate(Script::In, AT), Gate::Open);
    }

    #[test]
    fn trouble_without_sense_grows_with_each_probe_and_not_with_what_was_under_way() {
        let mut backoff = Backoff::default();
        let mut now = AT;
        for seconds in [5, 10, 20, 40, 80, 160, 300, 300] {
            for _under_way in 0..5 {
                backoff.note(Script::In, Signal::Trouble(Cause::Garbage), PLENTY, now);
            }
            assert_eq!(backoff.gate(Script::In, now), Gate::Until(now.after(Duration::from_secs(seconds))));
            now = now.after(Duration::from_secs(seconds));
        }
        backoff.note(Script::In, Signal::Welcome, PLENTY, now);
        backoff.note(Script::In, Signal::Trouble(Cause::Garbage), PLENTY, now);
        assert_eq!(backoff.gate(Script::In, now), Gate::Until(now.after(Duration::from_secs(5))));
    }

    #[test]
    fn the_fewer_refusals_are_left_the_longer_is_the_wait() {
        for (left, seconds) in [(79, 5), (40, 5), (39, 15), (20, 15), (19, 60), (1, 60), (0, 300)] {
            let mut backoff = Backoff::default();
            backoff.note(Script::In, trouble("ERROR_NO_SLOT_AVAILABLE"), left, AT);
            assert_eq!(backoff.gate(Script::In, AT), Gate::Until(after(seconds)), "{left}");
        }
    }

    #[test]
    fn a_longer_pause_is_not_cut_short_by_a_shorter_one() {
        let mut backoff = Backoff::default();
        backoff.note(Script::In, trouble("ERROR: 1001"), PLENTY, AT);
        backoff.note(Script::In, trouble("ERROR_NO_SLOT_AVAILABLE"), PLENTY, after(1));
        assert_eq!(backoff.gate(Script::In, after(1)), Gate::Until(after(600)));
        let cause = backoff.hold(Script::In).map(|hold| hold.cause.as_str().to_owned());
        assert_eq!(cause.as_deref(), Some("ERROR: 1001"));
    }

    #[test]
    fn a_clock_that_is_set_back_neither_prolongs_a_pause_nor_ends_it_by_a_hair() {
        let mut backoff = Backoff::default();
        backoff.note(Script::In, trouble("ERROR_ZERO_BALANCE"), PLENTY, after(3600));
        assert_eq!(backoff.gate(Script::In, AT), Gate::Probe);
        assert_eq!(backoff.gate(Script::In, after(3599)), Gate::Until(after(3660)));
    }

    #[test]
    fn what_is_stored_is_what_is_restored() {
        for cause in [
            Cause::NoConnection,
            Cause::OwnAddress,
            Cause::Loop,
            Cause::NoReply,
            Cause::Garbage,
            Cause::Code(ErrorCode::known("ERROR: 1005")),
        ] {
            assert_eq!(Cause::named(cause.as_str()), cause);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_trouble_leaves_the_gate_open(causes in proptest::collection::vec("(ERROR_[A-Z_]{1,20}|ERROR: [0-9]{4})", 1..20)) {
            let mut backoff = Backoff::default();
            for (second, code) in (0..).zip(causes) {
                let Some(code) = ErrorCode::parse(&code) else { continue };
                let signal = Signal::of(&code);
                let is_trouble = signal != Signal::Welcome;
                backoff.note(Script::In, signal, PLENTY, after(second));
                proptest::prop_assert!(!is_trouble || backoff.gate(Script::In, after(second)) != Gate::Open);
            }
        }
    }
}
