//! What the real program does when it is killed, attacked, overloaded, left alone by its provider, its clock or its disk.
//!
//! Short forms run with all other tests. The long ones are run by hand, for their figures, best with a release build:
//! `PINGBOX_TEST_BINARY=target/release/pingbox cargo test --test faults -- --ignored --nocapture --test-threads 1`

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backup;
mod clock;
#[path = "../support/stored.rs"]
#[expect(dead_code, unused_imports, reason = "other tests use the rest")]
mod database;
mod disk;
mod failing;
mod figures;
mod kill;
mod ledger;
mod opening;
mod overload;
#[path = "../support/process.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod process;
#[path = "../support/program.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod program;
mod provider_down;
mod room;
mod sender;
mod slow;
mod start;
mod trial;
