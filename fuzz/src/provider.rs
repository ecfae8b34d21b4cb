//! Of the way to the provider: how replies are read.

#[path = "../../src/provider/reply.rs"]
mod reply;

pub(crate) use reply::{Reply, Shape};
