//! The provider's answer text, read by type: points to click, cells, areas, angles.

use schemars::JsonSchema;
use serde::Serialize;

use super::CaptchaType;

/// An answer: the provider's text, and what it says where the type has a form of its own.
/// A form that does not parse leaves the text alone.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct Answer {
    /// The text as it came.
    pub text: String,
    /// What the text says.
    #[serde(flatten)]
    pub form: AnswerForm,
}

/// What an answer says. In JSON it is one field beside `text`, or none.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerForm {
    /// `click`: where to click.
    Points(Vec<Point>),
    /// `recaptcha_image` with a grid: which cells, counted from 1, left to right, top to bottom.
    Cells(Vec<u8>),
    /// `recaptcha_image` with `canvas`: the corners of each area.
    Areas(Vec<Vec<Point>>),
    /// `rotate`: degrees for each image, positive is clockwise.
    Angles(Vec<i32>),
    /// `recaptcha_image` with `can_no_answer`: no image fits the instruction. Always `true`.
    NoMatch(bool),
    /// Just text.
    #[serde(untagged)]
    Text {},
}

/// A point of the image, in pixels from its upper left corner.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Pixels from the left.
    pub x: i32,
    /// Pixels from the top.
    pub y: i32,
}

impl Answer {
    /// Reads `text` as the answer to a captcha of this type.
    #[must_use]
    pub fn parse(kind: CaptchaType, text: String) -> Self {
        let form = match kind {
            CaptchaType::Click => points(&text).map(AnswerForm::Points),
            CaptchaType::RecaptchaImage => recaptcha_image(&text),
            CaptchaType::Rotate => angles(&text).map(AnswerForm::Angles),
            _ => None,
        };
        Self { text, form: form.unwrap_or(AnswerForm::Text {}) }
    }
}

fn recaptcha_image(text: &str) -> Option<AnswerForm> {
    if text.trim() == "No_matching_images" {
        return Some(AnswerForm::NoMatch(true));
    }
    if text.starts_with("canvas:") {
        return areas(text).map(AnswerForm::Areas);
    }
    cells(text).map(AnswerForm::Cells)
}

/// `coordinate:x=39,y=59;x=252,y=72`; the family also writes `coordinates:`.
fn points(text: &str) -> Option<Vec<Point>> {
    let list = text.strip_prefix("coordinate:").or_else(|| text.strip_prefix("coordinates:"))?;
    pieces(list, ';')
        .map(|piece| {
            let (x, y) = piece.split_once(',')?;
            Some(Point { x: number(x.trim().strip_prefix("x=")?)?, y: number(y.trim().strip_prefix("y=")?)? })
        })
        .collect::<Option<Vec<_>>>()
        .filter(|points| !points.is_empty())
}

/// `click:3/8/9/`; `a` to `g` stand for 10 to 16.
fn cells(text: &str) -> Option<Vec<u8>> {
    pieces(text.strip_prefix("click:")?, '/')
        .map(|piece| match piece.trim().as_bytes() {
            &[digit @ b'1'..=b'9'] => Some(digit - b'0'),
            &[letter @ b'a'..=b'g'] => Some(letter - b'a' + 10),
            b"10" | b"11" | b"12" | b"13" | b"14" | b"15" | b"16" => piece.trim().parse().ok(),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()
        .filter(|cells| !cells.is_empty())
}

/// `canvas:x,y,x,y,x,y;x,y,x,y,x,y;`
fn areas(text: &str) -> Option<Vec<Vec<Point>>> {
    pieces(text.strip_prefix("canvas:")?, ';')
        .map(|area| {
            let numbers = area.split(',').map(number).collect::<Option<Vec<i32>>>()?;
            let (points, rest) = numbers.as_chunks::<2>();
            rest.is_empty().then(|| points.iter().map(|&[x, y]| Point { x, y }).collect())
        })
        .collect::<Option<Vec<Vec<Point>>>>()
        .filter(|areas| !areas.is_empty())
}

/// `40|200|-120`
fn angles(text: &str) -> Option<Vec<i32>> {
    text.split('|').map(number).collect()
}

/// The pieces of a list; a separator may also end it.
fn pieces(list: &str, separator: char) -> impl Iterator<Item = &str> {
    list.split(separator).filter(|piece| !piece.trim().is_empty())
}

fn number(text: &str) -> Option<i32> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(kind: CaptchaType, text: &str) -> serde_json::Value {
        serde_json::to_value(Answer::parse(kind, text.to_owned())).unwrap()
    }

    #[test]
    fn a_click_answer_has_points() {
        assert_eq!(
            parsed(CaptchaType::Click, "coordinate:x=39,y=59;x=252,y=72"),
            json!({"text": "coordinate:x=39,y=59;x=252,y=72", "points": [{"x": 39, "y": 59}, {"x": 252, "y": 72}]})
        );
    }

    #[test]
    fn a_grid_answer_has_cells_and_letters_count_on_from_ten() {
        assert_eq!(
            parsed(CaptchaType::RecaptchaImage, "click:3/8/a/g/"),
            json!({"text": "click:3/8/a/g/", "cells": [3, 8, 10, 16]})
        );
    }

    #[test]
    fn a_canvas_answer_has_areas() {
        assert_eq!(
            parsed(CaptchaType::RecaptchaImage, "canvas:5,5,3,91;208,211,8,6;")["areas"],
            json!([[{"x": 5, "y": 5}, {"x": 3, "y": 91}], [{"x": 208, "y": 211}, {"x": 8, "y": 6}]])
        );
    }

    #[test]
    fn a_rotate_answer_has_angles() {
        assert_eq!(parsed(CaptchaType::Rotate, "40|200|-120")["angles"], json!([40, 200, -120]));
        assert_eq!(parsed(CaptchaType::Rotate, "40")["angles"], json!([40]));
    }

    #[test]
    fn no_matching_images_is_said_as_such() {
        assert_eq!(
            parsed(CaptchaType::RecaptchaImage, "No_matching_images"),
            json!({"text": "No_matching_images", "no_match": true})
        );
    }

    #[test]
    fn a_form_that_does_not_parse_leaves_the_text_alone() {
        for (kind, text) in [
            (CaptchaType::Click, "coordinate:"),
            (CaptchaType::Click, "coordinate:x=1"),
            (CaptchaType::Click, "x=1,y=2"),
            (CaptchaType::RecaptchaImage, "click:0/h/"),
            (CaptchaType::RecaptchaImage, "canvas:1,2,3"),
            (CaptchaType::RecaptchaImage, ""),
            (CaptchaType::Rotate, "left|right"),
            (CaptchaType::Image, "coordinate:x=39,y=59"),
            (CaptchaType::Funcaptcha, "1|2|3"),
        ] {
            assert_eq!(parsed(kind, text), json!({ "text": text }), "{kind:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            for kind in [CaptchaType::Click, CaptchaType::RecaptchaImage, CaptchaType::Rotate] {
                assert_eq!(Answer::parse(kind, text.clone()).text, text);
            }
        }
    }
}
