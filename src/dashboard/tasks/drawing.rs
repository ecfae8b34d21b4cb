//! A task's image with its answer drawn on it: points, areas, cells, a turn.

use std::fmt::Write as _;

use crate::model::{AnswerForm, Point};

/// An image narrower than this is shown larger, in CSS pixels.
const SMALL_WIDTH: u32 = 260;
/// The most that an image is enlarged.
const MAX_ENLARGED: u32 = 3;
/// The most marks on one image: an answer of the longest kind has thousands.
const MAX_MARKS: usize = 100;

/// An image to be shown as SVG. Lengths are in pixels of the image.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::dashboard) struct Drawing {
    /// Where the image is.
    pub(in crate::dashboard) href: String,
    pub(in crate::dashboard) width: u32,
    pub(in crate::dashboard) height: u32,
    /// How wide it is shown, in CSS pixels, where there is room.
    pub(in crate::dashboard) shown_width: u32,
    pub(in crate::dashboard) shown_height: u32,
    /// What is seen of it: all, and more where it is turned.
    pub(in crate::dashboard) view_box: String,
    /// How it is turned.
    pub(in crate::dashboard) transform: Option<String>,
    /// What is seen, in words.
    pub(in crate::dashboard) label: String,
    pub(in crate::dashboard) marks: Vec<Mark>,
    /// How large a mark is.
    pub(in crate::dashboard) unit: u32,
}

/// Something on an image, with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dashboard) struct Mark {
    pub(in crate::dashboard) number: usize,
    /// Where its number stands.
    pub(in crate::dashboard) at: Point,
    pub(in crate::dashboard) shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dashboard) enum Shape {
    /// At the place of its number.
    Point,
    /// The corners, as SVG has them.
    Area(String),
    Cell {
        x: u32,
        y: u32,
        width: u32,
        height: u32,
    },
}

impl Drawing {
    /// The image without anything on it.
    pub(in crate::dashboard) fn plain(href: String, (width, height): (u32, u32), label: String) -> Self {
        let times = SMALL_WIDTH.div_ceil(width).clamp(1, MAX_ENLARGED);
        Self {
            href,
            width,
            height,
            shown_width: width.saturating_mul(times),
            shown_height: height.saturating_mul(times),
            view_box: format!("0 0 {width} {height}"),
            transform: None,
            label,
            marks: Vec::new(),
            unit: (width.min(height) / 12).clamp(5, 40),
        }
    }

    /// With the answer drawn on it. Of a grid it has to be known how many rows and columns it has.
    pub(in crate::dashboard) fn with_answer(mut self, form: &AnswerForm, grid: (u32, u32)) -> Self {
        match form {
            AnswerForm::Points(points) => {
                let points = points.iter().take(MAX_MARKS);
                self.marks = number(points.map(|point| (*point, Shape::Point)));
                self.describe(&format!("{} points to click", self.marks.len()));
            }
            AnswerForm::Areas(areas) => {
                let areas = areas.iter().take(MAX_MARKS);
                self.marks = number(areas.map(|corners| (middle(corners), Shape::Area(outline(corners)))));
                self.describe(&format!("{} areas", self.marks.len()));
            }
            AnswerForm::Cells(cells) => {
                let cells = || cells.iter().take(MAX_MARKS);
                self.marks = cells().filter_map(|cell| self.cell(*cell, grid)).collect();
                let names: Vec<_> = cells().map(u8::to_string).collect();
                self.describe(&format!(
                    "cells {} of {} rows and {} columns",
                    names.join(", "),
                    grid.0,
                    grid.1
                ));
            }
            AnswerForm::NoMatch(_) => self.describe("no image matches"),
            AnswerForm::Angles(_) | AnswerForm::Text {} => {}
        }
        self
    }

    /// Turned clockwise by so many degrees, with room for its corners.
    pub(in crate::dashboard) fn turned(self, degrees: i32) -> Self {
        let (x, y) = (f64::from(self.width) / 2.0, f64::from(self.height) / 2.0);
        let transform = Some(format!("rotate({degrees} {x:.1} {y:.1})"));
        let mut turned = Self { transform, ..self.with_room_to_turn() };
        turned.describe(&format!("turned by {degrees} degrees"));
        turned
    }

    /// With so much around it that its corners are seen however it is turned.
    pub(in crate::dashboard) fn with_room_to_turn(mut self) -> Self {
        let (width, height) = (f64::from(self.width), f64::from(self.height));
        let side = width.hypot(height).ceil();
        self.view_box = format!("{:.1} {:.1} {side} {side}", (width - side) / 2.0, (height - side) / 2.0);
        let shown = self.shown_width.max(self.shown_height);
        (self.shown_width, self.shown_height) = (shown, shown);
        self
    }

    /// How large the number of a mark is.
    pub(in crate::dashboard) fn font_size(&self) -> u32 {
        self.unit + self.unit / 4
    }

    fn describe(&mut self, answer: &str) {
        write!(self.label, "; {answer}").expect("writing to a String never fails");
    }

    /// Counted from 1, left to right, top to bottom.
    fn cell(&self, number: u8, (rows, columns): (u32, u32)) -> Option<Mark> {
        let index = u32::from(number).checked_sub(1)?;
        let (row, column) = (index.checked_div(columns)?, index.checked_rem(columns)?);
        if row >= rows {
            return None;
        }
        let part = |whole: u32, index: u32, parts: u32| -> Option<u32> {
            u32::try_from(u64::from(whole) * u64::from(index) / u64::from(parts)).ok()
        };
        let (x, y) = (part(self.width, column, columns)?, part(self.height, row, rows)?);
        let (right, bottom) = (part(self.width, column + 1, columns)?, part(self.height, row + 1, rows)?);
        let at = Point { x: to_signed(x.midpoint(right)), y: to_signed(y.midpoint(bottom)) };
        let shape = Shape::Cell { x, y, width: right - x, height: bottom - y };
        Some(Mark { number: number.into(), at, shape })
    }
}

fn number(marks: impl Iterator<Item = (Point, Shape)>) -> Vec<Mark> {
    (1..).zip(marks).map(|(number, (at, shape))| Mark { number, at, shape }).collect()
}

/// The corners as `points` of SVG has them.
fn outline(corners: &[Point]) -> String {
    corners.iter().map(|Point { x, y }| format!("{x},{y}")).collect::<Vec<_>>().join(" ")
}

/// The middle of what the corners span.
fn middle(corners: &[Point]) -> Point {
    let mid = |values: &dyn Fn(&Point) -> i32| {
        let (low, high) = (corners.iter().map(values).min(), corners.iter().map(values).max());
        low.unwrap_or_default().midpoint(high.unwrap_or_default())
    };
    Point { x: mid(&|point| point.x), y: mid(&|point| point.y) }
}

fn to_signed(pixels: u32) -> i32 {
    i32::try_from(pixels).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawing(width: u32, height: u32) -> Drawing {
        Drawing::plain("/x".to_owned(), (width, height), "Image".to_owned())
    }

    #[test]
    fn points_and_areas_are_numbered_in_their_order() {
        let points = vec![Point { x: 39, y: 59 }, Point { x: 252, y: 72 }];
        let drawn = drawing(300, 80).with_answer(&AnswerForm::Points(points.clone()), (0, 0));
        let marks: Vec<_> = drawn.marks.iter().map(|mark| (mark.number, mark.at)).collect();
        assert_eq!(marks, [(1, points[0]), (2, points[1])]);
        assert_eq!(drawn.label, "Image; 2 points to click");

        let corners = vec![Point { x: 0, y: 0 }, Point { x: 10, y: 0 }, Point { x: 10, y: 30 }];
        let drawn = drawing(300, 80).with_answer(&AnswerForm::Areas(vec![corners]), (0, 0));
        assert_eq!(
            drawn.marks,
            [Mark { number: 1, at: Point { x: 5, y: 15 }, shape: Shape::Area("0,0 10,0 10,30".to_owned()) }]
        );
    }

    #[test]
    fn cells_cover_the_image_without_a_gap_and_others_are_left_out() {
        let all = AnswerForm::Cells((1..=12).collect());
        let drawn = drawing(100, 50).with_answer(&all, (3, 3));
        let cells: Vec<_> = drawn
            .marks
            .iter()
            .map(|mark| match mark.shape {
                Shape::Cell { x, y, width, height } => (mark.number, x, y, x + width, y + height),
                _ => panic!("a cell"),
            })
            .collect();
        assert_eq!(cells.len(), 9);
        assert_eq!(
            (cells[0], cells[5], cells[8]),
            ((1, 0, 0, 33, 16), (6, 66, 16, 100, 33), (9, 66, 33, 100, 50))
        );
        assert_eq!(drawing(100, 50).with_answer(&all, (0, 0)).marks, []);
    }

    #[test]
    fn a_turned_image_keeps_its_corners() {
        let drawn = drawing(300, 400).turned(-40);
        assert_eq!(drawn.view_box, "-100.0 -50.0 500 500");
        assert_eq!(drawn.transform.as_deref(), Some("rotate(-40 150.0 200.0)"));
        assert_eq!(drawn.label, "Image; turned by -40 degrees");
    }

    #[test]
    fn a_small_image_is_shown_larger_and_one_of_any_size_is_no_panic() {
        assert_eq!((drawing(120, 40).shown_width, drawing(120, 40).shown_height), (360, 120));
        assert_eq!(drawing(300, 80).shown_width, 300);
        for (width, height) in [(1, 1), (u32::MAX, 1), (1, u32::MAX), (u32::MAX / 4, u32::MAX / 4)] {
            let drawn = drawing(width, height).with_answer(&AnswerForm::Cells(vec![1, 16]), (1, 1));
            drop(drawn.turned(i32::MIN));
        }
    }
}
