//! The emulated provider, over real HTTP.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod by_hand;
mod control;
mod harness;
mod limits;
mod pingback;
mod refuse;
mod result;
mod submit;
