//! llama.cpp's log into `tracing`, target `llama.cpp`.
//!
//! llama.cpp writes a line in pieces, the later ones marked as continuations. Each thread joins its own, so that
//! two models loading at the same time do not mix theirs.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use llama_cpp_sys_2 as sys;

/// Lines of one thread: the unfinished one, and the complaints that somebody is collecting.
#[derive(Default)]
struct Lines {
    level: sys::ggml_log_level,
    unfinished: String,
    complaints: Option<Vec<String>>,
    listener: Option<Listener>,
}

/// Hears every piece of text on a thread, before it is a line.
type Listener = Box<dyn FnMut(&str)>;

thread_local! {
    static LINES: RefCell<Lines> = RefCell::default();
}

/// Sends everything that llama.cpp and ggml say to `tracing` from now on.
pub(crate) fn install() {
    // SAFETY: both callbacks are plain functions that live for ever, take no user data and do not unwind.
    unsafe {
        sys::llama_log_set(Some(on_text), std::ptr::null_mut());
        sys::ggml_log_set(Some(on_text), std::ptr::null_mut());
        // Without a callback of ours ggml starts a debugger to print a backtrace before it aborts.
        sys::ggml_set_abort_callback(Some(on_abort));
    }
}

/// Runs something and returns with it the errors that llama.cpp logged meanwhile on this thread: the functions that
/// fail say no more than that they did.
pub(crate) fn complaints<T>(run: impl FnOnce() -> T) -> (T, String) {
    LINES.with_borrow_mut(|lines| lines.complaints = Some(Vec::new()));
    let result = run();
    let complaints = LINES.with_borrow_mut(|lines| lines.complaints.take()).unwrap_or_default();
    (result, summary(&complaints))
}

/// Runs something while every piece of text that llama.cpp logs on this thread goes to a listener too: what has no
/// callback tells its progress there.
pub(crate) fn heard<T>(listener: Listener, run: impl FnOnce() -> T) -> T {
    LINES.with_borrow_mut(|lines| lines.listener = Some(listener));
    let result = run();
    LINES.with_borrow_mut(|lines| lines.listener = None);
    result
}

/// The first complaint is the cause; the ones after it are callers passing it on. The names of functions in front
/// are of no use to a reader.
fn summary(complaints: &[String]) -> String {
    match complaints.first() {
        None => "it gave no reason".to_owned(),
        Some(line) => match line.split_once(": ") {
            Some((function, rest)) if !function.contains(' ') => rest.to_owned(),
            _ => line.clone(),
        },
    }
}

unsafe extern "C" fn on_text(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: not null, and llama.cpp passes strings with a terminator that live for the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    // A subscriber that panics must not unwind into C++. Its own panic message has been printed by then.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        tell(&text);
        take(level, &text);
    }));
}

unsafe extern "C" fn on_abort(message: *const c_char) {
    if !message.is_null() {
        // SAFETY: as in `on_text`.
        let message = unsafe { CStr::from_ptr(message) }.to_string_lossy();
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let message = message.trim_end();
            if tracing::enabled!(target: "llama.cpp", tracing::Level::ERROR) {
                tracing::error!(target: "llama.cpp", "ggml stops the process: {message}");
            } else {
                // Nobody listens, and these are the last words.
                eprintln!("ggml stops the process: {message}");
            }
        }));
    }
}

/// Lets the listener of this thread hear a piece, outside the borrow: it may itself make llama.cpp speak.
fn tell(text: &str) {
    let Some(mut listener) = LINES.with_borrow_mut(|lines| lines.listener.take()) else { return };
    listener(text);
    LINES.with_borrow_mut(|lines| lines.listener = Some(listener));
}

/// Adds a piece of text to this thread's line and emits the lines that it completes.
fn take(level: sys::ggml_log_level, text: &str) {
    let finished: Vec<(sys::ggml_log_level, String)> = LINES.with_borrow_mut(|lines| {
        let mut finished = Vec::new();
        if level != sys::GGML_LOG_LEVEL_CONT {
            if !lines.unfinished.is_empty() {
                finished.push((lines.level, std::mem::take(&mut lines.unfinished)));
            }
            lines.level = level;
        }
        for piece in text.split_inclusive('\n') {
            lines.unfinished.push_str(piece.trim_end_matches('\n'));
            if piece.ends_with('\n') {
                finished.push((lines.level, std::mem::take(&mut lines.unfinished)));
            }
        }
        finished.retain(|(_, line)| !line.trim().is_empty());
        if let Some(complaints) = &mut lines.complaints {
            let errors = finished.iter().filter(|(level, _)| *level == sys::GGML_LOG_LEVEL_ERROR);
            complaints.extend(errors.map(|(_, line)| line.trim().to_owned()));
        }
        finished
    });
    // Outside the borrow: a subscriber may itself make llama.cpp speak.
    for (level, line) in finished {
        emit(level, line.trim_end());
    }
}

fn emit(level: sys::ggml_log_level, line: &str) {
    match level {
        sys::GGML_LOG_LEVEL_ERROR => tracing::error!(target: "llama.cpp", "{line}"),
        sys::GGML_LOG_LEVEL_WARN => tracing::warn!(target: "llama.cpp", "{line}"),
        // Loading a model says some 150 lines of this: it is what others call debugging.
        sys::GGML_LOG_LEVEL_INFO => tracing::debug!(target: "llama.cpp", "{line}"),
        _ => tracing::trace!(target: "llama.cpp", "{line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_line_are_joined_and_errors_collected() {
        let ((), cause) = complaints(|| {
            take(sys::GGML_LOG_LEVEL_INFO, "loading");
            take(sys::GGML_LOG_LEVEL_CONT, " .");
            take(sys::GGML_LOG_LEVEL_CONT, ".\n");
            take(sys::GGML_LOG_LEVEL_ERROR, "gguf_init: bad ");
            take(sys::GGML_LOG_LEVEL_CONT, "magic\nload: failed\n");
        });
        assert_eq!(cause, "bad magic");
    }

    #[test]
    fn silence_has_a_cause_too() {
        assert_eq!(complaints(|| ()).1, "it gave no reason");
    }
}
