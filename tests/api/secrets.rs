//! One full run with everything logged that can be: nothing of it shows a secret, a proxy's login or an answer.

use std::collections::BTreeMap;

use pingbox::sandbox::{DEFAULT_KEY, Sandbox};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::harness::{PATIENCE, SECRET, never_solved};
use crate::process::{self, Process, provider};
use crate::program::{TOKEN, outcome, pingbox};

const PROXY_PASSWORD: &str = "proxy-password-5f1c";
const ANSWER: &str = "the-answer-is-8d20";
const UNMATCHED: &str = "an-unmatched-answer-77aa";
const HOOK: &str = "secret-of-a-hook-url-9b3e";
const WRONG_TOKEN: &str = "a-wrong-token-of-somebody-else-1";
const WRONG_SECRET: &str = "a-wrong-secret-of-a-pingback-url";
/// Standard Webhooks: 24 bytes in base64.
const SIGNING: &str = "whsec_c2VjcmV0LXRoYXQtc2lnbnMtMDEyMzQ1";

/// Everything that the run shows, by where, but for what is meant for its caller.
struct Shown {
    http: reqwest::Client,
    texts: BTreeMap<String, String>,
}

impl Shown {
    fn add(&mut self, place: impl Into<String>, text: &str) {
        self.texts.entry(place.into()).or_default().push_str(text);
    }

    /// What a request that is refused, or that shows figures, gets.
    async fn ask(&mut self, request: RequestBuilder) -> Value {
        let request = request.build().unwrap();
        let place = format!("{} {}", request.method(), request.url().path());
        let reply = self.http.execute(request).await.unwrap();
        let headers = format!("{:?}", reply.headers());
        let text = reply.text().await.unwrap();
        self.add(place, &(headers + &text));
        text.parse().unwrap_or_default()
    }

    /// Each secret, and where it was found.
    fn found(&self, secrets: &[(&str, &str)]) -> Vec<(String, String)> {
        let places = |(what, secret): &(&str, &str)| {
            let what = (*what).to_owned();
            let hits = self.texts.iter().filter(|(_, text)| text.contains(secret));
            hits.map(move |(place, _)| (what.clone(), place.clone())).collect::<Vec<_>>()
        };
        secrets.iter().flat_map(places).collect()
    }
}

/// The service with every secret that a configuration can have, toward a provider of the test's own.
struct Run {
    process: Process,
    data: TempDir,
    hook: String,
    /// What it has told the provider.
    told: Sandbox,
}

impl Run {
    async fn start() -> Self {
        let data = TempDir::new().unwrap();
        let (told, provider) = provider(never_solved()).await;
        // It answers 500, so that what is said of failures is looked at too.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hook = format!("http://{}/{HOOK}?key={HOOK}", listener.local_addr().unwrap());
        process::serve_on(
            listener,
            axum::Router::new().fallback(async || axum::http::StatusCode::INTERNAL_SERVER_ERROR),
        );
        let environment = [
            ("PINGBOX_LOG__FILTER", "trace"),
            ("PINGBOX_API__TOKEN", TOKEN),
            ("PINGBOX_PINGBACK__URL_MODE", "per_task"),
            ("PINGBOX_WEBHOOKS__ALLOW_PRIVATE", "127.0.0.1/32"),
        ];
        let process = Process::start(data.path(), &provider, &environment).await;
        Self { process, data, hook, told }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.process.http.request(method, format!("{}{path}", self.process.api)).bearer_auth(TOKEN)
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        self.request(method, path).json(body).send().await.unwrap().json().await.unwrap_or_default()
    }

    /// What a command says, which knows the token.
    fn command(&self, shown: &mut Shown, line: &[&str]) {
        let mut command = pingbox(self.data.path(), line);
        command.env("PINGBOX_SERVER", &self.process.api).env("PINGBOX_TOKEN", TOKEN);
        command.env("PINGBOX_API__TOKEN", TOKEN).env("PINGBOX_PROVIDER__API_KEY", DEFAULT_KEY);
        command.env("PINGBOX_PINGBACK__SECRET", SECRET);
        let (_, out, error) = outcome(&mut command);
        shown.add(format!("pingbox {}", line.join(" ")), &(out + &error));
    }

    /// The task, once it is as `wanted`.
    async fn until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let poll = async {
            loop {
                let task = self.call(Method::GET, &format!("/v1/tasks/{id}"), &Value::Null).await;
                if wanted(&task) {
                    return task;
                }
            }
        };
        timeout(PATIENCE, poll).await.expect("it comes about")
    }

    /// A task whose caller has a proxy and a webhook; its id and the URL that its pingback is to go to.
    async fn submit(&self) -> (String, String) {
        let task = json!({
            "type": "recaptcha_v2", "googlekey": "6LdKlZEUAAAAA", "pageurl": "https://shop.example/",
            "proxy": format!("login:{PROXY_PASSWORD}@192.0.2.1:3128"), "proxytype": "HTTP",
            "webhook_url": self.hook,
        });
        let task = self.call(Method::POST, "/v1/tasks", &task).await;
        let id = task["id"].as_str().unwrap_or_else(|| panic!("{task}")).to_owned();
        self.until(&id, |task| task["captcha_id"].is_string()).await;
        let sent = process::submissions(&self.told).pop().unwrap();
        (id, sent["parameters"]["pingback"].as_str().unwrap().to_owned())
    }
}

impl Process {
    async fn pingback_at(&self, secret: &str, id: &str, code: &str) {
        let url = format!("{}/pingback/{secret}", self.public);
        self.http.post(url).form(&[("id", id), ("code", code)]).send().await.unwrap();
    }
}

/// Requests that go wrong in ways that show what was sent, if anything does.
async fn stumble(run: &Run, shown: &mut Shown) {
    let (http, api) = (&run.process.http, &run.process.api);
    for path in ["/v1/tasks", "/v1/account", "/metrics", "/v1/tokens"] {
        shown.ask(http.get(format!("{api}{path}")).bearer_auth(WRONG_TOKEN)).await;
    }
    shown.ask(http.get(format!("{api}/res.php?key={WRONG_TOKEN}&action=get&id=1&json=1"))).await;
    shown.ask(http.get(format!("{api}/res.php?key={TOKEN}&action=nothing&id=1&json=1"))).await;
    for proxy in [format!("login:{PROXY_PASSWORD}@"), format!("socks9://login:{PROXY_PASSWORD}@x:y")] {
        let task = json!({"type": "recaptcha_v2", "googlekey": "x", "pageurl": "y", "proxy": proxy});
        shown.ask(run.request(Method::POST, "/v1/tasks").json(&task)).await;
        let old = [
            ("key", TOKEN),
            ("method", "userrecaptcha"),
            ("googlekey", "x"),
            ("proxy", &proxy),
            ("json", "1"),
        ];
        shown.ask(http.post(format!("{api}/in.php")).form(&old)).await;
    }
    for url in ["http://10.0.0.1/", "http://169.254.169.254/", "ftp://x/", "http://login:pass@x/"] {
        let body = json!({"url": format!("{url}{HOOK}"), "secret": format!("{SIGNING}!")});
        shown.ask(run.request(Method::POST, "/v1/webhooks").json(&body)).await;
    }
    shown.ask(run.request(Method::DELETE, &format!("/v1/pingbacks?url=http://x/pingback/{SECRET}x"))).await;
    let public = &run.process.public;
    for path in [WRONG_SECRET.to_owned(), format!("{SECRET}/{WRONG_SECRET}")] {
        shown
            .ask(http.post(format!("{public}/pingback/{path}")).form(&[("id", "7"), ("code", ANSWER)]))
            .await;
    }
    for body in [format!("id=x&code={ANSWER}"), format!("code={ANSWER}"), format!("id=7&code={ANSWER}%ff")] {
        shown.ask(http.post(format!("{public}/pingback/{SECRET}")).body(body)).await;
    }
    let wrong_json =
        http.post(format!("{public}/pingback/{SECRET}")).header("content-type", "application/json");
    shown.ask(wrong_json.body(format!("{{\"id\":7,\"code\":\"{ANSWER}\""))).await;
}

// Commands are waited for, while the provider of the test has to answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_full_run_shows_has_a_secret_in_it() {
    let run = Run::start().await;
    let mut shown = Shown { http: run.process.http.clone(), texts: BTreeMap::new() };
    let hook = run.call(Method::POST, "/v1/webhooks", &json!({"url": run.hook, "secret": SIGNING})).await;
    assert!(hook["id"].is_string(), "{hook}");
    let made = run.call(Method::POST, "/v1/tokens", &json!({"name": "a", "scopes": ["read"]})).await;
    let made = made["token"].as_str().unwrap().to_owned();
    run.process.http.get(format!("{}/v1/tasks", run.process.api)).bearer_auth(&made).send().await.unwrap();

    let (id, url) = run.submit().await;
    let of_task = url.rsplit('/').next().unwrap().to_owned();
    assert!(of_task.len() >= 22 && url.contains(SECRET), "{url}");
    let task = run.until(&id, |task| task["captcha_id"].is_string()).await;
    let captcha_id = task["captcha_id"].as_str().unwrap();
    for code in [ANSWER, ANSWER, "another-answer-of-it"] {
        run.process.pingback(&url, captcha_id, code).await;
    }
    let solved = run.until(&id, |task| task["status"] == "solved").await;
    assert_eq!(solved["answer"]["text"], ANSWER);
    run.process.pingback_at(SECRET, "99123456789", UNMATCHED).await;
    let failing = |deliveries: &Value| deliveries["deliveries"].to_string().contains("500");
    while !failing(&shown.ask(run.request(Method::GET, "/v1/webhooks/deliveries")).await) {
        tokio::task::yield_now().await;
    }
    stumble(&run, &mut shown).await;
    for path in
        ["/metrics", "/readyz", "/v1/account", "/v1/stats", "/v1/tokens", "/v1/webhooks", "/v1/pingbacks"]
    {
        shown.ask(run.request(Method::GET, path)).await;
    }
    // An admin may see where a webhook goes; it is theirs.
    shown.texts.remove("GET /v1/webhooks");
    shown.texts.remove("GET /v1/webhooks/deliveries");
    for line in [
        &["balance"][..],
        &["balance", "--json"],
        &["doctor"],
        &["pingback", "list"],
        &["token", "list"],
        &["report", "1", "bad"],
        &["config", "print"],
        &["config", "check"],
        &["healthcheck"],
    ] {
        run.command(&mut shown, line);
    }
    let server = run.process.server;
    let (code, log) = server.terminate();
    assert_eq!(code, Some(0), "{log:#?}");
    assert!(log.len() > 100, "it logs at the level trace");
    shown.add("the log", &log.join("\n"));

    let mut secrets = vec![
        ("provider.api_key", DEFAULT_KEY),
        ("api.token", TOKEN),
        ("a token that was made", made.as_str()),
        ("pingback.secret", SECRET),
        ("the token in a task's URL", of_task.as_str()),
        ("a proxy's password", PROXY_PASSWORD),
        ("an answer", ANSWER),
        ("an answer that nobody waits for", UNMATCHED),
        ("the path of a webhook", HOOK),
        ("what signs", SIGNING),
        ("what signs, without its prefix", &SIGNING[6..]),
        ("a wrong token", WRONG_TOKEN),
        ("a wrong secret", WRONG_SECRET),
    ];
    let password = crate::database::blocking_url(run.data.path());
    let password = password.as_deref().and_then(|url| url.split('@').next()?.rsplit(':').next());
    secrets
        .extend(password.filter(|text| text.len() > 5).map(|password| ("the database's password", password)));
    assert_eq!(shown.found(&secrets), [], "who shows what");
    // What is looked for would be found.
    shown.add("control", &format!("…{ANSWER}…"));
    assert_eq!(shown.found(&secrets), [("an answer".to_owned(), "control".to_owned())]);
}
