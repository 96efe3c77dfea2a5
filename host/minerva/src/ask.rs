//! A question put together piece by piece.

use futures::StreamExt;
use minerva_engine::Generation;
use minerva_engine::event::{Event, Finished};
use minerva_engine::grammar::Kind;
use minerva_engine::plugin::{self, OnFault, Plugin};
use minerva_engine::request::{Chat, GenerateRequest, Grammar, Input, Message, Params, Use};
use serde_json::Value;
use std::sync::Arc;

use crate::error::Error;
use crate::host::Minerva;

/// A question to the model, in the form of a chat, put together piece by piece.
#[must_use = "a question is asked by `send` or `text`"]
pub struct Ask<'a> {
    minerva: &'a Minerva,
    chat: Chat,
    params: Params,
    template: Option<(String, Value)>,
    samplers: Vec<(String, Value)>,
    stream: Vec<(String, Value)>,
    on_fault: Option<OnFault>,
    grammar: Option<Grammar>,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(minerva: &'a Minerva, question: String) -> Self {
        let chat = Chat { messages: vec![Message::text("user", question)], ..Chat::default() };
        Self {
            minerva,
            chat,
            params: Params::default(),
            template: None,
            samplers: Vec::new(),
            stream: Vec::new(),
            on_fault: None,
            grammar: None,
        }
    }

    /// Puts a system message in front.
    pub fn system(mut self, text: impl Into<String>) -> Self {
        self.chat.messages.insert(0, Message::text("system", text));
        self
    }

    /// Puts messages in front of the question: what was said before.
    pub fn history(mut self, messages: impl IntoIterator<Item = Message>) -> Self {
        let system = self.chat.messages.iter().take_while(|message| message.role == "system").count();
        self.chat.messages.splice(system..system, messages);
        self
    }

    /// Makes the prompt by a template plugin instead of the model's own template.
    pub fn template(mut self, name: impl Into<String>, args: Value) -> Self {
        self.template = Some((name.into(), args));
        self
    }

    /// Adds a sampler to the end of the chain.
    pub fn sampler(mut self, name: impl Into<String>, args: Value) -> Self {
        self.samplers.push((name.into(), args));
        self
    }

    /// Adds a stream processor to the end of the pipe.
    pub fn processor(mut self, name: impl Into<String>, args: Value) -> Self {
        self.stream.push((name.into(), args));
        self
    }

    /// What happens when one of the plugins named here fails. Default: what [`Builder::plugin_policy`] says of it.
    ///
    /// [`Builder::plugin_policy`]: crate::Builder::plugin_policy
    pub fn on_fault(mut self, on_fault: OnFault) -> Self {
        self.on_fault = Some(on_fault);
        self
    }

    /// The most tokens to generate.
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.params.max_tokens = Some(tokens);
        self
    }

    /// Divides the logits before the draw; 0 takes the best token.
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.params.temperature = temperature;
        self
    }

    /// Seeds all randomness of the request.
    pub fn seed(mut self, seed: u64) -> Self {
        self.params.seed = Some(seed);
        self
    }

    /// Makes the answer JSON that obeys a schema.
    pub fn json_schema(self, schema: &Value) -> Self {
        self.grammar(Kind::JsonSchema, schema.to_string())
    }

    /// Makes the answer obey a grammar; the last one given counts. It holds behind the thinking, if there is any.
    pub fn grammar(mut self, kind: Kind, source: impl Into<String>) -> Self {
        self.grammar = Some(Grammar::new(kind, source.into()));
        self
    }

    /// Changes any parameter.
    pub fn params(mut self, change: impl FnOnce(&mut Params)) -> Self {
        change(&mut self.params);
        self
    }

    /// Asks, and gives the answer as it comes.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When a plugin is not there, or the engine refuses the request.
    pub async fn send(self) -> Result<Generation, Error> {
        let loaded = |name: &str, kind: plugin::Kind| find(self.minerva, name, kind);
        let mut request = GenerateRequest::new("embedded", Input::Chat(self.chat));
        request.params = self.params;
        request.grammar = self.grammar;
        let on_fault = |plugin: &Plugin| {
            self.on_fault.unwrap_or_else(|| self.minerva.plugins.on_fault(&plugin.identity.name))
        };
        if let Some((name, args)) = self.template {
            let found = loaded(&name, plugin::Kind::Template)?;
            let on_fault = on_fault(&found);
            request.template = found.template.clone().map(|plugin| Use { plugin, args, on_fault });
        }
        for (name, args) in self.samplers {
            let found = loaded(&name, plugin::Kind::Sampler)?;
            let on_fault = on_fault(&found);
            request.samplers.extend(found.sampler.clone().map(|plugin| Use { plugin, args, on_fault }));
        }
        for (name, args) in self.stream {
            let found = loaded(&name, plugin::Kind::Stream)?;
            let on_fault = on_fault(&found);
            request.stream.extend(found.stream.clone().map(|plugin| Use { plugin, args, on_fault }));
        }
        self.minerva.generate(request).await
    }

    /// Asks, and gives the text of the whole answer.
    ///
    /// # Errors
    ///
    /// As [`Ask::send`], and when the answer breaks off.
    pub async fn text(self) -> Result<String, Error> {
        Ok(self.answer().await?.0)
    }

    /// Asks, and gives the text of the whole answer and what it took.
    ///
    /// # Errors
    ///
    /// As [`Ask::text`].
    pub async fn answer(self) -> Result<(String, Finished), Error> {
        let mut generation = self.send().await?;
        let mut answer = String::new();
        while let Some(event) = generation.next().await {
            match event? {
                Event::Text(piece) => answer.push_str(&piece.text),
                Event::Finished(finished) => return Ok((answer, finished)),
                Event::Reasoning(_) | Event::Tool(_) | Event::Meta(_) => {}
            }
        }
        Err(minerva_engine::Error::Internal("the answer ended without an end".into()).into())
    }
}

fn find(minerva: &Minerva, name: &str, kind: plugin::Kind) -> Result<Arc<Plugin>, Error> {
    let is = |plugin: &Plugin| plugin.kinds().any(|of| of == kind);
    if let Some(plugin) = minerva.plugins.get(name).filter(|plugin| is(plugin)) {
        return Ok(plugin);
    }
    let list = minerva.plugins.list();
    let plugins =
        list.iter().filter(|plugin| is(plugin)).map(|plugin| plugin.identity.name.clone()).collect();
    Err(Error::UnknownPlugin { name: name.into(), kind, plugins })
}
