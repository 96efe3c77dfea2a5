//! `minerva:plugin/template` as the engine's [`Template`].

use minerva_engine::plugin::{Error, Fault, Identity, Part, Prompt, SessionContext, Template};
use minerva_engine::request::{Chat, Content, Message};
use serde_json::Value;

use crate::args::Schema;
use crate::bindings::exports::minerva::plugin::template::{self as wit, GuestIndices};
use crate::fault::refused;
use crate::instance::{Component, Instance};
use crate::state::Rows;

/// The most stop texts that a prompt may have.
const STOPS_MAX: usize = 128;

/// A component as a template.
pub(crate) struct WasmTemplate {
    pub(crate) component: Component,
    pub(crate) indices: GuestIndices,
    pub(crate) schema: Schema,
}

impl Template for WasmTemplate {
    fn identity(&self) -> &Identity {
        &self.component.identity
    }

    fn args_schema(&self) -> &str {
        self.schema.text()
    }

    fn render(&self, context: &SessionContext, chat: &Chat, args: &Value) -> Result<Prompt, Error> {
        let refuse = |fault| Error::new(&self.component.identity, "render", fault);
        let args = self.schema.check(args).map_err(refuse)?;
        let mut instance = self.component.instance("render", Some(context), Rows::Nothing)?;
        let deadline = instance.limits().render;
        let chat = guest_chat(chat);
        let rendered = instance.start("render", deadline, |store, wasm| {
            self.indices.load(&mut *store, wasm)?.call_render(store, &chat, &args)
        })?;
        let prompt = rendered.map_err(|words| refuse(refused(&words)))?;
        checked(prompt, &instance).map_err(|why| refuse(Fault::Invalid(why)))
    }
}

fn guest_chat(chat: &Chat) -> wit::Chat {
    let variables = &chat.template_variables;
    wit::Chat {
        messages: chat.messages.iter().map(guest_message).collect(),
        tools: chat.tools.iter().map(Value::to_string).collect(),
        variables: if variables.is_null() { "{}".to_owned() } else { variables.to_string() },
        continue_last: chat.continue_last,
    }
}

fn guest_message(message: &Message) -> wit::Message {
    let calls = message.tool_calls.iter().map(|call| wit::ToolCall {
        id: call.id.clone(),
        name: call.name.clone(),
        arguments: call.arguments.clone(),
    });
    wit::Message {
        role: message.role.clone(),
        content: message.content.iter().map(|Content::Text(text)| wit::Content::Text(text.clone())).collect(),
        name: message.name.clone(),
        tool_calls: calls.collect(),
        tool_call_id: message.tool_call_id.clone(),
        reasoning: message.reasoning.clone(),
    }
}

/// The engine's form of a prompt, if it means something.
fn checked(prompt: wit::Prompt, instance: &Instance) -> Result<Prompt, String> {
    let size = instance.state().context.as_ref().map_or(0, |context| context.vocabulary.size());
    if prompt.stops.len() > STOPS_MAX {
        return Err(format!("{} stop texts; at most {STOPS_MAX}", prompt.stops.len()));
    }
    if prompt.stops.iter().any(String::is_empty) {
        return Err("an empty stop text".to_owned());
    }
    let part = |part| match part {
        wit::Part::Text(text) => Ok(Part::Text(text)),
        wit::Part::Special(text) => Ok(Part::Special(text)),
        wit::Part::Tokens(ids) => match ids.iter().find(|&&id| id >= size) {
            None => Ok(Part::Tokens(ids)),
            Some(id) => Err(format!("token {id} in a prompt; the vocabulary has {size} tokens")),
        },
    };
    let parts = prompt.parts.into_iter().map(part).collect::<Result<_, _>>()?;
    let grammar = prompt.grammar.map(|(notation, source)| (notation.into(), source));
    Ok(Prompt { parts, stops: prompt.stops, grammar })
}
