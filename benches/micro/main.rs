//! What is too small for the load harness to see: reading pingbacks and answers, and finding who waits. The files are
//! the program's own, taken as they are. `docs/performance.md` says how to run these.

mod answers;
mod http;
mod pingbacks;
#[path = "../../src/sync.rs"]
mod sync;
#[path = "../../src/waiters.rs"]
#[expect(dead_code, reason = "the program uses the rest")]
mod waiters;
mod wakes;

mod model {
    pub(crate) use pingbox::model::{
        CaptchaId, ErrorCode, FieldError, JsonFields, Outcome, Pingback, Price, ReportError, Task, TaskId,
        Timestamp, without_nul,
    };
}

/// In place of the database and the writer: errors that nothing here can meet.
mod store {
    #[derive(Debug, thiserror::Error)]
    #[error("there is no database")]
    pub(crate) enum StoreError {}

    impl StoreError {
        pub(crate) fn is_busy(&self) -> bool {
            match *self {}
        }

        pub(crate) fn is_told(&self) -> bool {
            match *self {}
        }
    }
}

mod ingest {
    #[derive(Debug, thiserror::Error)]
    #[error("there is no writer")]
    pub(crate) enum WriteError {}
}

use criterion::Criterion;

/// The program's.
#[cfg(all(feature = "jemalloc", target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    pingbacks::measure(&mut criterion);
    answers::measure(&mut criterion);
    wakes::measure(&mut criterion);
    criterion.final_summary();
}
