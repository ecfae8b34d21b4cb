//! `doctor`: what it finds out about a server that runs, and about one that does not start.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{Html, IntoResponse as _, Response};
use pingbox::sandbox::DEFAULT_KEY;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::harness::PATIENCE;
use crate::process::serve;
use crate::program::{KEY, NOWHERE, Server, TOKEN, emulation, free_address, get, http, outcome, pingbox};
use crate::scripted::Broken;
use crate::served::{Served, served};

/// The line about a server that is not there.
const SILENCE: &str = "fail  server        no pingbox answers at ";

impl Served {
    /// A service of its own and an emulated provider, with this public URL or none.
    fn without_sandbox(data: TempDir, provider: &Server, environment: &[(&str, &str)]) -> Self {
        let mut command = pingbox(data.path(), &["serve"]);
        command
            .env("PINGBOX_PROVIDER__BASE_URL", provider.url("address"))
            .env("PINGBOX_PROVIDER__API_KEY", DEFAULT_KEY)
            .envs(environment.iter().copied());
        Self { server: Server::start(&mut command), data }
    }

    /// The lines of `doctor` that begin so.
    fn diagnosis(&self, options: &[&str], beginning: &str) -> (Option<i32>, String) {
        let (code, text, _) = self.outcome(&[&["doctor"], options].concat());
        (code, lines(&text, beginning))
    }
}

/// Those that begin so.
fn lines(text: &str, beginning: &str) -> String {
    text.lines().filter(|line| line.starts_with(beginning)).collect::<Vec<_>>().join("\n")
}

/// The settings of a server that does not run, on addresses that are free.
struct Unserved {
    data: TempDir,
    api: String,
}

impl Unserved {
    async fn new() -> Self {
        Self { data: TempDir::new().unwrap(), api: free_address().await }
    }

    /// A command with these settings, and a key.
    fn command(&self, line: &[&str]) -> Command {
        let mut command = pingbox(self.data.path(), line);
        command.env("PINGBOX_API__LISTEN", &self.api).env("PINGBOX_PROVIDER__API_KEY", KEY);
        command
    }

    /// What `doctor` prints with these settings besides, which is a failure.
    fn diagnosis(&self, options: &[&str], environment: &[(&str, &str)]) -> String {
        let mut command = self.command(&[&["doctor"], options].concat());
        let (code, text, explanation) = outcome(command.envs(environment.iter().copied()));
        assert_eq!((code, explanation.as_str()), (Some(1), ""), "{text}");
        assert!(text.starts_with(SILENCE), "{text}");
        assert!(!text.contains(KEY), "{text}");
        text
    }

    /// The one line that begins with `fail`, besides that about the server.
    fn failure(&self, options: &[&str], environment: &[(&str, &str)]) -> String {
        let text = self.diagnosis(options, environment);
        let failures: Vec<_> = text.lines().skip(1).filter(|line| line.starts_with("fail")).collect();
        assert_eq!(failures.len(), 1, "{text}");
        failures[0].replace(self.data.path().to_str().unwrap(), "DATA").replace(&self.api, "API")
    }
}

/// The names of what is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn the_doctor_finds_nothing_wrong_with_a_sound_service() {
    let served = served(&[], &[]);
    served.until_registration_is("registered").await;
    let (code, text, _) = served.outcome(&["doctor"]);
    assert_eq!(code, Some(0), "{text}");
    // On PostgreSQL its disk is not known.
    let is_fine = |line: &str| line.starts_with("ok ") || line.starts_with("note  disk ");
    assert!(text.lines().count() == 10 && text.lines().all(is_fine), "{text}");
    let (code, json, _) = served.outcome(&["doctor", "--json"]);
    let found: Value = json.parse().unwrap();
    assert_eq!(
        (code, &found["checks"][0]),
        (
            Some(0),
            &json!({
                "name": "database", "result": "ok", "reason": "takes writes", "remedy": null,
            })
        )
    );
    assert_eq!((&found["readyz"]["ready"], &found["account"]["balance"]), (&json!(true), &json!("1000")));
    assert_eq!(found["checks_reply"]["public_url"]["state"], "reached");
}

// Commands are waited for, while what is there instead has to answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_finds_a_public_url_that_leads_elsewhere() {
    let data = TempDir::new().unwrap();
    let provider = emulation(data.path(), &[]);
    let url = serve(Router::new().fallback(async || Html("<html>"))).await;
    let served = Served::without_sandbox(data, &provider, &[("PINGBOX_PUBLIC__URL", &url)]);
    let (code, text, _) = served.outcome(&["doctor", "--probe"]);
    assert_eq!(code, Some(1), "{text}");
    let failures: Vec<_> = text.lines().filter(|line| line.starts_with("fail ")).collect();
    insta::assert_snapshot!(failures.join("\n").replace(&url, "https://a.example"), @r"
    fail  public_url    https://a.example/pingback/***: something else answers, with 200 -> set public.url to where the public listener is reached, or have what is there pass /pingback/ on to it, without a redirect or a login
    fail  probe         not tried: mend public_url first -> do what the line public_url says, and probe again
    ");
    let tasks = get(served.server.url("api") + "/v1/tasks").await["tasks"].clone();
    assert_eq!(tasks, json!([]), "nothing is spent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_tells_that_a_clock_is_off() {
    let data = TempDir::new().unwrap();
    let wrong = [("date", "Sun, 06 Nov 1994 08:49:37 GMT")];
    let provider = serve(Router::new().fallback(async move || (wrong, "12.5"))).await;
    let mut command = pingbox(data.path(), &["serve"]);
    command.env("PINGBOX_PROVIDER__BASE_URL", provider).env("PINGBOX_PROVIDER__API_KEY", DEFAULT_KEY);
    let served = Served { server: Server::start(&mut command), data };
    let (code, text, _) = served.outcome(&["doctor"]);
    assert_eq!(code, Some(1), "{text}");
    let line = text.lines().find(|line| line.contains(" clock ")).unwrap();
    assert!(line.starts_with("fail ") && line.contains(" s ahead of the provider's -> "), "{line}");
}

/// Passes on what an older server knows too.
async fn as_an_older_server(api: String) -> String {
    let pass = async move |method: Method, uri: Uri| {
        if uri.path() == "/v1/checks" {
            let problem = json!({"code": "path_not_found", "detail": "no such path"});
            return (StatusCode::NOT_FOUND, axum::Json(problem)).into_response();
        }
        let reply = http().request(method, format!("{api}{uri}")).send().await.unwrap();
        (reply.status(), reply.text().await.unwrap()).into_response()
    };
    serve(Router::new().fallback(pass)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_asks_an_older_server_for_what_it_knows() {
    let served = served(&[], &[]);
    let older = as_an_older_server(served.server.url("api")).await;
    let (code, text, explanation) = outcome(served.command(&["doctor"]).env("PINGBOX_SERVER", older));
    assert_eq!(code, Some(0), "{text}{explanation}");
    assert!(text.contains("\nnote  public_url    not told by this server, which is older"), "{text}");
    assert!(!text.contains(" clock  ") && text.contains(" spending "), "{text}");
}

#[tokio::test]
async fn the_doctor_finds_a_stop_for_a_wrong_key_and_ends_it() {
    let code = "ERROR_KEY_DOES_NOT_EXIST";
    let served = served(&["--code", code, "--result-code", code], &[]);
    let is_stopped = async {
        while get(served.server.url("api") + "/v1/account").await["backoff"]["in_php"]["code"] != code {}
    };
    timeout(PATIENCE, is_stopped).await.expect("it finds that out by itself");
    for line in [&["doctor"][..], &["doctor", "--resume"]] {
        let (code, text, _) = served.outcome(line);
        assert_eq!(code, Some(1), "{text}");
        let is_found = |what: &str| text.lines().any(|line| line.starts_with(what));
        assert!(is_found("fail  sending ") && is_found("fail  key "), "{text}");
        assert!(text.contains("pingbox doctor --resume") && text.contains("provider.api_key"), "{text}");
    }
    served.turn(json!({"code": null, "result_code": null})).await;
    assert_eq!(served.outcome(&["doctor"]).0, Some(1), "only an operator ends it");
    let (code, text, _) = served.outcome(&["doctor", "--resume"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("ok    resume ") && text.contains("ok    key "), "{text}");
}

#[test]
fn to_the_doctor_polling_mode_is_no_illness() {
    let data = TempDir::new().unwrap();
    let provider = emulation(data.path(), &[]);
    let served = Served::without_sandbox(data, &provider, &[]);
    let (code, text, _) = served.outcome(&["doctor"]);
    assert_eq!(code, Some(0), "{text}");
    let line = text.lines().find(|line| line.contains(" registration ")).unwrap();
    assert!(line.starts_with("note ") && line.contains("polling mode"), "{line}");
    assert!(line.contains("-> set public.url"), "{line}");
}

#[tokio::test]
async fn the_doctor_tells_what_to_do_about_a_refused_registration() {
    let data = TempDir::new().unwrap();
    let provider = emulation(data.path(), &[]);
    // Another address than the one that it is called from.
    let url = [("PINGBOX_PUBLIC__URL", "http://127.0.0.2:9")];
    let served = Served::without_sandbox(data, &provider, &url);
    served.until_registration_is("refused").await;
    let (code, text, _) = served.outcome(&["doctor"]);
    assert_eq!(code, Some(1), "{text}");
    let failures: Vec<_> = text.lines().filter(|line| line.starts_with("fail  registration ")).collect();
    insta::assert_snapshot!(failures.join("\n"), @"fail  registration  refused: ERROR_IP_ADDRES: the request must come from the address that public.url points to: run pingbox behind that address, or add the URL once from there -> it is tried again every 10 minutes; until then answers are asked for (polling mode)");
}

#[test]
fn the_doctor_shows_what_it_knows_before_a_failure() {
    let served = served(&[], &[("PINGBOX_API__TOKEN", TOKEN)]);
    let (code, text, explanation) = served.outcome(&["doctor"]);
    assert_eq!((code, text.as_str()), (Some(1), "ok    database      takes writes\n"));
    assert!(explanation.contains("wants a token"), "{explanation}");
    let (_, json, _) = served.outcome(&["doctor", "--json"]);
    assert_eq!(json.parse::<Value>().unwrap()["account"], Value::Null);
}

#[tokio::test]
async fn the_doctor_finds_an_account_without_money() {
    let served = served(&["--balance", "0"], &[]);
    served.until_registration_is("registered").await;
    let (code, failures) = served.diagnosis(&[], "fail ");
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(failures, @"fail  balance       0: no money is left -> top up the account at the provider: sending goes on by itself");
}

#[tokio::test]
async fn without_a_server_all_that_a_start_needs_is_looked_at_and_nothing_is_made() {
    let unserved = Unserved::new().await;
    let folder = unserved.data.path().join("deep/deeper");
    let environment = [("PINGBOX_DATA__DIR", folder.to_str().unwrap())];
    let text = unserved.diagnosis(&[], &environment);
    for found in [
        "ok    config ",
        "ok    key ",
        "ok    listen        public.listen: ",
        "ok    listen        api.listen: ",
    ] {
        assert_eq!(lines(&text, found).lines().count(), 1, "{found} in {text}");
    }
    assert!(text.contains("  data          ") && text.contains("  disk          "), "{text}");
    assert!(lines(&text, SILENCE).contains(&format!("http://{} (", unserved.api)), "{text}");
    assert_eq!(names(unserved.data.path()), Vec::<String>::new());
}

#[tokio::test]
async fn without_a_server_the_doctor_prints_the_same_as_json() {
    let unserved = Unserved::new().await;
    let (code, text, _) = outcome(&mut unserved.command(&["doctor", "--json"]));
    let found: Value = text.parse().unwrap();
    assert_eq!((code, &found["readyz"], &found["account"]), (Some(1), &Value::Null, &Value::Null));
    let names: Vec<_> = found["checks"].as_array().unwrap().iter().map(|check| &check["name"]).collect();
    assert!(names.contains(&&json!("server")) && names.contains(&&json!("disk")), "{text}");
}

#[tokio::test]
async fn the_doctor_looks_for_the_server_of_its_own_configuration() {
    let unserved = Unserved::new().await;
    let server = Server::start(&mut unserved.command(&["serve", "--sandbox"]));
    let (_, text, explanation) = outcome(&mut unserved.command(&["doctor"]));
    assert!(text.starts_with("ok    database "), "{text}{explanation}");
    drop(server);
    unserved.diagnosis(&[], &[("PINGBOX_SERVER", &format!("http://{}/", unserved.api))]);
}

#[tokio::test]
async fn settings_of_another_server_are_looked_at_only_when_they_are_given() {
    let unserved = Unserved::new().await;
    let elsewhere = [("PINGBOX_SERVER", NOWHERE)];
    let (code, text, explanation) = outcome(unserved.command(&["doctor"]).envs(elsewhere));
    assert_eq!((code, text.as_str()), (Some(1), ""));
    assert!(explanation.contains(NOWHERE), "{explanation}");
    std::fs::write(unserved.data.path().join("mine.toml"), "").unwrap();
    let text = unserved.diagnosis(&["--config", "mine.toml"], &elsewhere);
    assert!(text.contains(NOWHERE) && text.contains("valid, with the file mine.toml"), "{text}");
}

#[tokio::test]
async fn a_key_that_is_missing_or_of_a_wrong_shape_keeps_a_server_from_starting() {
    let unserved = Unserved::new().await;
    let key = |key| [("PINGBOX_PROVIDER__API_KEY", key)];
    let missing = unserved.failure(&[], &key(""));
    let short = unserved.failure(&[], &key("sh0rtk3y"));
    insta::assert_snapshot!([missing, short].join("\n"), @r"
    fail  key           provider.api_key (not set): needed to submit tasks -> copy the key of 32 characters from your account settings page at the provider, and give it in the environment as PINGBOX_PROVIDER__API_KEY, in a file named by PINGBOX_PROVIDER__API_KEY_FILE, or as `api_key` below [provider] in the configuration file; or try `pingbox serve --sandbox`, which needs none
    fail  key           provider.api_key (environment PINGBOX_PROVIDER__API_KEY): must be 32 characters, these are 8 -> copy the key again from your account settings page at the provider
    ");
    let odd = "not-all-of-it-is-hexadecimal-123";
    let text = unserved.diagnosis(&[], &key(odd));
    assert!(text.contains("note  key ") && !text.contains(odd), "{text}");
    let text = unserved.diagnosis(&["--sandbox"], &key(""));
    assert!(text.contains("ok    key           the sandbox needs none"), "{text}");
}

#[tokio::test]
async fn a_broken_configuration_is_told_with_its_lines() {
    let unserved = Unserved::new().await;
    let file = unserved.data.path().join("bad.toml");
    std::fs::write(&file, "[api]\nmax_wiat = \"5s\"\n\n[retention]\nanswers = \"1s\"\n").unwrap();
    let text = unserved.diagnosis(&["--config", "bad.toml"], &[]);
    insta::assert_snapshot!(lines(&text, "fail  config "), @r#"
    fail  config        api.max_wiat (bad.toml line 2): there is no such key; did you mean api.max_wait? -> put that right; `pingbox config check` looks again
    fail  config        retention.answers (bad.toml line 5): must be from 1m to 36500d, not "1s" -> put that right; `pingbox config check` looks again
    "#);
    std::fs::write(&file, "[api]\n\nmax_wait = 5s\n").unwrap();
    let line = unserved.failure(&[], &[("PINGBOX_CONFIG", "bad.toml")]);
    assert!(line.starts_with("fail  config        bad.toml line 3: not TOML"), "{line}");
    let line = unserved.failure(&["--config", "none.toml"], &[]);
    assert!(line.contains("none.toml") && line.starts_with("fail  config "), "{line}");
}

#[tokio::test]
async fn an_address_that_a_server_cannot_have_is_told_with_its_setting() {
    let unserved = Unserved::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let line = unserved.failure(&[], &[("PINGBOX_PUBLIC__LISTEN", &address)]);
    insta::assert_snapshot!(line.replace(&address, "ADDRESS"), @"fail  listen        public.listen: another program listens on ADDRESS -> end it (`ss -ltnp` shows which it is), or set public.listen to another address");
    let line = unserved.failure(&[], &[("PINGBOX_PUBLIC__LISTEN", "192.0.2.7:8080")]);
    insta::assert_snapshot!(line, @"fail  listen        public.listen: 192.0.2.7 is no address of this machine -> set public.listen to one of them (`ip address` shows them)");
}

#[tokio::test]
async fn a_program_that_is_not_pingbox_is_found_in_its_place() {
    let other = served(&[], &[]);
    let unserved = Unserved { data: TempDir::new().unwrap(), api: other.server.address("public") };
    let mut command = unserved.command(&["doctor"]);
    let (code, text, explanation) = outcome(&mut command);
    assert_eq!((code, text.as_str()), (Some(1), ""));
    insta::assert_snapshot!(explanation.replace(&unserved.api, "API"), @"pingbox: http://API answers 404 Not Found, but not as pingbox does: set PINGBOX_SERVER to its api listener");
}

/// Passes on everything but the question whether it is ready, to which its reply breaks off.
async fn without_readiness(api: String) -> String {
    let pass = async move |method: Method, uri: Uri| {
        if uri.path() == "/readyz" {
            return Response::new(Body::new(Broken));
        }
        let reply = http().request(method, format!("{api}{uri}")).send().await.unwrap();
        (reply.status(), reply.text().await.unwrap()).into_response()
    };
    serve(Router::new().fallback(pass)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_is_not_taken_for_another_program() {
    let served = served(&[], &[]);
    let api = without_readiness(served.server.url("api")).await;
    let address = api.strip_prefix("http://").unwrap();
    for (line, text) in
        [(&["doctor"][..], ""), (&["doctor", "--resume"], "ok    resume        sending is tried again\n")]
    {
        // Its data.dir is in use, and so is its address.
        let mut command = pingbox(served.data.path(), line);
        let (code, found, explanation) = outcome(command.env("PINGBOX_API__LISTEN", address));
        assert_eq!((code, found.as_str()), (Some(1), text), "{explanation}");
        assert!(explanation.starts_with(&format!("pingbox: the reply of {api} broke off")), "{explanation}");
    }
}

#[tokio::test]
async fn a_data_dir_that_cannot_be_is_told_of() {
    let unserved = Unserved::new().await;
    let file = unserved.data.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("below");
    let line = unserved.failure(&[], &[("PINGBOX_DATA__DIR", below.to_str().unwrap())]);
    insta::assert_snapshot!(line, @"fail  data          DATA/file is not a folder -> set data.dir to a folder that pingbox may write in");
}

#[tokio::test]
async fn a_data_dir_in_use_is_told_of() {
    let unserved = Unserved::new().await;
    let mut command = pingbox(unserved.data.path(), &["serve", "--sandbox"]);
    // Where tests are on PostgreSQL, too.
    let server = Server::start(command.env_remove("PINGBOX_DATABASE__URL"));
    insta::assert_snapshot!(unserved.failure(&[], &[]), @"fail  data          another pingbox uses the database DATA/pingbox.db -> end it, or set PINGBOX_SERVER to where it listens; else set data.dir to another folder");
    server.terminate();
    assert_eq!(lines(&unserved.diagnosis(&[], &[]), "fail ").lines().count(), 1);
}

#[tokio::test]
async fn a_postgres_that_does_not_answer_is_told_of_without_its_password() {
    let unserved = Unserved::new().await;
    let url = [("PINGBOX_DATABASE__URL", "postgres://me:s3cret@127.0.0.1:9/pingbox")];
    let line = unserved.failure(&[], &url);
    assert!(line.starts_with("fail  postgres ") && line.contains("127.0.0.1:9, database pingbox"), "{line}");
    assert!(line.contains("-> see to it that it runs") && !line.contains("s3cret"), "{line}");
}

#[tokio::test]
async fn a_probe_tells_whether_pingbacks_come_to_a_url_for_each_task() {
    for (url_mode, said) in [("per_task", "per_task works"), ("shared", "the URL that all tasks share")] {
        let served = served(&[], &[("PINGBOX_PINGBACK__URL_MODE", url_mode)]);
        served.until_registration_is("registered").await;
        let (code, text, explanation) = served.outcome(&["doctor", "--probe"]);
        assert_eq!(code, Some(0), "{text}{explanation}");
        let line = lines(&text, "ok    probe ");
        assert!(line.contains("by pingback") && line.contains(said), "{text}");
        assert!(
            explanation
                .starts_with("pingbox: --probe has one text captcha solved, which costs about 0.001\n")
        );
        assert_eq!(get(served.server.emulation() + "/sandbox").await["counters"]["submitted"], 1);
    }
}

#[tokio::test]
async fn a_probe_finds_a_provider_that_sends_to_the_registered_url_alone() {
    let served = served(&["--registration", "exact"], &[("PINGBOX_PINGBACK__URL_MODE", "per_task")]);
    served.until_registration_is("registered").await;
    let (code, text, _) = served.outcome(&["doctor", "--probe", "--json"]);
    let found: Value = text.parse().unwrap();
    let check = found["checks"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (code, &check["name"], &check["result"]),
        (Some(1), &json!("probe"), &json!("fail")),
        "{text}"
    );
    assert!(check["remedy"].as_str().unwrap().starts_with("set pingback.url_mode to shared"), "{check}");
    assert_eq!((&found["task"]["status"], &found["task"]["via"]), (&json!("solved"), &json!("reconcile")));
}

#[tokio::test]
async fn a_probe_waits_for_better_times() {
    let served = served(&["--code", "ERROR_ZERO_BALANCE"], &[]);
    let (sent, kept_back) =
        (served.diagnosis(&["--probe"], "fail  probe "), served.diagnosis(&["--probe"], "fail  probe "));
    assert_eq!((sent.0, kept_back.0), (Some(1), Some(1)));
    insta::assert_snapshot!([sent.1, kept_back.1].join("\n"), @r"
    fail  probe         not sent, and cancelled: ERROR_ZERO_BALANCE: the account has no money left -> see what `pingbox doctor` says, and probe again
    fail  probe         not tried: captchas are not sent at the moment -> do what the lines above say, and probe again
    ");
    let tasks = get(served.server.url("api") + "/v1/tasks").await["tasks"].clone();
    assert_eq!((tasks.as_array().unwrap().len(), &tasks[0]["status"]), (1, &json!("cancelled")), "{tasks}");
}

/// Passes on everything but what is about tasks: the one that there is waits until somebody would cancel it, which is
/// when it was sent.
async fn with_a_task_that_is_sent_when_cancelled(api: String) -> String {
    let is_sent = Arc::new(AtomicBool::new(false));
    let pass = async move |method: Method, uri: Uri| {
        if !uri.path().starts_with("/v1/tasks") {
            let reply = http().request(method, format!("{api}{uri}")).send().await.unwrap();
            return (reply.status(), reply.text().await.unwrap()).into_response();
        }
        if method == Method::DELETE {
            is_sent.store(true, Ordering::Relaxed);
            let problem = json!({"code": "not_cancellable", "detail": "it was sent"});
            return (StatusCode::CONFLICT, axum::Json(problem)).into_response();
        }
        let is_new = method == Method::POST;
        let task = if is_sent.load(Ordering::Relaxed) {
            json!({"id": "7", "status": "solved", "answer": {"text": "Friday"}, "via": "pingback"})
        } else {
            json!({"id": "7", "status": "queued", "reason": "a pause"})
        };
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        (status, axum::Json(task)).into_response()
    };
    serve(Router::new().fallback(pass)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_is_sent_when_it_is_to_be_cancelled_is_waited_for() {
    let served = served(&[], &[]);
    served.until_registration_is("registered").await;
    let api = with_a_task_that_is_sent_when_cancelled(served.server.url("api")).await;
    let (code, text, explanation) =
        outcome(served.command(&["doctor", "--probe"]).env("PINGBOX_SERVER", api));
    assert_eq!(code, Some(0), "{text}{explanation}");
    assert!(lines(&text, "ok    probe ").contains("solved, by pingback"), "{text}");
}

#[test]
fn a_probe_needs_a_token_that_may_submit() {
    let served = served(&[], &[("PINGBOX_API__TOKEN", TOKEN)]);
    let make = ["token", "create", "--name", "reader", "--scopes", "read"];
    let (_, token, _) = outcome(served.command(&make).env("PINGBOX_TOKEN", TOKEN));
    let mut command = served.command(&["doctor", "--probe"]);
    let (code, text, explanation) = outcome(command.env("PINGBOX_TOKEN", token.trim_end()));
    assert_eq!(code, Some(1));
    assert!(text.contains(" spending ") && !text.contains(" probe "), "{text}");
    let last = explanation.lines().last().unwrap();
    insta::assert_snapshot!(last, @"pingbox: the token lacks the scope submit: set PINGBOX_TOKEN to one that has it");
}
