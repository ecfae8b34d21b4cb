//! Of the drop-in: how parameters are read, and what a refusal looks like.

#[path = "../../../src/http/compat/fuzzing.rs"]
pub(super) mod fuzzing;
#[path = "../../../src/http/compat/params.rs"]
mod params;
#[path = "../../../src/http/compat/reply.rs"]
mod reply;
