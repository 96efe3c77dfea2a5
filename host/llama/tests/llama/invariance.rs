//! The logits of a sequence do not depend on what else is in the batch, nor on how its prompt is cut: to the bit.

use std::cell::RefCell;

use minerva_engine::model::{Batch, Model as _, Slot, Token};
use minerva_llama::{KvType, Llama, Options, TensorType};
use minerva_models::synthetic::{Kind, Spec};
use proptest::prelude::*;

use crate::models;

/// The slot that is looked at; there are others before and behind it.
const SLOT: u32 = 1;

/// The tokens of a long neighbour: more cells than the others need.
const LONG: u32 = 300;

/// Some text, as tokens of the made vocabulary.
fn text(length: u32) -> Vec<Token> {
    (0..length).map(|place| 260 + (place * 7919) % 250).collect()
}

/// Decodes a text in chunks of these sizes in turn, with or without other sequences beside it, and returns the bits
/// of the row after every token.
fn rows(llama: &mut Llama, text: &[Token], chunks: &[usize], beside: bool) -> Vec<Vec<u32>> {
    let slots = llama.info().slots;
    (0..slots).for_each(|slot| llama.remove(slot, 0).expect("an empty slot"));
    // The last slot is a long one: all slots of a call are computed at the length of the longest.
    let long = slots - 1;
    if beside {
        let mut batch = Batch::default();
        (0..LONG).for_each(|place| batch.push(300 + place % 50, place, long, false));
        llama.decode(&batch).expect("it decodes");
    }
    let (mut rows, mut start) = (Vec::new(), 0);
    for (turn, &chunk) in (0..).zip(chunks.iter().cycle()) {
        let end = text.len().min(start + chunk);
        let (mut batch, mut mine) = (Batch::default(), Vec::new());
        for slot in (0..slots).filter(|&slot| slot == SLOT || beside) {
            if slot == SLOT {
                for (place, &token) in text.iter().enumerate().take(end).skip(start) {
                    mine.push(batch.len());
                    batch.push(token, place as u32, slot, true);
                }
            } else {
                let place = turn as u32 + if slot == long { LONG } else { 0 };
                batch.push(text[(turn * 13 + slot as usize) % text.len()], place, slot, true);
            }
        }
        llama.decode(&batch).expect("it decodes");
        rows.extend(mine.iter().map(|&row| llama.logits(row).iter().map(|logit| logit.to_bits()).collect()));
        start = end;
        if start == text.len() {
            break;
        }
    }
    rows
}

/// How many rows of a text differ, the most over several ways to decode it.
fn rows_that_differ(llama: &mut Llama) -> usize {
    let text = text(70);
    let whole = rows(llama, &text, &[70], false);
    let ways: [(&[usize], bool); 8] = [
        (&[1], false),
        (&[7], false),
        (&[16], false),
        (&[3, 1, 40], false),
        (&[2], true),
        (&[1], true),
        (&[16, 5], true),
        (&[70], true),
    ];
    let differ = ways.map(|(chunks, beside)| {
        let other = rows(llama, &text, chunks, beside);
        assert_eq!(other.len(), whole.len());
        whole.iter().zip(&other).filter(|(a, b)| a != b).count()
    });
    differ.into_iter().max().unwrap_or(0)
}

/// A model of this kind, wide enough for every kernel that its weights can meet.
fn model(kind: Kind, quantization: TensorType, heads: u32) -> Llama {
    let tiny = Spec::preset("tiny").expect("a preset");
    let name = format!("invariance-{kind:?}-{heads}");
    let spec =
        Spec { name, kind, quantization, width: 256, heads, kv_heads: heads / 2, feed_forward: 512, ..tiny };
    models::load(&spec, |options| (options.slots, options.context) = (4, 512))
}

#[test]
fn what_a_model_says_of_its_batches_is_true() {
    use TensorType as T;
    let kinds =
        [T::F32, T::F16, T::Bf16, T::Q4_0, T::Q4_1, T::Q5_0, T::Q5_1, T::Q8_0, T::Iq4Nl, T::Q4K, T::Q6K];
    for quantization in kinds {
        let mut llama = model(Kind::Llama, quantization, 4);
        let differ = rows_that_differ(&mut llama);
        let says = llama.info().capabilities.batch_invariant;
        assert!(!says || differ == 0, "{}: {differ} rows differ", quantization.name());
    }
    for (kind, heads) in [
        (Kind::Llama, 2),
        (Kind::Qwen2, 4),
        (Kind::Experts { count: 4, used: 2 }, 4),
        (Kind::SlidingWindow { window: 32 }, 4),
        (Kind::Recurrent { state: 16 }, 4),
    ] {
        for quantization in [T::Q4_0, T::Q8_0] {
            let mut llama = model(kind, quantization, heads);
            let differ = rows_that_differ(&mut llama);
            let says = llama.info().capabilities.batch_invariant;
            assert!(!says || differ == 0, "{kind:?} with {}: {differ} rows differ", quantization.name());
        }
    }
}

/// A build by this repository's compiler wrapper, for a processor on which the kernels were tried.
fn is_default_build() -> bool {
    let info = minerva_llama::system_info().expect("llama.cpp starts");
    let wrapper = std::env::var("CC").is_ok_and(|path| path.ends_with(".cargo/cc"));
    cfg!(target_arch = "x86_64") && wrapper && !info.contains("AMX_INT8 = 1")
}

/// What the default build promises: if it loses this, it must be noticed.
#[test]
fn the_common_types_are_exact_where_the_build_allows_it() {
    if is_default_build() {
        for quantization in [TensorType::Q4_0, TensorType::Q8_0, TensorType::F16] {
            assert!(model(Kind::Llama, quantization, 4).info().capabilities.batch_invariant);
        }
    }
}

/// One of sixteen sequences: its tokens, and in what chunks they are decoded, again and again.
#[derive(Clone, Debug)]
struct Company {
    text: Vec<Token>,
    chunks: Vec<usize>,
}

fn company(length: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Company> {
    let chunks =
        prop::collection::vec(prop_oneof![3 => Just(1_usize), 2 => 2..9_usize, 1 => 9..40_usize], 1..6);
    (prop::collection::vec(300_u32..2000, length), chunks).prop_map(|(text, chunks)| Company { text, chunks })
}

/// The bits of the row after each token of the one that is looked at: it is decoded among others, who come and go.
fn among(llama: &mut Llama, slot: Slot, mine: &Company, others: &[Company]) -> Vec<Vec<u32>> {
    (0..llama.info().slots).for_each(|slot| llama.remove(slot, 0).expect("an empty slot"));
    let mut all: Vec<(Slot, &Company)> =
        (0..).filter(|other| *other != slot).zip(others).chain([(slot, mine)]).collect();
    all.sort_by_key(|(slot, _)| *slot);
    let mut held = vec![0; all.len()];
    let mut rows = Vec::new();
    for turn in 0.. {
        let (mut batch, mut looked_at) = (Batch::default(), Vec::new());
        for ((at, company), held) in all.iter().zip(&mut held) {
            let chunk = company.chunks[turn % company.chunks.len()];
            for &token in company.text.iter().skip(*held).take(chunk) {
                if *at == slot {
                    looked_at.push(rows_in(&batch));
                }
                batch.push(token, *held as u32, *at, *at == slot || *held % 3 == 0);
                *held += 1;
            }
        }
        if batch.is_empty() {
            return rows;
        }
        llama.decode(&batch).expect("it decodes");
        rows.extend(
            looked_at.iter().map(|&row| llama.logits(row).iter().map(|logit| logit.to_bits()).collect()),
        );
    }
    rows
}

fn rows_in(batch: &Batch) -> usize {
    batch.wants_logits.iter().filter(|&&wanted| wanted).count()
}

#[test]
fn nothing_beside_a_sequence_of_the_built_in_model_changes_a_bit_of_it() {
    let path = minerva_models::builtin::path().expect("the built-in model");
    let options = Options {
        slots: 16,
        context: 256,
        batch: 1024,
        threads: 1,
        deterministic: true,
        ..Options::new(path)
    };
    let llama = match minerva_llama::load(&options, |_| true) {
        Ok(llama) => RefCell::new(llama),
        Err(error) => {
            assert!(!is_default_build(), "{error}");
            return;
        }
    };
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(12));
    let cases = (company(1..120), prop::collection::vec(company(1..200), 15), 0..16_u32);
    let checked = runner.run(&cases, |(mine, others, slot)| {
        let llama = &mut llama.borrow_mut();
        let alone = Company { chunks: vec![mine.text.len()], ..mine.clone() };
        let expected = among(llama, 0, &alone, &[]);
        prop_assert!(among(llama, slot, &mine, &[]) == expected, "cut into {:?}", mine.chunks);
        prop_assert!(among(llama, slot, &mine, &others) == expected, "beside fifteen others");
        Ok(())
    });
    checked.expect("the same bits");
}

#[test]
fn deterministic_refuses_by_name_what_breaks_it() {
    let tiny = Spec::preset("tiny").expect("a preset");
    let refused = |spec: &Spec, change: fn(&mut Options)| {
        let mut options = Options {
            slots: 2,
            context: 256,
            threads: 1,
            deterministic: true,
            ..Options::new(models::file(spec))
        };
        change(&mut options);
        minerva_llama::load(&options, |_| true).err().map(|error| error.to_string())
    };
    let names = |spec: &Spec, change: fn(&mut Options), name: &str| {
        let error = refused(spec, change).expect("it is refused");
        assert!(error.contains(name), "{error}");
    };
    names(&tiny, |options| options.kv_unified = true, "`kv_unified`");
    names(&tiny, |options| options.value_type = KvType::Q8_0, "`flash_attention`");
    names(&Spec::preset("tiny-recurrent").expect("a preset"), |_| (), "a recurrent architecture");
    if is_default_build() {
        assert_eq!(refused(&tiny, |_| ()), None);
        let spec = Spec { width: 256, quantization: TensorType::Q4K, ..tiny };
        names(&spec, |_| (), "weights of type Q4_K");
    }
}
