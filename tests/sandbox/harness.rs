//! An emulated provider on a free port, and a receiver for its pingbacks.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::routing::post;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use pingbox::sandbox::{Answers, DEFAULT_KEY, Knobs, Sandbox, Settings, Share};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Nothing here takes this long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Knobs with which a captcha is solved by the time its id is known.
pub(crate) fn solved_at_once() -> Knobs {
    Knobs { early: Share::ALWAYS, ..Knobs::default() }
}

/// Knobs with which a captcha waits for as long as a test runs.
pub(crate) fn never_solved() -> Knobs {
    Knobs { delay_ms: 80_000, ..Knobs::default() }
}

/// A GIF of this size in 200 bytes; `seed` makes it one of many.
pub(crate) fn gif(width: u16, height: u16, seed: u8) -> Vec<u8> {
    let mut gif = b"GIF89a".to_vec();
    gif.extend(width.to_le_bytes());
    gif.extend(height.to_le_bytes());
    gif.resize(200, seed);
    gif
}

/// The same in base64.
pub(crate) fn gif_base64(width: u16, height: u16, seed: u8) -> String {
    base64_of(&gif(width, height, seed))
}

pub(crate) fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Serves `router` on a free port of this machine until `shutdown`.
async fn serve(router: Router, shutdown: CancellationToken) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(shutdown.run_until_cancelled_owned(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(router.clone().layer(Extension(peer)));
            tokio::spawn(async move {
                // A client that breaks off, and a reply that is cut, are errors here.
                let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                Ok::<_, Infallible>(())
            });
        }
    }));
    address
}

pub(crate) struct Provider {
    pub(crate) sandbox: Sandbox,
    pub(crate) base: String,
    pub(crate) http: reqwest::Client,
    _shutdown: DropGuard,
}

impl Provider {
    pub(crate) async fn spawn(knobs: Knobs) -> Self {
        Self::with_answers(knobs, Answers::default()).await
    }

    pub(crate) async fn with_answers(knobs: Knobs, answers: Answers) -> Self {
        let sandbox = Sandbox::new(Settings { knobs, answers, ..Settings::default() }).unwrap();
        let shutdown = CancellationToken::new();
        let address = serve(sandbox.router(), shutdown.clone()).await;
        tokio::spawn(sandbox.clone().run(shutdown.clone()));
        Self {
            sandbox,
            base: format!("http://{address}"),
            http: reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap(),
            _shutdown: shutdown.drop_guard(),
        }
    }

    /// The reply of `in.php` to a form, the key added.
    pub(crate) async fn submit(&self, form: &[(&str, &str)]) -> String {
        self.try_submit(form).await.unwrap()
    }

    pub(crate) async fn try_submit(&self, form: &[(&str, &str)]) -> reqwest::Result<String> {
        let form = with_key(form);
        self.http.post(format!("{}/in.php", self.base)).form(&form).send().await?.text().await
    }

    /// Submits a captcha that is in order; its id.
    pub(crate) async fn id(&self, form: &[(&str, &str)]) -> String {
        let reply = self.submit(form).await;
        reply.strip_prefix("OK|").unwrap_or_else(|| panic!("not taken: {reply}")).to_owned()
    }

    /// Submits a captcha, and reads its answer, which has to be there by then.
    pub(crate) async fn answer(&self, form: &[(&str, &str)]) -> String {
        let id = self.id(form).await;
        let reply = self.result(&[("action", "get"), ("id", &id)]).await;
        reply.strip_prefix("OK|").unwrap_or_else(|| panic!("not solved: {reply}")).to_owned()
    }

    /// Submits an image as base64 with more parameters; its answer.
    pub(crate) async fn image_answer(&self, image: &[u8], more: &[(&str, &str)]) -> String {
        let body = base64_of(image);
        let form: Vec<_> =
            [("method", "base64"), ("body", body.as_str())].into_iter().chain(more.iter().copied()).collect();
        self.answer(&form).await
    }

    /// Submits a multipart form; the reply of `in.php`.
    pub(crate) async fn upload(&self, fields: &[(&str, &str)], files: &[(&'static str, Vec<u8>)]) -> String {
        let mut form = reqwest::multipart::Form::new();
        for (name, value) in with_key(fields) {
            form = form.text(name, value);
        }
        for (name, bytes) in files {
            form = form.part(*name, reqwest::multipart::Part::bytes(bytes.clone()).file_name("upload"));
        }
        self.http
            .post(format!("{}/in.php", self.base))
            .multipart(form)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    /// The reply of `res.php` to a query, the key added.
    pub(crate) async fn result(&self, query: &[(&str, &str)]) -> String {
        let query = with_key(query);
        self.http
            .get(format!("{}/res.php", self.base))
            .query(&query)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    /// The same with `json=1`.
    pub(crate) async fn result_json(&self, query: &[(&str, &str)]) -> Value {
        let query: Vec<_> = query.iter().copied().chain([("json", "1")]).collect();
        self.result(&query).await.parse().unwrap()
    }

    /// Waits until the counters are as `wanted`.
    pub(crate) async fn until(&self, wanted: impl Fn(&Sandbox) -> bool) {
        let poll = async {
            while !wanted(&self.sandbox) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.expect("it comes about");
    }
}

fn with_key(form: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let mut form: Vec<_> = form.iter().map(owned).collect();
    if form.iter().all(|(name, _)| name != "key") {
        form.push(("key".to_owned(), DEFAULT_KEY.to_owned()));
    }
    form
}

/// What pingbacks are sent to.
pub(crate) struct Receiver {
    pub(crate) url: String,
    pingbacks: mpsc::UnboundedReceiver<HashMap<String, String>>,
    /// One permit for each reply that may be given.
    pub(crate) replies: Arc<Semaphore>,
    _shutdown: DropGuard,
}

impl Receiver {
    /// One that answers at once.
    pub(crate) async fn spawn() -> Self {
        let receiver = Self::holding().await;
        receiver.replies.add_permits(1_000_000);
        receiver
    }

    /// One that answers when the test adds a permit to `replies`.
    pub(crate) async fn holding() -> Self {
        let (sender, pingbacks) = mpsc::unbounded_channel();
        let replies = Arc::new(Semaphore::new(0));
        let permits = Arc::clone(&replies);
        let receive = move |body: Bytes| async move {
            let form = form_urlencoded::parse(&body).into_owned().collect();
            sender.send(form).unwrap();
            permits.acquire().await.unwrap().forget();
            "OK"
        };
        let shutdown = CancellationToken::new();
        let address = serve(Router::new().route("/{*path}", post(receive)), shutdown.clone()).await;
        Self {
            url: format!("http://{address}/pingback"),
            pingbacks,
            replies,
            _shutdown: shutdown.drop_guard(),
        }
    }

    /// One whose URL is registered.
    pub(crate) async fn registered(provider: &Provider) -> Self {
        let receiver = Self::spawn().await;
        receiver.register(provider).await;
        receiver
    }

    pub(crate) async fn register(&self, provider: &Provider) {
        assert_eq!(provider.result(&[("action", "add_pingback"), ("addr", &self.url)]).await, "OK");
    }

    /// The next pingback.
    pub(crate) async fn next(&mut self) -> HashMap<String, String> {
        tokio::time::timeout(PATIENCE, self.pingbacks.recv()).await.expect("a pingback comes").unwrap()
    }

    /// The next pingback, if it has come.
    pub(crate) fn arrived(&mut self) -> Option<HashMap<String, String>> {
        self.pingbacks.try_recv().ok()
    }
}
