//! The library, as another program would embed it.

use minerva::{Ask, Choice, ClosureSampler, Error, Minerva};
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
