//! Native plugins that do what plugins can do to a response, each in the plainest way.

use std::sync::Arc;

use minerva_engine::event::{FinishReason, ToolDelta};
use minerva_engine::model::Token;
use minerva_engine::plugin::{
    Choice, Chunk, Error, Fault, Identity, Output, Part, Plugin, Plugins, Policy, Prompt, Sampler,
    SamplerDescriptor, SamplerPlugin, SessionContext, StreamPlugin, StreamProcessor, Template,
};
use minerva_engine::request::Chat;
use minerva_engine::step::{Candidates, Step};
use serde_json::Value;

/// What no client may ever see.
pub(crate) const SECRET: &str = "panicked at /home/author/plugin.rs:3: 0xdeadbeef";

const SCHEMA: &str = r#"{"type": "object", "properties": {"p": {"type": "number"}}}"#;

/// What a stream processor makes of a chunk.
type Push = fn(&Chunk) -> Vec<Output>;

/// All of them.
pub(crate) fn all(policy: Policy) -> Plugins {
    let plugins = Plugins::default();
    plugins.set_policy(policy);
    for (name, picks) in [("pass", Picks::Pass), ("trap", Picks::Trap)] {
        let identity = Identity::native(name, "1.2.3");
        let descriptor = SamplerDescriptor { args_schema: SCHEMA.into(), ..SamplerDescriptor::default() };
        let sampler = Arc::new(Sampling { identity, descriptor, picks });
        plugins.insert(Plugin::of_sampler(sampler));
    }
    let identity = Identity::native("hello", "1.2.3");
    plugins.insert(Plugin::of_template(Arc::new(Hello { identity })));
    let processors: [(&str, Push); 5] = [
        ("upper", |chunk| vec![Output::Text(chunk.text.to_uppercase())]),
        ("think", |chunk| vec![Output::Reasoning("hm".into()), Output::Text(chunk.text.clone())]),
        ("call", |chunk| {
            let first =
                ToolDelta { id: Some("call_1".into()), name: Some("weather".into()), ..ToolDelta::default() };
            let delta = if chunk.text.starts_with('H') { first } else { ToolDelta::default() };
            vec![Output::Tool(ToolDelta { arguments: chunk.text.clone(), ..delta })]
        }),
        ("censor", |_| vec![Output::Stop(FinishReason::Filter)]),
        ("panic", |_| panic!("{SECRET}")),
    ];
    for (name, push) in processors {
        let identity = Identity::native(name, "1.2.3");
        plugins.insert(Plugin::of_stream(Arc::new(Processing { identity, push })));
    }
    plugins
}

#[derive(Clone, Copy)]
enum Picks {
    Pass,
    Trap,
}

struct Sampling {
    identity: Identity,
    descriptor: SamplerDescriptor,
    picks: Picks,
}

impl SamplerPlugin for Sampling {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn descriptor(&self) -> &SamplerDescriptor {
        &self.descriptor
    }

    /// Refuses a `p` beyond 1.
    fn open(&self, _: &SessionContext, args: &Value, _: &[Token]) -> Result<Box<dyn Sampler>, Error> {
        match args.get("p").and_then(Value::as_f64) {
            Some(p) if p > 1.0 => {
                Err(Error::new(&self.identity, "open", Fault::Refused("args.p: must be at most 1".into())))
            }
            _ => Ok(Box::new(Session { identity: self.identity.clone(), picks: self.picks })),
        }
    }
}

struct Session {
    identity: Identity,
    picks: Picks,
}

impl Sampler for Session {
    fn advance(&mut self, _: &mut Step, _: &[Token]) -> Result<(), Error> {
        Ok(())
    }

    fn pick(&mut self, step: &mut Step, _: &Candidates) -> Result<Choice, Error> {
        match self.picks {
            Picks::Pass => Ok(Choice::Host),
            Picks::Trap => {
                // What it commands in the call that fails must not count.
                step.commands.stop = Some(FinishReason::Filter);
                Err(Error::new(&self.identity, "pick", Fault::Trap(SECRET.into())))
            }
        }
    }

    fn fork(&mut self) -> Result<Box<dyn Sampler>, Error> {
        Err(Error::new(&self.identity, "fork", Fault::Unsupported("fork")))
    }

    fn rollback(&mut self, _: u32) -> Result<(), Error> {
        Err(Error::new(&self.identity, "rollback", Fault::Unsupported("roll back")))
    }

    fn close(&mut self) -> Result<Option<String>, Error> {
        Ok(Some(r#"{"picked": true}"#.into()))
    }
}

/// Says hello, whatever the conversation says; refuses one about secrets.
struct Hello {
    identity: Identity,
}

impl Template for Hello {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn args_schema(&self) -> &str {
        ""
    }

    fn render(&self, _: &SessionContext, chat: &Chat, _: &Value) -> Result<Prompt, Error> {
        if chat.messages.iter().any(|message| message.joined_text().contains("secret")) {
            return Err(Error::new(&self.identity, "render", Fault::Refused("not about that".into())));
        }
        Ok(Prompt { parts: vec![Part::Text("user: hello\nassistant:".into())], ..Prompt::default() })
    }
}

struct Processing {
    identity: Identity,
    push: Push,
}

impl StreamPlugin for Processing {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn args_schema(&self) -> &str {
        SCHEMA
    }

    fn open(&self, _: &SessionContext, _: &Value) -> Result<Box<dyn StreamProcessor>, Error> {
        Ok(Box::new(Processor { push: self.push }))
    }
}

struct Processor {
    push: Push,
}

impl StreamProcessor for Processor {
    fn push(&mut self, chunk: &Chunk) -> Result<Vec<Output>, Error> {
        Ok((self.push)(chunk))
    }

    fn close(&mut self, _: FinishReason) -> Result<Vec<Output>, Error> {
        Ok(vec![Output::Meta(r#"{"closed": true}"#.into())])
    }
}
