//! Every synthetic model is written, passes the checks, loads in llama.cpp and decodes.

use std::path::Path;

use minerva_engine::model::{Batch, Encode, Model as _};
use minerva_llama::{FileType, Llama, Options, QuantizeOptions, TensorType};
use minerva_models::gguf;
use minerva_models::quantize::{self, quantize};
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
fn every_tiny_encoder_loads_and_embeds() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, numbers) in [("tiny-embedding", 128), ("tiny-reranker", 1)] {
        let mut llama = load(&write(&Spec::preset(name).expect("a preset"), folder.path()));
        let rows = llama.embed(&[vec![300, 301, 302], vec![303]]).expect("it embeds");
        let sane = |row: &Vec<f32>| row.len() == numbers && row.iter().all(|number| number.is_finite());
        assert!(rows.len() == 2 && rows.iter().all(sane), "{name}: {rows:?}");
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
        T::Iq3Xxs,
        T::Iq3S,
        T::Iq2S,
        T::Tq1_0,
        T::Tq2_0,
        T::Mxfp4,
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

/// A tiny model in 32 bits whose rows are whole blocks of every type.
fn plain(folder: &Path) -> std::path::PathBuf {
    let tiny = Spec::preset("tiny").expect("a preset");
    write(&Spec { quantization: TensorType::F32, width: 256, feed_forward: 512, ..tiny }, folder)
}

#[test]
fn every_type_that_a_file_can_be_quantised_to_loads_and_decodes() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = plain(folder.path());
    for &kind in FileType::ALL {
        let output = folder.path().join(format!("{}.gguf", kind.name()));
        let (send, parts) = std::sync::mpsc::channel();
        let progress = move |part: f32| send.send(part).expect("the test listens");
        let written = quantize(&input, &output, kind, &QuantizeOptions::default(), false, |_| {}, progress);
        let written = written.unwrap_or_else(|error| panic!("{}: {error}", kind.name()));
        assert_eq!(written.tensors().len(), 20, "{}", kind.name());
        let parts: Vec<f32> = parts.iter().collect();
        assert!(parts.len() == 20 && parts.is_sorted() && parts[0] == 0.0, "{}: {parts:?}", kind.name());
        generate(&mut load(&output));
    }
    let sizes: Vec<u64> = [FileType::F32, FileType::Q8_0, FileType::Q4KM, FileType::Q2K]
        .map(|kind| std::fs::metadata(folder.path().join(format!("{}.gguf", kind.name()))).expect("it").len())
        .into();
    assert!(sizes.is_sorted_by(|larger, smaller| larger > smaller), "{sizes:?}");
}

#[test]
fn quantising_replaces_nothing_unasked_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (plain(folder.path()), folder.path().join("out.gguf"));
    let run = |input: &Path, output: &Path, options: &QuantizeOptions, replace| {
        quantize(input, output, FileType::Q8_0, options, replace, |_| {}, |_| {})
    };
    let options = QuantizeOptions::default();
    std::fs::write(&output, b"precious").expect("it can be written");
    let refused = run(&input, &output, &options, false).expect_err("it is there");
    assert!(matches!(refused, quantize::Error::Exists { .. }), "{refused}");
    assert_eq!(std::fs::read(&output).expect("it is there"), b"precious");
    run(&input, &output, &options, true).expect("it may be replaced");
    generate(&mut load(&output));

    let refused = run(&input, &input, &options, true).expect_err("it reads what it would write");
    assert!(matches!(refused, quantize::Error::SameFile { .. }), "{refused}");
    let again = folder.path().join("again.gguf");
    let refused = run(&output, &again, &options, false).expect_err("it is quantised already");
    assert!(refused.to_string().contains("quantised already (Q8_0)"), "{refused}");
    let twice = QuantizeOptions { requantize: true, ..options };
    quantize(&output, &again, FileType::Q4_0, &twice, false, |_| {}, |_| {}).expect("it was asked for");
    generate(&mut load(&again));

    let refused = run(&folder.path().join("missing.gguf"), &again, &options, true).expect_err("missing");
    assert!(refused.to_string().contains("missing.gguf"), "{refused}");
    let refused =
        run(&input, &folder.path().join("no/such/out.gguf"), &options, false).expect_err("no folder");
    assert!(refused.to_string().contains("out.gguf"), "{refused}");
    let names =
        || std::fs::read_dir(folder.path()).expect("the folder").map(|entry| entry.expect("one").file_name());
    assert_eq!(names().count(), 3, "{:?}", names().collect::<Vec<_>>());
}
