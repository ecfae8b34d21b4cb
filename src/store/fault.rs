//! What keeps a database from its work, and what helps.

use std::fmt;

use super::{StoreError, has_code, is_lost};

/// What is wrong with the place where everything is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no room.
    Full,
    /// It takes no writes.
    ReadOnly,
    /// Reading or writing fails.
    Io,
    /// Somebody else has it.
    Locked,
    /// What is in it makes no sense.
    Corrupt,
    /// The file in use is not the one under its name any more: after a start nothing of it would be found.
    Replaced,
    /// The file cannot be opened.
    Unopenable,
    /// The server does not answer.
    Away,
    /// It takes too long.
    Slow,
    /// It is closed, because the process ends.
    Closed,
    /// Anything else: more of a mistake in the program than of a fault of the place.
    Other,
}

impl Fault {
    pub(super) fn of(error: &sqlx::Error) -> Self {
        // No room: SQLite cannot make its index of the log larger. Its other I/O errors say nothing of a cause.
        const SHM_SIZE: u32 = 4874;
        match error {
            sqlx::Error::PoolTimedOut => return Self::Slow,
            sqlx::Error::PoolClosed => return Self::Closed,
            error if is_lost(error) => return Self::Away,
            _ => {}
        }
        let Some(code) = error.as_database_error().and_then(sqlx::error::DatabaseError::code) else {
            return Self::Other;
        };
        if code.len() == 5 {
            return Self::of_server(error);
        }
        let Ok(code) = code.parse::<u32>() else { return Self::Other };
        // Primary result codes of SQLite.
        match code & 0xff {
            _ if code == SHM_SIZE => Self::Full,
            5 | 6 => Self::Locked,
            8 => Self::ReadOnly,
            10 => Self::Io,
            11 | 26 => Self::Corrupt,
            13 => Self::Full,
            3 | 14 | 23 => Self::Unopenable,
            _ => Self::Other,
        }
    }

    /// By a code of PostgreSQL.
    fn of_server(error: &sqlx::Error) -> Self {
        const FAULTS: [(&str, Fault); 7] = [
            ("53100", Fault::Full),
            ("53", Fault::Slow),
            ("55P03", Fault::Slow),
            ("57014", Fault::Slow),
            ("25006", Fault::ReadOnly),
            ("58", Fault::Io),
            ("XX00", Fault::Corrupt),
        ];
        // An internal error is none of the data.
        let fault = FAULTS.iter().find(|(code, _)| has_code(error, &[code]) && !has_code(error, &["XX000"]));
        fault.map_or(Self::Other, |(_, fault)| *fault)
    }

    /// Whether it is noticed only after a wait.
    pub(crate) fn takes_long(self) -> bool {
        matches!(self, Self::Locked | Self::Slow)
    }

    /// The word for it in the log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Io => "io",
            Self::Locked => "locked",
            Self::Corrupt => "corrupt",
            Self::Replaced => "replaced",
            Self::Unopenable => "unopenable",
            Self::Away => "away",
            Self::Slow => "slow",
            Self::Closed => "closed",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Fault {
    /// What is wrong, and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "no space is left on its disk: free some",
            Self::ReadOnly => "it is read-only: make the file and its file system writable for pingbox",
            Self::Io => "its disk does not read or write: look at the system's log, and at limits and quotas",
            Self::Locked => "another program holds it locked: end that program, or its transaction",
            Self::Corrupt => "it is damaged: stop pingbox, and put back a backup",
            Self::Replaced => {
                "its file was deleted, moved or replaced while in use: put the right file there, and start pingbox again"
            }
            Self::Unopenable => {
                "its file cannot be opened: check that its folder is there, and that pingbox may write in it"
            }
            Self::Away => "the server cannot be reached: check that it runs, and the way there",
            Self::Slow => "it does not answer in time: look at the load of its machine, and at its disk",
            Self::Closed => "it is closed: pingbox is shutting down",
            Self::Other => "the cause is in the log",
        })
    }
}

impl StoreError {
    /// What kept the database from its work.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Failed(error) | Self::InDoubt(error) => Fault::of(error),
            Self::Unusable(fault) => *fault,
        }
    }

    /// Whether the database says by itself, once, that it has a fault: nobody else needs to.
    pub(crate) fn is_told(&self) -> bool {
        !matches!(self.fault(), Fault::Other | Fault::Slow | Fault::Closed)
    }
}
