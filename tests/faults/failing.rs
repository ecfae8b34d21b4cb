//! Calls on files that fail at will, in the real program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::database::postgres::variable;

/// `ENOSPC`, `EIO`, `EROFS`, `EACCES` and `ESTALE`, the same numbers on every Linux.
pub(crate) const NO_SPACE: i32 = 28;
pub(crate) const IO_ERROR: i32 = 5;
pub(crate) const READ_ONLY: i32 = 30;
pub(crate) const NO_ACCESS: i32 = 13;
pub(crate) const STALE: i32 = 116;

/// What is preloaded into the program; `None` where it cannot be built.
static LIBRARY: LazyLock<Option<PathBuf>> = LazyLock::new(build);

/// A switch for the faults of one program.
pub(crate) struct Faults {
    preloaded: String,
    control: String,
    _folder: TempDir,
}

impl Faults {
    /// None at first; `None`, and a word on it, where there is no C compiler.
    ///
    /// # Panics
    /// When there is none and `CI=true`.
    pub(crate) fn none() -> Option<Self> {
        let Some(library) = LIBRARY.as_deref() else {
            skip("cc cannot build tests/faults/failing.c");
            return None;
        };
        let folder = TempDir::new().unwrap();
        let control = text(&folder.path().join("faults"));
        let faults = Self { preloaded: text(library), control, _folder: folder };
        faults.end();
        Some(faults)
    }

    /// The variables for a program that has them.
    pub(crate) fn environment(&self) -> [(&str, &str); 2] {
        [("LD_PRELOAD", &self.preloaded), ("FAULTS", &self.control)]
    }

    /// From here on these calls fail: the call, how the name of its file ends, and the error.
    pub(crate) fn begin(&self, rules: &[(&str, &str, i32)]) {
        let lines = rules.iter().map(|(call, suffix, error)| format!("{call} {suffix} {error}\n"));
        self.write(&lines.collect::<String>());
    }

    /// From here on these calls on files whose name ends so take so long.
    pub(crate) fn slow(&self, call: &str, suffix: &str, lasts: Duration) {
        self.write(&format!("{call} {suffix} -{}\n", lasts.as_millis()));
    }

    /// From here on no call fails.
    pub(crate) fn end(&self) {
        self.write("");
    }

    /// In one step: nobody reads half of it.
    fn write(&self, rules: &str) {
        let new = format!("{}.new", self.control);
        std::fs::write(&new, rules).unwrap();
        std::fs::rename(&new, &self.control).unwrap();
    }
}

fn build() -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/failing.c");
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("failing-{}.so", std::process::id()));
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]).args([&library, &source]);
    cc.output().is_ok_and(|built| built.status.success()).then_some(library)
}

/// Says that a test was left out.
///
/// # Panics
/// With `CI=true`.
#[expect(clippy::print_stderr, reason = "whoever runs the test is to know")]
pub(crate) fn skip(why: &str) {
    assert!(variable("CI").as_deref() != Some("true"), "{why}");
    eprintln!("skipped: {why}");
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
