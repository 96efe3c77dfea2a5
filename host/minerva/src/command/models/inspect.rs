//! `minerva models inspect`: what a file says of its model, without its weights being read.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use minerva::llama::CONTEXT_DEFAULT_MAX;
use minerva::models::gguf::{self, Gguf};
use minerva::models::inspect::{Running, Summary, summarize};
use serde_json::{Value, json};

use crate::config::{InspectArguments, kv_type};

pub(super) fn run(arguments: &InspectArguments) -> Result<()> {
    if arguments.parallel == 0 {
        bail!("--parallel is 0, and must be 1 or more");
    }
    let gguf = gguf::check(&arguments.file)?;
    let summary = summarize(&gguf);
    let running = Running {
        context: arguments.ctx_size.unwrap_or(summary.context.min(CONTEXT_DEFAULT_MAX)).max(1),
        slots: arguments.parallel,
        key_type: kv_type(&arguments.cache_type_k).context("--cache-type-k")?,
        value_type: kv_type(&arguments.cache_type_v).context("--cache-type-v")?,
        ..Running::default()
    };
    if arguments.json {
        print(&format!("{:#}\n", as_json(&gguf, &summary, &running, arguments.tensors)));
    } else {
        print(&as_text(&gguf, &summary, &running, arguments.tensors));
    }
    Ok(())
}

/// Shows a file that has just been made.
pub(super) fn show(file: &Path) -> Result<()> {
    let gguf = gguf::check(file)?;
    let summary = summarize(&gguf);
    let running = Running { context: summary.context.min(CONTEXT_DEFAULT_MAX), ..Running::default() };
    print(&as_text(&gguf, &summary, &running, false));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn print(text: &str) {
    print!("{text}");
}

fn as_text(gguf: &Gguf, summary: &Summary, running: &Running, tensors: bool) -> String {
    let memory = summary.memory(running);
    let files = if gguf.shards() == 1 { String::new() } else { format!(" in {} files", gguf.shards()) };
    let heads = match summary.heads {
        0 => "none: a recurrent state".to_owned(),
        heads => format!("{heads}, of keys and values {}", summary.kv_heads),
    };
    let mut lines = vec![
        ("name", summary.name.clone()),
        ("architecture", summary.architecture.clone()),
        ("parameters", count(summary.parameters)),
        ("file", format!("{}{files}, GGUF version {}", size(gguf.file_bytes()), gguf.version())),
        ("layers", summary.layers.len().to_string()),
        ("width", summary.width.to_string()),
        ("heads", heads),
    ];
    if let Some((experts, used)) = summary.experts {
        lines.push(("experts", format!("{experts}, of which a token uses {used}")));
    }
    lines.push(("context", format!("{} tokens", summary.context)));
    if let Some(window) = summary.sliding_window {
        lines.push(("window", format!("{window} tokens in some layers")));
    }
    lines.push(("vocabulary", format!("{} tokens, {}", summary.vocabulary_size, summary.tokenizer)));
    let template = summary.chat_template.as_ref();
    let template = template.map_or_else(|| "none".to_owned(), |text| format!("Jinja, {} bytes", text.len()));
    lines.push(("chat template", template));
    for share in &summary.types {
        let of = format!("{} weights in {} tensors", count(share.parameters), share.tensors);
        lines.push((share.kind.name(), format!("{}: {of}", size(share.bytes))));
    }
    let sequences = if running.slots == 1 { "sequence" } else { "sequences" };
    lines.push((
        "memory",
        format!(
            "{} for {} {sequences} of {} tokens: weights {}, cache {}, computation about {}",
            size(memory.total()),
            running.slots,
            running.context,
            size(memory.weights),
            size(memory.cache),
            size(memory.compute)
        ),
    ));
    let mut text = format!("{}\n", gguf.path().display());
    for (name, value) in lines {
        // Names come from the file and may hold anything: one line each, without control characters.
        let value: String = value.chars().flat_map(printable).take(200).collect();
        let _ = writeln!(text, "  {name:<14}{value}");
    }
    if tensors {
        for tensor in gguf.tensors() {
            let (kind, shape) = (tensor.kind.name(), &tensor.dimensions);
            let _ = writeln!(text, "  {:<40} {kind:<8} {:>12} {shape:?}", tensor.name, tensor.bytes);
        }
    }
    text
}

fn printable(character: char) -> impl Iterator<Item = char> {
    let escaped = character.is_control().then(|| character.escape_debug());
    let plain = escaped.is_none().then_some(character);
    escaped.into_iter().flatten().chain(plain)
}

fn as_json(gguf: &Gguf, summary: &Summary, running: &Running, tensors: bool) -> Value {
    let memory = summary.memory(running);
    let types = summary.types.iter().map(|share| {
        json!({
            "type": share.kind.name(), "tensors": share.tensors,
            "parameters": share.parameters, "bytes": share.bytes,
        })
    });
    let mut value = json!({
        "file": gguf.path(),
        "file_bytes": gguf.file_bytes(),
        "files": gguf.shards(),
        "gguf_version": gguf.version(),
        "name": summary.name,
        "architecture": summary.architecture,
        "parameters": summary.parameters,
        "weight_bytes": summary.weight_bytes,
        "quantization": summary.quantization().map(|kind| kind.name()),
        "types": types.collect::<Vec<_>>(),
        "layers": summary.layers.len(),
        "width": summary.width,
        "heads": summary.heads,
        "kv_heads": summary.kv_heads,
        "experts": summary.experts.map(|(count, used)| json!({ "count": count, "used": used })),
        "context": summary.context,
        "sliding_window": summary.sliding_window,
        "vocabulary_size": summary.vocabulary_size,
        "tokenizer": summary.tokenizer,
        "chat_template": summary.chat_template,
        "memory": {
            "context": running.context,
            "sequences": running.slots,
            "weights": memory.weights,
            "cache": memory.cache,
            "compute": memory.compute,
            "total": memory.total(),
        },
    });
    if tensors {
        let list = gguf.tensors().iter().map(|tensor| {
            json!({
                "name": tensor.name, "type": tensor.kind.name(), "shape": tensor.dimensions,
                "offset": tensor.offset, "bytes": tensor.bytes,
            })
        });
        value["tensors"] = list.collect();
    }
    value
}

/// Bytes as people say them.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = UNITS.iter().find(|(_, unit)| bytes >= *unit);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(name, unit)| format!("{:.2} {name}", bytes as f64 / *unit as f64),
    )
}

fn count(number: u64) -> String {
    const UNITS: [(&str, u64); 2] = [("billion", 1_000_000_000), ("million", 1_000_000)];
    let unit = UNITS.iter().find(|(_, unit)| number >= *unit);
    unit.map_or_else(
        || number.to_string(),
        |(name, unit)| format!("{:.2} {name}", number as f64 / *unit as f64),
    )
}
