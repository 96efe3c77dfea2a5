//! C, C++ and objects of other languages: bindings for the world, zig as compiler and linker, and the core module made a
//! component.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use wasi_preview1_component_adapter_provider as adapter;
use wit_bindgen_core::Files;
use wit_component::ComponentEncoder;
use wit_parser::Resolve;

use super::project::{Project, Tool, WORLD};

const ZIG: Tool = Tool { name: "zig", own: ".venv/bin/python-zig" };

/// What files in C++ end in.
const CPP: &[&str] = &["cc", "cpp", "cxx"];

/// What a core module has for its stack, at the lower end of its memory, so that overflow traps.
const STACK: &str = "-Wl,-z,stack-size=131072";

/// Builds a project into a component. `world` is the folder with its interface.
pub(super) fn build(project: &Project, world: &Path, component: &Path) -> Result<()> {
    let between = world.parent().expect("the world lies in the folder of what is made");
    bindings(world, between)?;
    let core = between.join("core.wasm");
    compile(project, between, &core)?;
    let module = std::fs::read(&core).with_context(|| format!("{} cannot be read", core.display()))?;
    let folder = project.folder.display();
    let encoded = encode(&module).with_context(|| format!("{folder} cannot be made a component"))?;
    std::fs::write(component, encoded).with_context(|| format!("{} cannot be written", component.display()))
}

/// Writes the bindings and the object file that tells of the world.
fn bindings(world: &Path, into: &Path) -> Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(world)?;
    let world = resolve.select_world(&[package], Some(WORLD))?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default().build().generate(&mut resolve, world, &mut files)?;
    for (name, text) in files.iter() {
        let path = into.join(name);
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

fn compile(project: &Project, between: &Path, core: &Path) -> Result<()> {
    let folder = project.folder.canonicalize()?;
    let files = std::fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let is = |path: &Path, wanted: &[&str]| {
        path.extension().is_some_and(|extension| wanted.iter().any(|wanted| extension == *wanted))
    };
    let mut sources: Vec<PathBuf> = files.filter(|path| is(path, &["c", "o"]) || is(path, CPP)).collect();
    sources.sort();
    // In a plugin that refuses exceptions and run-time types, C++ is C with a larger library.
    let compiler: &[&str] = if sources.iter().any(|path| is(path, CPP)) {
        &["c++", "-fno-exceptions", "-fno-rtti", "-Wno-missing-designated-field-initializers"]
    } else {
        &["cc", "-std=c17"]
    };
    let said = project.run(&ZIG, |command| {
        command
            .args(compiler)
            .args(["--target=wasm32-wasi", "-mexec-model=reactor", "-O2", "-s"])
            .args(["-Wall", "-Wextra", "-Wno-unused-parameter", STACK])
            .arg("-I")
            .arg(between)
            .args(&sources)
            .arg("minerva/minerva.c")
            .arg(format!("minerva/{}.c", project.kind.as_str()))
            .args([between.join(format!("{WORLD}.c")), between.join(format!("{WORLD}_component_type.o"))])
            .arg("-o")
            .arg(core);
    })?;
    // Warnings.
    eprint!("{said}");
    Ok(())
}

/// A component of a core module. What of WASI libc used (printing, mostly) leads to the host's through the adapter.
fn encode(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)?
        .adapter(
            adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
            adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
        )?
        .encode()
        .map_err(|error| anyhow!("{error:#}"))
}
