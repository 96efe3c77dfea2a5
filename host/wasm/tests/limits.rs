//! Limits of one plugin, and of all.

use minerva_engine::plugin::{Chunk, Fault};
use minerva_engine::step::Step;
use minerva_wasm::{Options, Runtime};
use serde_json::{Value, json};

use crate::support::{context, guest};

/// A runtime with limits as an operator writes them.
fn limited(limits: &[&str]) -> Runtime {
    let mut options = Options::default();
    limits.iter().for_each(|limit| options.set_limit(limit).unwrap());
    Runtime::new(options).unwrap()
}

#[test]
fn each_plugin_has_limits_of_its_own() {
    let runtime = limited(&["bad:push=40ms", "bad:memory=3MiB", "push=300ms", "open=60s"]);
    let fault = |name: &str, how: &str| {
        let plugin = runtime.load(name, &guest("misbehaving")).unwrap();
        let stream = plugin.stream.unwrap();
        let mut session = stream.open(&context(), &json!({"at": "push", "how": how})).unwrap();
        session.push(&Chunk { text: "x".into(), tokens: vec![120] }).unwrap_err().fault
    };
    assert_eq!(fault("bad", "spin"), Fault::Deadline { limit_ms: 40 });
    assert_eq!(fault("bad@2", "spin"), Fault::Deadline { limit_ms: 40 });
    assert_eq!(fault("other", "spin"), Fault::Deadline { limit_ms: 300 });
    let runtime = limited(&["bad:memory=3MiB", "bad:handles=7", "push=60s", "open=60s"]);
    let fault = |name: &str, how: &str| {
        let plugin = runtime.load(name, &guest("misbehaving")).unwrap();
        let (stream, sampler) = (plugin.stream.unwrap(), plugin.sampler.unwrap());
        if how == "hoard handles" {
            return sampler.open(&context(), &json!({"at": "open", "how": how}), &[1]).err().unwrap().fault;
        }
        let mut session = stream.open(&context(), &json!({"at": "push", "how": how})).unwrap();
        session.push(&Chunk { text: "x".into(), tokens: vec![120] }).unwrap_err().fault
    };
    let limit = |what, limit, unit| Fault::Limit { what, limit, unit };
    assert_eq!(fault("bad", "hog"), limit("memory", 3 << 20, "bytes"));
    assert_eq!(fault("other", "hog"), limit("memory", 64 << 20, "bytes"));
    assert_eq!(fault("bad", "hoard handles"), limit("token sets and grammars", 7, "handles"));
    assert_eq!(fault("other", "hoard handles"), limit("token sets and grammars", 256, "handles"));
}

#[test]
fn sessions_are_limited_for_one_and_for_all() {
    let runtime = limited(&["few:sessions=2", "sessions_of_all=3", "open=60s"]);
    let [few, many] =
        ["few", "many"].map(|name| runtime.load(name, &guest("misbehaving")).unwrap().stream.unwrap());
    let open = |plugin: &std::sync::Arc<dyn minerva_engine::plugin::StreamPlugin>| {
        plugin.open(&context(), &Value::Null)
    };
    let mut sessions = vec![open(&few).unwrap(), open(&few).unwrap()];
    let said = |result: Result<_, minerva_engine::plugin::Error>| match result {
        Ok(_) => "opened".to_owned(),
        Err(error) => error.fault.to_string(),
    };
    assert_eq!(
        said(open(&few)),
        "could not be run: 2 instances of this plugin are alive, and that is the limit"
    );
    sessions.push(open(&many).unwrap());
    assert_eq!(
        said(open(&many)),
        "could not be run: 3 instances of all plugins are alive, and that is the limit"
    );
    sessions.remove(0);
    assert_eq!(said(open(&few)), "opened");
    drop(sessions);
    assert_eq!(runtime.sessions(), 0);
}

#[test]
fn tokens_are_taken_back_so_far_and_so_often() {
    let fault = |limits: &[&str], backtracks: u32| {
        let plugin = limited(&[limits, &["advance=60s", "open=60s"]].concat());
        let sampler = plugin.load("bad", &guest("misbehaving")).unwrap().sampler.unwrap();
        let mut session =
            sampler.open(&context(), &json!({"at": "advance", "how": "back for ever"}), &[]).unwrap();
        let mut step = Step { history: vec![9; 4], held: 4, backtracks, ..Step::default() };
        session.advance(&mut step, &[9]).map(|()| step.commands.backtrack).map_err(|error| error.fault)
    };
    let limit = |limit| Err(Fault::Limit { what: "taking tokens back", limit, unit: "times" });
    assert_eq!((fault(&[], 255), fault(&[], 256)), (Ok(3), limit(256)));
    assert_eq!((fault(&["bad:backtracks=7"], 6), fault(&["bad:backtracks=7"], 7)), (Ok(3), limit(7)));
    // How far is said once, when it is loaded.
    assert_eq!(fault(&["bad:backtrack=4"], 0), Ok(3));
    let refused = limited(&["bad:backtrack=3"]).load("bad", &guest("misbehaving"));
    let said = refused.map(drop).unwrap_err().to_string();
    assert!(said.contains("a backtrack-max of 4, and its limit is 3; the operator can raise it"), "{said}");
}

#[test]
fn limits_are_shown() {
    let plugin = limited(&["bad:pick=7ms"]).load("bad", &guest("misbehaving")).unwrap();
    assert!(plugin.limits.contains(&("pick_ms".to_owned(), 7)), "{:?}", plugin.limits);
}
