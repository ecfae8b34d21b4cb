//! What the provider replies, in text or JSON, made into words of our own.

use serde_json::Value;

use crate::model::ErrorCode;

/// A reply of `in.php` or `res.php`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// What follows `OK|`, or stands in `request`. Pieces of a list are joined by `|`.
    Ok(String),
    /// A code of the family.
    Error(ErrorCode),
    /// It begins like a reply, but is empty or cut off: the request may have been taken.
    Cut,
    /// It is no reply of the family, such as an HTML page: the request was not taken.
    Garbage,
}

impl Reply {
    pub(super) fn parse(body: &str) -> Self {
        let body = body.trim_start_matches('\u{feff}').trim();
        if body.starts_with('{') {
            return serde_json::from_str(body).map_or(Self::Cut, |value: Value| json(&value));
        }
        if let Some(code) = ErrorCode::parse(body) {
            return Self::Error(code);
        }
        match body.strip_prefix("OK") {
            Some("") => Self::Ok(String::new()),
            Some(rest) => rest.strip_prefix('|').map_or(Self::Garbage, |rest| Self::Ok(rest.to_owned())),
            None if "OK".starts_with(body) => Self::Cut,
            None => Self::Garbage,
        }
    }
}

fn json(value: &Value) -> Reply {
    let says_yes = value["status"] == 1 || value["status"] == "1" || value["status"] == true;
    let request = match &value["request"] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|"),
        _ if says_yes => return Reply::Cut,
        _ => return Reply::Garbage,
    };
    let is_number = !request.is_empty() && request.bytes().all(|byte| byte.is_ascii_digit());
    // Some replies carry a code with status 1: the text decides first.
    match ErrorCode::parse(&request) {
        Some(code) => Reply::Error(code),
        None if says_yes => Reply::Ok(request),
        // It looks like a captcha ID, and so like something that was paid for.
        None if is_number => Reply::Cut,
        None => Reply::Garbage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(text: &str) -> Reply {
        Reply::Ok(text.to_owned())
    }

    #[test]
    fn text_and_json_say_the_same() {
        for (text, json, reply) in [
            ("OK|2122988149", r#"{"status":1,"request":"2122988149"}"#, ok("2122988149")),
            ("OK|2122988149\n", r#"{"status":1,"request":2122988149}"#, ok("2122988149")),
            (
                "\u{feff}OK|2122988149",
                "\u{feff}{\"status\":true,\"request\":\"2122988149\"}",
                ok("2122988149"),
            ),
            ("OK|40|200|-120", r#"{"status":1,"request":"40|200|-120"}"#, ok("40|200|-120")),
            ("OK|a|b", r#"{"status":1,"request":["a","b"]}"#, ok("a|b")),
            ("OK|", r#"{"status":1,"request":""}"#, ok("")),
            ("OK", r#"{"status":1,"request":[]}"#, ok("")),
            (
                "ERROR_PAGEURL",
                r#"{"status":0,"request":"ERROR_PAGEURL","error_text":"…"}"#,
                error("ERROR_PAGEURL"),
            ),
            ("ERROR: 1003", r#"{"status":0,"request":"ERROR: 1003"}"#, error("ERROR: 1003")),
            ("CAPCHA_NOT_READY", r#"{"status":1,"request":"CAPCHA_NOT_READY"}"#, error("CAPCHA_NOT_READY")),
        ] {
            assert_eq!(Reply::parse(text), reply, "{text}");
            assert_eq!(Reply::parse(json), reply, "{json}");
        }
    }

    fn error(code: &str) -> Reply {
        Reply::Error(ErrorCode::known(code))
    }

    #[test]
    fn a_reply_that_breaks_off_may_have_been_a_yes() {
        for cut in
            ["", "O", r#"{"status":1,"requ"#, r#"{"status":1}"#, r#"{"status":0,"request":"2122988149"}"#]
        {
            assert_eq!(Reply::parse(cut), Reply::Cut, "{cut:?}");
        }
    }

    #[test]
    fn a_page_is_no_reply() {
        for page in
            ["<html><body>502 Bad Gateway</body></html>", "Service Unavailable", r#"{"error":"x"}"#, "OKAY"]
        {
            assert_eq!(Reply::parse(page), Reply::Garbage, "{page}");
        }
    }
}
