//! The check of the disk's free space.

use super::check::Check;

const MIB: u64 = 1024 * 1024;
/// From here on it is worth a thought.
const LOW: u64 = 1024 * MIB;
/// SQLite's log and its next checkpoint need some megabytes, and whoever acts needs some time.
const TOO_LOW: u64 = 128 * MIB;

/// Whether the disk of `data.dir` has room, by its free bytes and all of them.
pub(super) fn disk(free: u64, total: u64) -> Check {
    const NAME: &str = "disk";
    const REMEDY: &str = "free some space, or move data.dir to a larger disk; shorter retention.answers and \
                          retention.tasks keep the file of the database from growing further, but do not make it smaller";
    let reason = format!("{} of {} are free", size(free), size(total));
    match free {
        ..TOO_LOW => Check::fail(NAME, reason, REMEDY),
        TOO_LOW..LOW => Check::note(NAME, reason).with(REMEDY),
        LOW.. => Check::ok(NAME, reason),
    }
}

fn size(bytes: u64) -> String {
    let mib = bytes / MIB;
    if mib < 1024 { format!("{mib} MiB") } else { format!("{}.{} GiB", mib / 1024, mib % 1024 * 10 / 1024) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_room_is_noted_and_too_little_needs_somebody() {
        const TOTAL: u64 = 20 * 1024 * MIB;
        let lines = [0, TOO_LOW - 1, TOO_LOW, LOW - 1, LOW, TOTAL - 1].map(|free| disk(free, TOTAL).line());
        insta::assert_snapshot!(lines.concat(), @r"
        fail  disk          0 MiB of 20.0 GiB are free -> free some space, or move data.dir to a larger disk; shorter retention.answers and retention.tasks keep the file of the database from growing further, but do not make it smaller
        fail  disk          127 MiB of 20.0 GiB are free -> free some space, or move data.dir to a larger disk; shorter retention.answers and retention.tasks keep the file of the database from growing further, but do not make it smaller
        note  disk          128 MiB of 20.0 GiB are free -> free some space, or move data.dir to a larger disk; shorter retention.answers and retention.tasks keep the file of the database from growing further, but do not make it smaller
        note  disk          1023 MiB of 20.0 GiB are free -> free some space, or move data.dir to a larger disk; shorter retention.answers and retention.tasks keep the file of the database from growing further, but do not make it smaller
        ok    disk          1.0 GiB of 20.0 GiB are free
        ok    disk          19.9 GiB of 20.0 GiB are free
        ");
    }
}
