//! A template that uses the interface `store` as its arguments say: `{"do": "count"}`. What it finds is its prompt.

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package minerva:guest-storing;

        world storing {
            include minerva:plugin/template-plugin@0.1.0;
            import minerva:plugin/store@0.1.0;
        }
    ",
    world: "minerva:guest-storing/storing",
    generate_all,
});

use exports::minerva::plugin::template::{Chat, Guest, Part, Prompt};
use minerva::plugin::store;
use minerva::plugin::types::About;

struct Storing;

impl Guest for Storing {
    fn describe() -> About {
        About { version: "0.1.0".to_owned(), summary: "Remembers.".to_owned(), args_schema: String::new() }
    }

    fn render(_: Chat, args: String) -> Result<Prompt, String> {
        let said = match args.as_str() {
            r#"{"do":"count"}"# => store::add("count", 1, 0)?.to_string(),
            r#"{"do":"set"}"# => {
                store::set("key", b"value", 0)?;
                store::set("short", b"value", 1)?;
                String::new()
            }
            r#"{"do":"get"}"# => {
                let short = store::get("short").is_some();
                let value = store::get("key").map(|value| String::from_utf8_lossy(&value).into_owned());
                format!("{value:?} {short}")
            }
            r#"{"do":"remove"}"# => {
                store::remove("key");
                String::new()
            }
            r#"{"do":"fill"}"# => {
                let full = (0..).find_map(|key| store::set(&format!("fill-{key}"), &[0; 1_000], 0).err());
                return Err(full.unwrap_or_default());
            }
            r#"{"do":"long key"}"# => return Err(store::set(&"k".repeat(1 << 20), &[], 0).unwrap_err()),
            r#"{"do":"long value"}"# => return Err(store::set("v", &vec![0; 1 << 20], 0).unwrap_err()),
            r#"{"do":"flood"}"# => loop {
                let _ = store::set("flood", &[0; 60_000], 0);
            },
            r#"{"do":"read for ever"}"# => loop {
                let _ = store::get("nothing");
            },
            other => return Err(format!("what is {other}?")),
        };
        Ok(Prompt { parts: vec![Part::Text(said)], stops: Vec::new(), grammar: None })
    }
}

export!(Storing);
