//! Chromium, driven by chromedriver, with an empty profile.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::database::postgres::variable;
use crate::program::{PATIENCE, http};

/// How `WebDriver` names an element in JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Pause between two looks at what is to come about.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);
/// How long chromedriver may take to end the browser.
const END: Duration = Duration::from_secs(10);
/// Of the browser itself nothing is to be in the way, or to call anywhere.
const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--window-size=1280,900",
];

/// A browser, ended when dropped.
pub(crate) struct Browser {
    http: reqwest::Client,
    /// The URL of the session.
    session: String,
    /// Dropped before its profile is.
    _driver: Driver,
    _profile: TempDir,
}

/// Why chromedriver did not do what it was asked to do, in its own words.
type Refusal = Value;

impl Browser {
    /// `None`, and a word on it, where there is no chromedriver.
    ///
    /// # Panics
    /// When there is none and `CI=true`, or when it does not start.
    pub(crate) async fn start() -> Option<Self> {
        let driver = Driver::start()?;
        let profile = tempfile::tempdir().unwrap();
        let folder = format!("--user-data-dir={}", profile.path().display());
        let arguments: Vec<&str> = ARGUMENTS.into_iter().chain([folder.as_str()]).collect();
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let all = format!("http://127.0.0.1:{}/session", driver.port);
        let mut browser = Self { http: http(), session: all, _driver: driver, _profile: profile };
        let begun = browser.post("", wanted).await.expect("the browser starts");
        browser.session = format!("{}/{}", browser.session, begun["sessionId"].as_str().unwrap());
        Some(browser)
    }

    /// A command of `WebDriver`; its value.
    async fn post(&self, path: &str, body: Value) -> Result<Value, Refusal> {
        let reply = self.http.post(format!("{}{path}", self.session)).json(&body).send().await.unwrap();
        let is_done = reply.status().is_success();
        let value = reply.json::<Value>().await.unwrap()["value"].take();
        if is_done { Ok(value) } else { Err(value) }
    }

    pub(crate) async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await.unwrap();
    }

    /// The path and query of the page.
    pub(crate) async fn path(&self) -> String {
        self.script("return location.pathname + location.search").await.as_str().unwrap().to_owned()
    }

    /// Does this with the first such element, as soon as there is one that it can be done with: pages change meanwhile.
    async fn act(&self, css: &str, act: &str, body: Value) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let done = self.try_act(css, act, body.clone()).await;
            let Err(refusal) = done else { return };
            assert!(Instant::now() < deadline, "no {act} on {css}: {refusal}\n{}", self.text().await);
            sleep(PAUSE).await;
        }
    }

    async fn try_act(&self, css: &str, act: &str, body: Value) -> Result<Value, Refusal> {
        let found = self.post("/element", json!({"using": "css selector", "value": css})).await?;
        self.post(&format!("/element/{}/{act}", found[ELEMENT].as_str().unwrap()), body).await
    }

    pub(crate) async fn click(&self, css: &str) {
        self.act(css, "click", json!({})).await;
    }

    pub(crate) async fn type_into(&self, css: &str, text: &str) {
        self.act(css, "value", json!({ "text": text })).await;
    }

    /// How many there are at the moment.
    pub(crate) async fn count(&self, css: &str) -> u64 {
        let script = format!("return document.querySelectorAll({}).length", json!(css));
        self.script(&script).await.as_u64().unwrap()
    }

    /// All that can be read on the page.
    pub(crate) async fn text(&self) -> String {
        self.script("return document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until this can be read on the page.
    pub(crate) async fn until_it_says(&self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text().await;
            if text.contains(wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "it does not say {wanted:?}: {text}");
            sleep(PAUSE).await;
        }
    }

    /// Waits until there is such an element: the text of a page has all that a list could be filtered by in it.
    pub(crate) async fn until_there_is(&self, css: &str) {
        self.until(&format!("return document.querySelector({}) !== null", json!(css))).await;
    }

    /// Waits until this script returns `true`.
    pub(crate) async fn until(&self, script: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.script(script).await != json!(true) {
            assert!(Instant::now() < deadline, "not yet: {script}\n{}", self.text().await);
            sleep(PAUSE).await;
        }
    }

    pub(crate) async fn script(&self, text: &str) -> Value {
        self.post("/execute/sync", json!({"script": text, "args": []})).await.unwrap()
    }

    /// Whoever has signed in has not any more.
    pub(crate) async fn forget_cookies(&self) {
        self.command("Network.clearBrowserCookies", json!({})).await;
    }

    /// A command of the browser's own protocol.
    async fn command(&self, name: &str, params: Value) -> Value {
        let body = json!({"cmd": name, "params": params});
        self.post("/goog/cdp/execute", body).await.unwrap()
    }

    /// A picture of the whole page, kept as `NAME-WIDTH-light.png` or `-dark`.
    pub(crate) async fn picture(&self, name: &str, width: u32, scheme: &str) {
        let metrics = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        self.command("Emulation.setDeviceMetricsOverride", metrics).await;
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.command("Emulation.setEmulatedMedia", media).await;
        let size = self.command("Page.getLayoutMetrics", json!({})).await;
        let height = size["cssContentSize"]["height"].as_f64().unwrap().clamp(800.0, 4000.0);
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let wanted = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let taken = self.command("Page.captureScreenshot", wanted).await;
        let png = base64::engine::general_purpose::STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(pictures()).unwrap();
        std::fs::write(pictures().join(format!("{name}-{width}-{scheme}.png")), png).unwrap();
    }

    /// Pictures in both widths and both colour schemes. In none of them does the page stick out to the side.
    pub(crate) async fn pictures(&self, name: &str) {
        for (width, scheme) in [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")] {
            self.picture(name, width, scheme).await;
            let wide = self.script("return document.documentElement.scrollWidth").await;
            assert!(wide.as_u64().unwrap() <= width.into(), "{name} is {wide} wide where {width} fit");
        }
        self.command("Emulation.clearDeviceMetricsOverride", json!({})).await;
    }

    /// What is in one of the browser's own logs.
    async fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.post("/se/log", json!({ "type": kind })).await.unwrap();
        serde_json::from_value(entries).unwrap()
    }

    /// Ends it. No page complained of anything but what was `expected`, and none called another host than `own`.
    pub(crate) async fn close(self, own: &str, expected: &[&str]) {
        let complaints = self.log("browser").await;
        // The least level is what the browser recommends.
        let complaints = complaints.iter().filter(|entry| entry["level"] != "DEBUG").map(Value::to_string);
        let unexpected = complaints.filter(|text| !expected.iter().any(|known| text.contains(known)));
        assert_eq!(unexpected.collect::<Vec<_>>(), Vec::<String>::new());
        let requests: Vec<String> = self.log("performance").await.iter().filter_map(requested).collect();
        assert!(requests.iter().any(|url| url.starts_with(own)), "{requests:?}");
        // What has no host is of the browser itself, or in the page.
        let has_host = |url: &str| url.starts_with("http") || url.starts_with("ws");
        let is_foreign = |url: &&String| has_host(url) && !url.starts_with(&format!("{own}/"));
        assert_eq!(requests.iter().filter(is_foreign).collect::<Vec<_>>(), Vec::<&String>::new());
        self.http.delete(&self.session).send().await.unwrap();
    }
}

/// The URL that a page has asked for, if that is what the entry of the log tells.
fn requested(entry: &Value) -> Option<String> {
    let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
    let message = &message["message"];
    let url = &message["params"]["request"]["url"];
    (message["method"] == "Network.requestWillBeSent").then(|| url.as_str().map(str::to_owned))?
}

/// Where pictures are kept.
fn pictures() -> PathBuf {
    match variable("PINGBOX_SCREENSHOTS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("screenshots"),
    }
}

/// chromedriver, on a port of its own.
struct Driver {
    child: Child,
    port: u16,
}

impl Driver {
    fn start() -> Option<Self> {
        let started =
            Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut child) = started else {
            let text = "chromedriver is missing (Debian: apt-get install chromium chromium-driver)";
            assert!(variable("CI").as_deref() != Some("true"), "{text}");
            eprintln!("skipped: {text}");
            return None;
        };
        // "ChromeDriver was started successfully on port 40123."
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines
            .find_map(|line| line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok());
        // So that it never waits for somebody to read.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, port: port.expect("chromedriver says on which port it listens") })
    }
}

impl Drop for Driver {
    /// It takes its browser along, if it is asked to end.
    fn drop(&mut self) {
        // It may have ended before.
        let _ended = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
