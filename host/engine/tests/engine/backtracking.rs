//! Samplers that take tokens back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use minerva_engine::builtin::closure::ClosureSampler;
use minerva_engine::event::{Event, FinishReason};
use minerva_engine::fake::{Fault, Log, ScriptedModel};
use minerva_engine::grammar::Kind;
use minerva_engine::model::Token;
use minerva_engine::plugin::{
    Choice, Error as PluginError, Identity, OnFault, Sampler, SamplerDescriptor, SamplerPlugin,
    SessionContext, Tier,
};
use minerva_engine::request::{ContextShift, GenerateRequest, Grammar, Params, Use};
use minerva_engine::step::{Candidates, Step};
use minerva_engine::{Engine, Error, Options};
use serde_json::Value;

use super::*;

const SAYS: &[(&str, &str)] = &[("long", " one two three"), ("2", " is two"), ("hello", " world")];

fn begin(partial_removal: bool) -> (Engine, Log) {
    let mut model = ScriptedModel::new(2, SAYS);
    model.info_mut().capabilities.partial_removal = partial_removal;
    let log = model.log();
    (Engine::start(Box::new(model), Options::default()).expect("the worker starts"), log)
}

/// A sampler that says in `advance` or in `pick` what it wants of a step: the tokens of the answer so far come with it.
struct Scripted<F> {
    identity: Identity,
    descriptor: SamplerDescriptor,
    act: F,
}

impl<F: Fn(&mut Step, &[Token]) + Clone + Send + Sync + 'static> Scripted<F> {
    fn used(tier: Tier, backtracks_max: u32, act: F) -> Use<dyn SamplerPlugin> {
        let descriptor = SamplerDescriptor {
            tier,
            can_rollback: true,
            backtrack_max: 4,
            backtracks_max,
            ..SamplerDescriptor::default()
        };
        let plugin = Arc::new(Self { identity: Identity::native("scripted", "1"), descriptor, act });
        Use { plugin, args: Value::Null, on_fault: OnFault::Fail }
    }
}

impl<F: Fn(&mut Step, &[Token]) + Clone + Send + Sync + 'static> SamplerPlugin for Scripted<F> {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn descriptor(&self) -> &SamplerDescriptor {
        &self.descriptor
    }

    fn open(&self, _: &SessionContext, _: &Value, _: &[Token]) -> Result<Box<dyn Sampler>, PluginError> {
        let in_pick = self.descriptor.tier == Tier::Cut;
        Ok(Box::new(Session { in_pick, act: self.act.clone(), told: Vec::new() }))
    }
}

struct Session<F> {
    in_pick: bool,
    act: F,
    told: Vec<Token>,
}

impl<F: Fn(&mut Step, &[Token]) + Send> Sampler for Session<F> {
    fn advance(&mut self, step: &mut Step, committed: &[Token]) -> Result<(), PluginError> {
        self.told.extend(committed);
        assert_eq!(step.history[step.prompt_tokens..], self.told, "it is told of what is committed");
        if self.in_pick {
            step.commands.hold = 4;
        } else {
            (self.act)(step, &self.told);
        }
        Ok(())
    }

    fn pick(&mut self, step: &mut Step, _: &Candidates) -> Result<Choice, PluginError> {
        (self.act)(step, &self.told);
        Ok(Choice::Host)
    }

    fn fork(&mut self) -> Result<Box<dyn Sampler>, PluginError> {
        unreachable!("nothing forks")
    }

    fn rollback(&mut self, count: u32) -> Result<(), PluginError> {
        self.told.truncate(self.told.len() - count as usize);
        Ok(())
    }

    fn close(&mut self) -> Result<Option<String>, PluginError> {
        Ok(Some(format!("{{\"told\":{}}}", self.told.len())))
    }
}

fn tokens(text: &str) -> Vec<Token> {
    text.bytes().map(Token::from).collect()
}

/// Says `2` where the model says `two`: holds what may become that, takes it back, and forces the other.
fn editor(tier: Tier) -> Use<dyn SamplerPlugin> {
    Scripted::used(tier, 256, |step, told| {
        let edits = !told.contains(&Token::from(b'2'));
        let held = (1..3).rev().find(|&length| told.ends_with(&tokens("two")[..length]));
        step.commands.hold = step.commands.hold.max(held.unwrap_or(0) as u32);
        if edits && told.ends_with(&tokens("two")) {
            step.commands.backtrack = 3;
        } else if edits && step.backtracks == 1 && told.ends_with(b"one ".map(Token::from).as_slice()) {
            step.commands.force = tokens("2");
        }
    })
}

fn edited(tier: Tier) -> GenerateRequest {
    GenerateRequest { samplers: vec![editor(tier)], ..request("long") }
}

#[tokio::test]
async fn what_is_taken_back_was_never_said() {
    let (engine, log) = begin(true);
    let handle = engine.handle();
    for tier in [Tier::Plan, Tier::Cut] {
        // Beside others, and in slots where others were.
        let answers = join_all((0..9).map(|number| {
            let request = if number % 3 == 0 { request("hello") } else { edited(tier) };
            ask(&handle, request)
        }));
        for (number, answer) in answers.await.into_iter().enumerate() {
            let (said, finished) = answer.expect("an answer");
            let expected = if number % 3 == 0 { " world" } else { " one 2 is two" };
            assert_eq!((said.as_str(), finished.reason), (expected, FinishReason::Stop), "{tier:?}");
            assert_eq!(finished.usage.completion_tokens as usize, expected.len() + 1);
        }
        becomes_idle(&handle, &log).await;
    }
    assert_eq!(handle.status().tokens_taken_back, 12 * 3);
    // What is kept for others is what was said.
    let (_, finished) = ask(&handle, request("long one 2 is")).await.expect("an answer");
    assert_eq!(finished.usage.cached_tokens, 12, "all but the last");
    // A grammar goes back too.
    let grammar = Some(Grammar::new(Kind::Regex, " one (two[a-z ]*|2)"));
    let (said, _) = ask(&handle, GenerateRequest { grammar, ..edited(Tier::Plan) }).await.expect("an answer");
    assert_eq!(said, " one 2");
}

#[tokio::test]
async fn what_is_held_is_sent_when_it_is_not_any_more_and_no_sooner() {
    let (engine, _) = begin(true);
    let read = Arc::new(AtomicUsize::new(0));
    let has_read = Arc::clone(&read);
    let sampler = Scripted::used(Tier::Plan, 256, move |step, told| {
        // It holds four from the seventh token to the tenth.
        let held_from = if (7..11).contains(&told.len()) { 6 } else { told.len() };
        step.commands.hold = (told.len() - held_from) as u32;
        let begun = Instant::now();
        // What came before the token that is told of is the reader's, but for those held.
        let sent = if (7..12).contains(&told.len()) { 6 } else { told.len().saturating_sub(1) };
        while has_read.load(Ordering::SeqCst) < sent {
            assert!(begun.elapsed() < Duration::from_secs(60), "{sent} of {} are not sent", told.len());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(has_read.load(Ordering::SeqCst), sent, "of {}", told.len());
    });
    let held = GenerateRequest { samplers: vec![sampler], ..request("long") };
    let mut generation = engine.handle().generate(held).await.expect("admitted");
    while let Some(event) = generation.next().await {
        match event.expect("no error") {
            Event::Text(text) => drop(read.fetch_add(text.text.len(), Ordering::SeqCst)),
            Event::Finished(finished) => assert_eq!(finished.reason, FinishReason::Stop),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(read.load(Ordering::SeqCst), " one two three".len());
}

#[tokio::test]
async fn the_last_token_can_be_taken_back_and_what_was_counts_for_nothing() {
    let (engine, log) = begin(true);
    let handle = engine.handle();
    for (max_tokens, expected) in [(7, " one tw"), (8, " one 2 i"), (9, " one 2 is")] {
        let mut request = edited(Tier::Plan);
        request.params =
            Params { max_tokens: Some(max_tokens), temperature: 0.0, logprobs: Some(0), ..Params::default() };
        let mut generation = handle.generate(request).await.expect("admitted");
        let (mut said, mut logprobs) = (String::new(), Vec::new());
        while let Some(event) = generation.next().await {
            match event.expect("no error") {
                Event::Text(text) => {
                    said += &text.text;
                    logprobs.extend(text.logprobs.iter().map(|logprob| logprob.token));
                }
                Event::Finished(finished) => {
                    assert_eq!(finished.reason, FinishReason::Length);
                    assert_eq!(finished.usage.completion_tokens, max_tokens);
                    let told = format!("{{\"told\":{max_tokens}}}");
                    assert_eq!(finished.plugins[0].meta, Some(told), "of the last one, too");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(said, expected);
        assert_eq!(logprobs, tokens(expected));
    }
    becomes_idle(&handle, &log).await;
}

#[tokio::test]
async fn an_answer_can_end_where_tokens_were_taken_back() {
    let (engine, log) = begin(true);
    let handle = engine.handle();
    for tier in [Tier::Plan, Tier::Cut] {
        for (max_tokens, at) in [(20, 9), (9, 9), (20, 3), (3, 3)] {
            let sampler = Scripted::used(tier, 256, move |step, told| {
                step.commands.hold = 3;
                if told.len() == at {
                    step.commands.backtrack = 3;
                    step.commands.stop = Some(FinishReason::Filter);
                }
            });
            let params = Params { max_tokens: Some(max_tokens), temperature: 0.0, ..Params::default() };
            let request = GenerateRequest { params, samplers: vec![sampler], ..request("long") };
            let (said, finished) = ask(&handle, request).await.expect("an answer");
            if tier == Tier::Cut && max_tokens as usize == at {
                // Nothing is picked behind the last.
                assert_eq!((said.len(), finished.reason), (at, FinishReason::Length));
                continue;
            }
            assert_eq!((said.as_str(), finished.reason), (&" one two"[..at - 3], FinishReason::Filter));
            assert_eq!(finished.plugins[0].meta, Some(format!("{{\"told\":{}}}", at - 3)));
        }
    }
    becomes_idle(&handle, &log).await;
}

#[tokio::test]
async fn nobody_goes_back_for_ever() {
    let (engine, log) = begin(true);
    let handle = engine.handle();
    for (tier, times, limit) in [(Tier::Plan, 5, 5), (Tier::Cut, 5, 5), (Tier::Plan, 6, 5), (Tier::Cut, 6, 5)]
    {
        let sampler = Scripted::used(tier, limit, move |step, told| {
            step.commands.hold = 2;
            if told.len() == 3 && step.backtracks < times {
                step.commands.backtrack = 2;
            }
        });
        let answer = ask(&handle, GenerateRequest { samplers: vec![sampler], ..request("long") }).await;
        match answer {
            Ok((said, _)) => assert_eq!((said.as_str(), times), (" one two three", limit)),
            Err(Error::Sampling(message)) => {
                assert_eq!(times, limit + 1);
                assert!(message.contains("once more, after 5 times in one answer"), "{message}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    becomes_idle(&handle, &log).await;
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_an_error() {
    let (engine, log) = begin(true);
    let handle = engine.handle();
    let asked =
        |samplers: Vec<_>| async { ask(&handle, GenerateRequest { samplers, ..request("long") }).await };
    // Past the start of the answer, past what is held, past what it may.
    for (at, hold, count, expected) in [
        (2, 4, 3, "takes 3 tokens back; 2 are held"),
        (6, 1, 3, "takes 3 tokens back; 2 are held"),
        (6, 4, 5, "it may take back 4"),
    ] {
        let far = Scripted::used(Tier::Plan, 256, move |step, told| {
            step.commands.hold = hold;
            step.commands.backtrack = if told.len() == at { count } else { 0 };
        });
        match asked(vec![far]).await {
            Err(Error::Sampling(message)) => assert!(message.contains(expected), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    let rigid = ClosureSampler::new("rigid", 8, |_, _| Choice::Host);
    let rigid: Use<dyn SamplerPlugin> = used(Arc::new(rigid), OnFault::Fail);
    let said = asked(vec![rigid, editor(Tier::Plan)]).await.expect_err("a refusal").to_string();
    assert_eq!(said, "the sampler 'scripted' takes tokens back, and 'rigid' beside it cannot");
    let mut shifting = edited(Tier::Plan);
    shifting.params.context_shift = Some(ContextShift::default());
    let said = ask(&handle, shifting).await.expect_err("a refusal").to_string();
    assert_eq!(said, "the sampler 'scripted' takes tokens back, and a context that shifts cannot");
    becomes_idle(&handle, &log).await;

    let (engine, _) = begin(false);
    let said = ask(&engine.handle(), edited(Tier::Plan)).await.expect_err("a refusal").to_string();
    assert_eq!(said, "plugin 'scripted' 1, in open: cannot take tokens back: the model cannot forget them");
}

/// Decodes that fail before, while and after tokens are taken back change nothing.
#[tokio::test]
async fn a_failed_decode_and_a_way_back_do_not_meet() {
    let (engine, log) = begin(true);
    let handle = engine.handle();
    for tier in [Tier::Plan, Tier::Cut] {
        for after in 0..16 {
            let batches = log.record().batches.len();
            let answer = tokio::spawn({
                let handle = handle.clone();
                async move { ask(&handle, edited(tier)).await }
            });
            while log.record().batches.len() < batches + after && !answer.is_finished() {
                tokio::time::sleep(Duration::from_micros(50)).await;
            }
            log.inject(&[Fault::Decode]);
            let (said, _) = answer.await.expect("no panic").expect("an answer");
            assert_eq!(said, " one 2 is two", "{tier:?}, after {after}");
            ask(&handle, request("hello")).await.expect("what is left of the fault goes by");
        }
    }
    becomes_idle(&handle, &log).await;
}
