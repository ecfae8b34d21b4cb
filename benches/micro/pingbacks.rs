//! Reading a pingback, from its body to the words of the trade.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use criterion::{Criterion, Throughput};
use futures_util::FutureExt as _;
use tokio::runtime;

use crate::http;

/// The length of a token, as most answers are.
const TOKEN_CHARS: usize = 500;

pub(crate) fn measure(criterion: &mut Criterion) {
    // Nothing is waited for, but the deadline of the body wants a clock.
    let runtime = runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without I/O can be made");
    let _entered = runtime.enter();
    let token: String = ('a'..='z').cycle().take(TOKEN_CHARS).collect();
    let form = "application/x-www-form-urlencoded";
    let mut group = criterion.benchmark_group("pingback");
    for (name, label, body) in [
        ("form, token", form, format!("id=20000000001&code={token}")),
        (
            "form, click",
            form,
            "id=20000000001&code=coordinate%3Ax%3D39%2Cy%3D59%3Bx%3D252%2Cy%3D72".to_owned(),
        ),
        ("json, token", "application/json", format!(r#"{{"id":20000000001,"code":"{token}"}}"#)),
    ] {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(label))]);
        let body = Bytes::from(body);
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let read = http::read(&headers, Body::from(body.clone())).now_or_never();
                read.flatten().expect("it is a pingback")
            });
        });
    }
    group.finish();
}
