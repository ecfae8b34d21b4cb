//! No input may cost more memory than a multiple of its size.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What any input may cost, in bytes: what is built once, and the tables of what can be given.
const BASE: usize = 1024 * 1024;
/// What each byte of an input may cost. The doors write down what was read in up to four ways, and read that again.
const PER_BYTE: usize = 256;

/// Goes through the door, and looks at what that took at its most.
pub(crate) fn measured(door: fn(&[u8]), input: &[u8]) {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    door(input);
    let most = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    let allowed = BASE + PER_BYTE * input.len();
    assert!(most <= allowed, "{most} bytes of memory for an input of {} bytes", input.len());
}

/// The system's allocator, with a count of what is held.
struct Meter;

#[global_allocator]
static METER: Meter = Meter;
static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn count(taken: usize, given_back: usize) {
    HELD.fetch_sub(given_back, Ordering::Relaxed);
    let held = HELD.fetch_add(taken, Ordering::Relaxed) + taken;
    PEAK.fetch_max(held, Ordering::Relaxed);
}

// SAFETY: everything is left to the system's allocator, as it was asked for.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }
}
