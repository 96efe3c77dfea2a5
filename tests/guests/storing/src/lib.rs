//! Uses the interface `store` as its arguments say: `{"do": "count"}`. As a template, what it finds is its prompt; as a
//! sampler and a stream processor it floods the store in the call that they name, `{"do": "flood", "at": "push"}`.

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package minerva:guest-storing;

        world storing {
            include minerva:plugin/template-plugin@0.1.0;
            include minerva:plugin/sampler-plugin@0.1.0;
            include minerva:plugin/stream-plugin@0.1.0;
            import minerva:plugin/store@0.1.0;
        }
    ",
    world: "minerva:guest-storing/storing",
    generate_all,
});

use exports::minerva::plugin::template::{Chat, Part, Prompt};
use exports::minerva::plugin::{sampler, streaming, template};
use minerva::plugin::store;
use minerva::plugin::types::{About, Candidates, Finish};

struct Storing;

fn about() -> About {
    About { version: "0.1.0".to_owned(), summary: "Remembers.".to_owned(), args_schema: String::new() }
}

impl template::Guest for Storing {
    fn describe() -> About {
        about()
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
            r#"{"do":"flood"}"# => flood(),
            r#"{"do":"read for ever"}"# => loop {
                let _ = store::get("nothing");
            },
            other => return Err(format!("what is {other}?")),
        };
        Ok(Prompt { parts: vec![Part::Text(said)], stops: Vec::new(), grammar: None })
    }
}

fn flood() -> ! {
    loop {
        let _ = store::set("flood", &[0; 60_000], 0);
    }
}

/// A session that floods the store in one call.
struct Session {
    args: String,
}

impl Session {
    fn open(args: String) -> Self {
        let session = Self { args };
        session.reach("open");
        session
    }

    fn reach(&self, call: &str) {
        if self.args.contains(&format!(r#""at":"{call}""#)) {
            flood();
        }
    }
}

impl sampler::Guest for Storing {
    type Session = Session;

    fn describe() -> sampler::Descriptor {
        sampler::Descriptor {
            about: about(),
            tier: sampler::Tier::Cut,
            cut: 4,
            reads_row: false,
            can_fork: true,
            can_rollback: true,
            backtrack_max: 0,
        }
    }
}

impl sampler::GuestSession for Session {
    fn open(args: String, _: Vec<u32>) -> Result<sampler::Session, String> {
        Ok(sampler::Session::new(Self::open(args)))
    }

    fn advance(&self, _: Vec<u32>) {
        self.reach("advance");
    }

    fn pick(&self, _: Candidates) -> sampler::Choice {
        self.reach("pick");
        sampler::Choice::Host
    }

    fn fork(&self) -> Result<sampler::Session, String> {
        self.reach("fork");
        Ok(sampler::Session::new(Self { args: self.args.clone() }))
    }

    fn rollback(&self, _: u32) -> Result<(), String> {
        self.reach("rollback");
        Ok(())
    }

    fn close(&self) -> Option<String> {
        self.reach("close");
        None
    }
}

impl streaming::Guest for Storing {
    type Session = Session;

    fn describe() -> About {
        about()
    }
}

impl streaming::GuestSession for Session {
    fn open(args: String) -> Result<streaming::Session, String> {
        Ok(streaming::Session::new(Self::open(args)))
    }

    fn push(&self, _: streaming::Chunk) -> Vec<streaming::Event> {
        self.reach("push");
        Vec::new()
    }

    fn close(&self, _: Finish) -> Vec<streaming::Event> {
        self.reach("close");
        Vec::new()
    }
}

export!(Storing);
