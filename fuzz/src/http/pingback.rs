//! Of the public listener: how a pingback is read.

#[path = "../../../src/http/pingback/decode.rs"]
mod decode;

pub(super) use decode::decode;
