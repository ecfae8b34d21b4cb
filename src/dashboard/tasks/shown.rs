//! A task as one page shows it: its fields, pictures with the answer on them, what happened, what can be done.

use super::drawing::Drawing;
use super::millis_between;
use super::timeline::{self, Beside, Step};
use crate::dashboard::when::span;
use crate::model::{
    Answer, AnswerForm, Captcha, CaptchaType, Delivery, Pingback, Report, Status, Task, Timestamp, Verdict,
    media_type, pixels,
};

/// The longest value of a parameter that is shown, in characters.
const MAX_VALUE_CHARS: usize = 200;
/// The largest width and height that is shown: a small file can say that it is huge.
const MAX_PIXELS: u32 = 8192;
/// The most images of one task that are shown.
const MAX_PICTURES: usize = 50;

/// What a task is judged by that is not in its row.
pub(super) struct Known {
    pub(super) task: Task,
    /// What was submitted; without parameters and images once they were erased.
    pub(super) captcha: Captcha,
    pub(super) report: Option<Report>,
    pub(super) pingbacks: Vec<Pingback>,
    pub(super) deliveries: Vec<Delivery>,
    /// Why queued tasks wait, if they do.
    pub(super) why_wait: Option<String>,
    pub(super) may_submit: bool,
    pub(super) now: Timestamp,
}

/// A name and what it stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) value: String,
}

/// What the page says.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Shown {
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) status: &'static str,
    /// Whether nothing changes any more.
    pub(super) is_over: bool,
    /// Why it waits, or has no answer.
    pub(super) reason: Option<String>,
    pub(super) answer: Option<String>,
    /// Why no answer is shown though there was one.
    pub(super) is_erased: bool,
    pub(super) pictures: Vec<Drawing>,
    pub(super) fields: Vec<Pair>,
    pub(super) parameters: Vec<Pair>,
    pub(super) report: Option<String>,
    pub(super) can_report: bool,
    pub(super) can_cancel: bool,
}

impl Known {
    pub(super) fn shown(&self) -> Shown {
        let Self { task, captcha, .. } = self;
        Shown {
            id: task.id.to_string(),
            kind: task.kind.as_str(),
            status: task.status.as_str(),
            is_over: task.is_final(),
            reason: self.reason(),
            answer: task.answer.clone(),
            is_erased: task.status == Status::Solved && task.answer.is_none(),
            pictures: pictures(task, captcha),
            fields: fields(task),
            parameters: parameters(captcha),
            report: self.report.as_ref().map(said),
            can_report: self.may_submit
                && self.report.is_none()
                && Report::new(task, Verdict::Bad, self.now).is_ok(),
            can_cancel: self.may_submit && task.status == Status::Queued,
        }
    }

    /// All that happened, oldest first.
    pub(super) fn steps(&self) -> Vec<Step> {
        let beside =
            Beside { report: self.report.as_ref(), pingbacks: &self.pingbacks, deliveries: &self.deliveries };
        timeline::steps(&self.task, &beside)
    }

    fn reason(&self) -> Option<String> {
        let task = &self.task;
        if let Some(error) = &task.error {
            return Some(format!("{}: {}", error.as_str(), error.message()));
        }
        let why_wait = self.why_wait.as_ref().filter(|_| task.status == Status::Queued);
        why_wait.or(task.reason.as_ref()).filter(|_| !task.is_final()).cloned()
    }
}

/// What became of the report.
fn said(report: &Report) -> String {
    let verdict = report.verdict.as_str();
    match (&report.reply, report.is_recorded) {
        (None, _) => format!("Reported as {verdict}; it waits to be sent to the provider."),
        (Some(_), true) => format!("Reported as {verdict}; the provider recorded it."),
        (Some(reply), false) if reply == Report::EXPIRED => {
            format!("Reported as {verdict}, but it could not be sent within the provider's 15 minutes.")
        }
        (Some(reply), false) => format!("Reported as {verdict}; the provider refused it with {reply}."),
    }
}

/// The images that were submitted, with the answer on those that it is about.
fn pictures(task: &Task, captcha: &Captcha) -> Vec<Drawing> {
    let form = task.answer.clone().map(|text| Answer::parse(task.kind, text).form);
    let mut turns = match &form {
        Some(AnswerForm::Angles(angles)) => angles.clone(),
        _ => Vec::new(),
    }
    .into_iter();
    let mut shown = Vec::new();
    for (number, file) in captcha.files.iter().enumerate().take(MAX_PICTURES) {
        let Some(size) = pixels(&file.content).filter(|(width, height)| *width.max(height) <= MAX_PIXELS)
        else {
            continue;
        };
        let href = format!("/tasks/{}/images/{number}", task.id);
        if file.field == "imginstructions" {
            shown.push(Drawing::plain(href, size, "Instruction".to_owned()));
            continue;
        }
        let picture = Drawing::plain(href, size, format!("Image {} of task {}", file.field, task.id));
        shown.push(match (&form, task.kind) {
            (Some(_), CaptchaType::Rotate) => match turns.next() {
                Some(degrees) => picture.turned(degrees),
                None => picture,
            },
            (Some(form), _) => picture.with_answer(form, grid(captcha, size)),
            (None, _) => picture,
        });
    }
    shown
}

/// Rows and columns of a grid: as submitted, or as the provider takes it for.
fn grid(captcha: &Captcha, size: (u32, u32)) -> (u32, u32) {
    let usual = if size == (300, 300) { 3 } else { 4 };
    let given = |wanted: &str| {
        let found = captcha.params.iter().find(|(name, _)| name == wanted);
        found.and_then(|(_, value)| value.parse().ok()).filter(|number| (1..=16).contains(number))
    };
    (given("recaptcharows").unwrap_or(usual), given("recaptchacols").unwrap_or(usual))
}

fn fields(task: &Task) -> Vec<Pair> {
    let solved_in = task.submitted_at.zip(task.answered_at).filter(|_| task.status == Status::Solved);
    let price = task.price.as_ref().map(|price| {
        let estimated = if task.price_estimated { " (from the table of rates)" } else { "" };
        format!("{}{estimated}", price.as_str())
    });
    let all = [
        ("Captcha ID", task.captcha_id.as_ref().map(|id| id.as_str().to_owned())),
        ("Tag", task.tag.clone()),
        ("Solved in", solved_in.map(|(from, to)| span(millis_between(from, to)))),
        ("Price", price),
        ("Told by", task.via.map(|via| via.as_str().to_owned())),
        ("Attempts", Some(task.attempts.to_string())),
        ("Priority", Some(task.priority.to_string())),
        ("Given up on at", (!task.is_final()).then(|| task.expires_at.to_string())),
        ("Token ID", Some(task.owner.number().to_string())),
    ];
    let given = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
    given.map(|(name, value)| Pair { name: name.to_owned(), value }).collect()
}

/// The value of a parameter without the login that may be in it; `None` when nothing is.
fn without_login(name: &str, value: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    if name == "proxy" {
        return match value.rsplit_once('@') {
            Some((_, address)) => Some(format!("***@{address}")),
            // Some write host:port:user:password.
            None if value.matches(':').count() > 1 => Some("***".to_owned()),
            None => None,
        };
    }
    ["pass", "login", "user", "cookie"]
        .iter()
        .any(|word| name.contains(word) && name != "useragent")
        .then(|| "***".to_owned())
}

/// What was submitted with it, long values cut and logins masked.
fn parameters(captcha: &Captcha) -> Vec<Pair> {
    let shown = |(name, value): &(String, String)| {
        let value = match without_login(name, value) {
            Some(value) => value,
            None if value.chars().count() > MAX_VALUE_CHARS => {
                let start: String = value.chars().take(MAX_VALUE_CHARS).collect();
                format!("{start}… ({} characters)", value.chars().count())
            }
            None => value.clone(),
        };
        Pair { name: name.clone(), value }
    };
    let files = captcha.files.iter().map(|file| Pair {
        name: file.field.clone(),
        value: format!("{}, {} bytes", media_type(&file.content).unwrap_or("no image"), file.content.len()),
    });
    captcha.params.iter().map(shown).chain(files).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{CaptchaFile, FieldValue, Fields, Submission, TaskId, TokenId};

    fn gif(width: u16, height: u16) -> Bytes {
        let mut gif = b"GIF89a".to_vec();
        gif.extend(width.to_le_bytes());
        gif.extend(height.to_le_bytes());
        gif.resize(200, 0);
        gif.into()
    }

    fn known(kind: CaptchaType, files: &[(&str, Bytes)], answer: Option<&str>) -> Known {
        let mut fields = Fields::default();
        for (name, value) in [("type", "text"), ("textcaptcha", "2 + 2?")] {
            fields.push(name.to_owned(), FieldValue::Text(value.to_owned()));
        }
        let submission = Submission::parse(fields).unwrap();
        let now = Timestamp::from_micros(1_000_000);
        let task = Task::new(TaskId::new(7).unwrap(), TokenId::LOCAL, &submission, now);
        let file = |(field, content): &(&str, Bytes)| CaptchaFile {
            field: (*field).to_owned(),
            content: content.clone(),
        };
        Known {
            task: Task {
                kind,
                status: if answer.is_some() { Status::Solved } else { Status::Queued },
                captcha_id: answer.map(|_| "77".parse().unwrap()),
                answer: answer.map(str::to_owned),
                ..task
            },
            captcha: Captcha { kind, params: Vec::new(), files: files.iter().map(file).collect() },
            report: None,
            pingbacks: Vec::new(),
            deliveries: Vec::new(),
            why_wait: Some("the balance is used up".to_owned()),
            may_submit: true,
            now,
        }
    }

    #[test]
    fn the_answer_is_drawn_on_the_image_and_not_on_the_instruction() {
        let files = [("imginstructions", gif(90, 30)), ("file", gif(300, 300))];
        let mut known = known(CaptchaType::RecaptchaImage, &files, Some("click:2/4/9/"));
        let marks = |known: &Known| -> Vec<usize> {
            known.shown().pictures.iter().map(|picture| picture.marks.len()).collect()
        };
        assert_eq!(marks(&known), [0, 3]);
        // Of three cells there is no ninth.
        known.captcha.params =
            vec![("recaptcharows".to_owned(), "1".to_owned()), ("recaptchacols".to_owned(), "4".to_owned())];
        assert_eq!(marks(&known), [0, 2]);
    }

    #[test]
    fn each_image_is_turned_by_its_own_angle() {
        let files = [("file_1", gif(100, 100)), ("file_2", gif(100, 100)), ("file_3", gif(100, 100))];
        let shown = known(CaptchaType::Rotate, &files, Some("40|-120")).shown();
        let turns: Vec<_> = shown.pictures.iter().map(|picture| picture.transform.as_deref()).collect();
        assert_eq!(turns, [Some("rotate(40 50.0 50.0)"), Some("rotate(-120 50.0 50.0)"), None]);
    }

    #[test]
    fn what_is_no_image_or_says_that_it_is_huge_is_told_and_not_shown() {
        let files =
            [("a", Bytes::from_static(b"<svg onload='alert(1)'/>")), ("b", gif(9000, 2)), ("c", gif(9, 2))];
        let shown = known(CaptchaType::Raw, &files, None).shown();
        let hrefs: Vec<_> = shown.pictures.iter().map(|picture| picture.href.as_str()).collect();
        assert_eq!(hrefs, ["/tasks/7/images/2"]);
        assert_eq!(
            shown.parameters[0],
            Pair { name: "a".to_owned(), value: "no image, 24 bytes".to_owned() }
        );
    }

    #[test]
    fn a_login_is_not_shown_wherever_it_stands() {
        for (name, value) in
            [("proxy", "1.2.3.4:80:login:secret"), ("proxyPassword", "secret"), ("cookies", "a=secret")]
        {
            assert_eq!(without_login(name, value).as_deref(), Some("***"), "{name}");
        }
        for (name, value) in [("proxy", "1.2.3.4:80"), ("userAgent", "Firefox"), ("proxytype", "HTTP")] {
            assert_eq!(without_login(name, value), None, "{name}");
        }
    }

    #[test]
    fn long_values_are_cut_and_the_login_of_a_proxy_is_not_shown() {
        let mut known = known(CaptchaType::Raw, &[], None);
        let params = [("proxy", "login:p@ss@1.2.3.4:80".to_owned()), ("data", "ä".repeat(300))];
        known.captcha.params = params.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let values: Vec<String> = known.shown().parameters.into_iter().map(|pair| pair.value).collect();
        assert_eq!(values[0], "***@1.2.3.4:80");
        assert!(values[1].starts_with("ää") && values[1].ends_with("… (300 characters)"));
    }

    #[test]
    fn what_can_be_done_depends_on_the_state_and_the_scope() {
        let can = |known: &Known| (known.shown().can_report, known.shown().can_cancel);
        let mut queued = known(CaptchaType::Text, &[], None);
        assert_eq!(can(&queued), (false, true));
        assert_eq!(queued.shown().reason.as_deref(), Some("the balance is used up"));
        queued.may_submit = false;
        assert_eq!(can(&queued), (false, false));

        let mut solved = known(CaptchaType::Text, &[], Some("four"));
        assert_eq!(can(&solved), (true, false));
        solved.report = Some(Report::new(&solved.task, Verdict::Good, solved.now).unwrap());
        assert_eq!(can(&solved), (false, false));
        assert!(solved.shown().report.unwrap().contains("as good"));
        solved.report = None;
        solved.now = solved.now.after(std::time::Duration::from_secs(901));
        assert_eq!(can(&solved), (false, false));
    }
}
