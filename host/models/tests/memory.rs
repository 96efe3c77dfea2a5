//! Checking a file takes little more memory than its header, whatever the header says.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use minerva_models::gguf;
use minerva_models::synthetic::{self, Spec, Vocabulary};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting.
struct Counting;

fn count(grown: usize, shrunk: usize) {
    let live = LIVE.fetch_add(grown, Ordering::Relaxed) + grown - shrunk;
    LIVE.fetch_sub(shrunk, Ordering::Relaxed);
    PEAK.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that are allocated at a time while something runs.
fn peak(run: impl FnOnce()) -> usize {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    run();
    PEAK.load(Ordering::Relaxed) - before
}

#[test]
fn the_header_of_a_large_vocabulary_is_not_multiplied_and_a_lie_is_not_believed() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let tiny = Spec::preset("tiny").expect("a preset");
    let vocabulary = Vocabulary::SentencePiece { tokens: 151_936, fill_in_middle: false };
    let spec = Spec { layers: 1, width: 32, vocabulary, heads: 2, kv_heads: 1, ..tiny };
    synthetic::write(&spec, file.path(), |_| true).expect("it is written");

    let gguf = gguf::check(file.path()).expect("it is sound");
    let header = gguf.tensors().iter().map(|tensor| tensor.offset).min().expect("tensors") as usize;
    drop(gguf);
    let sound = peak(|| drop(gguf::check(file.path()).expect("it is sound")));
    assert!(sound < header * 22 / 10, "{sound} bytes for a header of {header}");

    // A text of as many bytes as the file has, and one of more than there are addresses.
    let whole = std::fs::read(file.path()).expect("it can be read");
    for length in [whole.len() as u64 - 200, 1 << 40, u64::MAX] {
        let mut bytes = whole[..4096].to_vec();
        bytes[24..32].copy_from_slice(&length.to_le_bytes());
        std::fs::write(file.path(), &bytes).expect("it can be written");
        let lied = peak(|| drop(gguf::check(file.path()).expect_err("it is refused")));
        assert!(lied < 100_000, "{lied} bytes for a lie of {length}");
    }
}
