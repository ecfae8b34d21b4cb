//! The checks of the place where everything is kept.

use std::path::Path;

use super::check::Check;
use super::disk::disk;
use crate::app::{self, Keeping, Obstacle, Room};
use crate::config::{Config, DatabaseUrl};

const NAME: &str = "data";

/// Whether a server could keep its files where they are to be, and how much room there is.
pub(super) fn checks(config: &Config) -> Vec<Check> {
    let file = match &config.database.url {
        DatabaseUrl::Sqlite(file) => Some(file.as_path()),
        DatabaseUrl::Postgres(_) => None,
    };
    let folder = file.map_or(config.data.dir.as_path(), |file| file.parent().unwrap_or(Path::new("")));
    let room = app::look_for_folder(folder).ok().and_then(|place| app::room(&place).ok());
    let mut checks = vec![match look(&config.data.dir, file) {
        Err(obstacle) => Check::fail(NAME, obstacle.to_string(), obstacle.remedy()),
        Ok(text) => room
            .filter(|_| file.is_some())
            .and_then(|room| passing(folder, room))
            .unwrap_or(Check::ok(NAME, text)),
    }];
    checks.extend(room.map(|room| disk(room.free, room.total)));
    checks
}

/// What is to be said where nothing is in the way.
fn look(folder: &Path, file: Option<&Path>) -> Result<String, Obstacle> {
    let place = app::look_for_folder(folder)?;
    if let Some(file) = file {
        app::look_for_file(file)?;
    }
    let shown = folder.display();
    Ok(if folder.is_dir() {
        format!("{shown} can be written")
    } else {
        format!("{shown} can be made in {}", place.display())
    })
}

/// What is to be said of a database on a disk that does not last, or is no place for one.
fn passing(folder: &Path, room: Room) -> Option<Check> {
    let shown = folder.display();
    let (reason, remedy) = match room.keeping {
        Keeping::Lasting => return None,
        Keeping::UntilRestart => (
            format!("{shown} is in memory: after a restart of the machine it is empty"),
            "set data.dir to a folder on a disk",
        ),
        Keeping::WithContainer => {
            (format!("{shown} is part of a container, and goes with it"), "mount a volume where data.dir is")
        }
        Keeping::Elsewhere => (
            format!("{shown} is on a network file system, which may break SQLite's locks"),
            "set data.dir to a folder on a local disk",
        ),
    };
    Some(Check::note(NAME, reason).with(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_does_not_last_is_noted() {
        let line = |keeping| {
            let room = Room { free: 1, total: 1, keeping };
            passing(Path::new("/data"), room).map_or_else(String::new, |check| check.line())
        };
        assert_eq!(line(Keeping::Lasting), "");
        let lines = [Keeping::UntilRestart, Keeping::WithContainer, Keeping::Elsewhere].map(line);
        insta::assert_snapshot!(lines.concat(), @r"
        note  data          /data is in memory: after a restart of the machine it is empty -> set data.dir to a folder on a disk
        note  data          /data is part of a container, and goes with it -> mount a volume where data.dir is
        note  data          /data is on a network file system, which may break SQLite's locks -> set data.dir to a folder on a local disk
        ");
    }
}
