//! Guests that try to break the host. Each misdeed in each call where it can be done: the documented fault, and the
//! next request is served.

use std::time::{Duration, Instant};

use minerva_engine::event::FinishReason;
use minerva_engine::plugin::{Chunk, Error, Fault, Output, Plugin};
use minerva_engine::request::Chat;
use minerva_engine::step::{Candidates, Step};
use minerva_wasm::{Options, Runtime};
use serde_json::{Value, json};

use crate::support::{context, guest, loaded, runtime};

/// Runs the call that misbehaves, after all that comes before it.
fn commit(plugin: &Plugin, kind: &str, at: &str, how: &str) -> Result<(), Error> {
    commit_with(plugin, kind, &json!({"at": at, "how": how}))
}

fn commit_with(plugin: &Plugin, kind: &str, args: &Value) -> Result<(), Error> {
    let plugin = plugin.clone();
    match kind {
        "sampler" => {
            let cut = Candidates { ids: vec![5, 3], logits: vec![2.0, 1.0] };
            let mut step = Step { history: vec![10, 11, 12], prompt_tokens: 2, held: 1, ..Step::default() };
            let mut session = plugin.sampler.unwrap().open(&context(), args, &[10, 11])?;
            let advanced = session.advance(&mut step, &[12]);
            // As the engine does: what nobody holds is sent.
            step.held = step.held.min(step.commands.hold as usize);
            let result = advanced.and_then(|()| session.pick(&mut step, &cut).map(drop));
            assert_eq!(step.history, [10, 11, 12], "the step is given back, whatever happens");
            let result = result.and_then(|()| session.fork().map(drop)).and_then(|()| session.rollback(1));
            let result = result.and_then(|()| session.close().map(drop));
            if let Err(error) = &result
                && !matches!(error.fault, Fault::Refused(_))
            {
                let again = session.pick(&mut step, &cut).expect_err("a session ends with its first fault");
                assert_eq!(again.fault, error.fault);
            }
            result
        }
        "template" => plugin.template.unwrap().render(&context(), &Chat::default(), args).map(drop),
        "stream" => {
            let mut session = plugin.stream.unwrap().open(&context(), args)?;
            let result = session.push(&Chunk { text: "x".to_owned(), tokens: vec![120] }).map(drop);
            result.and_then(|()| session.close(FinishReason::Stop).map(drop))
        }
        other => unreachable!("{other}"),
    }
}

/// The calls of each kind, and their deadlines.
fn calls() -> [(&'static str, &'static [&'static str]); 3] {
    [
        ("sampler", &["open", "advance", "pick", "fork", "rollback", "close"]),
        ("template", &["render"]),
        ("stream", &["open", "push", "close"]),
    ]
}

/// What every call can do.
#[test]
fn misdeeds_of_every_call() {
    let plugin = loaded("misbehaving");
    let memory = runtime().options().limits.memory_bytes as u64;
    for (how, expected) in [
        ("panic", "trapped: panicked at misbehaving/src/lib.rs:"),
        ("trap", "trapped: wasm `unreachable` instruction executed"),
        ("hog", &format!("exceeded its limit of {memory} bytes of memory")),
        ("recurse", "trapped: call stack exhausted"),
        ("recurse through the host", "trapped: call stack exhausted"),
        ("exit", "trapped: called exit"),
        ("sleep", "trapped: called wasi:"),
        ("connect", "trapped: called wasi:sockets/tcp-create-socket@"),
    ] {
        for (kind, calls) in calls() {
            for call in calls {
                let error = commit(&plugin, kind, call, how).expect_err("it misbehaves");
                let said = error.to_string();
                assert_eq!(error.call, *call, "{how} in {call} of {kind}: {said}");
                assert!(error.fault.to_string().starts_with(expected), "{how} in {call} of {kind}: {said}");
                assert!(said.starts_with("plugin 'misbehaving' 0.1.0, in "), "{said}");
                commit(&plugin, kind, "", "").expect("the next request is served");
            }
        }
    }
}

/// Endless loops end at the deadline: not before, and not much later even on a busy machine.
#[test]
fn deadlines() {
    let mut options = Options::default();
    options.limits.open = Duration::from_millis(400);
    options.limits.render = Duration::from_millis(410);
    options.limits.push = Duration::from_millis(150);
    let limits = options.limits.clone();
    let impatient = Runtime::new(options).unwrap();
    let plugin = impatient.load("misbehaving", &guest("misbehaving")).unwrap();
    let deadline = |call| match call {
        "open" => limits.open,
        "advance" => limits.advance,
        "pick" => limits.pick,
        "fork" => limits.fork,
        "rollback" => limits.rollback,
        "render" => limits.render,
        "push" => limits.push,
        "close" => limits.close,
        other => unreachable!("{other}"),
    };
    for (kind, calls) in calls() {
        for &call in calls {
            let begin = Instant::now();
            let error = commit(&plugin, kind, call, "spin").expect_err("it loops");
            let took = begin.elapsed();
            let limit_ms = u64::try_from(deadline(call).as_millis()).unwrap();
            assert_eq!((error.call, &error.fault), (call, &Fault::Deadline { limit_ms }), "{kind}");
            assert!(took >= deadline(call), "{call} of {kind} was ended after {took:?}");
            assert!(took < deadline(call) + Duration::from_secs(2), "{call} of {kind} took {took:?}");
        }
    }
}

/// What only some can.
#[test]
fn misdeeds_of_one_call() {
    let plugin = loaded("misbehaving");
    for (kind, at, how, expected) in [
        ("sampler", "open", "refuse", "refused: not today"),
        ("sampler", "open", "bad regex", "refused: regex parse error"),
        ("sampler", "open", "huge regex", "refused: Compiled regex exceeds size limit"),
        ("sampler", "open", "hoard handles", "exceeded its limit of 256 handles of token sets"),
        ("sampler", "open", "bad grammar", "refused: the JSON schema cannot be used"),
        (
            "sampler",
            "open",
            "huge grammar",
            "refused: the regular expression has 131072 bytes, and the limit",
        ),
        ("sampler", "open", "doubling grammar", "refused: the GBNF grammar cannot be used"),
        ("sampler", "open", "nested grammar", "refused: the Lark grammar cannot be used"),
        ("sampler", "open", "back before the start", "refused: "),
        ("sampler", "open", "obey", "returned something invalid: called a function of `step` outside"),
        ("sampler", "open", "hoard grammars", "exceeded its limit of 16 handles of grammars"),
        ("sampler", "advance", "hoard grammars", "exceeded its limit of 16 handles of grammars"),
        ("template", "render", "hoard grammars", "exceeded its limit of 16 handles of grammars"),
        ("stream", "push", "hoard grammars", "exceeded its limit of 16 handles of grammars"),
        (
            "sampler",
            "open",
            "compile for ever",
            "exceeded its limit of 67108864 bytes of work done by host calls",
        ),
        (
            "sampler",
            "advance",
            "follow for ever",
            "exceeded its limit of 67108864 bytes of work done by host calls",
        ),
        (
            "sampler",
            "pick",
            "ambiguous for ever",
            "exceeded its limit of 67108864 bytes of work done by host calls",
        ),
        (
            "sampler",
            "open",
            "encode for ever",
            "exceeded its limit of 67108864 bytes of work done by host calls",
        ),
        (
            "sampler",
            "open",
            "match for ever",
            "exceeded its limit of 67108864 bytes of work done by host calls",
        ),
        ("sampler", "open", "command", "returned something invalid: called a function of `step` outside"),
        (
            "sampler",
            "advance",
            "read the row",
            "returned something invalid: read the row of logits in advance",
        ),
        ("sampler", "advance", "force for ever", "exceeded its limit of 4096 tokens of forced tokens"),
        (
            "sampler",
            "advance",
            "force outside",
            "returned something invalid: token 4294967295 in force; the voc",
        ),
        (
            "sampler",
            "advance",
            "back too far",
            "returned something invalid: takes back 5 tokens, and its descriptor says backtrack-max 4",
        ),
        (
            "sampler",
            "pick",
            "back too far",
            "returned something invalid: takes back 4294967295 tokens, and its descriptor says",
        ),
        (
            "sampler",
            "advance",
            "back before the start",
            "returned something invalid: takes back 2 tokens; 1 are held",
        ),
        (
            "sampler",
            "pick",
            "back behind what is sent",
            "returned something invalid: takes back 1 tokens; 0 are held",
        ),
        (
            "sampler",
            "advance",
            "hold too many",
            "returned something invalid: holds 5 tokens, and its descriptor says backtrack-max 4",
        ),
        ("sampler", "pick", "hold", "returned something invalid: holds tokens in pick; what is not held in"),
        ("sampler", "advance", "bias NaN", "returned something invalid: a bias of NaN"),
        ("sampler", "advance", "bias infinite", "returned something invalid: a bias of inf"),
        (
            "sampler",
            "advance",
            "bias outside",
            "returned something invalid: token 1073741824 in bias; the voc",
        ),
        ("sampler", "advance", "bias uneven", "returned something invalid: bias with 2 tokens and 1 numbers"),
        ("sampler", "advance", "bias for ever", "exceeded its limit of 1048576 tokens of biases of a step"),
        ("sampler", "advance", "freeze", "returned something invalid: a temperature of -1"),
        (
            "sampler",
            "pick",
            "bad token",
            "returned something invalid: token 4294967295; the vocabulary has 259",
        ),
        ("sampler", "pick", "stranger", "returned something invalid: `only` with token 200, which was not a"),
        ("sampler", "pick", "nobody", "returned something invalid: `only` of no tokens"),
        ("sampler", "pick", "giant", "exceeded its limit of 8388608 bytes of output of one call"),
        (
            "sampler",
            "pick",
            "read it all",
            "returned something invalid: read the row of logits, and its descr",
        ),
        ("sampler", "rollback", "refuse", "refused: never"),
        ("sampler", "close", "not JSON", "returned something invalid: metadata that is not JSON"),
        ("template", "render", "refuse", "refused: not today"),
        ("template", "render", "bad token", "returned something invalid: token 4294967295 in a prompt"),
        ("template", "render", "giant", "exceeded its limit of 8388608 bytes of output of one call"),
        ("template", "render", "empty stop", "returned something invalid: an empty stop text"),
        ("template", "render", "command", "returned something invalid: called a function of `step` outside"),
        ("stream", "open", "refuse", "refused: not today"),
        ("stream", "push", "giant", "exceeded its limit of 8388608 bytes of output of one call"),
        ("stream", "push", "many", "returned something invalid: 5000 events at once"),
        ("stream", "push", "not JSON", "returned something invalid: metadata that is not JSON"),
        ("stream", "close", "not JSON", "returned something invalid: metadata that is not JSON"),
    ] {
        let error = commit(&plugin, kind, at, how).expect_err(how);
        assert!(error.fault.to_string().starts_with(expected), "{how} in {at} of {kind}: {error}");
        commit(&plugin, kind, "", "").expect("the next request is served");
    }
}

/// What makes the host work, in the first and in a later call of every world.
#[test]
fn pathological_work_in_every_world() {
    let plugin = loaded("misbehaving");
    for how in [
        "compile for ever",
        "match for ever",
        "encode for ever",
        "follow for ever",
        "ambiguous for ever",
        "hoard handles",
        "hoard grammars",
    ] {
        for (kind, at) in [
            ("sampler", "open"),
            ("sampler", "advance"),
            ("sampler", "pick"),
            ("template", "render"),
            ("stream", "open"),
            ("stream", "push"),
            ("stream", "close"),
        ] {
            let error = commit(&plugin, kind, at, how).expect_err(how);
            assert_eq!(error.fault.kind(), "limit", "{how} in {at} of {kind}: {error}");
            assert_eq!(error.call, at, "{error}");
        }
        commit(&plugin, "stream", "", "").expect("the next request is served");
    }
}

/// A flood of what is to be remembered is work of the host like any other, whoever floods, and in whatever call.
#[test]
fn floods_of_the_store_in_every_call() {
    let plugin = runtime().load("storing", &guest("storing")).unwrap();
    let work = Fault::Limit { what: "work done by host calls", limit: 64 << 20, unit: "bytes" };
    for (kind, calls) in calls() {
        for &at in calls {
            let args = json!({"do": "flood", "at": at});
            let args = if kind == "template" { json!({"do": "flood"}) } else { args };
            let error = commit_with(&plugin, kind, &args).expect_err(at);
            assert_eq!((error.call, &error.fault), (at, &work), "{kind}");
        }
    }
}

/// Nothing that the guest can do is forgotten here or in the tests of the server.
#[test]
fn every_misdeed_is_named() {
    let tests = concat!(
        include_str!("hostile.rs"),
        include_str!("commands.rs"),
        include_str!("limits.rs"),
        include_str!("conversation.rs"),
        include_str!("../../../tests/hostile_plugins.rs"),
    );
    let guest = include_str!("../../../tests/guests/misbehaving/src/lib.rs");
    let named = |line: &'static str| {
        let (how, _) = line.trim_start().trim_start_matches("Some(").strip_prefix('"')?.split_once('"')?;
        line.contains("=>").then_some(how)
    };
    let names: std::collections::BTreeSet<&str> = guest.lines().filter_map(named).collect();
    let forgotten: Vec<_> = names.iter().filter(|name| !tests.contains(&format!("\"{name}\""))).collect();
    assert!(forgotten.is_empty(), "no test names {forgotten:?}");
    assert!(names.len() >= 60, "{} misdeeds", names.len());
}

/// What is allowed within limits does not fail.
#[test]
fn floods_that_are_dropped() {
    let plugin = loaded("misbehaving");
    for (kind, at, how) in [
        ("sampler", "open", "flood the log"),
        ("sampler", "close", "flood the output"),
        ("stream", "push", "print"),
        ("stream", "push", "tool"),
        ("template", "render", "grammar"),
        ("template", "render", "look around"),
        ("template", "render", "read a file"),
    ] {
        commit(&plugin, kind, at, how).unwrap_or_else(|error| panic!("{how}: {error}"));
    }
}

/// Neighbours of a misbehaving plugin see nothing of it.
#[test]
fn neighbours_go_on() {
    let plugin = loaded("misbehaving");
    let stream = plugin.stream.clone().unwrap();
    let mut neighbours: Vec<_> = (0..8)
        .map(|_| stream.open(&context(), &Value::Null).unwrap_or_else(|error| panic!("{error}")))
        .collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            ["panic", "trap", "hog", "recurse"]
                .map(|how| commit(&plugin, "sampler", "pick", how).unwrap_err())
        });
        for _ in 0..50 {
            for neighbour in &mut neighbours {
                let chunk = Chunk { text: "ü".to_owned(), tokens: vec![195, 188] };
                let outputs = neighbour.push(&chunk).unwrap();
                assert_eq!(
                    outputs,
                    [Output::Text("ü".to_owned()), Output::Reasoning("[195, 188]".to_owned())]
                );
            }
        }
    });
    for neighbour in &mut neighbours {
        assert_eq!(neighbour.close(FinishReason::Length).unwrap(), [Output::Stop(FinishReason::Length)]);
    }
}
