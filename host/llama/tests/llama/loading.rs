//! What loading says, and what it says when it fails.

use std::path::Path;

use minerva_engine::model::Model as _;
use minerva_llama::{Error, FlashAttention, KvType, Llama, Options, load};
use minerva_models::synthetic::Spec;

use crate::models;

fn tiny() -> Options {
    Options { threads: 1, ..Options::new(models::file(&Spec::preset("tiny").expect("a preset"))) }
}

fn failure(result: Result<Llama, Error>) -> Error {
    result.err().expect("it fails")
}

#[test]
fn progress_goes_from_nothing_to_all_and_can_cancel() {
    let mut seen = Vec::new();
    let llama = load(&tiny(), |part| {
        seen.push(part);
        true
    });
    assert_eq!(llama.expect("it loads").info().architecture, "llama");
    assert!(seen.is_sorted() && seen.last() == Some(&1.0), "{seen:?}");
    assert!(matches!(failure(load(&tiny(), |_| false)), Error::Cancelled { .. }));
}

#[test]
fn a_progress_callback_that_panics_panics_here() {
    let panicked = std::panic::catch_unwind(|| load(&tiny(), |_| panic!("on purpose")));
    let panic = panicked.err().expect("it panics");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
}

#[test]
fn failures_name_the_file_and_the_cause() {
    let missing = failure(load(&Options::new("/not/there.gguf"), |_| true));
    assert!(matches!(&missing, Error::Open { .. }) && missing.to_string().contains("/not/there.gguf"));
    let folder = failure(load(&Options::new(Path::new("/")), |_| true));
    assert!(matches!(folder, Error::Open { .. }));

    let text = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(text.path(), "this is no model").expect("it can be written");
    let text = failure(load(&Options::new(text.path()), |_| true));
    assert!(matches!(&text, Error::Load { cause, .. } if cause.contains("magic")), "{text}");

    for (change, words) in [
        (Options { slots: 0, ..tiny() }, "0 slots"),
        (Options { slots: 257, ..tiny() }, "1 to 256"),
        (Options { batch: 0, ..tiny() }, "at least one"),
        (
            Options { value_type: KvType::Q8_0, flash_attention: FlashAttention::Off, ..tiny() },
            "flash attention",
        ),
        (Options { devices: Some(vec!["CUDA77".into()]), ..tiny() }, "there is no device CUDA77"),
        (Options { context: u32::MAX, ..tiny() }, "more than llama.cpp can count"),
    ] {
        let failure = failure(load(&change, |_| true)).to_string();
        assert!(failure.contains(words), "{words}: {failure}");
    }
}

#[test]
fn what_is_left_open_is_decided() {
    let llama = load(&tiny(), |_| true).expect("it loads");
    let info = llama.info();
    assert_eq!((info.context, info.context_trained, info.slots), (512, 512, 4));
    assert_eq!((info.batch_tokens_max, info.chunk_tokens), (512, 128));
    assert_eq!(info.device, "CPU");
    assert!(info.chat_template.as_ref().is_some_and(|template| template.contains("im_start")));
    assert!(info.parameters > 300_000 && info.weight_bytes > 200_000);

    let quantised = Options {
        key_type: KvType::Q8_0,
        value_type: KvType::Q8_0,
        slots: 40,
        batch: 8,
        context: 100,
        ..tiny()
    };
    let llama = load(&quantised, |_| true).expect("it loads");
    assert_eq!((llama.info().context, llama.info().batch_tokens_max), (100, 40));
    assert!(!llama.info().capabilities.batch_invariant);
}

#[test]
fn there_is_a_processor() {
    let devices = minerva_llama::devices().expect("llama.cpp starts");
    assert!(
        devices.iter().any(|device| device.kind == minerva_llama::DeviceKind::Cpu && device.memory_total > 0)
    );
    assert!(minerva_llama::system_info().expect("llama.cpp starts").contains("CPU"));
}
