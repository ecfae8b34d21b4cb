//! The words of the trade, and the rules that need no I/O: ids, time, tasks and their state
//! changes, captcha types and their fields, answers, error codes.

mod id;
mod secret;
mod time;

pub use id::{CaptchaId, InvalidId, TaskId, TokenId};
pub use secret::Secret;
pub use time::Timestamp;
