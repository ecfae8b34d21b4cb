//! What the provider replies, in text or JSON, made into words of our own.

use serde_json::Value;

use crate::model::{ErrorCode, Price, without_nul};

/// A reply of `in.php` or `res.php`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It worked.
    Ok {
        /// What follows `OK|`, or stands in `request`. Pieces of a list are joined by `|`.
        text: String,
        /// What it cost, where that is told beside it.
        price: Option<Price>,
    },
    /// A code of the family.
    Error(ErrorCode),
    /// It begins like a reply, but is empty or cut off: the request may have been taken.
    Cut,
    /// It is no reply of the family, such as an HTML page: the request was not taken.
    Garbage,
}

/// What a reply is like when it comes as text, though JSON was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `OK|` and a value, or `OK` alone.
    Value,
    /// The value without `OK|`: a balance, a batch of answers, the word for a report.
    Bare,
    /// `OK|`, an answer, which may hold `|`, and the price after the last one.
    Priced,
}

impl Reply {
    pub(crate) fn parse(body: &str, shape: Shape) -> Self {
        match Self::read(body, shape) {
            Self::Ok { text, price } => Self::Ok { text: without_nul(text), price },
            other => other,
        }
    }

    fn read(body: &str, shape: Shape) -> Self {
        let body = body.trim_start_matches('\u{feff}').trim();
        if body.starts_with('{') {
            return serde_json::from_str(body).map_or(Self::Cut, |value: Value| json(&value));
        }
        if let Some(code) = ErrorCode::parse(body) {
            return Self::Error(code);
        }
        match (body.strip_prefix("OK"), shape) {
            (Some(""), _) => Self::ok(""),
            (Some(rest), _) if rest.starts_with('|') => Self::value(&rest[1..], shape),
            (None, _) if "OK".starts_with(body) => Self::Cut,
            (_, Shape::Bare) if is_plain(body) => Self::ok(body),
            _ => Self::Garbage,
        }
    }

    fn value(text: &str, shape: Shape) -> Self {
        // Some replies carry a code behind `OK|`: the text decides first.
        if let Some(code) = ErrorCode::parse(text) {
            return Self::Error(code);
        }
        let priced = text.rsplit_once('|').filter(|_| shape == Shape::Priced);
        match priced.and_then(|(answer, price)| Some((answer, price.parse().ok()?))) {
            Some((answer, price)) => Self::Ok { text: answer.to_owned(), price: Some(price) },
            None => Self::ok(text),
        }
    }

    fn ok(text: &str) -> Self {
        Self::Ok { text: text.to_owned(), price: None }
    }
}

/// Whether a text may be a reply: one line that is neither a page nor JSON.
fn is_plain(body: &str) -> bool {
    !body.is_empty() && !body.starts_with('<') && !body.contains(['\n', '\r'])
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
        None if says_yes => Reply::Ok { text: request, price: price(&value["price"]) },
        // It looks like a captcha ID, and so like something that was paid for.
        None if is_number => Reply::Cut,
        None => Reply::Garbage,
    }
}

fn price(value: &Value) -> Option<Price> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Remedy, Signal};
    use crate::provider::signal;

    fn ok(text: &str) -> Reply {
        Reply::ok(text)
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
            (
                "OK|CAPCHA_NOT_READY",
                r#"{"status":1,"request":"CAPCHA_NOT_READY"}"#,
                error("CAPCHA_NOT_READY"),
            ),
            ("ERROR: 1003", r#"{"status":0,"request":"ERROR: 1003"}"#, error("ERROR: 1003")),
            ("CAPCHA_NOT_READY", r#"{"status":1,"request":"CAPCHA_NOT_READY"}"#, error("CAPCHA_NOT_READY")),
        ] {
            assert_eq!(Reply::parse(text, Shape::Value), reply, "{text}");
            assert_eq!(Reply::parse(json, Shape::Value), reply, "{json}");
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
            assert_eq!(Reply::parse(cut, Shape::Value), Reply::Cut, "{cut:?}");
        }
    }

    #[test]
    fn a_page_is_no_reply() {
        for page in
            ["<html><body>502 Bad Gateway</body></html>", "Service Unavailable", r#"{"error":"x"}"#, "OKAY"]
        {
            assert_eq!(Reply::parse(page, Shape::Value), Reply::Garbage, "{page}");
        }
    }

    #[test]
    fn a_price_is_told_beside_the_answer() {
        let priced = r#"{"status":1,"request":"a|b","price":"0.00299"}"#;
        let expected = Reply::Ok { text: "a|b".to_owned(), price: "0.00299".parse().ok() };
        assert_eq!(Reply::parse(priced, Shape::Value), expected);
        assert_eq!(Reply::parse(&priced.replace("\"0.00299\"", "0.00299"), Shape::Value), expected);
    }

    #[test]
    fn as_text_the_price_stands_behind_the_last_bar() {
        let priced = |text: &str, price: &str| Reply::Ok { text: text.to_owned(), price: price.parse().ok() };
        assert_eq!(Reply::parse("OK|a|b|0.00299", Shape::Priced), priced("a|b", "0.00299"));
        // An answer alone is left alone.
        assert_eq!(Reply::parse("OK|a|b", Shape::Priced), ok("a|b"));
        assert_eq!(Reply::parse("OK|a|b|0.00299", Shape::Value), ok("a|b|0.00299"));
    }

    #[test]
    fn some_replies_come_bare() {
        for (body, text) in [
            ("12.34", "12.34"),
            ("12.34\n", "12.34"),
            ("abc|CAPCHA_NOT_READY|x", "abc|CAPCHA_NOT_READY|x"),
            ("OK|12.34", "12.34"),
            ("OK_REPORT_RECORDED", "OK_REPORT_RECORDED"),
            (r#"{"status":1,"request":"OK_REPORT_RECORDED"}"#, "OK_REPORT_RECORDED"),
        ] {
            assert_eq!(Reply::parse(body, Shape::Bare), ok(text), "{body}");
        }
        assert_eq!(Reply::parse("ERROR_WRONG_CAPTCHA_ID", Shape::Bare), error("ERROR_WRONG_CAPTCHA_ID"));
        assert_eq!(Reply::parse("", Shape::Bare), Reply::Cut);
        for page in ["<html>502</html>", "Bad\nGateway", "{\"error\":1}"] {
            assert_eq!(Reply::parse(page, Shape::Bare), Reply::Garbage, "{page}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_reply_is_one_thing_and_only_trouble_holds_up_others(
            body in proptest::prop_oneof![
                ".{0,200}",
                "(OK|ERROR|ERROR_[A-Z_]{1,30}|ERROR: [0-9]{4})(\\|.{0,20})?",
                r#"\{"status":[01],"request":"[A-Z_0-9|]{0,20}"\}"#,
                "<html>.{0,40}</html>",
            ],
        ) {
            for reply in [Reply::parse(&body, Shape::Value), Reply::parse(&body, Shape::Bare), Reply::parse(&body, Shape::Priced)] {
                let expected = match &reply {
                    Reply::Ok { .. } => true,
                    Reply::Error(code) => {
                        matches!(code.remedy(), Remedy::FailTask | Remedy::NotReady | Remedy::Request)
                    }
                    Reply::Cut | Reply::Garbage => false,
                };
                proptest::prop_assert_eq!(signal(&Ok(reply)) == Signal::Welcome, expected);
            }
        }
    }
}
