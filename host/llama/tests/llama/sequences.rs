//! What can be done to the sequences of a model.

use minerva_engine::model::{Batch, Error, Layout, Model as _, Pooling, Slot, Token};
use minerva_llama::Llama;

use crate::models;

/// Some text, as tokens of the made vocabulary.
fn text(length: u32) -> Vec<Token> {
    (0..length).map(|place| 300 + (place * 37) % 200).collect()
}

/// Extends a sequence and returns the row after its last token.
fn extend(llama: &mut Llama, slot: Slot, from: u32, tokens: &[Token]) -> Vec<u32> {
    let mut batch = Batch::default();
    for (place, &token) in tokens.iter().enumerate() {
        batch.push(token, from + place as u32, slot, place + 1 == tokens.len());
    }
    llama.decode(&batch).expect("it decodes");
    llama.logits(0).iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn a_tail_is_forgotten_and_decoded_again() {
    let mut llama = models::preset("tiny", |_| ());
    let tokens = text(40);
    let whole = extend(&mut llama, 0, 0, &tokens);
    assert_eq!(llama.positions(0), Some(0..=39));
    assert_eq!(llama.positions(1), None);

    llama.remove(0, 20).expect("a tail can be removed");
    assert_eq!(llama.positions(0), Some(0..=19));
    assert_eq!(extend(&mut llama, 0, 20, &tokens[20..]), whole);
    llama.remove(0, 100).expect("there is nothing to remove");
    llama.remove(0, 0).expect("all can be removed");
    assert_eq!(llama.positions(0), None);
}

#[test]
fn the_middle_is_forgotten_and_what_follows_moves_up() {
    for unified in [false, true] {
        let mut llama = models::preset("tiny", |options| options.kv_unified = unified);
        let tokens = text(40);
        extend(&mut llama, 0, 0, &tokens);
        // Up to the end it is the same as a tail.
        extend(&mut llama, 1, 0, &tokens[..20]);
        llama.discard(0, 20..40).expect("it can be forgotten");
        let (one, other) = (extend(&mut llama, 0, 20, &[301]), extend(&mut llama, 1, 20, &[301]));
        if !unified {
            assert_eq!(one, other);
        }
        let before = extend(&mut llama, 0, 21, &[302]);
        llama.discard(0, 8..14).expect("it can be forgotten");
        assert_eq!(llama.positions(0), Some(0..=15), "unified: {unified}");
        let after = extend(&mut llama, 0, 16, &[302]);
        assert_ne!(before, after);
        assert!(after.iter().all(|bits| f32::from_bits(*bits).is_finite()));
        for wrong in [14..30, 0..0] {
            let is_nothing = wrong.is_empty();
            assert_eq!(llama.discard(0, wrong).is_ok(), is_nothing);
        }
        assert_eq!(llama.positions(0), Some(0..=16));
        extend(&mut llama, 0, 17, &text(5));
    }
    let mut recurrent = models::preset("tiny-recurrent", |_| ());
    extend(&mut recurrent, 0, 0, &text(20));
    if !recurrent.info().capabilities.shift {
        assert!(matches!(recurrent.discard(0, 4..8), Err(Error::Unsupported { .. })));
    }
}

#[test]
fn a_copy_and_a_restored_state_go_on_as_the_original_would() {
    for (preset, unified) in
        [("tiny", false), ("tiny", true), ("tiny-window", false), ("tiny-recurrent", false)]
    {
        let mut llama = models::preset(preset, |options| options.kv_unified = unified);
        let tokens = text(30);
        extend(&mut llama, 0, 0, &tokens[..29]);
        let state = llama.save(0).expect("it can be saved");
        // What the target held is forgotten.
        extend(&mut llama, 1, 0, &text(7));
        llama.copy(0, 1).expect("it can be copied");
        let original = extend(&mut llama, 0, 29, &tokens[29..]);
        let copy = extend(&mut llama, 1, 29, &tokens[29..]);
        llama.restore(1, &state).expect("it can be restored");
        let restored = extend(&mut llama, 1, 29, &tokens[29..]);
        if !unified {
            assert_eq!(original, copy, "{preset}");
            assert_eq!(original, restored, "{preset}");
        }
        assert_eq!(llama.positions(0), llama.positions(1), "{preset}");
    }
}

#[test]
fn a_copy_is_there_at_once() {
    // llama.cpp's own copy between streams waits for the next decode; a save before it would see the old cells.
    let mut llama = models::preset("tiny", |_| ());
    let tokens = text(30);
    extend(&mut llama, 0, 0, &tokens[..29]);
    llama.copy(0, 1).expect("it can be copied");
    let state = llama.save(1).expect("it can be saved");
    llama.remove(0, 0).expect("an empty slot");
    let copy = extend(&mut llama, 1, 29, &tokens[29..]);
    llama.restore(0, &state).expect("it can be restored");
    assert_eq!(extend(&mut llama, 0, 29, &tokens[29..]), copy);
}

#[test]
fn states_of_others_and_damaged_ones_are_refused_and_leave_the_slot_empty() {
    let mut llama = models::preset("tiny", |_| ());
    extend(&mut llama, 0, 0, &text(10));
    let state = llama.save(0).expect("it can be saved");

    let mut other = models::preset("tiny-fim", |_| ());
    assert!(matches!(other.restore(0, &state), Err(Error::State(why)) if why.contains("another model")));
    let mut wider = models::preset("tiny", |options| options.slots = 3);
    assert!(matches!(wider.restore(0, &state), Err(Error::State(why)) if why.contains("other settings")));

    for length in [0, 10, 30, state.len() - 1] {
        extend(&mut llama, 1, 0, &text(5));
        assert!(matches!(llama.restore(1, &state[..length]), Err(Error::State(_))), "{length} bytes");
        assert_eq!(llama.positions(1), None);
    }
}

#[test]
fn a_full_slot_refuses_and_keeps_what_it_has() {
    let mut llama = models::preset("tiny", |options| options.context = 256);
    extend(&mut llama, 0, 0, &text(256));
    extend(&mut llama, 1, 0, &text(8));
    let mut batch = Batch::default();
    batch.push(300, 256, 0, true);
    assert!(matches!(llama.decode(&batch), Err(Error::NoRoom { tokens: 1 })));
    assert_eq!(llama.positions(0), Some(0..=255));
    // The row of the decode before is not taken for this one's.
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| llama.logits(0).len())).is_err());
    extend(&mut llama, 1, 8, &text(8));
}

#[test]
fn malformed_batches_are_errors() {
    let mut llama = models::preset("tiny", |options| options.batch = 64);
    extend(&mut llama, 0, 0, &text(3));
    let one = |token, position, slot| {
        let mut batch = Batch::default();
        batch.push(token, position, slot, true);
        batch
    };
    let long = {
        let mut batch = Batch::default();
        (0..65).for_each(|position| batch.push(300, position, 0, false));
        batch
    };
    let uneven = Batch { tokens: vec![300, 301], ..one(300, 0, 0) };
    for (batch, words) in [
        (Batch::default(), "0 tokens"),
        (long, "65 tokens; it takes 1 to 64"),
        (one(512, 0, 0), "token 512"),
        (one(300, 0, 2), "slot 2 of 2"),
        (one(300, u32::MAX, 0), "position"),
        (one(300, 7, 0), "the batch is refused"),
        (uneven, "differ in length"),
    ] {
        let error = llama.decode(&batch).expect_err("it is refused").to_string();
        assert!(error.contains(words), "{words}: {error}");
        assert_eq!(llama.positions(0), Some(0..=2), "nothing changed");
    }
}

#[test]
fn each_kind_says_what_it_can() {
    let plain = models::preset("tiny", |_| ());
    let can = plain.info().capabilities;
    assert_eq!(can.layout, Layout::Streams);
    assert!(can.partial_removal && can.copy && can.shift);

    let mut recurrent = models::preset("tiny-recurrent", |_| ());
    assert!(!recurrent.info().capabilities.partial_removal);
    extend(&mut recurrent, 0, 0, &text(10));
    assert!(matches!(recurrent.remove(0, 5), Err(Error::Unsupported { .. })));
    assert_eq!(recurrent.positions(0).map(|held| *held.end()), Some(9), "nothing was removed");
    recurrent.remove(0, 0).expect("all can be removed");

    let unified = models::preset("tiny", |options| options.kv_unified = true);
    assert_eq!(unified.info().capabilities.layout, Layout::Unified);
    assert!(!unified.info().capabilities.batch_invariant);
}

#[test]
fn a_sliding_window_that_has_passed_cannot_be_gone_back_behind() {
    let tokens = text(400);
    let fill = |llama: &mut Llama| {
        for start in (0..400).step_by(50) {
            extend(llama, 0, start as u32, &tokens[start..start + 50]);
        }
    };
    let mut llama = models::preset("tiny-window", |options| options.ubatch = 32);
    assert!(!llama.info().capabilities.partial_removal);
    fill(&mut llama);
    let held = llama.positions(0).expect("something");
    assert!(*held.start() > 0 && *held.end() == 399, "{held:?}");
    assert!(matches!(llama.remove(0, 50), Err(Error::Unsupported { .. })));
    assert_eq!(llama.positions(0), Some(held), "nothing was removed");
    llama.remove(0, 399).expect("the window before the last token is there");

    let mut full = models::preset("tiny-window", |options| options.sliding_window_full = true);
    assert!(full.info().capabilities.partial_removal);
    fill(&mut full);
    full.remove(0, 50).expect("everything is there");
    extend(&mut full, 0, 50, &tokens[50..60]);
}

#[test]
fn embeddings_are_pooled_and_a_reranker_scores() {
    let mut llama = models::preset("tiny-embedding", |_| ());
    let (short, long) = (text(5), text(90));
    let together = llama.embed(&[short.clone(), long.clone(), short.clone()]).expect("embeddings");
    assert_eq!(together.len(), 3);
    assert_eq!(together[0].len(), 128);
    assert!(together.iter().flatten().all(|number| number.is_finite()));
    assert_ne!(together[0], together[1]);
    let alone = llama.embed(&[short]).expect("an embedding");
    let distance: f32 = alone[0].iter().zip(&together[0]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(distance < 1e-3, "{distance}");
    assert!(matches!(llama.embed(&[vec![300; 600]]), Err(Error::Decode(_))), "longer than a batch");
    let embeds = llama.info().embeds.expect("it embeds");
    assert_eq!((embeds.pooling, embeds.width, embeds.tokens_max), (Pooling::Mean, 128, 512));
    let mut batch = Batch::default();
    batch.push(300, 0, 0, true);
    assert!(matches!(llama.decode(&batch), Err(Error::Unsupported { .. })));

    let mut reranker = models::preset("tiny-reranker", |_| ());
    assert_eq!(reranker.embed(&[long]).expect("scores")[0].len(), 1);
    let mut generator = models::preset("tiny", |_| ());
    assert!(matches!(generator.embed(&[text(3)]), Err(Error::Unsupported { .. })));
    let mut pooled = models::preset("tiny", |options| options.embeddings = true);
    assert_eq!(pooled.embed(&[text(3)]).expect("a mean")[0].len(), 128);
    // Batches that the sequences do not divide.
    for (slots, kv_unified) in [(3, false), (7, true), (16, false)] {
        let mut llama = models::preset("tiny-embedding", |options| {
            (options.slots, options.kv_unified, options.context) = (slots, kv_unified, 0);
        });
        // In one pool a batch is no longer than the pool, and a whole number of tokens for each sequence.
        let most = llama.info().embeds.expect("it embeds").tokens_max;
        assert_eq!(most, if kv_unified { 511 } else { 512 });
        assert_eq!(llama.embed(&[text(most), text(3)]).expect("embeddings").len(), 2, "{slots}");
        let mut causal = models::preset("tiny", |options| {
            (options.slots, options.kv_unified, options.embeddings) = (slots, kv_unified, true);
        });
        assert_eq!(causal.embed(&[text(200), text(3)]).expect("embeddings").len(), 2, "{slots}");
    }
    let mut each = models::preset("tiny", |options| {
        (options.embeddings, options.pooling) = (true, Some(Pooling::None));
    });
    let rows = each.embed(&[text(3), text(5)]).expect("a row for each token");
    assert_eq!(rows.iter().map(Vec::len).collect::<Vec<_>>(), [3 * 128, 5 * 128]);
}
