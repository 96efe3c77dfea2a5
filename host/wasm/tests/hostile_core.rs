//! Guests that no compiler would make: core modules by hand, wrapped into components. They lie to the canonical ABI,
//! misbehave before and after the call that they are asked for, and grow what Rust cannot grow.

use std::path::Path;
use std::time::{Duration, Instant};

use minerva_engine::plugin::Fault;
use minerva_engine::request::{Chat, Message};
use minerva_wasm::{Options, Runtime};
use serde_json::Value;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::support::context;

/// A template whose parts can be replaced. As it is, it renders an empty prompt.
#[derive(Clone, Default)]
struct Core {
    /// More items of the module.
    items: &'static str,
    /// Instructions of `render` in front of its result.
    render: &'static str,
    /// Instructions of `describe` in front of its result.
    describe: &'static str,
    /// Instructions of `cabi_realloc` in front of its result.
    realloc: &'static str,
    /// The bytes at 128, where the result of `render` lies: a tag of 4 bytes, parts and stops as pointer and length.
    result: &'static str,
}

impl Core {
    fn text(&self) -> String {
        let Self { items, render, describe, realloc, result } = self;
        format!(
            r#"(module
                (import "minerva:plugin/host@0.1.0" "log" (func $log (param i32 i32 i32)))
                (memory (export "memory") 2)
                (table $table 4 funcref)
                (global $heap (mut i32) (i32.const 65536))
                (data (i32.const 16) "1.0.0")
                (data (i32.const 64) "\10\00\00\00\05\00\00\00\10\00\00\00\05\00\00\00\00\00\00\00\00\00\00\00")
                (data (i32.const 128) "{result}")
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (local $at i32)
                    {realloc}
                    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
                    (global.set $heap (i32.add (local.get $at) (local.get 3)))
                    local.get $at)
                (func (export "minerva:plugin/template@0.1.0#describe") (result i32)
                    {describe} i32.const 64)
                (func (export "minerva:plugin/template@0.1.0#render")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                    {render} i32.const 128)
                {items})"#
        )
    }

    fn component(&self) -> Vec<u8> {
        component(&wat::parse_str(self.text()).unwrap())
    }
}

/// A core module as a component of the world of templates.
fn component(module: &[u8]) -> Vec<u8> {
    let mut wit = Resolve::default();
    let (package, _) = wit.push_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")).unwrap();
    let world = wit.select_world(&[package], Some("template-plugin")).unwrap();
    let mut module = module.to_vec();
    embed_component_metadata(&mut module, &wit, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(false).encode().unwrap()
}

/// Limits that are far for what is not about them.
fn patient() -> Options {
    let mut options = Options::default();
    for limit in ["render=60s", "describe=60s", "table_elements=5000"] {
        options.set_limit(limit).unwrap();
    }
    options
}

fn render(options: Options, core: &Core) -> Result<(), Fault> {
    let plugin =
        Runtime::new(options).unwrap().load("x", &core.component()).unwrap_or_else(|error| panic!("{error}"));
    let chat = Chat { messages: vec![Message::text("user", "hello")], ..Chat::default() };
    plugin.template.unwrap().render(&context(), &chat, &Value::Null).map(drop).map_err(|error| error.fault)
}

#[test]
fn as_it_is_it_works() {
    render(patient(), &Core::default()).unwrap();
}

const FOREVER: &str = "(loop $l (br $l))";

/// Each name is a guest of its own.
#[test]
fn what_lies_to_the_canonical_abi_is_ended() {
    let base = Core::default;
    for (name, core, expected) in [
        (
            "a result outside the memory",
            Core { render: "(return (i32.const 0x7ffffff0))", ..base() },
            "trapped: ",
        ),
        ("a result out of line", Core { render: "(return (i32.const 130))", ..base() }, "trapped: "),
        ("a result of no case", Core { result: r"\07", ..base() }, "trapped: "),
        (
            "a list longer than the memory",
            Core { result: r"\00\00\00\00\00\01\00\00\ff\ff\ff\0f", ..base() },
            "trapped: ",
        ),
        (
            "a list whose size overflows",
            Core { result: r"\00\00\00\00\00\01\00\00\ff\ff\ff\ff", ..base() },
            "trapped: ",
        ),
        (
            "an error that is not UTF-8",
            Core { result: r"\01\00\00\00\90\00\00\00\02\00\00\00\00\00\00\00\ff\fe", ..base() },
            "trapped: ",
        ),
        (
            "an error longer than the memory",
            Core { result: r"\01\00\00\00\90\00\00\00\ff\ff\ff\7f", ..base() },
            "trapped: ",
        ),
        (
            "a part of no case",
            Core {
                result: r"\00\00\00\00\a0\00\00\00\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\09",
                ..base()
            },
            "trapped: ",
        ),
        (
            "an allocation outside the memory",
            Core { realloc: "(return (i32.const 0x7fffff00))", ..base() },
            "trapped: ",
        ),
        ("an allocation out of line", Core { realloc: "(return (i32.const 65537))", ..base() }, "trapped: "),
        ("an allocation that traps", Core { realloc: "unreachable", ..base() }, "trapped: "),
        (
            "an allocation that calls the host",
            Core { realloc: "(call $log (i32.const 1) (i32.const 16) (i32.const 5))", ..base() },
            "trapped: ",
        ),
        (
            "a message outside the memory",
            Core { render: "(call $log (i32.const 1) (i32.const 0x7fffff00) (i32.const 5))", ..base() },
            "trapped: ",
        ),
        (
            "a level of no case",
            Core { render: "(call $log (i32.const 77) (i32.const 16) (i32.const 5))", ..base() },
            "trapped: ",
        ),
        (
            "a call through an empty table",
            Core { render: "(call_indirect $table (i32.const 2))", ..base() },
            "trapped: ",
        ),
        (
            "a division by zero",
            Core { render: "(drop (i32.div_s (i32.const 1) (i32.const 0)))", ..base() },
            "trapped: ",
        ),
        (
            "a read outside the memory",
            Core { render: "(drop (i32.load (i32.const -4)))", ..base() },
            "trapped: ",
        ),
        (
            "a bomb of tables",
            Core {
                render: "(loop $l (drop (table.grow $table (ref.null func) (i32.const 100))) (br $l))",
                ..base()
            },
            "exceeded its limit of 5000 elements of tables",
        ),
        (
            "a bomb of memory, in one piece",
            Core { render: "(drop (memory.grow (i32.const 60000)))", ..base() },
            "exceeded its limit of 67108864 bytes of memory",
        ),
        (
            "a trap behind the call",
            Core {
                items: r#"(func (export "cabi_post_minerva:plugin/template@0.1.0#render") (param i32) unreachable)"#,
                ..base()
            },
            "trapped: ",
        ),
    ] {
        match render(patient(), &core) {
            Err(fault) => assert!(fault.to_string().starts_with(expected), "{name}: {fault}"),
            Ok(()) => panic!("{name} was taken for good"),
        }
    }
}

#[test]
fn loops_before_and_behind_the_call_end_at_its_deadline() {
    let mut options = patient();
    options.set_limit("render=200ms").unwrap();
    for (name, core) in [
        ("in an allocation", Core { realloc: FOREVER, ..Core::default() }),
        (
            "behind the call",
            Core {
                items: r#"(func (export "cabi_post_minerva:plugin/template@0.1.0#render") (param i32) (loop $l (br $l)))"#,
                ..Core::default()
            },
        ),
        ("in the call", Core { render: FOREVER, ..Core::default() }),
        (
            "in calls of the host",
            Core {
                render: "(loop $l (call $log (i32.const 1) (i32.const 16) (i32.const 5)) (br $l))",
                ..Core::default()
            },
        ),
    ] {
        let begun = Instant::now();
        let fault = render(options.clone(), &core).unwrap_err();
        // Calls of the host may meet the limit of their work first.
        let expected = matches!(fault, Fault::Deadline { limit_ms: 200 } | Fault::Limit { .. });
        assert!(expected, "{name}: {fault}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{name} took {:?}", begun.elapsed());
    }
}

#[test]
fn what_cannot_even_be_loaded_says_why() {
    let mut options = patient();
    options.set_limit("describe=200ms").unwrap();
    let runtime = Runtime::new(options).unwrap();
    for (name, core, expected) in [
        (
            "a start that loops",
            Core { items: "(func $start (loop $l (br $l))) (start $start)", ..Core::default() },
            "took longer than its deadline of 200 ms",
        ),
        (
            "a start that traps",
            Core { items: "(func $start unreachable) (start $start)", ..Core::default() },
            "trapped",
        ),
        ("a description that loops", Core { describe: FOREVER, ..Core::default() }, "deadline of 200 ms"),
        (
            "a description out of line",
            Core { describe: "(return (i32.const 65))", ..Core::default() },
            "trapped",
        ),
        (
            "data outside the memory",
            Core { items: r#"(data (i32.const 131071) "too long")"#, ..Core::default() },
            "memory",
        ),
        (
            "elements outside the table",
            Core { items: "(elem (i32.const 4) $log)", ..Core::default() },
            "table",
        ),
        ("a second, large table", Core { items: "(table 6000 funcref)", ..Core::default() }, "table"),
        ("a second, large memory", Core { items: "(memory 2000)", ..Core::default() }, "memor"),
        (
            "a shared memory",
            Core { items: "(memory 1 1 shared)", ..Core::default() },
            "not a valid component",
        ),
        ("a memory of 64 bits", Core { items: "(memory i64 1)", ..Core::default() }, "not a valid component"),
        ("calls of exceptions", Core { items: "(tag $oops)", ..Core::default() }, "not a valid component"),
    ] {
        match runtime.load("x", &core.component()) {
            Err(error) => {
                let said = error.to_string();
                assert!(said.starts_with("plugin 'x'") && said.contains(expected), "{name}: {said}");
                assert!(!said.contains('\n'), "{name}: {said}");
            }
            Ok(_) => panic!("{name} was loaded"),
        }
    }
    assert_eq!(runtime.sessions(), 0);
}

#[test]
fn bombs_for_the_compiler_do_not_hold_it_up() {
    // Ten thousand functions of loops in loops: seconds of work, in a component of some hundred kilobytes.
    let body =
        "(loop (loop (loop (br_if 0 (local.get 0)) (local.set 0 (i32.mul (local.get 0) (local.get 0))))))";
    let functions = format!("(func (param i32) {})", body.repeat(30)).repeat(10_000);
    let text = Core::default().text();
    let module = format!("{}{functions})", text.strip_suffix(')').unwrap());
    let bomb = component(&wat::parse_str(module).unwrap());
    let mut options = patient();
    options.set_limit("compile=300ms").unwrap();
    let runtime = Runtime::new(options).unwrap();
    let begun = Instant::now();
    let said = runtime.load("bomb", &bomb).map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("compiling it takes longer than 0.3 s"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // Others are loaded meanwhile, after a while where the machine is busy.
    let good = Core::default().component();
    let begun = Instant::now();
    while let Err(error) = runtime.load("good", &good) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{error}");
    }

    // What the format itself forbids. In a runtime of its own: the bomb's threads may be at work for a while yet.
    let runtime = Runtime::new(patient()).unwrap();
    let locals = "(local i32)".repeat(60_000);
    let text = Core::default().text();
    let module = format!("{}(func {locals}))", text.strip_suffix(')').unwrap());
    let said = runtime.load("locals", &component(&wat::parse_str(module).unwrap())).map(|_| ()).unwrap_err();
    assert!(said.to_string().contains("too many locals"), "{said}");
}
