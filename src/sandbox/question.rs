//! What a person is shown who solves captchas by hand, until there is an answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::captcha::{Captcha, Kind};
use super::image::{self, ImageSize};
use super::request::{Parameters, Value};
use crate::model::Timestamp;

/// The most bytes of images and text that wait for a person; past it nobody is free.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The most captchas that wait for a person.
const MAX_QUESTIONS: usize = 1000;
/// The longest value that is shown, in characters: tokens are longer, and nobody reads them.
const MAX_SHOWN_CHARS: usize = 300;
/// What does not help to solve it, is shown in a place of its own, or is nobody's business.
const ASIDE: [&str; 21] = [
    "key",
    "json",
    "header_acao",
    "pingback",
    "soft_id",
    "method",
    "body",
    "file",
    "imginstructions",
    "textinstructions",
    "textcaptcha",
    "proxy",
    "proxytype",
    "userAgent",
    // These are in the shape of the answer.
    "recaptcha",
    "recaptcharows",
    "recaptchacols",
    "canvas",
    "can_no_answer",
    "coordinatescaptcha",
    "angle",
];

/// A captcha that waits for a person.
#[derive(Debug, Serialize)]
pub struct Question {
    /// When it was taken.
    pub since: Timestamp,
    /// What the answer has to look like.
    #[serde(flatten)]
    pub form: AnswerShape,
    /// What to do, in words: the instruction, or the question itself.
    pub text: Option<String>,
    /// What to do, as an image.
    #[serde(skip)]
    pub instruction: Option<Picture>,
    /// What it is about; none where it is a question or a token.
    #[serde(skip)]
    pub images: Vec<Picture>,
    /// The other parameters that came with it.
    pub parameters: BTreeMap<String, String>,
}

/// What an answer has to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "form", rename_all = "snake_case")]
pub enum AnswerShape {
    /// What is written there, or the answer to the question.
    Text,
    /// Points to click.
    Points,
    /// Cells of a grid, counted from 1, left to right, top to bottom.
    #[expect(missing_docs, reason = "the fields say it")]
    Cells { rows: u32, columns: u32, can_no_answer: bool },
    /// The corners of areas.
    #[expect(missing_docs, reason = "the field says it")]
    Areas { can_no_answer: bool },
    /// Degrees for each of so many images, in steps.
    #[expect(missing_docs, reason = "the fields say it")]
    Angles { images: usize, step: u32 },
    /// What the page itself would have got.
    Token,
}

/// An image that was sent.
#[derive(Clone, Debug)]
pub struct Picture {
    /// As it was sent.
    pub content: Bytes,
    /// By its content: `image/png`, `image/jpeg` or `image/gif`.
    pub media_type: &'static str,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

impl Picture {
    fn new(content: Bytes) -> Option<Self> {
        let ImageSize { width, height } = image::measure(&content).ok()?;
        Some(Self { media_type: image::media_type(&content), content, width, height })
    }
}

impl Question {
    /// What is asked by a captcha that is in order.
    pub(super) fn of(parameters: &Parameters, captcha: &Captcha, now: Timestamp) -> Self {
        let form = match captcha.kind {
            Kind::Image { .. } | Kind::Text { .. } => AnswerShape::Text,
            Kind::Grid { rows, columns, can_no_answer } => {
                AnswerShape::Cells { rows, columns, can_no_answer }
            }
            Kind::Canvas { can_no_answer, .. } => AnswerShape::Areas { can_no_answer },
            Kind::Click { .. } => AnswerShape::Points,
            Kind::Rotate { files, step } => AnswerShape::Angles { images: files, step },
            Kind::Recaptcha | Kind::FunCaptcha { .. } | Kind::KeyCaptcha { .. } | Kind::Other { .. } => {
                AnswerShape::Token
            }
        };
        let uploaded = |name: &str| image::upload(parameters, name).and_then(Result::ok).map(Bytes::from);
        let names: Vec<String> = match form {
            AnswerShape::Angles { images, .. } => {
                (1..=images).map(|number| format!("file_{number}")).collect()
            }
            // What `method=post` takes, and what `method=base64` does; a question has neither.
            _ => vec![if parameters.text("method") == Some("post") { "file" } else { "body" }.to_owned()],
        };
        let is_image = !matches!(captcha.kind, Kind::Text { .. }) && form != AnswerShape::Token;
        let images = names.iter().filter(|_| is_image).filter_map(|name| uploaded(name));
        let text = if matches!(captcha.kind, Kind::Text { .. }) { "textcaptcha" } else { "textinstructions" };
        Self {
            since: now,
            form,
            text: parameters.text(text).map(str::to_owned),
            instruction: uploaded("imginstructions").filter(|_| is_image).and_then(Picture::new),
            images: images.filter_map(Picture::new).collect(),
            parameters: parameters.iter().filter_map(shown).collect(),
        }
    }

    /// One of its images: by its number, from 1, or `instruction`.
    #[must_use]
    pub fn picture(&self, name: &str) -> Option<&Picture> {
        match name {
            "instruction" => self.instruction.as_ref(),
            number => self.images.get(number.parse::<usize>().ok()?.checked_sub(1)?),
        }
    }

    /// How much of the memory it takes up, about.
    fn bytes(&self) -> usize {
        let images = self.images.iter().chain(&self.instruction).map(|image| image.content.len());
        let texts = self.parameters.iter().map(|(name, value)| name.len() + value.len());
        images.chain(texts).sum()
    }
}

/// A parameter that may help who solves it.
fn shown((name, value): (&str, &Value)) -> Option<(String, String)> {
    let Value::Text(text) = value else { return None };
    let is_shown = !text.is_empty() && !ASIDE.contains(&name);
    is_shown.then(|| (name.to_owned(), text.chars().take(MAX_SHOWN_CHARS).collect()))
}

/// The captchas that wait for a person, by their ids.
#[derive(Debug, Default)]
pub(super) struct Questions {
    waiting: BTreeMap<u64, Arc<Question>>,
    bytes: usize,
}

impl Questions {
    /// Whether one more can wait.
    pub(super) fn has_room_for(&self, question: &Question) -> bool {
        self.waiting.len() < MAX_QUESTIONS && self.bytes + question.bytes() <= MAX_BYTES
    }

    pub(super) fn add(&mut self, id: u64, question: Question) {
        self.bytes += question.bytes();
        self.waiting.insert(id, Arc::new(question));
    }

    /// Nobody is asked any more.
    pub(super) fn remove(&mut self, id: u64) {
        if let Some(question) = self.waiting.remove(&id) {
            self.bytes -= question.bytes();
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<&Arc<Question>> {
        self.waiting.get(&id)
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Arc<Question>)> {
        self.waiting.iter().map(|(id, question)| (*id, question))
    }
}

#[cfg(test)]
mod tests {
    use super::super::image::tests::gif;
    use super::*;

    fn question(form: &str) -> Question {
        let mut parameters = Parameters::default();
        parameters.add_form(form.as_bytes());
        let captcha = Captcha::parse(&parameters).unwrap();
        Question::of(&parameters, &captcha, Timestamp::from_micros(0))
    }

    fn body(width: u16, height: u16) -> String {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(gif(width, height, 200));
        form_urlencoded::byte_serialize(text.as_bytes()).collect()
    }

    #[test]
    fn a_question_is_shown_without_keys_proxies_and_what_is_no_help() {
        let asked =
            question("key=secret&method=textcaptcha&textcaptcha=2+%2B+2%3F&language=2&pingback=http://x/");
        assert_eq!((asked.form, asked.text.as_deref()), (AnswerShape::Text, Some("2 + 2?")));
        assert_eq!(
            asked.parameters.into_iter().collect::<Vec<_>>(),
            [("language".to_owned(), "2".to_owned())]
        );

        let key = "s".repeat(400);
        let asked = question(&format!(
            "method=userrecaptcha&googlekey={key}&pageurl=http://a.example/&proxy=login:password@1.2.3.4:3128&proxytype=HTTP"
        ));
        assert_eq!((asked.form, asked.images.len()), (AnswerShape::Token, 0));
        assert_eq!(asked.parameters.keys().collect::<Vec<_>>(), ["googlekey", "pageurl"]);
        assert_eq!(asked.parameters["googlekey"].len(), MAX_SHOWN_CHARS);
    }

    #[test]
    fn a_grid_says_how_it_is_divided() {
        let asked = question(&format!(
            "method=base64&recaptcha=1&can_no_answer=1&textinstructions=cars&body={}",
            body(300, 300)
        ));
        assert_eq!(asked.form, AnswerShape::Cells { rows: 3, columns: 3, can_no_answer: true });
        assert_eq!(asked.text.as_deref(), Some("cars"));
        let image = &asked.images[0];
        assert_eq!((image.width, image.height, image.media_type), (300, 300, "image/gif"));
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_in_bytes() {
        let mut waiting = Questions::default();
        let small = || question("method=textcaptcha&textcaptcha=x");
        for id in 0..MAX_QUESTIONS as u64 {
            assert!(waiting.has_room_for(&small()));
            waiting.add(id, small());
        }
        assert!(!waiting.has_room_for(&small()));
        waiting.remove(0);
        assert!(waiting.has_room_for(&small()));

        let mut waiting = Questions::default();
        let large = || {
            let content = Bytes::from(vec![0; MAX_BYTES / 2]);
            let image = Picture { content, media_type: "image/png", width: 1, height: 1 };
            Question { images: vec![image], ..small() }
        };
        waiting.add(1, large());
        assert!(waiting.has_room_for(&large()));
        waiting.add(2, large());
        assert!(!waiting.has_room_for(&large()));
        waiting.remove(1);
        waiting.remove(1);
        assert!(waiting.has_room_for(&large()));
    }
}
