//! The commands that call a running server: what they print, and their exit codes.

use std::path::Path;

use pingbox::sandbox::DEFAULT_KEY;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{SECRET, reply, text_captcha};
use crate::program::{NOWHERE, TOKEN, http, outcome, pingbox};
use crate::served::{Served, served};

const WRONG_TOKEN: &str = "fedcba9876543210fedcba9876543210";

/// One line for each command that asks the server one thing.
const LINES: [&[&str]; 5] =
    [&["balance"], &["report", "1", "bad"], &["pingback", "list"], &["pingback", "rotate"], &["doctor"]];

impl Served {
    /// The id of a task that is solved.
    async fn solved(&self) -> String {
        let request = http().post(self.server.url("api") + "/v1/tasks?wait=15").json(&text_captcha());
        let (_, task) = reply(request).await;
        assert_eq!(task["status"], "solved", "{task}");
        task["id"].as_str().unwrap().to_owned()
    }
}

fn help(line: &[&str]) -> String {
    let (code, text, _) = outcome(&mut pingbox(Path::new("."), &[line, &["--help"]].concat()));
    assert_eq!(code, Some(0));
    text
}

#[test]
fn the_balance_comes_with_its_time_the_days_spending_and_the_limit() {
    let served = served(&["--balance", "12.5"], &[("PINGBOX_SPEND__DAILY_LIMIT", "3")]);
    let (code, text, explanation) = served.outcome(&["balance"]);
    assert_eq!(code, Some(0), "{explanation}");
    let lines: Vec<_> = text.lines().map(|line| line.split_once("  ").unwrap()).collect();
    let [("balance", balance), ("as of", at), ("spent today", today), ("daily limit", limit)] = lines[..]
    else {
        panic!("{text}")
    };
    assert_eq!((balance.trim(), today.trim(), limit.trim()), ("12.5", "0", "3"));
    assert!(at.trim().starts_with("20") && at.ends_with('Z'), "{at}");
}

#[test]
fn a_balance_that_is_not_known_fails() {
    let served = served(&["--result-code", "ERROR: 1003"], &[]);
    let (code, text, _) = served.outcome(&["balance"]);
    assert_eq!(code, Some(1));
    assert!(text.starts_with("balance      not known") && text.contains("pingbox doctor"), "{text}");
}

#[tokio::test]
async fn json_is_printed_as_it_came() {
    let served = served(&[], &[]);
    served.until_registration_is("registered").await;
    for (line, path) in [
        (&["balance", "--json"][..], "/v1/account"),
        (&["pingback", "list", "--json"], "/v1/pingbacks"),
        (&["pingback", "--json", "list"], "/v1/pingbacks"),
    ] {
        let url = served.server.url("api") + path;
        let came = http().get(&url).send().await.unwrap().text().await.unwrap();
        let (code, printed, explanation) = served.outcome(line);
        assert_eq!(code, Some(0), "{explanation}");
        assert_eq!(printed, came + "\n");
    }
}

#[tokio::test]
async fn a_report_is_recorded_once() {
    let served = served(&[], &[]);
    let id = served.solved().await;
    let (code, text, _) = served.outcome(&["report", &id, "bad"]);
    assert_eq!((code, text.as_str()), (Some(0), "recorded: OK_REPORT_RECORDED\n"));
    let (code, json, _) = served.outcome(&["report", &id, "bad", "--json"]);
    let report: Value = json.parse().unwrap();
    assert_eq!((code, &report["status"]), (Some(0), &json!("recorded")));
    let (code, _, explanation) = served.outcome(&["report", &id, "good"]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(explanation, @"pingbox: the task was reported as bad before: there is one report for each task");
}

#[tokio::test]
async fn a_report_that_the_provider_refuses_fails_with_its_word() {
    let served = served(&[], &[]);
    let id = served.solved().await;
    served.turn(json!({"result_code": "REPORT_NOT_RECORDED"})).await;
    let (code, text, _) = served.outcome(&["report", &id, "bad"]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(text, @"refused: REPORT_NOT_RECORDED: the report was not recorded: it came too late, or the account complains too often");
}

#[tokio::test]
async fn a_report_that_waits_to_be_sent_exits_with_3() {
    let served = served(&[], &[]);
    let id = served.solved().await;
    served.turn(json!({"result_code": "ERROR: 1003"})).await;
    let (code, text, _) = served.outcome(&["report", &id, "good"]);
    assert_eq!(code, Some(3));
    insta::assert_snapshot!(text, @"queued: the server sends it as soon as the provider takes it");
}

#[tokio::test]
async fn pingback_urls_are_listed_added_and_deleted() {
    let served = served(&[], &[]);
    let url = served.until_registration_is("registered").await["registration"]["url"].clone();
    let ours = format!("{}  pingbox's own\n", url.as_str().unwrap());
    let (code, text, _) = served.outcome(&["pingback", "add", "http://127.0.0.1/mine"]);
    assert_eq!((code, text.as_str()), (Some(0), "added http://127.0.0.1/mine\n"));
    let add = format!(
        "{}/res.php?key={}&action=add_pingback&addr=http://127.0.0.1/theirs",
        served.server.emulation(),
        DEFAULT_KEY
    );
    http().get(add).send().await.unwrap();
    let (_, list, _) = served.outcome(&["pingback", "list"]);
    let others = "http://127.0.0.1/mine  added with pingbox\nhttp://127.0.0.1/theirs  added by others\n";
    assert_eq!(list, ours.clone() + others);

    let (code, text, _) = served.outcome(&["pingback", "del", "http://127.0.0.1/mine"]);
    assert_eq!((code, text.as_str()), (Some(0), "deleted http://127.0.0.1/mine\n"));
    let theirs = ["pingback", "del", "http://127.0.0.1/theirs"];
    let (code, _, explanation) = served.outcome(&theirs);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(explanation, @"pingbox: pingbox did not add this URL: add --force to delete it all the same");
    assert_eq!(served.outcome(&[&theirs[..], &["--force"]].concat()).0, Some(0));
    assert_eq!(served.outcome(&["pingback", "list"]).1, ours);
}

#[test]
fn a_pingback_url_that_the_provider_refuses_is_explained() {
    let served = served(&[], &[]);
    let (code, _, explanation) = served.outcome(&["pingback", "add", "https://192.0.2.9/answers"]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(explanation, @"pingbox: the provider refuses this with ERROR_IP_ADDRES: the request must come from the address that public.url points to: run pingbox behind that address, or add the URL once from there");
}

#[tokio::test]
async fn a_rotation_is_begun() {
    let served = served(&[], &[]);
    served.until_registration_is("registered").await;
    let (code, text, explanation) = served.outcome(&["pingback", "rotate"]);
    assert_eq!(code, Some(0), "{explanation}");
    insta::assert_snapshot!(text, @"the new URL is used as soon as the provider knows it; the old one stays valid until its tasks are done");
}

#[test]
fn a_secret_that_is_configured_is_not_rotated() {
    let served = served(&[], &[("PINGBOX_PINGBACK__SECRET", SECRET)]);
    let (code, _, explanation) = served.outcome(&["pingback", "rotate"]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(explanation, @"pingbox: pingback.secret is set in the configuration: change it there and start again; the old one stays valid until its tasks are done");
}

#[test]
fn a_token_is_taken_from_the_environment_and_a_wrong_one_is_not_shown() {
    let served = served(&[], &[("PINGBOX_API__TOKEN", TOKEN)]);
    let file = served.data.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    for (variable, value) in [("PINGBOX_TOKEN", TOKEN), ("PINGBOX_TOKEN_FILE", file.to_str().unwrap())] {
        let (code, _, explanation) = outcome(served.command(&["balance"]).env(variable, value));
        assert_eq!(code, Some(0), "{explanation}");
    }
    for line in LINES {
        let (code, text, explanation) = outcome(served.command(line).env("PINGBOX_TOKEN", WRONG_TOKEN));
        assert_eq!(code, Some(1), "{line:?}");
        assert!(explanation.contains("does not know this token: set PINGBOX_TOKEN"), "{explanation}");
        assert!(!(text + &explanation).contains(WRONG_TOKEN), "{line:?}");
        let (code, _, explanation) = served.outcome(line);
        assert_eq!(code, Some(1), "{line:?}");
        assert!(explanation.contains("wants a token: set PINGBOX_TOKEN"), "{explanation}");
        assert_eq!(explanation.lines().count(), 1, "{explanation}");
    }
}

#[test]
fn without_a_server_each_command_says_where_it_looked() {
    let data = TempDir::new().unwrap();
    for line in LINES {
        let (code, text, explanation) = outcome(pingbox(data.path(), line).env("PINGBOX_SERVER", NOWHERE));
        assert_eq!((code, text.as_str()), (Some(1), ""), "{line:?}");
        assert!(explanation.contains(NOWHERE) && explanation.contains("PINGBOX_SERVER"), "{explanation}");
        assert_eq!(explanation.lines().count(), 1, "{explanation}");
    }
}

#[test]
fn the_flag_goes_before_the_environment() {
    let served = served(&[], &[]);
    let line = ["pingback", "list", "--server", NOWHERE];
    let (code, _, explanation) = served.outcome(&line);
    assert_eq!(code, Some(1));
    assert!(explanation.contains(NOWHERE), "{explanation}");
}

#[test]
fn what_answers_without_being_the_api_is_told_apart() {
    let served = served(&[], &[]);
    for line in LINES {
        let public = served.server.url("public");
        let (code, _, explanation) = outcome(served.command(line).env("PINGBOX_SERVER", &public));
        assert_eq!(code, Some(1));
        assert!(explanation.contains(&public) && explanation.contains("api listener"), "{explanation}");
    }
}

#[test]
fn a_client_line_that_makes_no_sense_exits_with_2() {
    let data = TempDir::new().unwrap();
    for line in [
        &["report", "first", "bad"][..],
        &["report", "1", "ugly"],
        &["report", "1"],
        &["pingback"],
        &["pingback", "add"],
        &["balance", "--server", "127.0.0.1:8081"],
        &["balance", "--token", TOKEN],
    ] {
        assert_eq!(outcome(&mut pingbox(data.path(), line)).0, Some(2), "{line:?}");
    }
}

#[test]
fn help_of_balance() {
    insta::assert_snapshot!(help(&["balance"]), @r"
    Show what is on the account, and what was spent today

    Usage: pingbox balance [OPTIONS]

    Options:
          --server <URL>    The server's address [env: PINGBOX_SERVER] [default: http://127.0.0.1:8081]
          --ca-file <FILE>  The CA (PEM) to trust, as `pingbox tls ca` prints it [env: PINGBOX_CA_FILE]
          --json            Print the server's JSON as it came
      -h, --help            Print help

    The token is read from PINGBOX_TOKEN, or from the file that PINGBOX_TOKEN_FILE names. It needs the
    scope read.
    ");
}

#[test]
fn help_of_report() {
    insta::assert_snapshot!(help(&["report"]), @r"
    Tell the provider whether an answer was right

    Usage: pingbox report [OPTIONS] <ID> <VERDICT>

    Arguments:
      <ID>       The task's id
      <VERDICT>  Whether its answer was wrong or right [possible values: bad, good]

    Options:
          --server <URL>    The server's address [env: PINGBOX_SERVER] [default: http://127.0.0.1:8081]
          --ca-file <FILE>  The CA (PEM) to trust, as `pingbox tls ca` prints it [env: PINGBOX_CA_FILE]
          --json            Print the server's JSON as it came
      -h, --help            Print help

    The token is read from PINGBOX_TOKEN, or from the file that PINGBOX_TOKEN_FILE names. It needs the
    scope submit.
    ");
}

#[test]
fn help_of_pingback() {
    insta::assert_snapshot!(help(&["pingback"]), @r"
    List, add, delete or change the pingback URLs that the provider knows

    Usage: pingbox pingback [OPTIONS] <COMMAND>

    Commands:
      list    List the URLs that the provider knows
      add     Add a URL for programs other than pingbox
      del     Delete a URL
      rotate  Give pingbox's own URL another secret; the old one stays valid until its tasks are done
      help    Print this message or the help of the given subcommand(s)

    Options:
          --server <URL>    The server's address [env: PINGBOX_SERVER] [default: http://127.0.0.1:8081]
          --ca-file <FILE>  The CA (PEM) to trust, as `pingbox tls ca` prints it [env: PINGBOX_CA_FILE]
          --json            Print the server's JSON as it came
      -h, --help            Print help

    The token is read from PINGBOX_TOKEN, or from the file that PINGBOX_TOKEN_FILE names. It needs the
    scope admin.
    ");
    insta::assert_snapshot!(help(&["pingback", "list"]), @r"
    List the URLs that the provider knows

    Usage: pingbox pingback list [OPTIONS]

    Options:
          --server <URL>    The server's address [env: PINGBOX_SERVER] [default: http://127.0.0.1:8081]
          --ca-file <FILE>  The CA (PEM) to trust, as `pingbox tls ca` prints it [env: PINGBOX_CA_FILE]
          --json            Print the server's JSON as it came
      -h, --help            Print help

    The token is read from PINGBOX_TOKEN, or from the file that PINGBOX_TOKEN_FILE names. It needs the
    scope admin.
    ");
    insta::assert_snapshot!(help(&["pingback", "add"]), @r"
    Add a URL for programs other than pingbox

    Usage: pingbox pingback add [OPTIONS] <URL>

    Arguments:
      <URL>  The URL

    Options:
          --server <URL>    The server's address [env: PINGBOX_SERVER] [default: http://127.0.0.1:8081]
          --ca-file <FILE>  The CA (PEM) to trust, as `pingbox tls ca` prints it [env: PINGBOX_CA_FILE]
          --json            Print the server's JSON as it came
      -h, --help            Print help

    The token is read from PINGBOX_TOKEN, or from the file that PINGBOX_TOKEN_FILE names. It needs the
    scope admin.
    ");
    insta::assert_snapshot!(help(&["pingback", "del"]), @r"
    Delete a URL

    Usage: pingbox pingback del [OPTIONS] <URL>

    Arguments:
      <URL>  The URL as the list has it, or all

    Options:
          --force           Also if it was not added with pingbox, or is pingbox's own
          --server <URL>    The server's address [env: PINGBOX_SERVER] [default: http://127.0.0.1:8081]
          --ca-file <FILE>  The CA (PEM) to trust, as `pingbox tls ca` prints it [env: PINGBOX_CA_FILE]
          --json            Print the server's JSON as it came
      -h, --help            Print help

    The token is read from PINGBOX_TOKEN, or from the file that PINGBOX_TOKEN_FILE names. It needs the
    scope admin.
    ");
    insta::assert_snapshot!(help(&["pingback", "rotate"]), @r"
    Give pingbox's own URL another secret; the old one stays valid until its tasks are done

    Usage: pingbox pingback rotate [OPTIONS]

    Options:
          --server <URL>    The server's address [env: PINGBOX_SERVER] [default: http://127.0.0.1:8081]
          --ca-file <FILE>  The CA (PEM) to trust, as `pingbox tls ca` prints it [env: PINGBOX_CA_FILE]
          --json            Print the server's JSON as it came
      -h, --help            Print help

    The token is read from PINGBOX_TOKEN, or from the file that PINGBOX_TOKEN_FILE names. It needs the
    scope admin.
    ");
}
