//! `minerva models list`: what models there are on this machine.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use minerva::models::discover::{Found, models};
use serde_json::json;

use crate::config::ListArguments;

/// Lists the models of folders, or of the hub's cache where none is named.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn run(arguments: &ListArguments) -> Result<()> {
    let cache = arguments.hub.options().cache;
    let folders: Vec<PathBuf> = match arguments.folders.as_slice() {
        [] if !cache.exists() => Vec::new(),
        [] => vec![cache.clone()],
        folders => folders.to_vec(),
    };
    let mut found: Vec<Found> = Vec::new();
    for folder in &folders {
        found.extend(models(folder).with_context(|| format!("{} cannot be read", folder.display()))?);
    }
    if arguments.json {
        let one = |found: &Found| {
            json!({
                "name": found.name, "bytes": found.bytes, "origin": found.origin.as_str(),
                "path": found.path.display().to_string(),
            })
        };
        println!("{:#}", found.iter().map(one).collect::<serde_json::Value>());
        return Ok(());
    }
    if found.is_empty() {
        let searched = if folders.is_empty() { vec![cache] } else { folders };
        let searched: Vec<String> = searched.iter().map(|folder| folder.display().to_string()).collect();
        println!("no models in {}; minerva pull hf:OWNER/REPOSITORY brings one", searched.join(", "));
    }
    let width = found.iter().map(|found| found.name.chars().count()).max().unwrap_or(0);
    for Found { name, path, bytes, origin } in &found {
        let mib = bytes.div_ceil(1 << 20);
        println!("{name:width$}  {mib:>7} MiB  {:6}  {}", origin.as_str(), path.display());
    }
    Ok(())
}
