//! The library, as another program would embed it.

use minerva::models::registry::{Condition, Options, PluginChoice};
use minerva::{Ask, Choice, ClosureSampler, Error, Minerva, Model, Spec};
use serde_json::json;

use crate::harness::plugins;

fn ask(host: &Minerva) -> Ask<'_> {
    host.ask("What is Minerva?").max_tokens(20)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_live_in_one_process() {
    let build = || Minerva::builder().slots(2).plugin("min-p", plugins().join("min-p.wasm")).build();
    let (first, second) = (build().expect("a host"), build().expect("a second host"));
    second.add_sampler(ClosureSampler::new("best", 1, |_, cut| Choice::Token(cut.ids[0])));

    let greedy = ask(&first).temperature(0.0).text().await.expect("an answer");
    let by_plugin = ask(&first).sampler("min-p", json!({ "p": 1.0 })).text().await.expect("an answer");
    let by_closure = ask(&second).sampler("best", json!(null)).text().await.expect("an answer");
    assert!(greedy.len() > 3, "{greedy:?}");
    assert_eq!((&by_plugin, &by_closure), (&greedy, &greedy));

    let unknown = ask(&first).sampler("best", json!(null)).text().await.expect_err("it is the other host's");
    assert!(matches!(unknown, Error::UnknownPlugin { .. }), "{unknown}");
    drop(first);
    assert_eq!(ask(&second).temperature(0.0).text().await.expect("an answer"), greedy);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_can_cancel_a_load() {
    let cancelled = tokio::task::spawn_blocking(|| Minerva::builder().on_progress(|_| false).build());
    let Err(error) = cancelled.await.expect("it returns") else { panic!("it loaded") };
    assert!(error.to_string().contains("cancelled"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_has_several_models_which_take_turns_without_http() {
    let build = || {
        let options = Options { models_max: 1, ..Options::default() };
        let builder = Minerva::builder().plugin("min-p", plugins().join("min-p.wasm"));
        let host = builder.registry_options(options).build_host().expect("a host");
        let mut spec = Spec::new("sure", Model::built_in().slots(1).context(256));
        let only_the_best = PluginChoice { id: "min-p".into(), args: json!({ "p": 1.0 }), on_fault: None };
        spec.defaults.plugins.samplers = vec![only_the_best];
        spec.defaults.params.max_tokens = Some(20);
        host.registry().add(spec).expect("a free name");
        host.registry().add(Spec::new("plain", Model::built_in().slots(2))).expect("a free name");
        host
    };
    let (first, second) = (build(), build());
    let mut events = first.registry().events();
    let question = "What is Minerva?";
    let (sure, finished) = first.ask("sure", question).answer().await.expect("an answer");
    assert!(finished.plugins.iter().any(|report| report.name == "min-p"), "{finished:?}");
    let plain = first.ask("plain", question).max_tokens(20).temperature(0.0).text().await.expect("an answer");
    assert_eq!(sure, plain, "one by its defaults, one by what was asked");
    let condition = |host: &minerva::Host, id| host.registry().entry(id).map(|entry| entry.condition);
    assert_eq!(condition(&first, "sure"), Some(Condition::Unloaded), "it made room");
    assert_eq!(condition(&second, "plain"), Some(Condition::Unloaded), "nobody asked the other host");
    let mut story = Vec::new();
    while let Ok(event) = events.try_recv() {
        story.push(format!("{} {}", event.model, event.what.as_str()));
    }
    story.dedup();
    let expected = [
        "sure queued",
        "sure loading",
        "sure loaded",
        "plain queued",
        "sure retiring",
        "sure unloaded",
        "plain loading",
        "plain loaded",
    ];
    assert_eq!(story, expected);
    drop(first);
    assert_eq!(second.ask("sure", question).text().await.expect("an answer"), sure);
    let unknown = second.ask("neither", question).text().await.expect_err("there is no such model");
    assert!(matches!(unknown, Error::Registry(_)), "{unknown}");
}
