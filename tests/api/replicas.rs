//! Several replicas on one database: what one commits, callers at the others see; whoever ends, the rest go on.

mod chaos;
mod fleet;
mod together;
