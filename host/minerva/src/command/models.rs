//! `minerva models`: looks at and makes model files.

use anyhow::{Context as _, Result, bail};
use minerva::llama::TensorType;
use minerva::models::gguf::{self, Gguf};
use minerva::models::synthetic::{self, PRESETS, Spec, Vocabulary};
use std::collections::BTreeMap;
use std::path::Path;

use crate::command::{progress_bar, show_part};
use crate::config::{ModelsCommand, SynthesizeArguments};

/// Runs one of the commands about model files.
pub(crate) fn run(command: ModelsCommand) -> Result<()> {
    match command {
        ModelsCommand::Inspect { file } => inspect(&file),
        ModelsCommand::Synthesize(arguments) => synthesize(arguments),
    }
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn inspect(file: &Path) -> Result<()> {
    let model = gguf::check(file)?;
    let number =
        |key: &str| model.own_unsigned(key).map_or_else(|| "?".to_owned(), |value| value.to_string());
    println!("{}", file.display());
    println!("  name          {}", model.text("general.name").unwrap_or("?"));
    println!("  architecture  {}", model.architecture().unwrap_or("?"));
    println!("  parameters    {}", model.tensors().iter().map(gguf::TensorInfo::elements).sum::<u64>());
    println!(
        "  bytes         {} in {} file(s), GGUF version {}",
        model.file_bytes(),
        model.shards(),
        model.version()
    );
    println!("  layers        {}", number("block_count"));
    println!("  width         {}", number("embedding_length"));
    println!(
        "  heads         {}, of keys and values {}",
        number("attention.head_count"),
        number("attention.head_count_kv")
    );
    println!("  context       {}", number("context_length"));
    println!("  vocabulary    {}", vocabulary(&model));
    println!("  tensors       {}", types(&model));
    println!(
        "  chat template {}",
        if model.text("tokenizer.chat_template").is_some() { "yes" } else { "no" }
    );
    Ok(())
}

fn vocabulary(model: &Gguf) -> String {
    let kind = model.text("tokenizer.ggml.model").unwrap_or("?");
    let tokens = model.get("tokenizer.ggml.tokens").and_then(|tokens| tokens.as_array());
    tokens.map_or_else(|| kind.to_owned(), |tokens| format!("{kind}, {} tokens", tokens.iter().count()))
}

/// How many tensors there are of each type.
fn types(model: &Gguf) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for tensor in model.tensors() {
        *counts.entry(tensor.kind.name()).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    counts.join(", ")
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
    inspect(&arguments.output)
}
