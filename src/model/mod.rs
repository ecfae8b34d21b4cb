//! The words of the trade, and the rules that need no I/O: ids, time, tasks and their state
//! changes, captcha types and their fields, answers, error codes, the URLs of callers.

mod address_rules;
mod answer;
mod backoff;
mod caller_url;
mod captcha;
mod check;
mod delivery;
mod error_code;
mod error_table;
mod field;
mod id;
mod image;
mod pingback;
mod price;
mod purse;
mod report;
mod schedule;
mod secret;
mod solve_times;
mod submission;
mod task;
mod time;
mod wire;

pub use address_rules::{AddressRules, ForbiddenAddress};
pub use answer::{Answer, AnswerForm, Point};
pub use backoff::{Backoff, Cause, Gate, Hold, Script, Signal};
pub use caller_url::{CallerUrl, InvalidUrl};
pub use captcha::{Captcha, CaptchaFile, CaptchaType};
pub use delivery::{Attempt, Delivery, DeliveryStatus, Retries};
pub use error_code::{ErrorCode, Remedy, Source, WAIT_AFTER_GARBAGE};
pub use field::{FieldError, FieldValue, Fields, JsonFields};
pub use id::{CaptchaId, InvalidId, TaskId, TokenId};
pub use image::extension as image_extension;
pub use pingback::{Outcome, Pingback};
pub use price::{InvalidPrice, Price};
pub use purse::{Purse, Terms};
pub use report::{Report, ReportError, Verdict};
pub use schedule::{FORGOTTEN, Pace, SHORTEST_WAIT, TOO_LATE, retry};
pub use secret::Secret;
pub(crate) use secret::hex;
pub use solve_times::{REMEMBERED, SolveTimes};
pub use submission::{DEFAULT_TTL, Submission};
pub use task::{Sent, Status, Task, Via};
pub use time::Timestamp;
pub use wire::WireError;
