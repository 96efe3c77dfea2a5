//! `minerva models`: looks at and makes model files.

pub(crate) mod inspect;
mod list;

use anyhow::{Context as _, Result, bail};
use minerva::llama::TensorType;
use minerva::models::synthetic::{self, PRESETS, Spec, Vocabulary};

use crate::command::{progress_bar, show_part};
use crate::config::{ModelsCommand, SynthesizeArguments};

/// Runs one of the commands about model files.
pub(crate) fn run(command: ModelsCommand) -> Result<()> {
    match command {
        ModelsCommand::List(arguments) => list::run(&arguments),
        ModelsCommand::Inspect(arguments) => inspect::run(&arguments),
        ModelsCommand::Synthesize(arguments) => synthesize(arguments),
    }
}

fn synthesize(arguments: SynthesizeArguments) -> Result<()> {
    let Some(mut spec) = Spec::preset(&arguments.preset) else {
        bail!("--preset {}: there are {}", arguments.preset, PRESETS.join(", "));
    };
    if let Some(kind) = &arguments.kind {
        let known = TensorType::from_name(kind);
        spec.quantization =
            known.with_context(|| format!("--type {kind}: write F16, Q4_0, Q4_K, Q8_0 or the like"))?;
    }
    if let Some(from) = arguments.vocabulary_from {
        spec.vocabulary = Vocabulary::FromFile(from);
    }
    spec.seed = arguments.seed;
    let set = |to: &mut u32, from: Option<u32>| *to = from.unwrap_or(*to);
    set(&mut spec.layers, arguments.layers);
    set(&mut spec.width, arguments.width);
    set(&mut spec.heads, arguments.heads);
    set(&mut spec.kv_heads, arguments.kv_heads);
    set(&mut spec.feed_forward, arguments.feed_forward);
    set(&mut spec.context, arguments.ctx_size);
    let bar = progress_bar("writing the model");
    synthetic::write(&spec, &arguments.output, |part| {
        show_part(&bar, part);
        true
    })?;
    bar.finish_and_clear();
    inspect::show(&arguments.output)
}
