//! The doors for the fuzzers in `fuzz/`: what reads text from outside, with what must hold of all that it reads.
//! They panic where it does not. It is in no build but that of the unit tests, of which one goes through them with
//! every input that was kept, and that of the fuzzers.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::str::FromStr;

use bytes::Bytes;

use crate::config::{Config, KEYS, Kind, Sources};
use crate::model::{
    Answer, AnswerForm, CaptchaId, CaptchaType, Cursor, ErrorCode, FieldValue, Fields, Point, Price,
    Submission, TaskId, image_extension,
};
use crate::provider::{Reply, Shape};

pub(crate) use crate::http::fuzzing::{forwarded, in_php, pingback};

/// One of the doors: what it is called in `fuzz/`, and what takes an input.
pub(crate) type Door = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const DOORS: [Door; 8] = [
    ("answer", answer),
    ("config", config),
    ("cursor", cursor),
    ("forwarded", forwarded),
    ("image", image),
    ("in_php", in_php),
    ("pingback", pingback),
    ("reply", reply),
];

/// An answer is read as every type of captcha. Its text stays as it is, and what is made of it says the same when it
/// is written down again.
pub(crate) fn answer(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for kind in CaptchaType::ALL {
        let answer = Answer::parse(kind, text.clone().into_owned());
        assert_eq!(answer.text, text, "the text is the provider's");
        let shown = serde_json::to_value(&answer).expect("an answer is JSON");
        assert!(shown.as_object().is_some_and(|object| object.len() <= 2), "{shown}");
        let Some(again) = written(&answer.form) else { continue };
        assert!(again.len() <= 8 * (text.len() + 8), "it holds no more than what was read");
        assert_eq!(Answer::parse(kind, again).form, answer.form, "{text:?} as {kind}");
    }
}

/// The provider's form of what an answer says; `None` where that is just its text.
fn written(form: &AnswerForm) -> Option<String> {
    let list = |points: &[Point], separator: &str| {
        let texts: Vec<_> = points.iter().map(|point| format!("{},{}", point.x, point.y)).collect();
        texts.join(separator)
    };
    Some(match form {
        AnswerForm::Points(points) => {
            let points: Vec<_> = points.iter().map(|point| format!("x={},y={}", point.x, point.y)).collect();
            format!("coordinate:{}", points.join(";"))
        }
        AnswerForm::Cells(cells) => {
            assert!(cells.iter().all(|cell| (1..=16).contains(cell)), "{cells:?}");
            let cells: Vec<_> = cells.iter().map(ToString::to_string).collect();
            format!("click:{}/", cells.join("/"))
        }
        AnswerForm::Areas(areas) => {
            let areas: Vec<_> = areas.iter().map(|area| list(area, ",")).collect();
            format!("canvas:{};", areas.join(";"))
        }
        AnswerForm::Angles(angles) => angles.iter().map(ToString::to_string).collect::<Vec<_>>().join("|"),
        AnswerForm::NoMatch(yes) => {
            assert!(yes);
            "No_matching_images".to_owned()
        }
        AnswerForm::Text {} => return None,
    })
}

/// What names something in a path or a query is printed as it was read.
pub(crate) fn cursor(input: &[u8]) {
    fn same<T: FromStr + ToString>(text: &str) {
        if let Ok(value) = text.parse::<T>() {
            assert_eq!(value.to_string(), text);
        }
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    same::<Cursor>(text);
    same::<CaptchaId>(text);
    if let Ok(id) = text.parse::<TaskId>() {
        assert_eq!(TaskId::new(id.number()), Some(id));
        assert_eq!(id.to_string(), text.trim_start_matches('0'));
    }
    if let Ok(price) = text.parse::<Price>() {
        assert_eq!(price.as_str(), text);
        assert!(price.nanos() >= 0, "{text}");
    }
}

/// A configuration: variables, one `NAME=VALUE` a line, then a line of `---`, then the file. What is loaded is loaded
/// again from what is shown of it, and no secret is shown anywhere.
pub(crate) fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // Files with values in them are whatever this machine has.
    if text.contains("_FILE") || text.replace("_files", "").contains("_file") {
        return;
    }
    let (variables, file) = text.split_once("\n---\n").unwrap_or(("", text));
    let env: Vec<_> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let sources =
        Sources { flags: Vec::new(), env, file: Some((PathBuf::from("fuzz.toml"), file.to_owned())) };
    for sandbox in [true, false] {
        let loaded = Config::load(&sources, sandbox);
        let shown = sources.print_json(sandbox);
        let told = match &loaded {
            Ok(config) => format!("{config:?}"),
            Err(errors) => {
                assert!(!errors.problems().is_empty());
                errors.to_string()
            }
        };
        assert_no_secret(&sources, text, &[&told, &sources.print(sandbox), &shown.to_string()]);
        if loaded.is_ok() && sandbox {
            assert_loads_as_shown(&shown);
        }
    }
}

/// No secret of the environment is in what is `told`. One that stands elsewhere in the input may be told as what it
/// is there.
fn assert_no_secret(sources: &Sources, input: &str, told: &[&str]) {
    let secrets = KEYS.iter().filter(|key| key.kind == Kind::Secret);
    for key in secrets {
        let variable = format!("PINGBOX_{}", key.name.replace('.', "__").to_uppercase());
        let given = sources.env.iter().filter(|(name, value)| *name == variable && value.len() >= 22);
        for (_, secret) in given {
            let is_elsewhere = input.matches(secret.as_str()).count() > 1;
            assert!(is_elsewhere || !told.iter().any(|told| told.contains(secret.as_str())), "{variable}");
        }
    }
}

/// A file with everything that is shown loads, and is shown the same.
fn assert_loads_as_shown(shown: &serde_json::Value) {
    let mut file = String::new();
    let kept = KEYS.iter().filter(|key| !matches!(key.kind, Kind::Secret | Kind::Database));
    let kept: Vec<_> = kept.filter(|key| !key.name.starts_with("provider.base_url")).collect();
    for key in &kept {
        let value = &shown[key.name]["value"];
        let (section, name) = key.name.split_once('.').expect("a key is in a section");
        let value = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::Object(map) => {
                let pair = |(name, value): (&String, _)| format!("{}={}", quoted(name), in_toml(value));
                format!("{{{}}}", map.iter().map(pair).collect::<Vec<_>>().join(","))
            }
            serde_json::Value::Array(list) => {
                format!("[{}]", list.iter().map(in_toml).collect::<Vec<_>>().join(","))
            }
            value => in_toml(value),
        };
        writeln!(file, "{section}.{name} = {value}").expect("writing to a String never fails");
    }
    let again =
        Sources { flags: Vec::new(), env: Vec::new(), file: Some((PathBuf::from("again.toml"), file)) };
    if let Err(errors) = Config::load(&again, true) {
        panic!("what is shown cannot be loaded: {errors}");
    }
    let again = again.print_json(true);
    for key in kept {
        assert_eq!(shown[key.name]["value"], again[key.name]["value"], "{}", key.name);
    }
}

fn in_toml(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), quoted)
}

/// A TOML string: JSON's, but that DEL has to be escaped.
fn quoted(text: &str) -> String {
    serde_json::json!(text).to_string().replace('\u{7f}', "\\u007f")
}

/// An image is judged alike as a file and as base64, and only what the provider takes is taken.
pub(crate) fn image(input: &[u8]) {
    assert!(["jpg", "gif", "png"].contains(&image_extension(input)));
    let submitted = |name: &str, value: FieldValue| {
        let mut fields = Fields::default();
        fields.push("type".to_owned(), FieldValue::Text("image".to_owned()));
        fields.push(name.to_owned(), value);
        Submission::parse(fields).map(|submission| submission.captcha.files)
    };
    let content = Bytes::copy_from_slice(input);
    let as_file = submitted("file", FieldValue::File(content.clone()));
    let as_text = submitted("body", FieldValue::Text(base64(input)));
    if let Ok(files) = &as_file {
        assert!((100..=100 * 1024).contains(&files[0].content.len()));
    }
    match as_file {
        // It holds base64 itself: it is the image behind that.
        Ok(files) if files[0].content != content => {
            let text = String::from_utf8(input.to_vec()).expect("base64 is text");
            let as_written = submitted("body", FieldValue::Text(text)).expect("the same image");
            assert_eq!(as_written[0].content, files[0].content);
        }
        as_file => assert_eq!(as_file.is_ok(), as_text.is_ok(), "{as_file:?} {as_text:?}"),
    }
    let mut fields = Fields::default();
    let parts = [
        ("type", FieldValue::Text("recaptcha_image".to_owned())),
        ("file", FieldValue::File(Bytes::from([b"GIF89a".as_slice(), &[0; 100]].concat()))),
        ("imginstructions", FieldValue::File(content)),
    ];
    for (name, value) in parts {
        fields.push(name.to_owned(), value);
    }
    if let Ok(submission) = Submission::parse(fields) {
        let mut files = submission.captcha.files.iter();
        let content = &files.find(|file| file.field == "imginstructions").expect("it was taken").content;
        let size = imagesize::blob_size(content).expect("it was measured");
        assert!(content.len() <= 25 * 1024 && size.width <= 100 && size.height <= 100, "{size:?}");
    }
}

fn base64(content: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, content)
}

/// A reply of the provider is one thing, and the same thing when it is said in JSON.
pub(crate) fn reply(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for shape in [Shape::Value, Shape::Bare, Shape::Priced] {
        let reply = Reply::parse(text, shape);
        let in_json = match &reply {
            Reply::Ok { text: said, price } => {
                assert!(!said.contains('\0'));
                assert!(said.len() <= 3 * text.len());
                assert!(!text.trim_start().starts_with('<'), "a page is no reply");
                // A price is only taken off what is no code as a whole.
                assert!(price.is_some() || ErrorCode::parse(said).is_none(), "{said} is a code");
                serde_json::json!({ "status": 1, "request": said, "price": price })
            }
            Reply::Error(code) => serde_json::json!({ "status": 0, "request": code.as_str() }),
            Reply::Cut | Reply::Garbage => continue,
        };
        let again = Reply::parse(&in_json.to_string(), shape);
        // An answer before a price may be a code: said alone, it is one.
        let is_code = matches!(&reply, Reply::Ok { text, .. } if ErrorCode::parse(text).is_some());
        assert!(again == reply || is_code, "{text:?} is {reply:?}, and in JSON {again:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The inputs of a door's folder that it does not read as it should.
    fn faults((name, door): Door) -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        assert!(!paths.is_empty(), "no inputs in {}", folder.display());
        let is_fault = |path: &&PathBuf| {
            let input = fs::read(path).unwrap();
            std::panic::catch_unwind(|| door(&input)).is_err()
        };
        paths.iter().filter(is_fault).map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn every_input_that_was_kept_is_read_without_a_fault() {
        if !Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").exists() {
            println!("skipped: the published crate has no fuzz/corpus");
            return;
        }
        let faults = DOORS.map(faults).concat();
        assert!(faults.is_empty(), "what went wrong is told above; it was with {faults:#?}");
    }
}
