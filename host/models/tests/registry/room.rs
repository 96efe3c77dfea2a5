//! Who makes room for whom, and who does not.

use minerva_models::registry::Health;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_one_not_used_for_longest_makes_room() {
    let options = Options { bytes_max: Some(10), ..Options::default() };
    let (a, b, c) = (Fake::of(4), Fake::of(4), Fake::of(4));
    let registry = registry(options, &[("a", &a), ("b", &b), ("c", &c)]);
    for id in ["a", "b", "a", "c"] {
        soon(registry.get(Some(id))).await.unwrap();
    }
    assert_eq!(condition(&registry, "b"), Condition::Unloaded);
    assert_eq!([condition(&registry, "a"), condition(&registry, "c")], [Condition::Ready; 2]);
    assert_eq!(registry.entry("b").unwrap().evictions, 1);
    let bytes: u64 = registry.entries().iter().filter_map(|entry| entry.bytes).sum();
    assert_eq!(bytes, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_model_ends_what_it_has_begun_before_it_goes() {
    let options = Options { models_max: 1, ..Options::default() };
    let slow = Fake { delay: Duration::from_millis(20), ..Fake::of(1) };
    let registry = registry(options, &[("slow", &slow), ("b", &Fake::of(1))]);
    let mut answer = ask(soon(registry.get(Some("slow"))).await.unwrap(), "long").await;
    let _ = soon(answer.next()).await;
    let other = {
        let registry = registry.clone();
        tokio::spawn(async move { registry.get(Some("b")).await.map(|_| ()) })
    };
    until("it retires", || condition(&registry, "slow") == Condition::Retiring).await;
    // Who asks for it now waits for its next load, and kills nothing.
    let again = {
        let registry = registry.clone();
        tokio::spawn(async move { registry.get(Some("slow")).await.map(|_| ()) })
    };
    let rest = soon(text(answer)).await;
    assert!("and on and on and on and on and on".ends_with(&rest) && rest.len() > 3, "{rest}");
    soon(other).await.unwrap().unwrap();
    soon(again).await.unwrap().unwrap();
    assert_eq!(slow.begun(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_held_stays_until_patience_ends() {
    let options = Options { models_max: 1, room_patience: Duration::from_millis(200), ..Options::default() };
    let registry = registry(options, &[("a", &Fake::of(1)), ("b", &Fake::of(1))]);
    let held = soon(registry.get(Some("a"))).await.unwrap();
    let error = soon(registry.get(Some("b"))).await.map(|_| ()).unwrap_err();
    assert!(why(&error).contains("a did not end"), "{error}");
    assert_eq!(condition(&registry, "a"), Condition::Ready, "it stays, and serves again");
    assert_eq!(text(ask(held, "hello").await).await, " there");
}

#[tokio::test(flavor = "multi_thread")]
async fn pinned_models_stay_and_what_can_never_fit_is_refused_at_once() {
    let options = Options { bytes_max: Some(10), ..Options::default() };
    let registry = Registry::new(options);
    let pinned = Spec { pinned: true, keep_alive: Some(Duration::ZERO), ..Spec::new("pinned", Fake::of(6)) };
    registry.add(pinned).unwrap();
    registry.add(Spec::new("fits", Fake::of(4))).unwrap();
    registry.add(Spec::new("never", Fake::of(11))).unwrap();
    registry.add(Spec::new("alone", Fake::of(9))).unwrap();
    soon(registry.get(Some("pinned"))).await.unwrap();
    soon(registry.get(Some("fits"))).await.unwrap();
    let error = soon(registry.get(Some("never"))).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("the limit for all is"), "{error}");
    let error = soon(registry.get(Some("alone"))).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("pinned"), "{error}");
    assert_eq!([condition(&registry, "pinned"), condition(&registry, "fits")], [Condition::Ready; 2]);
    // By hand, even a pinned one goes.
    soon(registry.unload("pinned")).await.unwrap();
    soon(registry.get(Some("alone"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_uses_is_unloaded_and_comes_back() {
    let registry = Registry::default();
    let source = Fake::of(1);
    let spec = Spec { keep_alive: Some(Duration::from_millis(50)), ..Spec::new("a", source.clone()) };
    registry.add(spec).unwrap();
    registry.add(Spec::new("b", Fake::of(1))).unwrap();
    let held = soon(registry.get(Some("a"))).await.unwrap();
    soon(registry.get(Some("b"))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(condition(&registry, "a"), Condition::Ready, "somebody uses it");
    drop(held);
    until("it sleeps", || condition(&registry, "a") == Condition::Unloaded).await;
    assert_eq!(condition(&registry, "b"), Condition::Ready, "it has no such limit");
    assert_eq!(registry.health(), Health::Ready);
    soon(registry.get(Some("a"))).await.unwrap();
    assert_eq!(source.begun(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unload_cancels_a_load_and_waits_for_requests() {
    let source = Fake::of(1);
    source.watched.gate.close();
    let registry = registry(Options::default(), &[("a", &source), ("b", &Fake::of(1))]);
    let wait = |id: &'static str| {
        let registry = registry.clone();
        tokio::spawn(async move { registry.get(Some(id)).await.map(|_| ()) })
    };
    let loading = wait("a");
    until("the first one loads", || source.begun() == 1).await;
    let queued = wait("b");
    until("the other one waits", || registry.entry("b").unwrap().waiting == 1).await;
    soon(registry.unload("b")).await.unwrap();
    assert_eq!(soon(queued).await.unwrap(), Err(Error::Cancelled { model: "b".into() }));
    soon(registry.unload("a")).await.unwrap();
    assert_eq!(soon(loading).await.unwrap(), Err(Error::Cancelled { model: "a".into() }));
    source.watched.gate.open();
    // Cancelled is not failed: the next request loads it.
    let held = soon(registry.get(Some("a"))).await.unwrap();
    let unloading = {
        let registry = registry.clone();
        tokio::spawn(async move { registry.unload("a").await })
    };
    until("it retires", || condition(&registry, "a") == Condition::Retiring).await;
    drop(held);
    soon(unloading).await.unwrap().unwrap();
    assert_eq!(condition(&registry, "a"), Condition::Unloaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_registries_know_nothing_of_each_other() {
    let options = Options { models_max: 1, ..Options::default() };
    let one = registry(options.clone(), &[("a", &Fake::of(1))]);
    let two = registry(options, &[("a", &Fake::of(1))]);
    let (a, b) = (soon(one.get(Some("a"))).await.unwrap(), soon(two.get(Some("a"))).await.unwrap());
    assert_eq!(text(ask(a, "hello").await).await, text(ask(b, "hello").await).await);
    soon(tokio::task::spawn_blocking(move || drop(one))).await.unwrap();
    assert_eq!(text(ask(two.get(None).await.unwrap(), "hello").await).await, " there");
}
