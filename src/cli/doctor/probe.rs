//! One captcha that is paid for, to learn how answers come.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::json;

use super::check::Check;
use crate::cli::tell;
use crate::client::{Account, Client, PublicUrlCheck, Submitted, TaskLine, Told};
use crate::model::{CaptchaType, Price, Secret, TaskId};

const NAME: &str = "probe";
/// Longer than the provider works on a text.
const PATIENCE: Duration = Duration::from_secs(120);
/// The wait of one request: after that long the server has sent the captcha, or knows why not.
const STEP: Duration = Duration::from_secs(5);
/// Between two requests to a server that does not wait for so long.
const PAUSE: Duration = Duration::from_millis(500);
/// The API document's own.
const QUESTION: &str = "If tomorrow is Saturday, what day is today?";

/// How the answer to a text captcha came, and its task as the server told it; `None` when none was sent.
pub(super) async fn probe(
    client: &Client,
    account: &Account,
    public_url: Option<&PublicUrlCheck>,
) -> anyhow::Result<(Check, Option<String>)> {
    if account.backoff.in_php.is_some() || account.reason.is_some() {
        let remedy = "do what the lines above say, and probe again";
        return Ok((Check::fail(NAME, "not tried: captchas are not sent at the moment", remedy), None));
    }
    if public_url.is_some_and(PublicUrlCheck::leads_astray) {
        let remedy = "do what the line public_url says, and probe again";
        return Ok((Check::fail(NAME, "not tried: mend public_url first", remedy), None));
    }
    let price = Price::from_nanos(CaptchaType::Text.rate_nanos());
    tell(&format!("--probe has one text captcha solved, which costs about {}", price.as_str()));
    let id = submit(client).await?;
    tell(&format!("it is task {id}; its answer is waited for, for {} s at most", PATIENCE.as_secs()));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let task = wait(client, id, deadline).await?;
        if let Some(why) = task.body.why_it_waits() {
            if let Ok(cancelled) = client.cancel(id).await {
                let reason = format!("not sent, and cancelled: {why}");
                let check = Check::fail(NAME, reason, "see what `pingbox doctor` says, and probe again");
                return Ok((check, Some(cancelled.json)));
            }
            // It was sent meanwhile.
            if Instant::now() < deadline {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        }
        let proven = public_url.is_some_and(PublicUrlCheck::is_proven);
        return Ok((judge(&task.body, account, proven), Some(task.json)));
    }
}

async fn submit(client: &Client) -> anyhow::Result<TaskId> {
    let key = Secret::random_hex(16).context("the system gives no randomness")?;
    let fields = json!({ "type": CaptchaType::Text.as_str(), "textcaptcha": QUESTION, "tag": "doctor" });
    match client.submit(&fields, &format!("doctor-{}", key.expose())).await {
        Submitted::New(task) | Submitted::Earlier(task) => Ok(task.id.parse()?),
        Submitted::Refused(why) => bail!("the server does not take the captcha: {why}"),
        Submitted::Later(error) | Submitted::Stopped(error) => Err(error),
    }
}

/// The task once it has ended, or is kept back, or as it stands at the deadline.
async fn wait(client: &Client, id: TaskId, deadline: Instant) -> anyhow::Result<Told<TaskLine>> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let task = client.task(id, left.min(STEP)).await?;
        if task.body.has_ended() || task.body.why_it_waits().is_some() || left.is_zero() {
            return Ok(task);
        }
        tokio::time::sleep(PAUSE.min(left)).await;
    }
}

/// What its end tells, or that there is none; `is_url_proven`: somebody has come through by the public URL.
fn judge(task: &TaskLine, account: &Account, is_url_proven: bool) -> Check {
    let id = &task.id;
    if !task.has_ended() {
        let reason = task.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let reason = format!("task {id} is {} after {} s{reason}", task.status, PATIENCE.as_secs());
        return Check::fail(
            NAME,
            reason,
            &format!("`pingbox get {id} --wait` prints its answer once it comes"),
        );
    }
    if let Err(why) = task.outcome() {
        return Check::fail(NAME, format!("there is no answer to task {id}: {why}"), "probe again");
    }
    let seconds = task.solve_ms.map(|ms| format!(" in {:.1} s", Duration::from_millis(ms).as_secs_f64()));
    let price = task.price.as_ref().map(|price| format!(" for {price}"));
    let solved = format!("solved{}{}", seconds.unwrap_or_default(), price.unwrap_or_default());
    let is_per_task = account.registration.url_mode.as_deref() == Some("per_task");
    match task.via.as_deref() {
        Some("pingback") if is_per_task => {
            Check::ok(NAME, format!("{solved}, by pingback to a URL of its own: per_task works"))
        }
        Some("pingback") => Check::ok(NAME, format!("{solved}, by pingback to the URL that all tasks share")),
        _ if account.answers == "polling" => {
            let reason = format!("{solved}, by asking: no pingback can come, as the line registration says");
            Check::note(NAME, reason)
        }
        _ if is_per_task && is_url_proven => Check::fail(
            NAME,
            format!("{solved}, but by asking: no pingback came to the task's own URL"),
            "set pingback.url_mode to shared, which is for providers that send to the registered URL alone, and probe \
             again",
        ),
        _ if !is_url_proven => Check::fail(
            NAME,
            format!("{solved}, but by asking: no pingback came"),
            "first see to it that public.url leads to the public listener (the line public_url; proxy, firewall, \
             public.allow_from), and probe again",
        ),
        _ => Check::fail(
            NAME,
            format!("{solved}, but by asking: no pingback came"),
            "see to it that public.url leads to the public listener (proxy, firewall, public.allow_from), and probe again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The line for a task with these changes, in an account with these, and a public URL that was reached.
    fn line(of_task: &Value, answers: &str, url_mode: Option<&str>) -> String {
        line_by(of_task, answers, url_mode, true)
    }

    fn line_by(of_task: &Value, answers: &str, url_mode: Option<&str>, is_url_proven: bool) -> String {
        let mut task = json!({
            "id": "7", "status": "solved", "answer": {"text": "Friday"}, "error": null, "via": "pingback",
            "price": "0.001", "reason": null, "solve_ms": 3120,
        });
        task.as_object_mut().unwrap().extend(of_task.as_object().unwrap().clone());
        let account = json!({
            "balance": null, "balance_at": null, "spend": {"today": "0", "daily_limit": null},
            "credit": {"left": 1200, "most": 1200, "per_captcha": 20},
            "backoff": {"in_php": null, "res_php": null}, "answers": answers, "reason": null,
            "registration": {"state": "registered", "url": null, "detail": "", "url_mode": url_mode},
        });
        let (task, account) =
            (serde_json::from_value(task).unwrap(), serde_json::from_value(account).unwrap());
        judge(&task, &account, is_url_proven).line()
    }

    #[test]
    fn how_an_answer_came_is_judged_by_how_it_should_have_come() {
        let (pinged, asked) = (json!({}), json!({"via": "reconcile"}));
        let lines = [
            line(&pinged, "pingback", Some("per_task")),
            line(&pinged, "pingback", Some("shared")),
            line(&asked, "pingback", Some("per_task")),
            line(&asked, "pingback", Some("shared")),
            line(&asked, "pingback", None),
            line(&asked, "polling", Some("per_task")),
        ];
        insta::assert_snapshot!(lines.concat(), @r"
        ok    probe         solved in 3.1 s for 0.001, by pingback to a URL of its own: per_task works
        ok    probe         solved in 3.1 s for 0.001, by pingback to the URL that all tasks share
        fail  probe         solved in 3.1 s for 0.001, but by asking: no pingback came to the task's own URL -> set pingback.url_mode to shared, which is for providers that send to the registered URL alone, and probe again
        fail  probe         solved in 3.1 s for 0.001, but by asking: no pingback came -> see to it that public.url leads to the public listener (proxy, firewall, public.allow_from), and probe again
        fail  probe         solved in 3.1 s for 0.001, but by asking: no pingback came -> see to it that public.url leads to the public listener (proxy, firewall, public.allow_from), and probe again
        note  probe         solved in 3.1 s for 0.001, by asking: no pingback can come, as the line registration says
        ");
    }

    #[test]
    fn a_missing_pingback_tells_nothing_of_the_url_mode_while_the_public_url_is_not_proven() {
        let asked = json!({"via": "reconcile"});
        let by = |url_mode| line_by(&asked, "pingback", Some(url_mode), false);
        insta::assert_snapshot!(by("per_task"), @"fail  probe         solved in 3.1 s for 0.001, but by asking: no pingback came -> first see to it that public.url leads to the public listener (the line public_url; proxy, firewall, public.allow_from), and probe again");
        assert_eq!(by("shared"), by("per_task"));
        let pinged = line_by(&json!({}), "pingback", Some("per_task"), false);
        assert!(pinged.starts_with("ok "), "{pinged}");
    }

    #[test]
    fn a_public_url_is_proven_by_whoever_came_through() {
        let found = |state: &str, pingbacks: u64| {
            let found = json!({"state": state, "url": "u", "detail": "d", "pingbacks": pingbacks});
            serde_json::from_value::<PublicUrlCheck>(found).unwrap()
        };
        assert!(found("reached", 0).is_proven() && found("unreachable", 1).is_proven());
        assert!(!found("unreachable", 0).is_proven() && !found("unreachable", 0).leads_astray());
        assert!(found("elsewhere", 1).leads_astray() && found("not_passed", 1).leads_astray());
    }

    #[test]
    fn a_captcha_without_an_answer_is_a_failure() {
        let error = json!({"code": "ERROR_CAPTCHA_UNSOLVABLE", "message": "nobody could solve it"});
        let tasks = [
            json!({"status": "failed", "answer": null, "error": error}),
            json!({"status": "submitted", "answer": null}),
            json!({"status": "queued", "answer": null, "reason": "why"}),
        ];
        let lines = tasks.map(|task| line(&task, "pingback", Some("shared")));
        insta::assert_snapshot!(lines.concat(), @r"
        fail  probe         there is no answer to task 7: ERROR_CAPTCHA_UNSOLVABLE: nobody could solve it -> probe again
        fail  probe         task 7 is submitted after 120 s -> `pingbox get 7 --wait` prints its answer once it comes
        fail  probe         task 7 is queued after 120 s: why -> `pingbox get 7 --wait` prints its answer once it comes
        ");
    }
}
