//! Memory with a bound for each allocation.
//!
//! libFuzzer's `-malloc_limit_mb` works with a sanitizer only, and its `-rss_limit_mb` does not see memory that was asked for
//! and never touched: without this, `vec![0; claimed_length]` would pass unseen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;

/// No input of 64 KiB needs more than this at once.
const MOST: usize = 512 << 20;

/// The system's allocator, which ends the process if more than 512 MiB are asked for at once.
pub struct Bounded;

fn check(size: usize) {
    if size > MOST {
        let _ = writeln!(std::io::stderr(), "more than 512 MiB were asked for at once");
        std::process::abort();
    }
}

// SAFETY: all is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller keeps to what `alloc` asks of it.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller keeps to what `alloc_zeroed` asks of it.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` is from the system's allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check(size);
        // SAFETY: `pointer` is from the system's allocator, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
