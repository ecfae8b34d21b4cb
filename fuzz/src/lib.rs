//! What the targets reach of pingbox: the files that read text from outside, and `src/fuzzing.rs` with the doors to
//! them. They are taken as they are, below modules of the same names. The rest, with the database, TLS and the HTTP
//! client, would be most of the build, and no target comes near it.
#![expect(dead_code, unused_imports, reason = "what is taken here serves the whole program")]

#[path = "../../src/config/mod.rs"]
pub mod config;
#[path = "../../src/fuzzing.rs"]
mod fuzzing;
mod http;
mod meter;
#[path = "../../src/model/mod.rs"]
pub mod model;
mod provider;

/// In place of the database and the writer: errors that no door can meet.
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

#[doc(hidden)]
pub use libfuzzer_sys::fuzz_target;

/// Makes a target of the door of this name.
#[macro_export]
macro_rules! target {
    ($door:ident) => {
        $crate::fuzz_target!(|input: &[u8]| $crate::enter(stringify!($door), input));
    };
}

/// Goes through the door of this name.
///
/// # Panics
/// When what must hold there does not, or when it takes more memory than the input may cost.
pub fn enter(name: &str, input: &[u8]) {
    let door = fuzzing::DOORS.iter().find(|(known, _)| *known == name);
    let (_, door) = door.unwrap_or_else(|| panic!("there is no door {name}"));
    meter::measured(*door, input);
}
