//! What a sampler can ask of a step and command for it, through the boundary.

use std::sync::Arc;

use minerva_engine::event::FinishReason;
use minerva_engine::plugin::{Choice, Sampler};
use minerva_engine::step::{Candidates, Random, Step};
use serde_json::json;

use crate::support::{VOCABULARY_SIZE, context, loaded};

fn open(at: &str, how: &str) -> Box<dyn Sampler> {
    let plugin = loaded("misbehaving").sampler.unwrap();
    plugin
        .open(&context(), &json!({"at": at, "how": how}), &[10, 11])
        .unwrap_or_else(|error| panic!("{error}"))
}

fn cut() -> Candidates {
    Candidates { ids: vec![5, 3, 9], logits: vec![2.0, 1.0, 0.5] }
}

#[test]
fn every_command() {
    let mut step = Step { history: vec![10, 11, 12], prompt_tokens: 2, ..Step::default() };
    open("advance", "command all").advance(&mut step, &[12]).unwrap();
    let commands = step.commands;
    let allowed = commands.allowed.unwrap();
    assert!(allowed.has(1) && !allowed.has(2) && allowed.has(u32::from(b'z')));
    assert_eq!(commands.bias, [(1, 0.5), (2, f32::NEG_INFINITY)]);
    assert_eq!(commands.temperature, Some(0.25));
    assert_eq!(commands.allow_end, Some(false));
    assert_eq!(commands.force, [7, 8]);
    assert_eq!(commands.stop, Some(FinishReason::Filter));
    // The step is the caller's again, with all that was in it.
    assert_eq!(step.history, [10, 11, 12]);
}

/// What may come next after some tokens, as text; or why the answer ends.
fn commanded(session: &mut dyn Sampler, said: &str) -> String {
    let tokens: Vec<u32> = said.bytes().map(u32::from).collect();
    let mut step = Step::default();
    session.advance(&mut step, &tokens).unwrap();
    match (step.commands.stop, step.commands.allowed) {
        (Some(reason), _) => format!("{reason:?}"),
        (None, Some(allowed)) => {
            let shown = |id: u32| u8::try_from(id).map_or('$', char::from);
            (0..VOCABULARY_SIZE).filter(|&id| allowed.has(id)).map(shown).collect()
        }
        (None, None) => "anything".to_owned(),
    }
}

#[test]
fn a_grammar_goes_forth_and_back() {
    let mut first = open("open", "obey a grammar");
    assert_eq!(commanded(first.as_mut(), ""), "ny");
    assert_eq!(commanded(first.as_mut(), "y"), "e");
    let mut second = first.fork().unwrap();
    assert_eq!(commanded(first.as_mut(), "es"), ".");
    // Complete: all that may come is one of the two ends.
    assert_eq!(commanded(first.as_mut(), "."), "$$");
    first.rollback(4).unwrap();
    assert_eq!(commanded(first.as_mut(), "no"), ".");
    // The fork is where it was, and says when something does not fit.
    assert_eq!(commanded(second.as_mut(), "es"), ".");
    assert_eq!(commanded(second.as_mut(), "!"), "Filter");
}

#[test]
fn the_row_in_pick() {
    let row: Vec<f32> = (0..259).map(|id| if id == 42 { 3.0 } else { 0.0 }).collect();
    let mut step = Step { row: Some(Arc::new(row)), ..Step::default() };
    assert_eq!(open("pick", "read the row").pick(&mut step, &cut()).unwrap(), Choice::Token(42));
    let mut full = loaded("full-row").sampler.unwrap().open(&context(), &json!({}), &[]).unwrap();
    assert_eq!(full.pick(&mut step, &cut()).unwrap(), Choice::Token(42));
}

#[test]
fn randomness_is_the_requests() {
    let choose = |seed| {
        let mut step = Step { random: Random::new(seed), ..Step::default() };
        let choice = open("pick", "random").pick(&mut step, &cut()).unwrap();
        // What was drawn is gone for who draws next.
        (choice, step.random.next_f32().to_bits())
    };
    assert_eq!(choose(1), choose(1));
    assert_ne!(choose(1), choose(2));
    let mut random = Random::new(1);
    random.next_f32();
    assert_eq!(choose(1).1, random.next_f32().to_bits());
}

#[test]
fn candidates_may_come_back_in_any_order() {
    let choice = open("pick", "turn round").pick(&mut Step::default(), &cut()).unwrap();
    assert_eq!(choice, Choice::Only(vec![9, 3, 5]));
}

#[test]
fn forks_and_rollback() {
    let mut first = open("pick", "count");
    let mut step = Step::default();
    first.advance(&mut step, &[1, 2]).unwrap();
    let mut second = first.fork().unwrap();
    second.advance(&mut step, &[3]).unwrap();
    assert_eq!(first.pick(&mut step, &cut()).unwrap(), Choice::Token(2));
    assert_eq!(second.pick(&mut step, &cut()).unwrap(), Choice::Token(3));
    // The parent goes, its fork stays.
    assert_eq!(first.close().unwrap().as_deref(), Some(r#"{"committed":2}"#));
    drop(first);
    second.rollback(2).unwrap();
    assert_eq!(second.pick(&mut step, &cut()).unwrap(), Choice::Token(1));
}

#[test]
fn what_cannot_be_done_is_said() {
    let mut session = loaded("full-row").sampler.unwrap().open(&context(), &json!({}), &[]).unwrap();
    let said = session.fork().err().unwrap().to_string();
    assert_eq!(said, "plugin 'full-row' 0.1.0, in fork: cannot fork a session");
    assert!(session.rollback(1).unwrap_err().to_string().ends_with("in rollback: cannot take tokens back"));
    // Neither is the session's end.
    session.close().unwrap();
}
