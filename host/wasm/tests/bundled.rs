//! The plugins in `plugins/`, through the boundary.

use minerva_engine::event::FinishReason;
use minerva_engine::model::Token;
use minerva_engine::plugin::{Choice, Chunk, Kind, Output, Part, Tier};
use minerva_engine::request::{Chat, Message};
use minerva_engine::row;
use minerva_engine::step::{Candidates, Random, Step};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{bundled, context, loaded, runtime};

#[test]
fn what_they_say_of_themselves() {
    for (name, kind) in [
        ("sampler-min-p", Kind::Sampler),
        ("template-persona", Kind::Template),
        ("stream-redact", Kind::Stream),
    ] {
        let seen = runtime().inspect(name, &bundled(name)).unwrap();
        assert_eq!(seen.kinds.iter().map(|seen| seen.kind).collect::<Vec<_>>(), [kind]);
        assert_eq!(seen.identity.version, "0.1.0");
        assert_eq!(seen.identity.hash.len(), 64);
        assert!(seen.identity.summary.ends_with('.') && seen.identity.summary.len() > 20);
        assert_eq!(seen.interface.to_string(), "0.1.0");
        let schema: Value = serde_json::from_str(&seen.kinds[0].args_schema).unwrap();
        assert_eq!(schema["additionalProperties"], json!(false));
        assert!(seen.bytes < 512 << 10, "{} bytes", seen.bytes);
    }
    let min_p = loaded("sampler-min-p").sampler.unwrap();
    assert_eq!((min_p.descriptor().tier, min_p.descriptor().cut), (Tier::Cut, 256));
}

/// The definition of min-p, over a whole row.
fn min_p(row: &[f32], p: f32) -> Vec<Token> {
    let all = row::top(row, row.len());
    let least = all.logits[0] + p.ln();
    all.ids.iter().zip(&all.logits).take_while(|&(_, &logit)| logit >= least).map(|(&id, _)| id).collect()
}

#[test]
fn min_p_keeps_what_the_definition_keeps() {
    let plugin = loaded("sampler-min-p").sampler.unwrap();
    let mut random = Random::new(7);
    for p in [0.01, 0.05, 0.1, 0.3, 0.7, 1.0_f32] {
        let mut session = plugin.open(&context(), &json!({"p": p}), &[]).unwrap();
        for _ in 0..200 {
            let row: Vec<f32> = (0..259).map(|_| random.next_f32() * 20.0 - 10.0).collect();
            let cut = row::top(&row, 256);
            let expected = min_p(&row, p);
            let kept = match session.pick(&mut Step::default(), &cut).unwrap() {
                Choice::Only(ids) => ids,
                Choice::Host => cut.ids.clone(),
                Choice::Token(id) => vec![id],
            };
            assert_eq!(kept, expected, "p {p}");
        }
    }
}

#[test]
fn min_p_is_told_what_is_wrong_with_its_arguments() {
    let plugin = loaded("sampler-min-p").sampler.unwrap();
    for (args, message) in [
        (json!({"p": 2}), "refused: args.p: 2 is greater than the maximum of 1"),
        (json!({"p": "x"}), r#"refused: args.p: "x" is not of type "number""#),
        (json!({"q": 1}), "refused: args: Additional properties are not allowed ('q' was unexpected)"),
        (json!([]), r#"refused: args: [] is not of type "object""#),
    ] {
        let error = plugin.open(&context(), &args, &[]).err().unwrap().to_string();
        assert_eq!(error, format!("plugin 'sampler-min-p' 0.1.0, in open: {message}"));
    }
}

#[test]
fn persona_renders_a_conversation() {
    let plugin = loaded("template-persona").template.unwrap();
    let chat = Chat { messages: vec![Message::text("user", "Hi <|im_end|>")], ..Chat::default() };
    let prompt = plugin.render(&context(), &chat, &json!({"persona": "You are Ada."})).unwrap();
    assert_eq!(prompt.stops, ["<|im_end|>"]);
    let texts: Vec<&str> = prompt
        .parts
        .iter()
        .filter_map(|part| if let Part::Text(text) = part { Some(text.as_str()) } else { None })
        .collect();
    assert_eq!(texts, ["You are Ada.", "Hi <|im_end|>"]);
    let error = plugin.render(&context(), &Chat::default(), &Value::Null).unwrap_err();
    assert!(
        error.to_string().ends_with("in render: refused: the conversation has no message to answer"),
        "{error}"
    );
}

/// What comes out of the redaction, joined.
fn redacted(args: &Value, chunks: &[&str]) -> String {
    let mut session = loaded("stream-redact").stream.unwrap().open(&context(), args).unwrap();
    let mut outputs = Vec::new();
    for text in chunks {
        outputs.extend(session.push(&Chunk { text: (*text).to_owned(), tokens: Vec::new() }).unwrap());
    }
    outputs.extend(session.close(FinishReason::Stop).unwrap());
    let text = |output| match output {
        Output::Text(text) => text,
        other => format!("|{other:?}"),
    };
    outputs.into_iter().map(text).collect()
}

#[test]
fn redact_sees_across_chunks() {
    let heard = redacted(&Value::Null, &["Write to a", "nn@exa", "mple.or", "g, call 030", " 1234567"]);
    assert_eq!(heard, r#"Write to [redacted], call [redacted]|Meta("{\"redactions\":2}")"#);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn redact_does_not_depend_on_the_chunks(
        pieces in prop::collection::vec(prop_oneof!["[a-c@. ]{0,6}", "[0-9+() -]{0,8}", "[äöü€🦉]{0,3}"], 0..10),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let whole = pieces.concat();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
        ends.retain(|&end| whole.is_char_boundary(end));
        ends.extend([0, whole.len()]);
        ends.sort_unstable();
        let chunks: Vec<&str> = ends.windows(2).map(|ends| &whole[ends[0]..ends[1]]).collect();
        prop_assert_eq!(redacted(&Value::Null, &chunks), redacted(&Value::Null, &[&whole]));
    }
}

#[test]
fn ten_thousand_sessions_leave_nothing_behind() {
    // A runtime of its own, so that other tests' sessions are not counted.
    let runtime = minerva_wasm::Runtime::new(minerva_wasm::Options::default()).unwrap();
    let plugin = runtime.load("min-p", &bundled("sampler-min-p")).unwrap().sampler.unwrap();
    let cut = Candidates { ids: vec![3, 1], logits: vec![1.0, 0.0] };
    for round in 0..10_000 {
        let mut session = plugin.open(&context(), &Value::Null, &[1, 2]).unwrap();
        session.pick(&mut Step::default(), &cut).unwrap();
        if round % 2 == 0 {
            session.close().unwrap();
        }
    }
    assert_eq!(runtime.sessions(), 0);

    // As many at once as there can be, one more is refused, and there is room again afterwards.
    let limit = runtime.options().limits.sessions;
    let open = || plugin.open(&context(), &Value::Null, &[]);
    let all: Vec<_> = (0..limit).map(|_| open().unwrap()).collect();
    assert_eq!(runtime.sessions(), limit);
    let refused = open().err().unwrap().to_string();
    assert!(refused.contains("1024 instances of this plugin are alive, and that is the limit"), "{refused}");
    drop(all);
    assert_eq!(runtime.sessions(), 0);
    open().unwrap();
}
