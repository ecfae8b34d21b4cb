//! What a commit writes to the log, until it is in the file.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is gathered at most, in bytes: of a longer piece SQLite's files write the length's last 17 bits, and fail when
/// those are 0. A larger transaction is written in several pieces.
const MOST: usize = 0x1_ffff;
/// The length of a page's header: its number, the size of the database if a transaction ends with it, else 0, and what
/// tells whether it is whole. (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>)
const HEADER: usize = 24;

thread_local! {
    /// The number of the commit that this thread is in.
    static COMMIT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Does a commit, on a connection that was opened by [`files`](super::files), with its log in one piece.
pub(in crate::store::file) fn in_one_piece<T>(commit: impl FnOnce() -> T) -> T {
    static LAST: AtomicU64 = AtomicU64::new(0);
    /// However it ends.
    struct Over;
    impl Drop for Over {
        fn drop(&mut self) {
            COMMIT.set(None);
        }
    }
    COMMIT.set(Some(LAST.fetch_add(1, Ordering::Relaxed)));
    let _over = Over;
    commit()
}

/// What a commit has written to the log, and is not in the file yet.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// The number of the commit; `None` outside of one.
    commit: Option<u64>,
    bytes: Vec<u8>,
    /// Where in the file they begin; if there are none, where the last ones ended.
    begin: i64,
    /// Whether a transaction ends with the page whose header was the last.
    ends: bool,
}

impl Gathered {
    /// Goes over to the commit that this thread is in. What another one left came to no good end.
    pub(super) fn catch_up(&mut self) {
        self.go_over_to(COMMIT.get());
    }

    fn go_over_to(&mut self, commit: Option<u64>) {
        if self.commit != commit {
            self.commit = commit;
            self.bytes.clear();
        }
    }

    /// Whether what is written here is of a commit, and follows what was written last.
    pub(super) fn is_continued_at(&self, offset: i64) -> bool {
        self.commit.is_some() && after(self.begin, &self.bytes) == offset
    }

    pub(super) fn has_room_for(&self, bytes: &[u8]) -> bool {
        self.bytes.len() + bytes.len() <= MOST
    }

    /// Takes what continues it; whether a transaction ends with that.
    pub(super) fn add(&mut self, bytes: &[u8]) -> bool {
        self.bytes.extend_from_slice(bytes);
        self.ends_with(bytes)
    }

    /// Takes note of what goes into the file by itself.
    pub(super) fn pass(&mut self, bytes: &[u8], offset: i64) {
        self.ends_with(bytes);
        self.begin = after(offset, bytes);
    }

    fn ends_with(&mut self, bytes: &[u8]) -> bool {
        // A page may come in two parts.
        let Ok(header) = <&[u8; HEADER]>::try_from(bytes) else { return self.ends };
        self.ends = header[4..8] != [0; 4];
        false
    }

    /// What there is, and where it belongs.
    pub(super) fn piece(&self) -> (&[u8], i64) {
        (&self.bytes, self.begin)
    }

    /// The piece is in the file, or lost.
    pub(super) fn clear(&mut self) {
        self.begin = after(self.begin, &self.bytes);
        self.bytes.clear();
    }
}

/// Where these bytes end that begin here.
fn after(begin: i64, bytes: &[u8]) -> i64 {
    begin.saturating_add(i64::try_from(bytes.len()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page's header that says how large the database is after the transaction that it ends.
    fn header(ends_at: u8) -> [u8; HEADER] {
        let mut header = [7; HEADER];
        header[4..8].copy_from_slice(&[0, 0, 0, ends_at]);
        header
    }

    fn gathered() -> Gathered {
        Gathered { commit: Some(1), bytes: vec![1; 100], begin: 32, ends: false }
    }

    #[test]
    fn a_transaction_ends_with_the_page_whose_header_says_so() {
        let mut gathered = Gathered::default();
        let page = [1; 512];
        let pieces: [(&[u8], bool); 8] = [
            (&[7; 32], false),
            (&header(0), false),
            (&page, false),
            (&header(9), false),
            (&page[..100], true),
            (&page[100..], true),
            (&header(0), false),
            (&page, false),
        ];
        for (at, (bytes, ends)) in pieces.into_iter().enumerate() {
            assert_eq!(gathered.add(bytes), ends, "{at}");
        }
        // Also when its header was written by itself.
        gathered.pass(&header(9), 4096);
        assert!(gathered.add(&page));
    }

    #[test]
    fn it_goes_on_where_the_last_piece_ended() {
        let mut gathered = gathered();
        assert!(gathered.is_continued_at(132));
        gathered.clear();
        assert!(gathered.is_continued_at(132));
        assert!(!gathered.is_continued_at(32));
        gathered.pass(&[1; 100], 4096);
        assert!(gathered.is_continued_at(4196));
        assert!(gathered.has_room_for(&vec![1; MOST]));
        gathered.add(&[1]);
        assert!(!gathered.has_room_for(&vec![1; MOST]));
    }

    #[test]
    fn what_a_commit_left_is_forgotten() {
        let mut gathered = gathered();
        gathered.go_over_to(Some(2));
        assert_eq!(gathered.piece(), (&[][..], 32));
        assert!(gathered.is_continued_at(32));
        gathered.catch_up();
        assert!(!gathered.is_continued_at(32), "only a commit is gathered");
        in_one_piece(|| gathered.catch_up());
        assert!(gathered.is_continued_at(32));
    }
}
