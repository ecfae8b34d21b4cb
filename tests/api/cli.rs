//! The program itself: its words, its exit codes, its end, and what it logs.

use std::path::Path;

use pingbox::sandbox::DEFAULT_KEY;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::database::is_on_postgres;
use crate::harness::{SECRET, data_file, reply, text_captcha};
use crate::program::{KEY, NOWHERE, Server, TOKEN, emulation, free_address, get, http, outcome, pingbox};

/// Submits a text captcha; the task.
async fn submit(api: &str) -> Value {
    let request = http().post(format!("{api}/v1/tasks")).json(&text_captcha());
    request.send().await.unwrap().json().await.unwrap()
}

#[test]
fn serving_without_a_key_fails_and_says_how_to_get_one() {
    let data = TempDir::new().unwrap();
    let (code, _, explanation) = outcome(&mut pingbox(data.path(), &["serve"]));
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(explanation, @r#"
    pingbox: the configuration has a problem:
      provider.api_key (not set): needed to submit tasks: copy the key of 32 characters from your account settings page at the provider, and give it in the environment as PINGBOX_PROVIDER__API_KEY, in a file named by PINGBOX_PROVIDER__API_KEY_FILE, or as `api_key` below [provider] in the configuration file; or try `pingbox serve --sandbox`, which needs none
    "#);
}

#[test]
fn a_key_of_the_wrong_shape_is_refused_without_repeating_it() {
    let data = TempDir::new().unwrap();
    let mut command = pingbox(data.path(), &["serve"]);
    let (code, _, explanation) = outcome(command.env("PINGBOX_PROVIDER__API_KEY", "sh0rtk3y"));
    assert_eq!(code, Some(1));
    assert!(explanation.contains("PINGBOX_PROVIDER__API_KEY"), "{explanation}");
    assert!(!explanation.contains("sh0rtk3y"), "{explanation}");
}

#[test]
fn a_line_that_makes_no_sense_exits_with_2() {
    let data = TempDir::new().unwrap();
    for line in [
        &["serve", "--bogus"][..],
        &["serve", "--delay", "0"],
        &["sandbox", "--lost", "2"],
        &["sandbox", "--listen", "here"],
        &["bogus"],
        &["config"],
        &[],
    ] {
        let (code, _, explanation) = outcome(&mut pingbox(data.path(), line));
        assert_eq!(code, Some(2), "{line:?}");
        assert!(explanation.contains("--help") || explanation.contains("Usage: pingbox"), "{explanation}");
    }
}

#[test]
fn help_and_version_exit_with_0() {
    let data = TempDir::new().unwrap();
    for line in [&["--help"][..], &["--version"], &["serve", "--help"], &["help", "sandbox"]] {
        let (code, text, _) = outcome(&mut pingbox(data.path(), line));
        assert_eq!(code, Some(0), "{line:?}");
        assert!(text.contains("pingbox"), "{text}");
    }
}

#[test]
fn the_printed_configuration_holds_no_secret() {
    let data = TempDir::new().unwrap();
    for form in [&["config", "print"][..], &["config", "print", "--json"]] {
        let mut command = pingbox(data.path(), form);
        command
            .env("PINGBOX_PROVIDER__API_KEY", KEY)
            .env("PINGBOX_API__TOKEN", TOKEN)
            .env("PINGBOX_PINGBACK__SECRET", SECRET);
        let (code, printed, explanation) = outcome(&mut command);
        assert_eq!(code, Some(0), "{explanation}");
        for secret in [KEY, TOKEN, SECRET] {
            assert!(!printed.contains(secret), "{printed}");
        }
        for shown in ["provider.api_key", "***", "PINGBOX_PROVIDER__API_KEY", "public.listen"] {
            assert!(printed.contains(shown), "{shown} in {printed}");
        }
    }
}

#[test]
fn the_example_configuration_loads() {
    let data = TempDir::new().unwrap();
    let (code, example, _) = outcome(&mut pingbox(data.path(), &["config", "init"]));
    assert_eq!(code, Some(0));
    std::fs::write(data.path().join("pingbox.toml"), &example).unwrap();
    let line = ["config", "check", "--config", "pingbox.toml"];
    let (code, _, explanation) = outcome(pingbox(data.path(), &line).env("PINGBOX_PROVIDER__API_KEY", KEY));
    assert_eq!(code, Some(0), "{explanation}");
}

#[test]
fn the_example_configuration_loads_with_every_setting_in_force() {
    let data = TempDir::new().unwrap();
    let (_, example, _) = outcome(&mut pingbox(data.path(), &["config", "init"]));
    let is_setting = |line: &str| {
        line.split_once(" = ").is_some_and(|(name, _)| name.starts_with('#') && !name.contains(' '))
    };
    let in_force: Vec<_> =
        example.lines().map(|line| if is_setting(line) { &line[1..] } else { line }).collect();
    assert!(in_force.iter().filter(|line| line.contains(" = ") && !line.starts_with('#')).count() > 30);
    std::fs::write(data.path().join("pingbox.toml"), in_force.join("\n")).unwrap();
    let line = ["config", "check", "--config", "pingbox.toml"];
    let (code, _, explanation) = outcome(pingbox(data.path(), &line).env("PINGBOX_PROVIDER__API_KEY", KEY));
    assert_eq!(code, Some(0), "{explanation}");
}

#[test]
fn a_mistake_in_the_file_is_told_with_its_line() {
    let data = TempDir::new().unwrap();
    std::fs::write(data.path().join("bad.toml"), "[api]\nlisten = \"127.0.0.1:0\"\nmax_wiat = \"5s\"\n")
        .unwrap();
    let (code, _, explanation) =
        outcome(&mut pingbox(data.path(), &["config", "check", "--sandbox", "--config", "bad.toml"]));
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(explanation, @r#"
    pingbox: the configuration has a problem:
      api.max_wiat (bad.toml line 3): there is no such key; did you mean api.max_wait?
    "#);
}

#[test]
fn a_healthcheck_tells_whether_a_server_is_ready() {
    let data = TempDir::new().unwrap();
    let server = Server::start(&mut pingbox(data.path(), &["serve", "--sandbox"]));
    let (code, state, _) =
        outcome(&mut pingbox(data.path(), &["healthcheck", "--server", &server.url("api")]));
    assert_eq!(code, Some(0), "{state}");
    let (code, _, explanation) = outcome(&mut pingbox(data.path(), &["healthcheck", "--server", NOWHERE]));
    assert_eq!(code, Some(1));
    assert!(explanation.contains(NOWHERE), "{explanation}");
}

#[tokio::test]
async fn a_healthcheck_finds_the_server_of_its_own_configuration() {
    let data = TempDir::new().unwrap();
    let address = free_address().await;
    let _server =
        Server::start(pingbox(data.path(), &["serve", "--sandbox"]).env("PINGBOX_API__LISTEN", &address));
    let (code, _, explanation) =
        outcome(pingbox(data.path(), &["healthcheck"]).env("PINGBOX_API__LISTEN", &address));
    assert_eq!(code, Some(0), "{explanation}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_its_setting() {
    let data = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (variable, setting) in
        [("PINGBOX_API__LISTEN", "api.listen"), ("PINGBOX_PUBLIC__LISTEN", "public.listen")]
    {
        let (code, _, explanation) =
            outcome(pingbox(data.path(), &["serve", "--sandbox"]).env(variable, &address));
        assert_eq!(code, Some(1));
        assert!(explanation.contains(setting) && explanation.contains(&address), "{explanation}");
    }
    let (code, _, explanation) = outcome(&mut pingbox(data.path(), &["sandbox", "--listen", &address]));
    assert_eq!(code, Some(1));
    assert!(explanation.contains("--listen") && explanation.contains(&address), "{explanation}");
}

#[test]
fn a_terminated_server_exits_with_0() {
    let data = TempDir::new().unwrap();
    let (code, log) = Server::start(&mut pingbox(data.path(), &["serve", "--sandbox"])).terminate();
    assert_eq!(code, Some(0), "{log:#?}");
    let (code, log) = emulation(data.path(), &[]).terminate();
    assert_eq!(code, Some(0), "{log:#?}");
}

/// An emulated provider and a service that uses it, as two programs.
async fn two_programs(data: &Path, knobs: &[&str]) -> (Server, Server) {
    let provider = emulation(data, knobs);
    let public = free_address().await;
    let service = Server::start(
        pingbox(data, &["serve"])
            .env("PINGBOX_PUBLIC__LISTEN", &public)
            .env("PINGBOX_PUBLIC__URL", format!("http://{public}"))
            .env("PINGBOX_PINGBACK__SECRET", SECRET)
            .env("PINGBOX_PROVIDER__BASE_URL", provider.url("address"))
            .env("PINGBOX_PROVIDER__API_KEY", DEFAULT_KEY)
            .env("PINGBOX_LOG__FILTER", "trace"),
    );
    (provider, service)
}

/// Submits an image and waits; the answer.
async fn solve(api: &str, image: &str) -> String {
    let content = std::fs::read(data_file(image)).unwrap();
    let form = Form::new().text("type", "image").part("file", Part::bytes(content).file_name("a.png"));
    let request = http().post(format!("{api}/v1/tasks?wait=15")).multipart(form);
    let task: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(task["status"], "solved", "{task}");
    task["answer"]["text"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_emulation_alone_solves_for_a_service() {
    let data = TempDir::new().unwrap();
    let answers = data_file("answers.json");
    let knobs = ["--delay", "0", "--answers", answers.to_str().unwrap()];
    let (provider, service) = two_programs(data.path(), &knobs).await;
    assert_eq!(solve(&service.url("api"), "big-captcha-harbour7.png").await, "harbour7");
    let journal = get(provider.url("address") + "/sandbox/requests").await;
    let submissions =
        journal["requests"].as_array().unwrap().iter().filter(|request| request["path"] == "/in.php");
    assert_eq!(submissions.count(), 1);
}

#[tokio::test]
async fn no_log_holds_a_key_a_secret_or_an_answer() {
    let data = TempDir::new().unwrap();
    let answers = data_file("answers.json");
    let knobs = ["--delay", "0", "--answers", answers.to_str().unwrap()];
    let (provider, service) = two_programs(data.path(), &knobs).await;
    let api = service.url("api");
    solve(&api, "big-captcha-harbour7.png").await;
    let pingback = format!("{}/pingback/{SECRET}", service.url("public"));
    for form in [[("id", "1"), ("code", "harbour7")], [("id", "x"), ("code", "harbour7")]] {
        http().post(&pingback).form(&form).send().await.unwrap();
    }
    http().get(format!("{api}/v1/tasks")).bearer_auth(TOKEN).send().await.unwrap();
    for (code, log) in [service.terminate(), provider.terminate()] {
        assert_eq!(code, Some(0));
        for secret in [SECRET, DEFAULT_KEY, TOKEN, "harbour7"] {
            let line = log.iter().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret}");
        }
    }
}

#[test]
fn a_first_token_is_not_in_the_log() {
    let data = TempDir::new().unwrap();
    let mut command = pingbox(data.path(), &["serve", "--sandbox"]);
    let server =
        Server::start(command.env("PINGBOX_API__LISTEN", "0.0.0.0:0").env("PINGBOX_LOG__FILTER", "trace"));
    let token = std::fs::read_to_string(data.path().join("api-token")).unwrap();
    let (_, log) = server.terminate();
    assert!(log.iter().all(|line| !line.contains(token.trim_end())));
    assert!(log.iter().any(|line| line.contains("api-token")), "{log:#?}");
}

#[tokio::test]
async fn without_a_public_url_it_polls_and_says_so() {
    let data = TempDir::new().unwrap();
    let mut command = pingbox(data.path(), &["serve"]);
    command.env("PINGBOX_PROVIDER__API_KEY", KEY).env("PINGBOX_PROVIDER__BASE_URL", NOWHERE);
    let service = Server::start(&mut command);
    let request = http().post(format!("{}/v1/tasks", service.url("api"))).json(&text_captcha());
    assert_eq!(reply(request).await.0, reqwest::StatusCode::CREATED);
    let ready = get(format!("{}/readyz", service.url("api"))).await;
    assert!(ready["answers"].as_str().unwrap().contains("public.url is not set"), "{ready}");
    let (_, log) = service.terminate();
    assert!(log.iter().any(|line| line.contains("polling mode")), "{log:#?}");
}

#[tokio::test]
async fn the_sandbox_refuses_the_database_of_a_real_account() {
    let data = TempDir::new().unwrap();
    let mut command = pingbox(data.path(), &["serve"]);
    command.env("PINGBOX_PROVIDER__API_KEY", KEY).env("PINGBOX_PROVIDER__BASE_URL", NOWHERE);
    command.env("PINGBOX_PUBLIC__URL", "https://pingbox.example.com");
    let service = Server::start(&mut command);
    let task = submit(&service.url("api")).await;
    service.terminate();

    let (code, _, explanation) = outcome(&mut pingbox(data.path(), &["serve", "--sandbox"]));
    assert_eq!(code, Some(1));
    let remedy = if is_on_postgres(data.path()) { "a database of its own" } else { "a data.dir of its own" };
    assert!(explanation.contains("real account") && explanation.contains(remedy), "{explanation}");
    let service = Server::start(&mut command);
    let path = format!("{}/v1/tasks/{}", service.url("api"), task["id"].as_str().unwrap());
    assert_ne!(get(path).await["status"], "expired", "the refusal changed nothing");
}

#[tokio::test]
async fn open_tasks_of_the_sandbox_are_not_sent_to_a_real_provider() {
    let data = TempDir::new().unwrap();
    let mut command = pingbox(data.path(), &["serve", "--sandbox"]);
    let service = Server::start(command.env("PINGBOX_PROVIDER__SUBMIT_INTERVAL", "60s"));
    let id = submit(&service.url("api")).await["id"].as_str().unwrap().to_owned();
    service.terminate();

    let (provider, service) = two_programs(data.path(), &["--delay", "0"]).await;
    let api = service.url("api");
    assert_eq!(get(format!("{api}/v1/tasks/{id}")).await["status"], "expired");
    // Tasks are sent in their order: once this one is, the other would have been.
    let new = submit(&api).await["id"].as_str().unwrap().to_owned();
    let solved = get(format!("{api}/v1/tasks/{new}?wait=15")).await;
    assert_eq!((&solved["status"], &solved["attempts"]), (&json!("solved"), &json!(1)));
    let journal = get(provider.url("address") + "/sandbox").await;
    assert_eq!(journal["counters"]["submitted"], 1, "{journal}");
}
