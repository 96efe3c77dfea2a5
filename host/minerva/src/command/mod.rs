//! What the program does, a file a command.

pub(crate) mod bench;
pub(crate) mod config;
pub(crate) mod doctor;
mod fleet;
mod follow;
pub(crate) mod isolated;
pub(crate) mod models;
pub(crate) mod plugin;
pub(crate) mod quantize;
pub(crate) mod pull;
mod reload;
pub(crate) mod run;
pub(crate) mod serve;
mod traces;

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on the terminal that counts to 100 %, and shows itself only if that takes a while.
fn progress_bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(1000).with_message(what);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3} % {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Moves a bar to a part from 0 to 1.
fn show_part(bar: &ProgressBar, part: f32) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the part is from 0 to 1")]
    bar.set_position((part.clamp(0.0, 1.0) * 1000.0) as u64);
}
