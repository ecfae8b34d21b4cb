//! What the server finds when it looks at itself from outside.

use std::time::Duration;

use super::check::Check;
use super::disk;
use crate::client::{Checks, ClockCheck, DiskCheck, PublicUrlCheck};
use crate::model::Timestamp;

/// A clock that is off by so many seconds needs somebody.
const CLOCK_IS_WRONG_SECS: u64 = 60;
/// What was measured longer ago says little of now.
const CLOCK_IS_OLD: Duration = Duration::from_mins(15);

/// What `/v1/checks` tells; `None` from a server that has no such thing.
pub(super) fn checks(found: Option<&Checks>, now: Timestamp) -> Vec<Check> {
    let Some(Checks { public_url, clock, disk }) = found else {
        let reason = "not told by this server, which is older; nor are its clock and its disk";
        return vec![Check::note("public_url", reason)];
    };
    let mut checks = Vec::from_iter(self::public_url(public_url));
    checks.extend([self::clock(clock, now), self::disk(disk.as_ref())]);
    checks
}

/// `None` where there is none: the registration tells of that.
fn public_url(found: &PublicUrlCheck) -> Option<Check> {
    const NAME: &str = "public_url";
    let PublicUrlCheck { state, url, detail, pingbacks } = found;
    let url = url.as_ref()?;
    let reason = format!("{url}: {detail}");
    Some(match state.as_str() {
        "reached" => Check::ok(NAME, format!("{url} leads to this server")),
        "elsewhere" => Check::fail(
            NAME,
            reason,
            "set public.url to where the public listener is reached, or have what is there pass /pingback/ on to it, \
             without a redirect or a login",
        ),
        "not_passed" => Check::fail(
            NAME,
            reason,
            "have the proxy pass /pingback/ on to the address of public.listen, or correct public.url",
        ),
        // Whoever calls meets with the same, those whose pingbacks came before too.
        "faulty" => Check::fail(
            NAME,
            reason,
            "see to its name in DNS and to its certificate, and that what listens there is as public.url says",
        ),
        _ if *pingbacks > 0 => {
            Check::note(NAME, format!("{reason}. Pingbacks came all the same: {pingbacks}"))
        }
        _ => Check::fail(
            NAME,
            reason,
            "try the URL from another network; if it does not answer there: check its address in DNS, port and firewall, \
             and public.url",
        ),
    })
}

fn clock(found: &ClockCheck, now: Timestamp) -> Check {
    const NAME: &str = "clock";
    const REMEDY: &str =
        "turn on time synchronisation on the server's machine, such as chrony or systemd-timesyncd";
    let Some(offset) = found.offset else {
        return Check::note(NAME, "not known: the provider has not answered yet");
    };
    let off = offset.unsigned_abs();
    let side = if offset > 0 { "ahead of" } else { "behind" };
    let reason =
        if off < 2 { "as the provider's".to_owned() } else { format!("{off} s {side} the provider's") };
    let old = measured_long_ago(found, offset, now);
    match (off, old) {
        (0..=1, None) => Check::ok(NAME, reason),
        (0..=1, Some(at)) => Check::note(NAME, format!("{reason}, measured at {at}")),
        (_, Some(at)) => Check::note(NAME, format!("{reason}, measured at {at}")).with(REMEDY),
        (CLOCK_IS_WRONG_SECS.., None) => Check::fail(NAME, reason, REMEDY),
        (_, None) => Check::note(NAME, reason).with(REMEDY),
    }
}

/// When the clock was compared, if that is long ago, whether our own clock is right or is the server's.
fn measured_long_ago(found: &ClockCheck, offset: i64, now: Timestamp) -> Option<Timestamp> {
    let at: Timestamp = found.at.as_ref()?.parse().ok()?;
    let in_truth = Timestamp::from_micros(at.as_micros().saturating_sub(offset.saturating_mul(1_000_000)));
    (now.since(at).min(now.since(in_truth)) > CLOCK_IS_OLD).then_some(at)
}

fn disk(found: Option<&DiskCheck>) -> Check {
    match found {
        Some(DiskCheck { free, total }) => disk::disk(*free, *total),
        None => Check::note("disk", "not known: the database is on PostgreSQL, or the system does not tell"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Ten minutes after the clock was compared.
    fn now() -> Timestamp {
        "2026-01-31T12:10:00Z".parse().unwrap()
    }

    /// The lines for a sound server with these changes, each a path in its JSON and what is there.
    fn lines(changes: &[(&str, Value)]) -> String {
        let mut found = json!({
            "public_url": {
                "state": "reached", "url": "https://a.example/pingback/***", "detail": "it leads to this service",
                "pingbacks": 0,
            },
            "clock": {"offset": 0, "at": "2026-01-31T12:00:00.000Z"},
            "disk": {"free": 21_474_836_480_u64, "total": 42_949_672_960_u64},
        });
        for (path, value) in changes {
            *found.pointer_mut(path).unwrap() = value.clone();
        }
        let found: Checks = serde_json::from_value(found).unwrap();
        checks(Some(&found), now()).iter().map(Check::line).collect()
    }

    /// The lines that are not ok.
    fn unsound(changes: &[(&str, Value)]) -> String {
        lines(changes).split_inclusive('\n').filter(|line| !line.starts_with("ok ")).collect()
    }

    #[test]
    fn a_sound_server_has_a_line_each() {
        insta::assert_snapshot!(lines(&[]), @r"
        ok    public_url    https://a.example/pingback/*** leads to this server
        ok    clock         as the provider's
        ok    disk          20.0 GiB of 40.0 GiB are free
        ");
    }

    #[test]
    fn a_public_url_that_leads_elsewhere_needs_an_operator() {
        let state = |state: &str| {
            unsound(&[("/public_url/state", json!(state)), ("/public_url/detail", json!("its reason"))])
        };
        insta::assert_snapshot!(["elsewhere", "not_passed", "faulty", "unreachable"].map(state).concat(), @r"
        fail  public_url    https://a.example/pingback/***: its reason -> set public.url to where the public listener is reached, or have what is there pass /pingback/ on to it, without a redirect or a login
        fail  public_url    https://a.example/pingback/***: its reason -> have the proxy pass /pingback/ on to the address of public.listen, or correct public.url
        fail  public_url    https://a.example/pingback/***: its reason -> see to its name in DNS and to its certificate, and that what listens there is as public.url says
        fail  public_url    https://a.example/pingback/***: its reason -> try the URL from another network; if it does not answer there: check its address in DNS, port and firewall, and public.url
        ");
    }

    #[test]
    fn a_public_url_that_is_not_reached_from_here_is_a_note_while_pingbacks_come() {
        let pingbacks = ("/public_url/pingbacks", json!(7));
        let state = |state: &str| unsound(&[("/public_url/state", json!(state)), pingbacks.clone()]);
        insta::assert_snapshot!(state("unreachable"), @"note  public_url    https://a.example/pingback/***: it leads to this service. Pingbacks came all the same: 7");
        assert!(state("not_passed").starts_with("fail "), "what was reached is not the server");
        assert!(state("faulty").starts_with("fail "), "they came before its certificate expired");
    }

    #[test]
    fn the_registration_alone_tells_that_there_is_no_public_url() {
        let found = lines(&[("/public_url/state", json!("not_set")), ("/public_url/url", Value::Null)]);
        assert!(!found.contains("public_url") && found.contains("clock"), "{found}");
    }

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_off_on_either_side() {
        let offset = |offset| unsound(&[("/clock/offset", offset)]);
        insta::assert_snapshot!([json!(2), json!(-59), json!(60), json!(-86_399), Value::Null].map(offset).concat(), @r"
        note  clock         2 s ahead of the provider's -> turn on time synchronisation on the server's machine, such as chrony or systemd-timesyncd
        note  clock         59 s behind the provider's -> turn on time synchronisation on the server's machine, such as chrony or systemd-timesyncd
        fail  clock         60 s ahead of the provider's -> turn on time synchronisation on the server's machine, such as chrony or systemd-timesyncd
        fail  clock         86399 s behind the provider's -> turn on time synchronisation on the server's machine, such as chrony or systemd-timesyncd
        note  clock         not known: the provider has not answered yet
        ");
        assert_eq!(offset(json!(0)), "");
    }

    #[test]
    fn a_clock_that_was_compared_long_ago_needs_nobody() {
        let at =
            |offset: i64, at: &str| unsound(&[("/clock/offset", json!(offset)), ("/clock/at", json!(at))]);
        let lines = [at(0, "2026-01-31T11:54:59.000Z"), at(60, "2026-01-31T11:54:59.000Z")];
        insta::assert_snapshot!(lines.concat(), @r"
        note  clock         as the provider's, measured at 2026-01-31T11:54:59.000Z
        note  clock         60 s ahead of the provider's, measured at 2026-01-31T11:54:59.000Z -> turn on time synchronisation on the server's machine, such as chrony or systemd-timesyncd
        ");
        assert_eq!(at(0, "2026-01-31T11:55:00.000Z"), "");
        let a_day_behind = at(-86_400, "2026-01-30T12:10:00.000Z");
        assert!(a_day_behind.starts_with("fail "), "it was measured just now: {a_day_behind}");
    }

    #[test]
    fn a_disk_that_is_not_known_is_not_called_sound() {
        insta::assert_snapshot!(unsound(&[("/disk", Value::Null)]), @"note  disk          not known: the database is on PostgreSQL, or the system does not tell");
    }

    #[test]
    fn an_older_server_is_no_failure() {
        let lines: String = checks(None, now()).iter().map(Check::line).collect();
        insta::assert_snapshot!(lines, @"note  public_url    not told by this server, which is older; nor are its clock and its disk");
    }
}
