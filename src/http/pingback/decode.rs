//! A pingback in any of the family's variants: query, form, multipart, JSON.

use axum::body::HttpBody;
use axum::http::HeaderMap;
use bytes::Bytes;
use memchr::{memchr, memchr2};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::http::body::{self, Encoding};
use crate::http::error::ApiError;
use crate::model::{ErrorCode, JsonFields, Outcome, Pingback, Timestamp, without_nul};

/// The largest pingback. The longest answers that were seen have 4 kB.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The most fields of a pingback.
const MAX_FIELDS: usize = 100;

/// Reads a pingback, whichever way it was encoded.
pub(in crate::http) async fn decode(
    headers: &HeaderMap,
    query: Option<&str>,
    body: impl HttpBody<Data = Bytes> + Unpin,
) -> Result<Pingback, ApiError> {
    let body = body::read(body, MAX_BODY_BYTES).await?;
    let mut fields = form(query.unwrap_or_default().as_bytes());
    fields.extend(match Encoding::of(headers) {
        Encoding::Multipart(boundary) => multipart(body, &boundary).await?,
        Encoding::Json => json(&body)?,
        // Some senders label JSON as text.
        _ if body.trim_ascii_start().starts_with(b"{") => json(&body)?,
        _ => form(&body),
    });
    if fields.len() > MAX_FIELDS {
        return Err(ApiError::BadRequest(format!("the pingback has more than {MAX_FIELDS} fields")));
    }
    pingback(fields, Timestamp::now())
}

/// Takes the body of a pingback that is not looked at: the connection would not last without that.
pub(in crate::http) async fn discard(body: impl HttpBody<Data = Bytes> + Unpin) {
    drop(body::read(body, MAX_BODY_BYTES).await);
}

/// What is not UTF-8 becomes U+FFFD: a damaged answer is better than a lost one.
fn form(text: &[u8]) -> Vec<(String, String)> {
    // Most answers are letters and digits. To find that out is much less work than to decode them.
    if memchr2(b'%', b'+', text).is_none() {
        return plain_form(text);
    }
    form_urlencoded::parse(text).into_owned().take(MAX_FIELDS + 1).collect()
}

/// A form in which nothing is encoded.
fn plain_form(text: &[u8]) -> Vec<(String, String)> {
    let owned = |text| String::from_utf8_lossy(text).into_owned();
    let mut fields = Vec::new();
    let mut rest = text;
    while !rest.is_empty() && fields.len() <= MAX_FIELDS {
        let (field, later) = split_at_byte(rest, b'&');
        rest = later;
        if !field.is_empty() {
            let (name, value) = split_at_byte(field, b'=');
            fields.push((owned(name), owned(value)));
        }
    }
    fields
}

/// What is before the first such byte, and what is behind it.
fn split_at_byte(text: &[u8], byte: u8) -> (&[u8], &[u8]) {
    memchr(byte, text).map_or((text, &[]), |place| (&text[..place], &text[place + 1..]))
}

async fn multipart(body: Bytes, boundary: &str) -> Result<Vec<(String, String)>, ApiError> {
    let parts = body::parts(body, boundary, MAX_FIELDS).await?;
    Ok(parts
        .into_iter()
        .map(|part| (part.name, String::from_utf8_lossy(&part.content).into_owned()))
        .collect())
}

fn json(body: &[u8]) -> Result<Vec<(String, String)>, ApiError> {
    // The parser's own words may quote the body, and with it the answer.
    let JsonFields(members) = serde_json::from_slice::<JsonFields<MAX_FIELDS, Box<RawValue>>>(body)
        .map_err(|_| ApiError::BadRequest("the body is not a JSON object".to_owned()))?;
    // A number is kept as it is written: 1.50 is not 1.5 when it is an answer.
    let text = |value: Box<RawValue>| {
        serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned())
    };
    Ok(members.into_iter().map(|(name, value)| (name, text(value))).collect())
}

fn pingback(fields: Vec<(String, String)>, received_at: Timestamp) -> Result<Pingback, ApiError> {
    let (mut id, mut code, mut price, mut status) = (None, None, None, None);
    let mut extra = serde_json::Map::new();
    for (name, value) in fields {
        let known = match name.as_str() {
            "id" | "captcha_id" => &mut id,
            "code" => &mut code,
            "rate" | "price" => &mut price,
            "status" => &mut status,
            _ => {
                extra.insert(name, Value::String(value));
                continue;
            }
        };
        known.get_or_insert(value);
    }
    let malformed = |detail: &str| ApiError::BadRequest(detail.to_owned());
    let id = id.ok_or_else(|| malformed("id is missing"))?;
    let captcha_id = id.trim().parse().map_err(|_| malformed("id is not a captcha ID: digits only"))?;
    let code = code.filter(|code| !code.is_empty()).ok_or_else(|| malformed("code is missing"))?;
    let code = without_nul(code);
    let outcome = match Outcome::of(&code) {
        // Some services say in `status` whether `code` is an answer.
        Outcome::Answer(text) if status.as_deref() == Some("0") => Outcome::Failed(ErrorCode::foreign(&text)),
        outcome => outcome,
    };
    let parsed_price = price.as_deref().and_then(|price| price.parse().ok());
    if let (None, Some(price)) = (&parsed_price, price) {
        extra.insert("rate".to_owned(), Value::String(price));
    }
    let extra = (!extra.is_empty()).then(|| Value::Object(extra).to_string());
    Ok(Pingback { captcha_id, code, outcome, price: parsed_price, extra, received_at })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::header::CONTENT_TYPE;

    use super::*;

    async fn decoded(content_type: &str, query: &str, body: &str) -> Result<Pingback, ApiError> {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        decode(&headers, Some(query), Body::from(body.to_owned())).await
    }

    #[tokio::test]
    async fn every_variant_of_the_family_is_read() {
        let form = "application/x-www-form-urlencoded";
        let multipart = "--b\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\n77\r\n\
                         --b\r\nContent-Disposition: form-data; name=\"code\"\r\n\r\nabc\r\n--b--\r\n";
        for (content_type, query, body) in [
            (form, "", "id=77&code=abc"),
            ("", "", "id=77&code=abc"),
            ("text/plain", "", "id=77&code=abc"),
            ("", "id=77&code=abc", ""),
            ("", "captcha_id=77&status=1&code=abc", ""),
            ("application/json", "", "{\"id\": 77, \"code\": \"abc\"}"),
            ("application/json; charset=utf-8", "", "{\"id\":\"77\",\"code\":\"abc\",\"x\":null}"),
            ("text/plain", "", " {\"captcha_id\": \"77\", \"code\": \"abc\"}"),
            ("multipart/form-data; boundary=b", "", multipart),
        ] {
            let pingback = decoded(content_type, query, body).await.expect(body);
            assert_eq!((pingback.captcha_id.as_str(), pingback.code.as_str()), ("77", "abc"), "{body}");
            assert_eq!((pingback.outcome, pingback.extra), (Outcome::Answer("abc".to_owned()), None));
        }
    }

    #[tokio::test]
    async fn the_form_is_decoded_once() {
        let pingback =
            decoded("", "", "id=77&code=a%7Cb+c%2Bd%26e%3Df%2525&rate=0.00299&x=1&rate=9").await.unwrap();
        assert_eq!(pingback.code, "a|b c+d&e=f%25");
        assert_eq!(pingback.price, "0.00299".parse().ok());
        assert_eq!(pingback.extra.as_deref(), Some("{\"x\":\"1\"}"));
    }

    proptest::proptest! {
        #[test]
        fn a_form_without_escapes_is_read_like_any_other(
            text in proptest::collection::vec(proptest::sample::select(b"ab=&\0\xc3\xbc".to_vec()), 0..40),
        ) {
            let decoded: Vec<_> = form_urlencoded::parse(&text).into_owned().collect();
            proptest::prop_assert_eq!(form(&text), decoded);
        }
    }

    #[tokio::test]
    async fn a_number_in_json_stays_as_it_is_written() {
        for number in ["1.50", "12345678901234567890123", "1e2", "-0"] {
            let pingback =
                decoded("application/json", "", &format!("{{\"id\":77,\"code\":{number}}}")).await.unwrap();
            assert_eq!(pingback.code, number);
        }
    }

    #[tokio::test]
    async fn a_status_of_0_makes_any_code_a_failure() {
        let pingback = decoded("", "captcha_id=77&status=0&code=unsolvable", "").await.unwrap();
        assert_eq!(pingback.outcome, Outcome::Failed(ErrorCode::known("unsolvable")));
    }

    #[tokio::test]
    async fn a_pingback_without_an_id_of_digits_and_a_code_is_malformed() {
        for body in ["", "id=77", "code=abc", "id=77&code=", "id=abc&code=x", "id=-7&code=x", "{", "[1]"] {
            assert!(matches!(decoded("", "", body).await, Err(ApiError::BadRequest(_))), "{body:?}");
        }
        let many = format!("id=77&code=abc{}", "&x=1".repeat(200));
        assert!(decoded("", "", &many).await.is_err());
    }
}
