//! Of the listeners: how requests are read.

#[path = "../../src/http/addresses.rs"]
mod addresses;
#[path = "../../src/http/body.rs"]
mod body;
mod compat;
#[path = "../../src/http/error.rs"]
mod error;
#[path = "../../src/http/fuzzing.rs"]
pub(crate) mod fuzzing;
mod pingback;
#[path = "../../src/http/strangers.rs"]
mod strangers;
