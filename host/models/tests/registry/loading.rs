//! Who loads what, how often, and what becomes of those who wait.

use minerva_models::registry::{Health, What};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_share_one_load() {
    let source = Fake::of(1);
    source.watched.gate.close();
    let registry = registry(Options::default(), &[("a", &source), ("b", &Fake::of(1))]);
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let registry = registry.clone();
            tokio::spawn(
                async move { text(ask(registry.get(Some("a")).await.unwrap(), "hello").await).await },
            )
        })
        .collect();
    until("everyone waits", || registry.entry("a").unwrap().waiting == 50).await;
    source.watched.gate.open();
    for asked in asked {
        assert_eq!(soon(asked).await.unwrap(), " there");
    }
    let entry = registry.entry("a").unwrap();
    assert_eq!((source.begun(), entry.loads, entry.misses, entry.hits, entry.waiting), (1, 1, 50, 0, 0));
    registry.get(Some("a")).await.unwrap();
    assert_eq!(registry.entry("a").unwrap().hits, 1);
    assert_eq!(condition(&registry, "b"), Condition::Unloaded, "nobody asked for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_loads_at_once_are_two_loads_in_turn() {
    let (a, mut b) = (Fake::of(1), Fake::of(1));
    let watched = Watched { side_by_side: Arc::clone(&a.watched.side_by_side), ..Watched::default() };
    b.watched = Arc::new(watched);
    a.watched.gate.close();
    let registry = registry(Options::default(), &[("a", &a), ("b", &b)]);
    let [one, two] = ["a", "b"].map(|id| {
        let registry = registry.clone();
        tokio::spawn(async move { registry.get(Some(id)).await })
    });
    until("both are wanted", || ["a", "b"].iter().all(|id| registry.entry(id).unwrap().waiting == 1)).await;
    a.watched.gate.open();
    assert!(soon(one).await.unwrap().is_ok() && soon(two).await.unwrap().is_ok());
    assert_eq!(a.watched.side_by_side.lock().unwrap().1, 1, "never two at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_fails_fails_for_all_who_wait_and_is_tried_again_later() {
    let source = Fake::of(1);
    source.watched.gate.close();
    *source.watched.failing.lock().unwrap() = vec!["panic", "the disk is on fire"];
    let options = Options { retry_pause: Duration::from_millis(300), ..Options::default() };
    let registry = registry(options, &[("a", &source), ("b", &Fake::of(1))]);
    let asked: Vec<_> = (0..5)
        .map(|_| {
            let registry = registry.clone();
            tokio::spawn(async move { registry.get(Some("a")).await.map(|_| ()) })
        })
        .collect();
    until("everyone waits", || registry.entry("a").unwrap().waiting == 5).await;
    source.watched.gate.open();
    for asked in asked {
        let error = soon(asked).await.unwrap().unwrap_err();
        assert_eq!(why(&error), "the disk is on fire");
        assert!(!error.to_string().contains("fire"), "what clients are told: {error}");
    }
    assert_eq!(condition(&registry, "a"), Condition::Failed);
    // Until the pause is over, nobody tries again.
    let error = registry.get(Some("a")).await.map(|_| ()).unwrap_err();
    assert_eq!(why(&error), "the disk is on fire");
    assert_eq!(source.begun(), 1);
    // The other model is none the worse.
    assert!(soon(registry.get(Some("b"))).await.is_ok());
    // A source that panics is a source that fails.
    let panicked = soon(async {
        loop {
            match registry.get(Some("a")).await.map(|_| ()).unwrap_err() {
                error if why(&error) == "loading it panicked" => return error,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    panicked.await;
    assert_eq!(source.begun(), 2);
    soon(async {
        while registry.get(Some("a")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!((condition(&registry, "a"), registry.entry("a").unwrap().failures), (Condition::Ready, 2));
    assert!(registry.entry("a").unwrap().failure.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_under_way_is_cancelled_when_the_registry_closes() {
    let source = Fake::of(1);
    source.watched.gate.close();
    let registry = registry(Options::default(), &[("a", &source), ("b", &Fake::of(1))]);
    registry.preload("a").unwrap();
    assert_eq!(registry.health(), Health::Loading);
    let waiting: Vec<_> = ["a", "b"]
        .map(|id| {
            let registry = registry.clone();
            tokio::spawn(async move { registry.get(Some(id)).await.map(|_| ()) })
        })
        .into();
    until("it loads", || source.begun() == 1 && registry.entry("b").unwrap().waiting == 1).await;
    registry.close();
    for waiting in waiting {
        assert_eq!(soon(waiting).await.unwrap(), Err(Error::Closing));
    }
    assert_eq!(registry.get(Some("b")).await.map(|_| ()), Err(Error::Closing));
    assert_eq!(registry.health(), Health::Closing);
    // Nothing is left that would hold the end up.
    soon(tokio::task::spawn_blocking(move || drop(registry))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_who_wait_are_refused_and_who_goes_away_makes_room() {
    let source = Fake::of(1);
    source.watched.gate.close();
    let options = Options { waiting_max: 2, ..Options::default() };
    let registry = registry(options, &[("a", &source)]);
    let wait = || {
        let registry = registry.clone();
        tokio::spawn(async move { registry.get(None).await.map(|_| ()) })
    };
    let (first, second) = (wait(), wait());
    until("both wait", || registry.entry("a").unwrap().waiting == 2).await;
    let refused = registry.get(None).await.map(|_| ());
    assert_eq!(refused, Err(Error::Overloaded { model: "a".into(), waiting: 2, limit: 2 }));
    first.abort();
    until("one went away", || registry.entry("a").unwrap().waiting == 1).await;
    let third = wait();
    until("another waits", || registry.entry("a").unwrap().waiting == 2).await;
    source.watched.gate.open();
    assert!(soon(second).await.unwrap().is_ok() && soon(third).await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_the_whole_story() {
    let source = Fake::of(7);
    *source.watched.failing.lock().unwrap() = vec!["no such file"];
    let registry = registry(Options { retry_pause: Duration::ZERO, ..Options::default() }, &[("a", &source)]);
    let mut events = registry.events();
    assert!(registry.load("a").await.is_err());
    soon(registry.load("a")).await.unwrap();
    soon(registry.unload("a")).await.unwrap();
    let mut story = Vec::new();
    while let Ok(event) = events.try_recv() {
        assert_eq!(event.model, "a");
        if let What::Ready { bytes, .. } = event.what {
            assert_eq!(bytes, 7);
        }
        story.push(event.what.as_str());
    }
    let expected = ["queued", "loading", "failed", "queued", "loading", "loaded", "retiring", "unloaded"];
    assert_eq!(story, expected);
    assert_eq!(registry.entry("a").unwrap().misses, 0, "an administrator's load is no use");
}

#[tokio::test]
async fn names_are_one_models_each() {
    let registry = Registry::default();
    assert_eq!(registry.get(None).await.map(|_| ()), Err(Error::Empty));
    let mut spec = Spec::new("a", Fake::of(1));
    spec.aliases = vec!["x".into()];
    registry.add(spec).unwrap();
    assert_eq!(registry.add(Spec::new("x", Fake::of(1))), Err(Error::Taken { name: "x".into() }));
    // The only model is whatever a request calls it.
    assert_eq!(registry.get(Some("gpt-4o")).await.unwrap().id, "a");
    registry.add(Spec::new("b", Fake::of(1))).unwrap();
    assert_eq!(registry.get(Some("x")).await.unwrap().id, "a");
    let known = vec!["a".to_owned(), "b".to_owned()];
    let unknown = Error::Unknown { name: "gpt-4o".into(), known: known.clone() };
    assert_eq!(registry.get(Some("gpt-4o")).await.map(|_| ()), Err(unknown));
    assert_eq!(registry.get(None).await.map(|_| ()), Err(Error::Unnamed { known }));
}
