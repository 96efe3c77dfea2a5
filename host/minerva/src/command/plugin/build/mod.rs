//! `minerva plugin build`: from a project to a component that loads.

mod project;
mod c;
mod rust;
mod script;

use anyhow::{Context as _, Result, bail};
use minerva::conformance;
use minerva::engine::plugin::Kind;
use minerva::wasm::{Options, Runtime};

use crate::command::plugin::{check, new};
use crate::config::{BuildArguments, Language, PluginKind};

use project::Project;

/// Builds a project, and says where the component is and how to try it.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn run(arguments: &BuildArguments) -> Result<()> {
    let BuildArguments { folder, output, offline, cache } = arguments;
    if !folder.is_dir() {
        bail!("{} is no folder; `minerva plugin new` makes a project", folder.display());
    }
    let place = |name: &str| output.clone().unwrap_or_else(|| folder.join(format!("{name}.wasm")));
    let output = if folder.join("plugin.json").is_file() {
        let project = Project::read(folder, *offline)?;
        let output = place(&project.name);
        // A whole path, because tools are run in the project's folder.
        let whole = std::path::absolute(&output)?;
        let world = project.world()?;
        match project.language {
            Language::C => c::build(&project, &world, &whole)?,
            _ => script::build(&project, &world, &whole)?,
        }
        output
    } else if folder.join("Cargo.toml").is_file() {
        let (name, component) = rust::build(folder, *offline)?;
        let output = place(&name);
        std::fs::copy(&component, &output)
            .with_context(|| format!("{} cannot be copied to {}", component.display(), output.display()))?;
        output
    } else {
        bail!("{} is no plugin's project: it has neither Cargo.toml nor plugin.json", folder.display());
    };

    // Compiled here, and taken from the cache by what comes next.
    let runtime = Runtime::new(Options { cache: cache.folder(), ..conformance::patient() })?;
    let name = check::name(&output);
    let inspection = runtime.inspect(&name, &output)?;
    let (file, identity) = (output.display(), &inspection.identity);
    println!("{file}: {} {}, {} bytes. To try it:\n", identity.name, identity.version, inspection.bytes);
    println!("  minerva plugin test {file}");
    for kind in &inspection.kinds {
        let kind = match kind.kind {
            Kind::Sampler => PluginKind::Sampler,
            Kind::Template => PluginKind::Template,
            Kind::Stream => PluginKind::Stream,
        };
        println!("  {}", new::try_it(&name, &file.to_string(), kind));
    }
    Ok(())
}
