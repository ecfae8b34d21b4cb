//! The words of the trade, and the rules that need no I/O: ids, time, tasks and their state
//! changes, captcha types and their fields, answers, error codes.

mod answer;
mod captcha;
mod check;
mod error_code;
mod field;
mod id;
mod image;
mod pingback;
mod price;
mod secret;
mod submission;
mod task;
mod time;

pub use answer::{Answer, AnswerForm, Point};
pub use captcha::{Captcha, CaptchaFile, CaptchaType};
pub use error_code::{ErrorCode, Remedy, WAIT_AFTER_GARBAGE};
pub use field::{FieldError, FieldValue, Fields, JsonFields};
pub use id::{CaptchaId, InvalidId, TaskId, TokenId};
pub use image::extension as image_extension;
pub use pingback::{Outcome, Pingback};
pub use price::{InvalidPrice, Price};
pub use secret::Secret;
pub use submission::{DEFAULT_TTL, Submission};
pub use task::{Sent, Status, Task, Via};
pub use time::Timestamp;
