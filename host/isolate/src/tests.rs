//! Both sides, each on a thread: what the model says here is what the other one says.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use minerva_engine::fake::{ByteVocabulary, Fault, ScriptedModel};
use minerva_engine::model::{self, Batch, Model, Pooling, Vocabulary};
use minerva_llama::{Error, FlashAttention, KvType, Options};

use crate::message::{Command, LoadFailure, Reply};
use crate::parent::{Isolated, Link};
use crate::wire::{self, LIMITS};
use crate::{child, rows};

type Loader = fn(&Options, &mut dyn FnMut(f32) -> bool) -> Result<Box<dyn Model>, Error>;

fn scripted() -> ScriptedModel {
    ScriptedModel::new(3, &[("hello", " world")])
}

fn options() -> Options {
    Options {
        context: 77,
        devices: Some(vec!["CUDA0".into()]),
        gpu_layers: Some(5),
        flash_attention: FlashAttention::On,
        key_type: KvType::Q8_0,
        value_type: KvType::Q4_0,
        pooling: Some(Pooling::Rank),
        ..Options::new("some/model.gguf")
    }
}

fn vocabulary(_: &std::path::Path) -> Result<Arc<dyn Vocabulary>, Error> {
    Ok(Arc::new(ByteVocabulary::new()))
}

/// A parent, and a child on a thread that loads so.
fn over(load: Loader, progress: impl FnMut(f32) -> bool) -> Result<Isolated, Error> {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let file = rows::file().expect("memory");
    let of_child = file.try_clone().expect("the same memory");
    std::thread::spawn(move || child::serve(theirs, &of_child, load));
    let link = Link::new(ours, None, Duration::from_secs(60)).expect("a link");
    Isolated::over(link, file, &options(), progress, vocabulary)
}

/// A parent, and a child that loads, is told to do something, and says this to it.
fn answered(timeout: Duration, answer: Option<(Reply, Vec<u8>)>) -> Isolated {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let file = rows::file().expect("memory");
    std::thread::spawn(move || {
        let mut say = |reply: &Reply, payload: &[u8]| {
            let (_, _) = wire::read::<Command>(&mut theirs, LIMITS).expect("a command");
            wire::write(&mut theirs, LIMITS, reply, payload).expect("it is heard");
        };
        say(&Reply::Loaded(ScriptedModel::embedding(2, Pooling::Mean).info().clone()), &[]);
        say(&Reply::Done, &[]);
        match answer {
            Some((reply, payload)) => say(&reply, &payload),
            // Silent, but there.
            None => drop(
                wire::read::<Command>(&mut theirs, LIMITS)
                    .and_then(|_| wire::read::<Command>(&mut theirs, LIMITS)),
            ),
        }
    });
    let link = Link::new(ours, None, timeout).expect("a link");
    Isolated::over(link, file, &options(), |_| true, vocabulary).expect("it is loaded")
}

fn batch(text: &str, slot: u32) -> Batch {
    let mut batch = Batch::default();
    for (position, byte) in (0..).zip(text.bytes()) {
        batch.push(byte.into(), position, slot, true);
    }
    batch
}

#[test]
fn everything_passes_through() {
    let load: Loader = |options, progress| {
        let same = self::options();
        assert_eq!(format!("{options:?}"), format!("{same:?}"), "all options arrive");
        assert!(progress(0.5) && progress(1.0));
        Ok(Box::new(scripted()))
    };
    let mut parts = Vec::new();
    let mut isolated = over(load, |part| {
        parts.push(part);
        true
    })
    .expect("it is loaded");
    assert_eq!(parts, [0.5, 1.0]);
    let mut plain = scripted();
    let mut same = plain.info().clone();
    same.device.push_str(", in a process of its own");
    assert_eq!(format!("{:?}", isolated.info()), format!("{same:?}"));

    for (text, slot) in [("hello", 1), ("hell", 2)] {
        let batch = batch(text, slot);
        isolated.decode(&batch).expect("it decodes");
        plain.decode(&batch).expect("it decodes");
        for row in 0..text.len() {
            assert_eq!(isolated.logits(row), plain.logits(row), "row {row} of {text}");
        }
    }
    assert_eq!(isolated.positions(1), Some(0..=4));
    isolated.remove(1, 3).expect("a tail");
    assert_eq!(isolated.positions(1), Some(0..=2));
    isolated.discard(1, 1..2).expect("the middle");
    assert_eq!(isolated.positions(1), Some(0..=1));
    isolated.copy(1, 0).expect("a copy");
    let state = isolated.save(0).expect("a state");
    isolated.remove(0, 0).expect("empty");
    assert_eq!(isolated.positions(0), None);
    isolated.restore(0, &state).expect("as before");
    assert_eq!(isolated.positions(0), Some(0..=1));
    let refused = isolated.embed(&[vec![1]]).expect_err("it generates");
    let own = plain.embed(&[vec![1]]).expect_err("it generates");
    assert_eq!(refused.to_string(), own.to_string());
}

#[test]
fn embeddings_of_several_lengths_pass_through() {
    let load: Loader = |_, _| Ok(Box::new(ScriptedModel::embedding(2, Pooling::None)));
    let texts = [vec![1, 2, 3], vec![4]];
    let mut isolated = over(load, |_| true).expect("it is loaded");
    let own = ScriptedModel::embedding(2, Pooling::None).embed(&texts).expect("embeddings");
    assert_eq!(isolated.embed(&texts).expect("embeddings"), own);
}

#[test]
fn errors_keep_their_meaning() {
    let load: Loader = |_, _| {
        let model = scripted();
        model.log().inject(&[Fault::Decode]);
        Ok(Box::new(model))
    };
    let mut isolated = over(load, |_| true).expect("it is loaded");
    assert!(matches!(isolated.decode(&batch("x", 0)), Err(model::Error::Decode(_))));
    isolated.remove(0, 0).expect("it lives on");
    assert!(matches!(isolated.restore(0, b"useless"), Err(model::Error::State(_))));

    let load: Loader = |options, _| {
        Err(Error::Context {
            path: options.path.clone(),
            context: 7,
            slots: 2,
            cause: "out of memory".into(),
        })
    };
    let error = over(load, |_| true).err().expect("it does not fit");
    assert!(error.is_out_of_memory() && error.to_string().contains("some/model.gguf"), "{error}");
    let not_there =
        LoadFailure::from(Error::Open { path: "a".into(), source: std::io::Error::from_raw_os_error(2) });
    assert!(
        matches!(not_there.of("a".into()), Error::Open { source, .. } if source.raw_os_error() == Some(2))
    );
}

#[test]
fn a_load_can_be_cancelled() {
    let load: Loader = |options, progress| {
        while progress(1.0) {}
        Err(Error::Cancelled { path: options.path.clone() })
    };
    assert!(matches!(over(load, |_| false), Err(Error::Cancelled { .. })));
}

#[test]
fn a_child_that_is_gone_silent_or_mad_is_a_device_that_failed() {
    let check = |mut model: Isolated, words: &str| {
        for time in ["first", "second"] {
            match model.embed(&[vec![1]]) {
                Err(model::Error::Device(why)) => assert!(why.contains(words), "{time}: {why}"),
                other => panic!("{time}: {other:?}"),
            }
        }
        assert_eq!(model.positions(0), None);
        assert!(matches!(model.decode(&batch("x", 0)), Err(model::Error::Device(_))));
    };
    let patient = Duration::from_secs(60);
    check(answered(Duration::from_millis(50), None), "did not answer for 0.05 s");
    check(answered(patient, Some((Reply::Done, Vec::new()))), "cannot be understood: Done");
    check(answered(patient, Some((Reply::Embedded(vec![2]), vec![0; 4]))), "cannot be understood");
    check(answered(patient, Some((Reply::Embedded(vec![1, 1]), vec![0; 8]))), "cannot be understood");
    // A thread that panics closes its end.
    let load: Loader = |_, _| {
        let model = ScriptedModel::embedding(1, Pooling::Mean);
        model.log().inject(&[Fault::Panic]);
        Ok(Box::new(model))
    };
    check(over(load, |_| true).expect("it is loaded"), "is gone");
}

#[test]
fn a_child_of_another_version_is_refused_by_name() {
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    let file = rows::file().expect("memory");
    let child = std::thread::spawn(move || child::serve(theirs, &file, |_, _| panic!("it must not load")));
    let command = Command::Load { version: "0.0.1".into(), options: options() };
    wire::write(&mut ours, LIMITS, &command, &[]).expect("it is heard");
    let (reply, _) = wire::read::<Reply>(&mut ours, LIMITS).expect("an answer");
    assert!(matches!(reply, Reply::NotLoaded(LoadFailure::Options(why)) if why.contains("0.0.1 is needed")));
    child.join().expect("no panic").expect("it ends");
}
