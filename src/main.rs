//! The `pingbox` program.
fn main() {}
