//! `minerva pull`: brings a model from the hub, and `-m hf:…` the same way.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use minerva::models::hub::{Options, Reference, pull};

use crate::config::PullArguments;

/// Brings a model, and says where it is.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn run(arguments: &PullArguments) -> Result<()> {
    println!("{}", fetch(&arguments.model, &arguments.hub.options(), &|| true)?.display());
    Ok(())
}

/// Makes sure that a model of the hub is on this machine, with a bar on the terminal if that takes a while. Stops when it
/// does not go on.
pub(crate) fn fetch(reference: &Reference, options: &Options, goes_on: &dyn Fn() -> bool) -> Result<PathBuf> {
    let bar = ProgressBar::new(0).with_message(reference.to_string());
    let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(250));
    let path = pull(reference, options, &mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        goes_on()
    });
    bar.finish_and_clear();
    Ok(path?)
}
