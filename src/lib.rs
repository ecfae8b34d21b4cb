//! pingbox receives the pingbacks of a captcha solving service, commits every answer to disk
//! before it says 200, and wakes the callers that wait for it.
//!
//! The modules, in the order in which data flows:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`model`] | the words of the trade: ids, time, tasks, captcha types, answers, error codes. No I/O |
//! | [`config`] | flags, environment and file, made into one checked [`config::Config`] |
//! | [`sandbox`] | the emulated provider |

pub mod config;
pub mod model;
pub mod sandbox;
