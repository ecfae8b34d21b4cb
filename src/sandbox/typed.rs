//! What a person typed, or clicked, in the words in which the provider gives answers.

use std::fmt::Write as _;

use super::Question;
use super::question::AnswerShape;

/// Why what was typed is no answer. The text says what is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotTyped(String);

impl Question {
    /// The answer that was typed. What already is in the provider's form stays as it is; else numbers are read,
    /// whatever stands between them.
    ///
    /// # Errors
    /// When it has not the shape that this captcha asks for.
    pub fn answer(&self, typed: &str) -> Result<String, NotTyped> {
        let typed = typed.trim();
        let wrong = |text: &str| Err(NotTyped(text.to_owned()));
        if typed.is_empty() {
            return wrong("type an answer, or say that it cannot be solved");
        }
        if ["coordinate:", "coordinates:", "click:", "canvas:"].iter().any(|form| typed.starts_with(form)) {
            return Ok(typed.to_owned());
        }
        match self.form {
            AnswerShape::Text | AnswerShape::Token => Ok(typed.to_owned()),
            AnswerShape::Points => match pairs(typed) {
                Some(points) if self.are_inside(&points) => Ok(points_to_click(&points)),
                Some(_) => wrong("a point is outside of the image"),
                None => wrong("points are pairs of numbers, such as 39,59 252,72"),
            },
            AnswerShape::Cells { rows, columns, .. } => match numbers(typed) {
                Some(cells) if cells.iter().all(|cell| (1..=i64::from(rows * columns)).contains(cell)) => {
                    Ok(cells_to_click(&cells))
                }
                _ => Err(NotTyped(format!("cells are numbers from 1 to {}, such as 1 4 7", rows * columns))),
            },
            AnswerShape::Areas { .. } => {
                let areas: Option<Vec<_>> =
                    typed.split(';').filter(|area| !area.trim().is_empty()).map(pairs).collect();
                match areas.filter(|areas| areas.iter().all(|area| area.len() > 2)) {
                    Some(areas) if areas.iter().all(|area| self.are_inside(area)) => Ok(outlines(&areas)),
                    Some(_) => wrong("a corner is outside of the image"),
                    None => wrong(
                        "an area has three corners or more, such as 10,10 50,10 50,50; then the next one",
                    ),
                }
            }
            AnswerShape::Angles { images, .. } => match numbers(typed) {
                Some(angles) if angles.len() == images => Ok(joined(&angles, "|")),
                _ => Err(NotTyped(format!(
                    "angles are {images} numbers, one for each image, such as 40 or -120"
                ))),
            },
        }
    }

    fn are_inside(&self, points: &[(i64, i64)]) -> bool {
        let Some(image) = self.images.first() else { return true };
        let (width, height) = (i64::from(image.width), i64::from(image.height));
        points.iter().all(|(x, y)| (0..width).contains(x) && (0..height).contains(y))
    }
}

/// The whole numbers in a text, whatever stands between them; `None` without a number, or when one is broken or too
/// long.
fn numbers(text: &str) -> Option<Vec<i64>> {
    let words = text.split(|character: char| !character.is_ascii_digit() && !"-.".contains(character));
    let numbers: Option<Vec<i64>> =
        words.filter(|word| !word.is_empty()).map(|word| word.parse().ok()).collect();
    numbers.filter(|numbers| !numbers.is_empty())
}

fn pairs(text: &str) -> Option<Vec<(i64, i64)>> {
    let numbers = numbers(text)?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|&[x, y]| (x, y)).collect())
}

/// `coordinate:x=39,y=59;x=252,y=72`
fn points_to_click(points: &[(i64, i64)]) -> String {
    let points: Vec<_> = points.iter().map(|(x, y)| format!("x={x},y={y}")).collect();
    format!("coordinate:{}", points.join(";"))
}

/// `click:3/8/9/`; cells 10 to 16 are a to g.
fn cells_to_click(cells: &[i64]) -> String {
    cells.iter().fold("click:".to_owned(), |mut text, cell| {
        text.extend(u32::try_from(*cell).ok().and_then(|cell| char::from_digit(cell, 17)));
        text.push('/');
        text
    })
}

/// `canvas:x,y,x,y,x,y;`
fn outlines(areas: &[Vec<(i64, i64)>]) -> String {
    areas.iter().fold("canvas:".to_owned(), |mut text, area| {
        let corners: Vec<i64> = area.iter().flat_map(|(x, y)| [*x, *y]).collect();
        write!(text, "{};", joined(&corners, ",")).expect("writing to a String never fails");
        text
    })
}

fn joined(numbers: &[i64], separator: &str) -> String {
    numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::super::Picture;
    use super::*;
    use crate::model::Timestamp;

    fn typed(form: AnswerShape, text: &str) -> Result<String, NotTyped> {
        let image = Picture { content: Bytes::new(), media_type: "image/png", width: 300, height: 80 };
        let question = Question {
            since: Timestamp::from_micros(0),
            form,
            text: None,
            instruction: None,
            images: vec![image],
            parameters: BTreeMap::new(),
        };
        question.answer(text)
    }

    const GRID: AnswerShape = AnswerShape::Cells { rows: 4, columns: 4, can_no_answer: false };
    const AREAS: AnswerShape = AnswerShape::Areas { can_no_answer: false };
    const TWO_ANGLES: AnswerShape = AnswerShape::Angles { images: 2, step: 40 };

    #[test]
    fn what_is_typed_becomes_an_answer_in_the_provider_s_form() {
        for (form, text, answer) in [
            (AnswerShape::Text, " w9H5k ", "w9H5k"),
            (AnswerShape::Token, "03AHJ_x", "03AHJ_x"),
            (AnswerShape::Points, "39,59 252,72", "coordinate:x=39,y=59;x=252,y=72"),
            (AnswerShape::Points, "(39 59); (252 72)", "coordinate:x=39,y=59;x=252,y=72"),
            (AnswerShape::Points, "coordinate:x=1,y=2", "coordinate:x=1,y=2"),
            (GRID, "3, 8 and 16", "click:3/8/g/"),
            (AREAS, "1,2 30,2 30,40; 5,5 6,5 6,6 5,6", "canvas:1,2,30,2,30,40;5,5,6,5,6,6,5,6;"),
            (TWO_ANGLES, "40 -120", "40|-120"),
            (TWO_ANGLES, "40|200", "40|200"),
        ] {
            assert_eq!(typed(form, text).as_deref(), Ok(answer), "{text}");
        }
    }

    #[test]
    fn what_has_another_shape_is_refused_and_told() {
        for (form, text, told) in [
            (AnswerShape::Text, "  ", "type an answer"),
            (AnswerShape::Points, "39", "pairs"),
            (AnswerShape::Points, "there", "pairs"),
            (AnswerShape::Points, "300,1", "outside"),
            (AnswerShape::Points, "1,-1", "outside"),
            (AnswerShape::Points, "1.5 2.5", "pairs"),
            (GRID, "0", "1 to 16"),
            (GRID, "17", "1 to 16"),
            (AREAS, "1,2 3,4", "three corners"),
            (AREAS, "1,2 3,4 3,80", "outside"),
            (TWO_ANGLES, "40", "2 numbers"),
            (TWO_ANGLES, "99999999999999999999 1", "2 numbers"),
        ] {
            let error = typed(form, text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
