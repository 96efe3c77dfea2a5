//! `minerva quantize`: a model in another type.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::{Context as _, Result};
use minerva::llama::{FileType, QuantizeOptions};
use minerva::models::gguf;
use minerva::models::quantize::quantize;

use crate::command::models::inspect::size;
use crate::command::{progress_bar, show_part};
use crate::config::QuantizeArguments;

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn run(arguments: QuantizeArguments) -> Result<()> {
    let kind = FileType::from_name(&arguments.kind)?;
    let before = gguf::check(&arguments.input)?.file_bytes();
    let options = QuantizeOptions {
        threads: arguments.threads,
        requantize: arguments.requantize,
        pure: arguments.pure,
    };
    let begun = Instant::now();
    // llama.cpp cannot be stopped: an interrupt removes what it has written, and ends the process.
    let unfinished: Arc<OnceLock<PathBuf>> = Arc::default();
    let to_remove = Arc::clone(&unfinished);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let written = runtime.block_on(async {
        let work = tokio::task::spawn_blocking(move || {
            let bar = progress_bar(kind.name());
            let shown = bar.clone();
            let QuantizeArguments { input, output, force, .. } = arguments;
            let begun = |path: &std::path::Path| _ = unfinished.set(path.to_owned());
            let progress = move |part| show_part(&shown, part);
            let written = quantize(&input, &output, kind, &options, force, begun, progress);
            bar.finish_and_clear();
            written.map(|written| (written, output))
        });
        tokio::select! {
            written = work => written.context("quantising ended badly"),
            _ = tokio::signal::ctrl_c() => {
                if let Some(path) = to_remove.get() {
                    let _ = std::fs::remove_file(path);
                }
                eprintln!("minerva: interrupted; nothing was written");
                std::process::exit(130);
            }
        }
    })?;
    let (written, output) = written?;
    let after = written.file_bytes();
    println!(
        "{}: {} in {}, from {} ({:.1} bits a weight) in {:.1} s",
        output.display(),
        size(after),
        kind.name(),
        size(before),
        8.0 * after as f64
            / written.tensors().iter().map(gguf::TensorInfo::elements).sum::<u64>().max(1) as f64,
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}
