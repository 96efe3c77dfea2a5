//! Two models that take turns, and requests for both all the time.

use super::*;

/// Swaps on every run; `MINERVA_TEST_SWAPS=200` for more.
const SWAPS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn swapping_under_load_loses_no_request_and_keeps_no_model() {
    let swaps =
        std::env::var("MINERVA_TEST_SWAPS").ok().and_then(|swaps| swaps.parse().ok()).unwrap_or(SWAPS);
    let options = Options { models_max: 1, ..Options::default() };
    let (a, b) = (Fake::of(1), Fake::of(1));
    let registry = registry(options, &[("a", &a), ("b", &b)]);
    let evictions = |registry: &Registry| registry.entries().iter().map(|entry| entry.evictions).sum::<u64>();
    let clients: Vec<_> = (0..8)
        .map(|client: usize| {
            let registry = registry.clone();
            tokio::spawn(async move {
                let mut answered = 0_u64;
                while evictions(&registry) < swaps {
                    let id = ["a", "b"][client % 2];
                    let served = registry.get(Some(id)).await.unwrap();
                    assert_eq!(served.id, id);
                    assert_eq!(text(ask(served, "hello").await).await, " there");
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let mut answered = 0;
    for client in clients {
        answered +=
            tokio::time::timeout(PATIENCE * 4, client).await.expect("somebody waits for ever").unwrap();
    }
    assert!(answered >= swaps, "{answered} answers");
    let entries = registry.entries();
    let (hits, misses): (u64, u64) =
        entries.iter().fold((0, 0), |(hits, misses), entry| (hits + entry.hits, misses + entry.misses));
    assert_eq!(hits + misses, answered, "every request is one or the other");
    assert!(entries.iter().filter(|entry| entry.served.is_some()).count() <= 1);
    assert_eq!(entries.iter().map(|entry| entry.failures).sum::<u64>(), 0);
    // Every engine but the one that is left is gone, and its thread with it.
    let loads: u64 = entries.iter().map(|entry| entry.loads).sum();
    assert_eq!(loads, (a.begun() + b.begun()) as u64);
    assert!(loads - evictions(&registry) <= 1);
}

#[tokio::test]
async fn a_model_is_forgotten_or_changed_while_it_is_not_loaded_and_only_then() {
    let registry = Registry::default();
    registry.add(Spec::new("one", Fake::of(1))).expect("a free name");
    registry.add(Spec::new("two", Fake::of(1))).expect("a free name");
    let changed = |alias: &str| {
        let mut spec = Spec::new("one", Fake::of(1));
        spec.aliases.push(alias.to_owned());
        spec
    };
    assert!(registry.replace(changed("first")).expect("it is known"));
    assert_eq!(registry.load("first").await.expect("its new name").id, "one");
    assert!(!registry.replace(changed("second")).expect("it is known") && !registry.forget("one"));
    registry.unload("one").await.expect("nobody uses it");
    assert!(registry.replace(changed("second")).expect("it is known") && registry.entry("first").is_none());
    assert!(matches!(registry.replace(changed("two")), Err(Error::Taken { name }) if name == "two"));
    assert!(matches!(registry.replace(Spec::new("three", Fake::of(1))), Err(Error::Unknown { .. })));
    assert!(registry.forget("one") && !registry.forget("one"));
    assert_eq!(registry.entries().len(), 1);
}
