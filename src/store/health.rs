//! Whether a database reads and writes. It is told once when that changes, not by everybody who notices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::StoreError;
use super::fault::Fault;

/// How long nothing may have failed before a fault counts as over: where some writes still find room and others do
/// not, that is not told at each of them.
const CALM: Duration = Duration::from_secs(1);

/// How a database does.
#[derive(Debug, Default)]
pub(crate) struct Health {
    reading: Mutex<Side>,
    writing: Mutex<Side>,
    /// Whether something in it was found damaged since it was last looked through.
    is_damaged: AtomicBool,
}

/// The last failure of its kind; `None` when it counts as over.
#[derive(Debug, Default)]
struct Side(Option<(Fault, Instant)>);

impl Side {
    /// Notes a failure; whether it is another one than before.
    fn failed(&mut self, fault: Fault) -> bool {
        let before = self.0.replace((fault, Instant::now()));
        before.is_none_or(|(before, _)| before != fault)
    }

    /// Notes that all went well; whether that ends a fault.
    fn went_well(&mut self) -> bool {
        self.0.take_if(|(_, at)| at.elapsed() >= CALM).is_some()
    }
}

impl Health {
    /// Something was stored.
    pub(crate) fn wrote(&self) {
        if lock(&self.writing).went_well() {
            info!("The database takes writes again");
        }
    }

    /// Something could not be stored, and not because of what it was.
    pub(crate) fn could_not_write(&self, cause: &StoreError) {
        let fault = cause.fault();
        self.note_damage(fault);
        if fault != Fault::Closed && lock(&self.writing).failed(fault) {
            error!(fault = fault.as_str(), error = %cause, "The database cannot be written: {fault} ({cause})");
        }
    }

    /// What kept it from being written a moment ago.
    pub(crate) fn why_not_written(&self) -> Option<Fault> {
        lock(&self.writing).0.map(|(fault, _)| fault)
    }

    /// What kept it from being read a moment ago.
    pub(crate) fn why_not_read(&self) -> Option<Fault> {
        lock(&self.reading).0.map(|(fault, _)| fault)
    }

    /// What came of a statement that reads.
    pub(super) fn note_read(&self, failure: Option<&sqlx::Error>) {
        let Some(cause) = failure else {
            if lock(&self.reading).went_well() {
                info!("The database can be read again");
            }
            return;
        };
        match Fault::of(cause) {
            // What is wrong with one statement, or with how many there are, is not wrong with the others.
            Fault::Other | Fault::Slow | Fault::Closed => {}
            fault => {
                self.note_damage(fault);
                if lock(&self.reading).failed(fault) {
                    error!(fault = fault.as_str(), error = %cause, "The database cannot be read: {fault} ({cause})");
                }
            }
        }
    }

    fn note_damage(&self, fault: Fault) {
        if fault == Fault::Corrupt {
            self.is_damaged.store(true, Ordering::Release);
        }
    }

    /// Whether nothing more is to be written to a file, because part of it makes no sense.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Acquire)
    }

    /// All of it was read, and makes sense.
    pub(super) fn is_sound(&self) {
        self.is_damaged.store(false, Ordering::Release);
        info!("The database was read as a whole and is not damaged: it is used again");
    }
}

fn lock(side: &Mutex<Side>) -> MutexGuard<'_, Side> {
    // Nothing panics while it holds this lock.
    side.lock().unwrap_or_else(PoisonError::into_inner)
}
