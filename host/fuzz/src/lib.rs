//! What reads other people's bytes, each under one function that takes any bytes and panics where something is wrong
//! with the answer. libFuzzer calls them (`make fuzz`), and an ordinary test calls them with what it found once.
#![forbid(unsafe_code)]

pub mod gguf;
pub mod grammars;
pub mod requests;
pub mod streams;
pub mod text;

// The server of the HTTP tests: a scripted model behind the whole router.
#[allow(dead_code, unreachable_pub, reason = "the tests that it is written for use all of it")]
#[path = "../../server/tests/fixture.rs"]
mod fixture;
#[allow(dead_code, unreachable_pub, reason = "the tests that it is written for use all of it")]
#[path = "../../server/tests/plugins.rs"]
mod plugins;

use std::panic::{catch_unwind, set_hook};
use std::sync::Once;

/// Checks bytes, and ends the process where something is wrong with the answer.
///
/// libFuzzer's own hook ends it at any panic; but one that the host catches and makes an error of is no crash.
pub fn run(check: fn(&[u8]), bytes: &[u8]) {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| set_hook(Box::new(|_| {})));
    if let Err(panic) = catch_unwind(|| check(bytes)) {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
        eprintln!("{}", words.unwrap_or("a panic without words"));
        std::process::abort();
    }
}
