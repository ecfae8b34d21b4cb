//! What `waiters` is made of. Its tests put a model checker's in place of these, which tries many orders of
//! what happens at once.

pub(crate) use std::hash::RandomState;
pub(crate) use std::sync::atomic::{AtomicUsize, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard};

pub(crate) use tokio::sync::Notify;
