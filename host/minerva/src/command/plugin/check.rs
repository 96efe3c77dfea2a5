//! `minerva plugin check`: says what components are, and whether they would load.

use std::path::Path;

use anyhow::{Result, bail};
use minerva::wasm::{Inspection, Options, Runtime};

use crate::config::{CheckArguments, set_limits};

/// Checks files, one after another.
pub(crate) fn run(arguments: &CheckArguments) -> Result<()> {
    let CheckArguments { files, allow_full_row, limits, cache } = arguments;
    let mut options = Options { full_row: *allow_full_row, cache: cache.folder(), ..Options::default() };
    set_limits(&mut options, limits)?;
    let runtime = Runtime::new(options)?;
    let mut failed = 0;
    for file in files {
        let name = name(file);
        // What loading refuses, checking must refuse.
        let checked = runtime.load(&name, file).and_then(|_| runtime.inspect(&name, file));
        match checked {
            Ok(inspection) => print(&inspection, &file.display().to_string()),
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                failed += 1;
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} would not load", files.len());
    }
    Ok(())
}

/// What a plugin is called after its file.
pub(crate) fn name(file: &Path) -> String {
    file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn print(inspection: &Inspection, file: &str) {
    let identity = &inspection.identity;
    println!("{file}: ok");
    println!("  version    {}", identity.version);
    println!("  does       {}", identity.summary);
    println!("  interface  minerva:plugin@{}", inspection.interface);
    println!("  size       {} bytes", inspection.bytes);
    println!("  sha256     {}", identity.hash);
    for kind in &inspection.kinds {
        println!("  is a       {}", kind.kind.as_str());
        if let Some(sampler) = &kind.sampler {
            println!(
                "             tier {:?}, sees {} candidates, reads the row: {}, can fork: {}, can roll back: {}, takes back: {}",
                sampler.tier,
                sampler.cut,
                sampler.reads_row,
                sampler.can_fork,
                sampler.can_rollback,
                sampler.backtrack_max
            );
        }
        if !kind.args_schema.is_empty() {
            println!("  arguments  {}", kind.args_schema);
        }
    }
    for (name, limit) in &inspection.limits {
        println!("  limit      {name} {limit}");
    }
    for export in &inspection.exports {
        println!("  exports    {export}");
    }
    for import in &inspection.imports {
        println!("  imports    {import}");
    }
}
