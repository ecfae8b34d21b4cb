//! `/v1/checks`: the service calls itself by its public URL, and looks at its clock and its disk.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::http::header::{DATE, LOCATION};
use axum::http::{StatusCode, Uri};
use axum::response::{Html, IntoResponse as _, Response};
use pingbox::model::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::database;
use crate::harness::{PATIENCE, SECRET, TestApp, never_solved, reply};
use crate::owners::call;
use crate::process::{Process, provider, serve, solved_at_once};
use crate::program::{free_address, http};

/// Where nothing comes to by itself.
const PREFIX: &str = "/behind/a/proxy";

impl TestApp {
    /// One whose public URL is this.
    async fn at(url: &str) -> Self {
        Self::with(never_solved(), &[("PINGBOX_PUBLIC__URL", url)]).await
    }

    /// What it finds.
    async fn checks(&self) -> Value {
        let (status, found) = reply(self.http.post(format!("{}/v1/checks", self.api))).await;
        assert_eq!(status, StatusCode::OK, "{found}");
        assert!(!found.to_string().contains(SECRET), "{found}");
        found
    }

    /// The same of its public URL: the state, and what is said of it.
    async fn found(&self) -> (String, String) {
        let found = self.checks().await;
        let text = |name: &str| found["public_url"][name].as_str().unwrap().to_owned();
        (text("state"), text("detail"))
    }
}

/// What stands where a public URL leads.
#[derive(Clone, Default)]
struct Front {
    /// Requests are passed on to here; until then nothing is there.
    upstream: Arc<OnceLock<String>>,
    /// What was asked for.
    seen: Arc<Mutex<Vec<Uri>>>,
}

impl Front {
    /// Passes on what is below [`PREFIX`], as proxies do; its URL.
    async fn proxy(&self) -> String {
        let front = self.clone();
        let passing = async move |uri: Uri| front.pass(uri).await;
        serve(Router::new().fallback(passing)).await + PREFIX
    }

    async fn pass(&self, uri: Uri) -> Response {
        self.seen.lock().unwrap().push(uri.clone());
        let path = uri.path_and_query().unwrap().as_str().trim_start_matches(PREFIX).to_owned();
        let upstream = self.upstream.get().map_or("", String::as_str);
        match http().get(format!("{upstream}{path}")).send().await {
            Ok(reply) => (reply.status(), reply.text().await.unwrap()).into_response(),
            Err(_) => StatusCode::BAD_GATEWAY.into_response(),
        }
    }
}

/// Something else that answers everything like this; its URL.
async fn other(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> String {
    serve(Router::new().fallback(async move || answer())).await
}

#[tokio::test]
async fn a_service_finds_itself_by_its_public_url_and_stores_nothing_of_it() {
    let app = TestApp::spawn().await;
    let found = app.checks().await;
    assert_eq!(
        found["public_url"],
        json!({
            "state": "reached", "url": format!("{}/pingback/***", app.public),
            "detail": "it leads to this service", "pingbacks": 0,
        })
    );
    assert_eq!(app.number("SELECT COUNT(*) FROM pingback").await, 0);
    if database::url(app.data()).await.is_some() {
        assert_eq!(found["disk"], Value::Null);
    } else {
        let [free, total] = ["free", "total"].map(|name| found["disk"][name].as_u64().unwrap());
        assert!(free <= total && total > 0, "{found}");
    }
}

#[tokio::test]
async fn a_service_behind_a_proxy_finds_itself() {
    let front = Front::default();
    let app = TestApp::at(&front.proxy().await).await;
    front.upstream.set(app.public.clone()).unwrap();
    assert_eq!(app.found().await.0, "reached");
    let seen = front.seen.lock().unwrap().clone();
    assert!(seen.len() == 1 && seen[0].path() == format!("{PREFIX}/pingback/{SECRET}"), "{seen:?}");
}

#[tokio::test]
async fn a_proxy_that_does_not_reach_the_public_listener_is_named() {
    let front = Front::default();
    let app = TestApp::at(&front.proxy().await).await;
    front.upstream.set(format!("http://{}", free_address().await)).unwrap();
    let (state, detail) = app.found().await;
    assert!(state == "not_passed" && detail.contains("502"), "{state}: {detail}");
}

#[tokio::test]
async fn a_page_in_place_of_the_service_is_something_else() {
    let page = "<html>".to_owned() + &"a".repeat(1_000_000);
    let app = TestApp::at(&other(move || Html(page.clone()).into_response()).await).await;
    let (state, detail) = app.found().await;
    assert!(state == "elsewhere" && detail.contains("200"), "{state}: {detail}");
}

#[tokio::test]
async fn a_redirect_is_something_else_and_is_not_followed() {
    let front = Front::default();
    let to = front.proxy().await;
    let location = format!("{to}/pingback/{SECRET}");
    let redirect = move || (StatusCode::MOVED_PERMANENTLY, [(LOCATION, location.clone())]).into_response();
    let app = TestApp::at(&other(redirect).await).await;
    front.upstream.set(app.public.clone()).unwrap();
    let (state, detail) = app.found().await;
    let host = to.trim_end_matches(PREFIX);
    assert!(state == "elsewhere" && detail.ends_with(&format!("(301), to {host}")), "{state}: {detail}");
    assert_eq!(front.seen.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn another_service_is_not_taken_for_this_one() {
    let with_this_secret = TestApp::spawn().await;
    let (state, detail) = TestApp::at(&with_this_secret.public).await.found().await;
    assert!(state == "elsewhere" && detail.contains("400"), "{state}: {detail}");

    let another = [("PINGBOX_PINGBACK__SECRET", "another-secret-of-the-tests-0123")];
    let with_another = TestApp::with(never_solved(), &another).await;
    let (state, detail) = TestApp::at(&with_another.public).await.found().await;
    // On PostgreSQL it may be a new secret that the other one does not know yet.
    assert!(state == "not_passed" && (detail.contains("404") || detail.contains("503")), "{state}: {detail}");
}

#[tokio::test]
async fn what_keeps_a_public_url_from_being_reached_is_named() {
    let closed = format!("http://{}", free_address().await);
    for (url, place, words) in [
        (closed.as_str(), "unreachable", "the connection was refused"),
        ("http://nobody.invalid", "faulty", "its name is not found"),
        (&closed.replace("http:", "https:"), "unreachable", "the connection was refused"),
    ] {
        let (state, detail) = TestApp::at(url).await.found().await;
        assert!(state == place && detail.starts_with(words), "{url}: {state}: {detail}");
        assert_eq!(detail.contains("NAT"), place == "unreachable", "{detail}");
    }
    let own = TestApp::with(never_solved(), &[("PINGBOX_PUBLIC__TLS", "self_signed")]).await;
    let (state, detail) = own.found().await;
    let words = "its certificate is not accepted: it comes from no CA that this machine trusts";
    assert!(state == "faulty" && detail.starts_with(words), "{state}: {detail}");
    assert!(!detail.contains("NAT"), "{detail}");
}

#[tokio::test]
async fn pingbacks_that_came_tell_that_others_reach_it() {
    let app = TestApp::at(&format!("http://{}", free_address().await)).await;
    assert_eq!(app.pingback("11122233344", "x").await, StatusCode::OK);
    let found = app.checks().await;
    assert_eq!(
        (&found["public_url"]["state"], &found["public_url"]["pingbacks"]),
        (&json!("unreachable"), &json!(1))
    );
}

#[tokio::test]
async fn a_service_that_hears_the_provider_alone_finds_itself_all_the_same() {
    let app = TestApp::with(never_solved(), &[("PINGBOX_PUBLIC__ALLOW_FROM", "192.0.2.0/24")]).await;
    assert_eq!(app.found().await.0, "reached");
}

/// What a URL on the public listener replies.
async fn answer(app: &TestApp, method: Method, path: &str) -> (StatusCode, String) {
    let reply = app.http.request(method, format!("{}{path}", app.public)).send().await.unwrap();
    (reply.status(), reply.text().await.unwrap())
}

#[tokio::test]
async fn a_call_that_was_made_up_is_treated_like_any_other_request() {
    let made_up = format!("check={}.{}", "0".repeat(32), "0".repeat(64));
    let app = TestApp::spawn().await;
    let plain = answer(&app, Method::GET, &format!("/pingback/{SECRET}")).await;
    assert_eq!(plain.0, StatusCode::BAD_REQUEST);
    for query in [made_up.as_str(), "check=", "check=.", "check=0.0"] {
        assert_eq!(answer(&app, Method::GET, &format!("/pingback/{SECRET}?{query}")).await, plain, "{query}");
    }
    let unknown = answer(&app, Method::GET, "/nothing/is/here").await;
    assert_eq!(answer(&app, Method::GET, &format!("/pingback/wrong?{made_up}")).await, unknown);
    assert_eq!(app.number("SELECT COUNT(*) FROM pingback").await, 0);
    // A pingback that has it all the same.
    let path = format!("/pingback/{SECRET}?id=11122233344&code=x&{made_up}");
    assert_eq!(answer(&app, Method::GET, &path).await, (StatusCode::OK, "OK".to_owned()));

    let shut = TestApp::with(never_solved(), &[("PINGBOX_PUBLIC__ALLOW_FROM", "192.0.2.0/24")]).await;
    assert_eq!(answer(&shut, Method::GET, &format!("/pingback/{SECRET}?{made_up}")).await, unknown);
}

#[tokio::test]
async fn a_call_that_somebody_saw_opens_nothing() {
    let front = Front::default();
    let url = front.proxy().await;
    let app = TestApp::at(&url).await;
    front.upstream.set(app.public.clone()).unwrap();
    assert_eq!(app.found().await.0, "reached");
    let seen = front.seen.lock().unwrap()[0].clone();
    let query = seen.query().unwrap();
    let path = format!("/pingback/{SECRET}?{query}");
    // The key is of the database, not of the process.
    let app = app.restart_with(never_solved(), &[("PINGBOX_PUBLIC__URL", &url)]).await;
    let (status, said) = answer(&app, Method::GET, &path).await;
    assert!(status == StatusCode::OK && said.len() == 64, "{status} {said}");
    assert_eq!(answer(&app, Method::GET, &format!("{path}&id=11122233344&code=x")).await, (status, said));
    assert_eq!(app.number("SELECT COUNT(*) FROM pingback").await, 0, "nothing is stored of it");
    assert_eq!(app.checks().await["public_url"]["pingbacks"], 0);
    assert_eq!(answer(&app, Method::POST, &path).await.0, StatusCode::BAD_REQUEST);
    let unknown = answer(&app, Method::GET, "/nothing/is/here").await;
    assert_eq!(answer(&app, Method::GET, &format!("/pingback/wrong?{query}")).await, unknown);

    let another = TestApp::spawn().await;
    assert_eq!(
        answer(&another, Method::GET, &path).await.0,
        StatusCode::BAD_REQUEST,
        "it is of one database"
    );
}

#[tokio::test]
async fn who_asks_at_once_is_told_of_one_call() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let counting = move || {
        count.fetch_add(1, Ordering::Relaxed);
        StatusCode::IM_A_TEAPOT.into_response()
    };
    let app = TestApp::at(&other(counting).await).await;
    let found = tokio::join!(app.found(), app.found(), app.found(), app.found());
    assert!(
        found.0.0 == "elsewhere" && found.0 == found.1 && found.1 == found.2 && found.2 == found.3,
        "{found:?}"
    );
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn looking_takes_the_scope_read() {
    let app = TestApp::spawn().await;
    let mut database = app.connect().await;
    for scope in ["read", "submit"] {
        database.add_token(scope, scope, scope).await;
    }
    drop(database);
    let app = app.restart(never_solved()).await;
    assert_eq!(call(&app, "submit", Method::POST, "/v1/checks").await.0, StatusCode::FORBIDDEN);
    assert_eq!(call(&app, "read", Method::POST, "/v1/checks").await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_end_of_the_service_does_not_wait_for_a_call() {
    let (began, beginning) = tokio::sync::oneshot::channel();
    let began = Arc::new(Mutex::new(Some(began)));
    let silent = async move || {
        if let Some(began) = began.lock().unwrap().take() {
            began.send(()).unwrap();
        }
        std::future::pending::<()>().await;
    };
    let app = TestApp::at(&serve(Router::new().fallback(silent)).await).await;
    let asking = reply(app.http.post(format!("{}/v1/checks", app.api)));
    let ending = async {
        timeout(PATIENCE, beginning).await.expect("it calls").unwrap();
        app.shutdown.cancel();
    };
    let ((status, problem), ()) = tokio::join!(asking, ending);
    assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("shutting_down")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_with_a_public_url_shows_no_secret() {
    let (_, provider) = provider(solved_at_once()).await;
    let location = format!("https://a.example/pingback/{SECRET}");
    let redirect = move || (StatusCode::FOUND, [(LOCATION, location.clone())]).into_response();
    let redirect = other(redirect).await;
    let plain = redirect.replace("http:", "https:");
    for url in [redirect, plain, format!("http://{}", free_address().await)] {
        let data = TempDir::new().unwrap();
        let environment = [("PINGBOX_PUBLIC__URL", url.as_str()), ("PINGBOX_LOG__FILTER", "trace")];
        let process = Process::start(data.path(), &provider, &environment).await;
        let (status, found) = reply(process.http.post(format!("{}/v1/checks", process.api))).await;
        assert_eq!(status, StatusCode::OK);
        assert_ne!(found["public_url"]["state"], "reached", "{found}");
        let (_, log) = process.server.terminate();
        assert!(log.iter().any(|line| line.contains("TRACE")), "it logs at that level: {log:#?}");
        let shown = format!("{found}{}", log.join("\n"));
        assert!(!shown.contains(SECRET), "{url}: {shown}");
    }
}

#[tokio::test]
async fn the_clock_is_compared_with_the_date_of_the_providers_replies() {
    for (date, is_ahead) in
        [("Sun, 06 Nov 1994 08:49:37 GMT", true), ("Fri, 06 Nov 2093 08:49:37 GMT", false)]
    {
        let provider = other(move || ([(DATE, date)], "12.5").into_response()).await;
        let data = TempDir::new().unwrap();
        let process =
            Process::start(data.path(), &provider, &[("PINGBOX_PINGBACK__REGISTER", "false")]).await;
        let checks = || reply(process.http.post(format!("{}/v1/checks", process.api)));
        assert_eq!(checks().await.1["clock"], json!({"offset": null, "at": null}));
        // It asks for the balance.
        process.get("/v1/account").await;
        let clock = checks().await.1["clock"].clone();
        let off = Timestamp::now().as_secs() - Timestamp::from_http_date(date).unwrap().as_secs();
        let told = clock["offset"].as_i64().unwrap();
        assert!((off - told).abs() < 120 && (told > 0) == is_ahead, "{clock}");
        assert!(clock["at"].is_string(), "{clock}");
    }
    let (_, provider) = provider(solved_at_once()).await;
    let data = TempDir::new().unwrap();
    let process = Process::start(data.path(), &provider, &[]).await;
    process.get("/v1/account").await;
    let (_, found) = reply(process.http.post(format!("{}/v1/checks", process.api))).await;
    assert_eq!(found["clock"]["offset"], 0, "{found}");
}
