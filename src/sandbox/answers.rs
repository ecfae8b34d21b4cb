//! What the emulated workers answer.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::captcha::{Captcha, Digest, ImageSize, Kind};
use super::hints::Hints;
use super::random::Random;

/// The longest answer that is handed out, in bytes: what providers of the family send at most.
pub(super) const MAX_ANSWER_BYTES: usize = 4096;

/// The answers that are known beforehand, by the SHA-256 of the image (or of the question of a text
/// captcha). Any other captcha gets an answer made up from its own SHA-256, in the shape of its type.
#[derive(Clone, Debug, Default)]
pub struct Answers(HashMap<String, String>);

/// Why a file of answers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnswersError {
    /// The file cannot be read.
    #[error("cannot read the answers in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no JSON object of text.
    #[error("{} is no JSON object of SHA-256 digests and answers", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A name in the file is no digest.
    #[error("{name:?} in {} is no SHA-256 in lower-case hex", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// The name that was found.
        name: String,
    },
    /// An answer in the file is longer than any provider sends.
    #[error("the answer to {name} in {} is empty or longer than 4096 bytes", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// The digest that it belongs to.
        name: String,
    },
}

impl Answers {
    /// Reads a JSON object whose names are the SHA-256 of images, in lower-case hex, and whose values
    /// are the answers. An answer that is an error code makes the captcha fail with it.
    ///
    /// # Errors
    /// When the file cannot be read, or a name or a value in it is not as it should be.
    pub fn load(path: &Path) -> Result<Self, AnswersError> {
        let path = || path.to_owned();
        let text = std::fs::read(path()).map_err(|source| AnswersError::Read { path: path(), source })?;
        let answers: HashMap<String, String> =
            serde_json::from_slice(&text).map_err(|source| AnswersError::Parse { path: path(), source })?;
        for (name, answer) in &answers {
            let is_hex = name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if name.len() != 64 || !is_hex {
                return Err(AnswersError::Digest { path: path(), name: name.clone() });
            }
            if answer.is_empty() || answer.len() > MAX_ANSWER_BYTES {
                return Err(AnswersError::Length { path: path(), name: name.clone() });
            }
        }
        Ok(Self(answers))
    }

    /// The answer to this captcha, if it is known.
    pub(super) fn known(&self, captcha: &Captcha) -> Option<String> {
        self.0.get(&hex(&captcha.digest)).cloned()
    }

    /// The answer that is made up for this captcha.
    pub(super) fn made_up(captcha: &Captcha) -> String {
        derive(captcha, 0)
    }

    /// An answer in the same shape that differs from `right`.
    pub(super) fn wrong(captcha: &Captcha, right: &str) -> String {
        (1..16)
            .map(|variant| derive(captcha, variant))
            .find(|wrong| wrong != right)
            .unwrap_or_else(|| format!("{right}0"))
    }
}

/// The digest in lower-case hex.
pub(super) fn hex(digest: &Digest) -> String {
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String never fails");
        text
    })
}

/// An answer made up from the digest of what was submitted, the same every time.
fn derive(captcha: &Captcha, variant: u64) -> String {
    let (start, _) = captcha.digest.split_first_chunk().expect("a digest has more than 8 bytes");
    let mut random = Random::from_seed(u64::from_le_bytes(*start).wrapping_add(variant));
    let random = &mut random;
    match &captcha.kind {
        Kind::Image { hints, .. } => characters(*hints, random),
        Kind::Text { cyrillic: false } => {
            random.pick(&["sunday", "green", "seven", "paris", "apple", "winter"]).to_owned()
        }
        Kind::Text { cyrillic: true } => {
            random.pick(&["среда", "зима", "семь", "яблоко", "ветер", "река"]).to_owned()
        }
        Kind::Grid { can_no_answer: true, .. } | Kind::Canvas { can_no_answer: true, .. }
            if random.below(4) == 0 =>
        {
            "No_matching_images".to_owned()
        }
        Kind::Grid { rows, columns, .. } => grid(rows * columns, random),
        Kind::Canvas { size, .. } => canvas(*size, random),
        Kind::Click { size } => click(*size, random),
        Kind::Rotate { files, step } => rotate(*files, *step, random),
        Kind::Recaptcha => format!("03AHJ_{}", text_of(TOKEN, 470, random)),
        Kind::FunCaptcha { public_key, first_part_only } => fun_token(public_key, *first_part_only, random),
        Kind::KeyCaptcha { session, sign } => key_token(session, sign, random),
        Kind::Other { .. } => text_of(TOKEN, 240, random),
    }
}

const DIGITS: &str = "0123456789";
const HEX: &str = "0123456789abcdef";
const LATIN: &str = "abcdefghijklmnopqrstuvwxyz";
const CYRILLIC: &str = "абвгдежзиклмнопрстуфхцчшэюя";
const TOKEN: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// `length` characters of `alphabet`.
fn text_of(alphabet: &str, length: u32, random: &mut Random) -> String {
    let letters: Vec<char> = alphabet.chars().collect();
    (0..length).map(|_| random.pick(&letters)).collect()
}

/// What is written on an image: 6 characters unless the hints say otherwise. A blank between two words
/// counts as one of them.
fn characters(hints: Hints, random: &mut Random) -> String {
    let min = hints.min_len.unwrap_or(1);
    let max = hints.max_len.unwrap_or(20);
    let letters = if hints.cyrillic { CYRILLIC } else { LATIN };
    let both = format!("{letters}{DIGITS}");
    let alphabet = match hints.numeric {
        _ if hints.calculation => "123456789",
        1 => DIGITS,
        2 => letters,
        3 => random.pick(&[DIGITS, letters]),
        4 => &both,
        _ if hints.cyrillic => letters,
        _ => &both,
    };
    let usual = if hints.calculation { 2 } else { 6 };
    let two_words = hints.two_words && !hints.calculation;
    let shortest = if two_words { 3 } else { 1 };
    let length = usual.clamp(min, max.max(min)).max(shortest);
    let mut text: Vec<char> = text_of(alphabet, length, random).chars().collect();
    if hints.case_sensitive {
        for letter in text.iter_mut().filter(|_| random.below(2) == 0) {
            *letter = letter.to_uppercase().next().unwrap_or(*letter);
        }
    }
    if hints.numeric == 4 && !hints.calculation && text.len() > 1 {
        // Certainly one of each.
        let last = text.len() - 1;
        text.splice(..1, text_of(letters, 1, random).chars());
        text.splice(last.., text_of(DIGITS, 1, random).chars());
    }
    if two_words {
        let middle = text.len() / 2;
        text[middle] = ' ';
    }
    text.into_iter().collect()
}

/// One to four cells of the grid, in order: `click:3/8/9/`. Cells 10 to 16 are a to g.
fn grid(cells: u32, random: &mut Random) -> String {
    let mut chosen: Vec<u32> = (0..=random.below(4)).map(|_| random.below(cells) + 1).collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen.into_iter().fold("click:".to_owned(), |mut text, cell| {
        text.extend(char::from_digit(cell, 17));
        text.push('/');
        text
    })
}

fn point(size: ImageSize, random: &mut Random) -> (u32, u32) {
    (random.below(size.width), random.below(size.height))
}

/// One or two areas of four or five points each: `canvas:x,y,x,y,…;`.
fn canvas(size: ImageSize, random: &mut Random) -> String {
    (0..=random.below(2)).fold("canvas:".to_owned(), |text, _| {
        let points: Vec<String> = (0..4 + random.below(2))
            .map(|_| {
                let (x, y) = point(size, random);
                format!("{x},{y}")
            })
            .collect();
        text + &points.join(",") + ";"
    })
}

/// One to three points: `coordinate:x=39,y=59;x=252,y=72`.
fn click(size: ImageSize, random: &mut Random) -> String {
    let points: Vec<String> = (0..=random.below(3))
        .map(|_| {
            let (x, y) = point(size, random);
            format!("x={x},y={y}")
        })
        .collect();
    format!("coordinate:{}", points.join(";"))
}

/// One angle for each image, within a turn either way: `40|200|-120`.
fn rotate(files: usize, step: u32, random: &mut Random) -> String {
    let angles: Vec<String> = (0..files)
        .map(|_| {
            let angle = step * (1 + random.below((360 / step).saturating_sub(1)));
            let sign = random.pick(&["", "", "-"]);
            format!("{sign}{angle}")
        })
        .collect();
    angles.join("|")
}

fn fun_token(public_key: &str, first_part_only: bool, random: &mut Random) -> String {
    let first = format!("{}.{}|r=eu-west-1", text_of(HEX, 17, random), text_of(DIGITS, 8, random));
    if first_part_only {
        return first;
    }
    format!(
        "{first}|guitextcolor=%23303030|metabgclr=%23F8F8F8|metaiconclr=%23505050|meta=3|lang=en|pk={public_key}\
         |cdn_url=https://cdn.funcaptcha.com/fc|surl=https://funcaptcha.com"
    )
}

fn key_token(session: &str, sign: &str, random: &mut Random) -> String {
    let sign = sign.split('-').next().unwrap_or_default().replace('|', "");
    format!(
        "{}|{sign}|http://back{}.keycaptcha.com/swfs/ckc/{}-|{}|1",
        text_of(HEX, 32, random),
        1 + random.below(20),
        text_of(HEX, 32, random),
        session.replace('|', ""),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers to 300 different captchas of this kind.
    fn answers_to(kind: &Kind) -> Vec<String> {
        (0..300_u32)
            .map(|number| {
                let mut digest = [0; 32];
                digest[..4].copy_from_slice(&number.to_le_bytes());
                derive(&Captcha { kind: kind.clone(), digest }, 0)
            })
            .collect()
    }

    fn texts(hints: Hints) -> Vec<String> {
        let size = ImageSize { width: 120, height: 40 };
        answers_to(&Kind::Image { hints, size })
    }

    const HINTS: Hints = Hints {
        two_words: false,
        case_sensitive: false,
        calculation: false,
        cyrillic: false,
        numeric: 0,
        min_len: None,
        max_len: None,
    };

    #[test]
    fn the_text_on_an_image_honours_the_hints() {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let letters = |text: &str| text.chars().all(char::is_alphabetic);
        assert!(texts(Hints { numeric: 1, ..HINTS }).iter().all(|text| digits(text)));
        assert!(texts(Hints { numeric: 2, ..HINTS }).iter().all(|text| letters(text)));
        let either = texts(Hints { numeric: 3, ..HINTS });
        assert!(either.iter().all(|text| digits(text) != letters(text)));
        assert!(texts(Hints { numeric: 4, ..HINTS }).iter().all(|text| !digits(text) && !letters(text)));
        assert!(texts(Hints { calculation: true, ..HINTS }).iter().all(|text| digits(text)));
        let cyrillic = texts(Hints { cyrillic: true, ..HINTS });
        assert!(cyrillic.iter().all(|text| letters(text) && !text.is_ascii()));
        let phrases = texts(Hints { two_words: true, ..HINTS });
        assert!(phrases.iter().all(|text| text.split(' ').filter(|word| !word.is_empty()).count() == 2));
    }

    #[test]
    fn the_text_on_an_image_has_the_length_that_was_said() {
        for (min, max, length) in [
            (None, None, 6),
            (Some(9), None, 9),
            (None, Some(4), 4),
            (Some(20), Some(20), 20),
            (Some(1), Some(1), 1),
        ] {
            for numeric in 0..=4 {
                let hints = Hints { min_len: min, max_len: max, numeric, ..HINTS };
                assert!(texts(hints).iter().all(|text| text.chars().count() == length), "{hints:?}");
            }
        }
    }

    #[test]
    fn cells_lie_in_the_grid_and_letters_follow_nine() {
        let mut seen = std::collections::BTreeSet::new();
        for answer in answers_to(&Kind::Grid { rows: 4, columns: 4, can_no_answer: false }) {
            let cells = answer.strip_prefix("click:").unwrap().strip_suffix('/').unwrap();
            seen.extend(cells.split('/').map(str::to_owned));
        }
        let all: Vec<_> = "123456789abcdefg".chars().map(String::from).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn no_image_matches_only_where_that_is_possible() {
        let none = |can_no_answer| {
            let answers = answers_to(&Kind::Grid { rows: 3, columns: 3, can_no_answer });
            answers.iter().filter(|answer| *answer == "No_matching_images").count()
        };
        assert_eq!(none(false), 0);
        assert!((1..300).contains(&none(true)));
    }

    #[test]
    fn points_lie_on_the_image() {
        let size = ImageSize { width: 30, height: 7 };
        for answer in answers_to(&Kind::Click { size }) {
            for point in answer.strip_prefix("coordinate:").unwrap().split(';') {
                let (x, y) = point.split_once(',').unwrap();
                assert!(x.strip_prefix("x=").unwrap().parse::<u32>().unwrap() < 30);
                assert!(y.strip_prefix("y=").unwrap().parse::<u32>().unwrap() < 7);
            }
        }
        for answer in answers_to(&Kind::Canvas { size, can_no_answer: false }) {
            for area in answer.strip_prefix("canvas:").unwrap().split_terminator(';') {
                let numbers: Vec<u32> = area.split(',').map(|number| number.parse().unwrap()).collect();
                assert!(numbers.len() >= 8 && numbers.chunks(2).all(|point| point[0] < 30 && point[1] < 7));
            }
        }
    }

    #[test]
    fn a_wrong_answer_differs_even_where_few_are_possible() {
        let kind = Kind::Rotate { files: 1, step: 360 };
        for answer in answers_to(&kind) {
            let captcha = Captcha { kind: kind.clone(), digest: [0; 32] };
            assert_ne!(Answers::wrong(&captcha, &answer), answer);
        }
    }

    #[test]
    fn a_file_of_answers_is_refused_with_what_is_wrong_in_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, named) in [
            ("[]".to_owned(), "JSON object"),
            (r#"{"AB": "x"}"#.to_owned(), "\"AB\""),
            (format!(r#"{{"{}": ""}}"#, "a".repeat(64)), "empty"),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let error = Answers::load(file.path()).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
