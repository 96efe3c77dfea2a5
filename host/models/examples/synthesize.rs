//! Writes a synthetic model: `cargo run --release -p minerva-models --example synthesize -- 0.5b model.gguf [type]`.

use minerva_llama::TensorType;
use minerva_models::synthetic::{self, Spec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = || format!("synthesize PRESET FILE [TYPE]; the presets are {:?}", synthetic::PRESETS);
    let (preset, path) = (arguments.next().ok_or_else(usage)?, arguments.next().ok_or_else(usage)?);
    let mut spec = Spec::preset(&preset).ok_or_else(usage)?;
    if let Some(kind) = arguments.next() {
        spec.quantization = TensorType::from_name(&kind).ok_or("no such type of weight")?;
    }
    synthetic::write(&spec, path.as_ref(), |part| {
        eprint!("\r{:3.0} %", part * 100.0);
        true
    })?;
    eprintln!();
    Ok(())
}
