//! What plugins remember.

use minerva_engine::plugin::{Error, Fault, Part, Plugin};
use minerva_engine::request::Chat;
use minerva_wasm::{Options, Runtime};
use serde_json::json;

use crate::support::{context, guest};

fn limited(limits: &[&str]) -> Runtime {
    let mut options = Options::default();
    limits.iter().chain(&["render=60s"]).for_each(|limit| options.set_limit(limit).unwrap());
    Runtime::new(options).unwrap()
}

fn ask(plugin: &Plugin, what: &str) -> Result<String, Error> {
    let template = plugin.template.clone().unwrap();
    let prompt = template.render(&context(), &Chat::default(), &json!({ "do": what }))?;
    match prompt.parts.as_slice() {
        [Part::Text(text)] => Ok(text.clone()),
        other => panic!("{other:?}"),
    }
}

fn load(runtime: &Runtime, name: &str) -> Plugin {
    runtime.load(name, &guest("storing")).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_plugin_remembers_and_no_other_reads_it() {
    let runtime = limited(&[]);
    let (a, b) = (load(&runtime, "a"), load(&runtime, "b"));
    ask(&a, "set").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(ask(&a, "get").unwrap(), r#"Some("value") false"#);
    assert_eq!(ask(&b, "get").unwrap(), "None false");
    // The next version takes it over, in place and beside.
    let next = load(&runtime, "a@2");
    drop(a);
    assert_eq!(ask(&next, "get").unwrap(), r#"Some("value") false"#);
    ask(&next, "remove").unwrap();
    assert_eq!(ask(&next, "get").unwrap(), "None false");
}

#[test]
fn numbers_are_counted_by_many_at_once() {
    let runtime = limited(&[]);
    let plugin = load(&runtime, "a");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..50).for_each(|_| drop(ask(&plugin, "count").unwrap())));
        }
    });
    assert_eq!(ask(&plugin, "count").unwrap(), "401");
}

#[test]
fn quotas_hold() {
    let runtime = limited(&["few:store_keys=10", "small:store=20KiB", "store_value=64000"]);
    let said = |name: &str, what: &str| ask(&load(&runtime, name), what).unwrap_err().fault;
    let refused = |text: &str| Fault::Refused(text.to_owned());
    assert_eq!(said("few", "fill"), refused("the store is full: 10 keys and 1048576 bytes are all it holds"));
    assert_eq!(
        said("small", "fill"),
        refused("the store is full: 1024 keys and 20480 bytes are all it holds")
    );
    assert_eq!(
        said("other", "fill"),
        refused("the store is full: 1024 keys and 1048576 bytes are all it holds")
    );
    assert_eq!(said("other", "long key"), refused("a key of 1048576 bytes; at most 256"));
    assert_eq!(said("other", "long value"), refused("a value of 1048576 bytes; at most 64000"));
    // A flood of calls is work like any other.
    let work = Fault::Limit { what: "work done by host calls", limit: 64 << 20, unit: "bytes" };
    assert_eq!(said("other", "flood"), work);
    assert_eq!(said("other", "read for ever"), work);
}

#[test]
fn who_remembers_can_be_seen() {
    let inspection = limited(&[]).inspect("a", &guest("storing")).unwrap();
    assert!(
        inspection.imports.contains(&"minerva:plugin/store@0.1.0#add".to_owned()),
        "{:?}",
        inspection.imports
    );
}
