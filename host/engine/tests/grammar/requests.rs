//! Requests with a grammar, through the whole engine.

use std::sync::Arc;

use futures::future::join_all;
use minerva_engine::builtin::closure::ClosureSampler;
use minerva_engine::event::FinishReason;
use minerva_engine::grammar::Kind;
use minerva_engine::plugin::{self, Choice, Identity, OnFault, Part, Prompt, SessionContext, Template};
use minerva_engine::request::{Chat, GenerateRequest, Grammar, Input, Message, Params, Use};
use minerva_engine::{Error, Options};
use serde_json::{Value, json};

use crate::{ask, request, start, used};

fn with(prompt: &str, kind: Kind, source: &str) -> GenerateRequest {
    GenerateRequest { grammar: Some(Grammar::new(kind, source)), ..request(prompt) }
}

#[tokio::test]
async fn answers_are_what_the_grammar_says() {
    let (engine, log) = start(2, Options::default());
    let handle = engine.handle();
    let limit = |count| Params { max_tokens: Some(count), temperature: 0.0, ..Params::default() };
    let cases = [
        // What the model wants is allowed: it says it, and ends.
        (with("hello", Kind::Regex, "[a-z ]*"), " world", FinishReason::Stop, 7),
        // It would go on.
        (with("long", Kind::Regex, " one tw[a-z]"), " one two", FinishReason::Stop, 8),
        (with("hello", Kind::Regex, "yes"), "yes", FinishReason::Stop, 3),
        // It would end.
        (
            with("nothing is scripted for this", Kind::Gbnf, "root ::= \"ja\" \"!\"*"),
            "ja",
            FinishReason::Stop,
            3,
        ),
        (
            GenerateRequest { params: limit(2), ..with("hello", Kind::Regex, "yes") },
            "ye",
            FinishReason::Length,
            2,
        ),
        (
            GenerateRequest {
                params: Params { ignore_end: true, ..limit(20) },
                ..with("hello", Kind::Regex, "(yes|no){2}")
            },
            "",
            FinishReason::Stop,
            0,
        ),
    ];
    for (request, expected, reason, tokens) in cases {
        let source = request.grammar.clone();
        let (said, finished) = ask(&handle, request).await.expect("an answer");
        assert_eq!(finished.reason, reason, "{source:?} {said}");
        if !expected.is_empty() {
            assert_eq!((said.as_str(), finished.usage.completion_tokens), (expected, tokens), "{source:?}");
        } else {
            assert!(["yesyes", "yesno", "noyes", "nono"].contains(&said.as_str()), "{said}");
        }
    }
    drop(log);
}

#[tokio::test]
async fn forced_tokens_take_no_decode_each() {
    let (engine, log) = start(1, Options::default());
    let forced = "forty characters that cannot be otherwise";
    let (said, _) = ask(&engine.handle(), with("hello", Kind::Regex, forced)).await.expect("an answer");
    assert_eq!(said, forced);
    // The prompt's. What follows is known, and its end as well.
    assert_eq!(log.record().batches.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_obeyed_is_refused_before_anything_runs() {
    let (engine, log) = start(1, Options::default());
    let mut request = with("hello", Kind::JsonSchema, r#"{"properties": {"a": {"type": "strng"}}}"#);
    if let Some(grammar) = &mut request.grammar {
        grammar.param = "response_format.json_schema.schema".into();
    }
    let error = engine.handle().generate(request).await.err().expect("a refusal");
    let Error::Invalid { param, message } = error else { panic!("{error}") };
    assert_eq!(param, "response_format.json_schema.schema");
    assert!(message.contains("/properties/a: Invalid type: strng"), "{message}");
    assert!(log.record().batches.is_empty());
}

/// Where nothing may be said, nothing is said.
#[tokio::test]
async fn an_impossible_step_is_an_error() {
    let (engine, _) = start(1, Options::default());
    let handle = engine.handle();
    let banned = Params {
        logit_bias: vec![(u32::from(b'n'), f32::NEG_INFINITY), (u32::from(b'y'), f32::NEG_INFINITY)],
        ..Params::default()
    };
    let contrary = Arc::new(ClosureSampler::new("contrary", 8, |_, _| Choice::Token(u32::from(b'x'))));
    let stubborn =
        Arc::new(ClosureSampler::new("stubborn", 8, |step: &mut minerva_engine::step::Step, _| {
            step.commands.force = vec![u32::from(b'x')];
            Choice::Host
        }));
    let cases = [
        (
            GenerateRequest { params: banned, ..with("hello", Kind::Regex, "yes|no") },
            "what the grammar allows here",
        ),
        (
            GenerateRequest {
                samplers: vec![used(contrary, OnFault::Fail)],
                ..with("hello", Kind::Regex, "yes|no")
            },
            "a plugin chose token 120",
        ),
        (
            GenerateRequest {
                samplers: vec![used(stubborn, OnFault::Fail)],
                ..with("hello", Kind::Regex, "yes|no")
            },
            "a plugin chose token 120",
        ),
    ];
    for (request, expected) in cases {
        match ask(&handle, request).await {
            Err(Error::Sampling(message)) => assert!(message.contains(expected), "{message}"),
            other => panic!("{expected}: {other:?}"),
        }
    }
    // And nobody else notices.
    assert_eq!(ask(&handle, request("hello")).await.expect("an answer").0, " world");
}

#[tokio::test]
async fn a_plugin_chooses_among_what_the_grammar_allows() {
    let (engine, _) = start(1, Options::default());
    let last = Arc::new(ClosureSampler::new("last", 8, |_, cut: &minerva_engine::step::Candidates| {
        Choice::Token(cut.ids.iter().copied().max().unwrap_or(0))
    }));
    let request = GenerateRequest {
        samplers: vec![used(last, OnFault::Fail)],
        ..with("hello", Kind::Regex, "[a-c]{3}")
    };
    assert_eq!(ask(&engine.handle(), request).await.expect("an answer").0, "ccc");
}

#[tokio::test]
async fn many_hot_requests_all_obey_their_schemas() {
    let (engine, _) = start(4, Options::default());
    let schemas = [
        json!({"type": "object", "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
               "required": ["ok", "n"], "additionalProperties": false}),
        json!({"type": "array", "items": {"enum": ["red", "green", null]}, "minItems": 1, "maxItems": 4}),
        json!({"anyOf": [{"type": "string", "maxLength": 6}, {"type": "null"}]}),
    ];
    let requests = (0..30).map(|number| {
        let mut request = with("hello", Kind::JsonSchema, &schemas[number % 3].to_string());
        request.params = Params {
            temperature: 5.0,
            seed: Some(number as u64),
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            ..Params::default()
        };
        let handle = engine.handle();
        async move { ask(&handle, request).await }
    });
    for (number, answer) in join_all(requests).await.into_iter().enumerate() {
        let (said, finished) = answer.expect("an answer");
        assert_eq!(finished.reason, FinishReason::Stop);
        let value: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{said}: {error}"));
        assert!(jsonschema::is_valid(&schemas[number % 3], &value), "{said}");
    }
}

/// A template that brings a grammar.
struct Constraining(Identity, &'static str);

impl Template for Constraining {
    fn identity(&self) -> &Identity {
        &self.0
    }

    fn args_schema(&self) -> &'static str {
        ""
    }

    fn render(&self, _: &SessionContext, _: &Chat, _: &Value) -> Result<Prompt, plugin::Error> {
        let grammar = Some((Kind::Regex, self.1.to_owned()));
        Ok(Prompt { parts: vec![Part::Text("hello".into())], grammar, ..Prompt::default() })
    }
}

#[tokio::test]
async fn a_template_can_constrain_the_answer() {
    let (engine, _) = start(1, Options::default());
    let by = |source, on_fault, own: Option<Grammar>| {
        let template: Arc<dyn Template> = Arc::new(Constraining(Identity::native("yes-or-no", "1"), source));
        let template = Some(Use { plugin: template, args: Value::Null, on_fault });
        let input = Input::Chat(Chat { messages: vec![Message::text("user", "hi")], ..Chat::default() });
        GenerateRequest { template, grammar: own, input, ..request("") }
    };
    let said = ask(&engine.handle(), by("yes|no", OnFault::Fail, None)).await.expect("an answer").0;
    assert!(["yes", "no"].contains(&said.as_str()), "{said}");

    for (request, expected) in [
        (by("(", OnFault::Fail, None), "'yes-or-no' 1, in render: refused: the regular expression cannot be"),
        (
            by("yes", OnFault::Fail, Some(Grammar::new(Kind::Regex, "no"))),
            "the request has one; take one away",
        ),
    ] {
        let error = engine.handle().generate(request).await.err().expect("a refusal").to_string();
        assert!(error.contains(expected), "{error}");
    }
    // Without the template's prompt there is no grammar of it either.
    let (_, finished) = ask(&engine.handle(), by("(", OnFault::Skip, None)).await.expect("an answer");
    assert!(finished.plugins[0].fault.is_some(), "{:?}", finished.plugins);
}
