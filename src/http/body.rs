//! Reading a body: bounded in size and time, and decoded whichever way it was encoded.

use std::time::Duration;

use axum::body::HttpBody;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use tokio::time::timeout;

use super::error::ApiError;

/// How long a body may take. At the largest size that is 280 kB/s, at a captcha's 7 kB/s.
pub(super) const BODY_DEADLINE: Duration = Duration::from_secs(15);

/// How many times the limit is read and thrown away: a sender hears why it is refused only when it
/// has sent all.
const DRAIN: usize = 8;

/// The whole body, if it has at most `limit` bytes and comes in time.
pub(crate) async fn read(body: impl HttpBody<Data = Bytes> + Unpin, limit: usize) -> Result<Bytes, ApiError> {
    match timeout(BODY_DEADLINE, collect(body, limit)).await {
        Ok(body) => body,
        Err(_) => Err(ApiError::BodyTooSlow(BODY_DEADLINE.as_secs())),
    }
}

async fn collect(mut body: impl HttpBody<Data = Bytes> + Unpin, limit: usize) -> Result<Bytes, ApiError> {
    let (mut chunks, mut size) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::BadRequest("the body broke off".to_owned()))?;
        let Ok(chunk) = frame.into_data() else { continue };
        size += chunk.len();
        if size <= limit {
            chunks.push(chunk);
        } else if size > limit * DRAIN {
            break;
        }
    }
    if size > limit {
        return Err(ApiError::TooLarge(limit));
    }
    // Most bodies come in one piece, which needs no copy.
    Ok(match chunks.len() {
        1 => chunks.remove(0),
        _ => chunks.concat().into(),
    })
}

/// How a body says it is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Form,
    /// With its boundary.
    Multipart(String),
    /// It does not say.
    Unstated,
    Other(String),
}

impl Encoding {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(CONTENT_TYPE) else { return Self::Unstated };
        let text = String::from_utf8_lossy(value.as_bytes());
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "" => Self::Unstated,
            "application/x-www-form-urlencoded" => Self::Form,
            "multipart/form-data" => match multer::parse_boundary(&*text) {
                Ok(boundary) => Self::Multipart(boundary),
                Err(_) => Self::Other("multipart/form-data without a boundary".to_owned()),
            },
            json if json == "application/json" || json.ends_with("+json") => Self::Json,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// A part of a multipart body.
pub(super) struct Part {
    pub(super) name: String,
    /// Whether it was attached as a file, or says to be something else than plain text.
    pub(super) is_file: bool,
    pub(super) content: Bytes,
}

/// The parts of a multipart body, at most `limit`.
pub(super) async fn parts(body: Bytes, boundary: &str, limit: usize) -> Result<Vec<Part>, ApiError> {
    let malformed =
        |error: multer::Error| ApiError::BadRequest(format!("the multipart body is malformed: {error}"));
    let mut multipart = multer::Multipart::new(Full::new(body).into_data_stream(), boundary);
    let mut parts = Vec::new();
    while let Some(field) = multipart.next_field().await.map_err(malformed)? {
        if parts.len() == limit {
            return Err(ApiError::BadRequest(format!("the multipart body has more than {limit} parts")));
        }
        let name = field.name().unwrap_or_default().to_owned();
        let plain = field.content_type().is_none_or(|mime| mime.essence_str() == "text/plain");
        let is_file = field.file_name().is_some() || !plain;
        parts.push(Part { name, is_file, content: field.bytes().await.map_err(malformed)? });
    }
    Ok(parts)
}
