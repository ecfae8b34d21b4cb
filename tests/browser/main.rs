//! The dashboard in a real browser: Debian's Chromium, with the built program behind it.
//!
//! Pictures of the pages are kept in `target/screenshots`, or where `PINGBOX_SCREENSHOTS` says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stderr, reason = "a test says that it is skipped")]

mod browser;
mod by_hand;
#[path = "../support/stored.rs"]
#[expect(dead_code, unused_imports, reason = "other tests use the rest")]
mod database;
mod deliveries;
mod looks;
#[path = "../support/process.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod process;
#[path = "../support/program.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod program;
mod sign_in;
mod stage;
mod tasks;
