//! A small disk of the test's own: a tmpfs in a mount namespace, gone with the process that holds it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::database::postgres::variable;
use crate::failing::skip;

/// A file system of a few megabytes. Programs are started [inside](Self::inside); the test itself sees it by another
/// [path](Self::seen).
pub(crate) struct Room {
    holder: Child,
    folder: TempDir,
}

impl Room {
    /// An empty one; `None`, and a word on it, where the system allows none.
    ///
    /// # Panics
    /// When it allows none and `CI=true`.
    pub(crate) fn new(mebibytes: u32) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let script =
            format!("mount -t tmpfs -o size={mebibytes}m none \"$1\" && echo ready && exec sleep 1000");
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"]).arg(folder.path());
        let holder = unshare.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut holder) = holder else {
            skip("there is no unshare, which makes a small file system");
            return None;
        };
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let room = Self { holder, folder };
        if line != "ready\n" {
            skip("unshare may not mount a small file system");
            return None;
        }
        Some(room)
    }

    /// The folder, as programs inside name it.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The same folder, as everybody else names it.
    pub(crate) fn seen(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.folder.path().strip_prefix("/").unwrap())
    }

    /// The command, to be run where the disk is.
    pub(crate) fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .args(["--user", "--preserve-credentials", "--mount", "--target", &self.holder.id().to_string()])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
            // `nsenter` itself is looked for.
            .env("PATH", variable("PATH").unwrap_or_default());
        inside
    }

    /// Leaves no byte on the disk.
    pub(crate) fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        // It writes what there is room for, and fails with the rest.
        while filler.write_all(&[0; 4096]).is_ok() {}
    }

    /// Gives that back.
    pub(crate) fn clear(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    /// The files of the database, where everybody finds them.
    pub(crate) fn copied(&self) -> TempDir {
        let copies = TempDir::new().unwrap();
        for name in ["pingbox.db", "pingbox.db-wal"] {
            if self.seen().join(name).exists() {
                std::fs::copy(self.seen().join(name), copies.path().join(name)).unwrap();
            }
        }
        copies
    }

    fn filler(&self) -> PathBuf {
        self.seen().join("filler")
    }

    /// Has the disk take no writes. Nothing may be open for writing.
    pub(crate) fn make_read_only(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,ro"]).arg(self.path());
        assert!(self.inside(&mount).status().unwrap().success(), "it is remounted");
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // It may have ended before.
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}
