//! Every synthetic model is written, passes the checks, loads in llama.cpp and decodes.

use std::path::Path;

use minerva_engine::model::{Batch, Encode, Model as _};
use minerva_llama::{Llama, Options, TensorType};
use minerva_models::gguf;
use minerva_models::synthetic::{self, Spec};

fn write(spec: &Spec, folder: &Path) -> std::path::PathBuf {
    let path = folder.join(format!("{}-{}.gguf", spec.name, spec.quantization.name()));
    synthetic::write(spec, &path, |_| true).expect("it is written");
    gguf::check(&path).expect("it passes the checks");
    path
}

fn load(path: &Path) -> Llama {
    // One thread: several wait for each other at every step, which takes long on a busy machine.
    let options = Options { slots: 2, context: 256, threads: 1, ..Options::new(path) };
    minerva_llama::load(&options, |_| true).expect("it loads")
}

/// Decodes a prompt and three tokens after it, each the likeliest.
fn generate(llama: &mut Llama) -> Vec<u32> {
    let prompt =
        llama.vocabulary().encode("The time of the day", Encode { add_special: true, ..Encode::default() });
    let prompt = prompt.expect("it can be encoded");
    let mut batch = Batch::default();
    for (position, &token) in (0..).zip(&prompt) {
        batch.push(token, position, 0, position as usize + 1 == prompt.len());
    }
    let mut tokens = Vec::new();
    for position in (prompt.len() as u32).. {
        llama.decode(&batch).expect("it decodes");
        let row = llama.logits(0);
        assert!(row.iter().all(|logit| logit.is_finite()), "all logits are finite");
        let spread =
            row.iter().copied().fold(f32::MIN, f32::max) - row.iter().copied().fold(f32::MAX, f32::min);
        assert!((2.0..200.0).contains(&spread), "the logits spread over {spread}");
        let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("a row is not empty");
        tokens.push(best as u32);
        if tokens.len() == 4 {
            break;
        }
        batch.clear();
        batch.push(best as u32, position, 0, true);
    }
    tokens
}

#[test]
fn every_tiny_generator_loads_and_decodes() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["tiny", "tiny-moe", "tiny-window", "tiny-recurrent", "tiny-fim"] {
        let spec = Spec::preset(name).expect("a preset");
        let mut llama = load(&write(&spec, folder.path()));
        assert_eq!(llama.info().name, spec.name);
        assert_eq!(llama.info().vocabulary_size, 512);
        assert_eq!(generate(&mut llama).len(), 4, "{name}");
    }
}

#[test]
fn every_type_of_weight_loads_and_decodes() {
    use TensorType as T;
    let folder = tempfile::tempdir().expect("a folder");
    let kinds = [
        T::F32,
        T::F16,
        T::Bf16,
        T::Q4_0,
        T::Q4_1,
        T::Q5_0,
        T::Q5_1,
        T::Q8_0,
        T::Q2K,
        T::Q3K,
        T::Q4K,
        T::Q5K,
        T::Q6K,
        T::Iq4Nl,
        T::Iq4Xs,
    ];
    for quantization in kinds {
        let tiny = Spec::preset("tiny").expect("a preset");
        let spec = Spec { quantization, width: 256, feed_forward: 512, layers: 1, ..tiny };
        let path = write(&spec, folder.path());
        let embedding = gguf::Gguf::open(&path).expect("it opens").tensor("token_embd.weight").cloned();
        assert_eq!(embedding.expect("an embedding").kind, quantization, "no fallback at this width");
        generate(&mut load(&path));
    }
}
