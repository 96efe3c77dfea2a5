//! A question put together piece by piece.

use futures::StreamExt;
use minerva_engine::Generation;
use minerva_engine::event::{Event, Finished};
use minerva_engine::grammar::Kind;
use minerva_engine::plugin::{self, OnFault, Plugin, Plugins};
use minerva_engine::request::{Chat, GenerateRequest, Grammar, Input, Message, Params, Use};
use minerva_models::registry::PluginChoice;
use serde_json::Value;
use std::sync::Arc;

use crate::error::Error;
use crate::host::Host;

/// A change to how an answer is made.
type Change = Box<dyn FnOnce(&mut Params) + Send>;

/// A question to the model, in the form of a chat, put together piece by piece.
#[must_use = "a question is asked by `send` or `text`"]
pub struct Ask<'a> {
    host: &'a Host,
    model: String,
    chat: Chat,
    /// Changes of what the model has as its defaults, in their order.
    params: Vec<Change>,
    template: Option<(String, Value)>,
    samplers: Vec<(String, Value)>,
    stream: Vec<(String, Value)>,
    on_fault: Option<OnFault>,
    grammar: Option<Grammar>,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(host: &'a Host, model: String, question: String) -> Self {
        let chat = Chat { messages: vec![Message::text("user", question)], ..Chat::default() };
        Self {
            host,
            model,
            chat,
            params: Vec::new(),
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
    pub fn max_tokens(self, tokens: u32) -> Self {
        self.params(move |params| params.max_tokens = Some(tokens))
    }

    /// Divides the logits before the draw; 0 takes the best token.
    pub fn temperature(self, temperature: f32) -> Self {
        self.params(move |params| params.temperature = temperature)
    }

    /// Seeds all randomness of the request.
    pub fn seed(self, seed: u64) -> Self {
        self.params(move |params| params.seed = Some(seed))
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
    pub fn params(mut self, change: impl FnOnce(&mut Params) + Send + 'static) -> Self {
        self.params.push(Box::new(change));
        self
    }

    /// Asks, and gives the answer as it comes. Waits for the model if it has to be loaded. Where nothing was said, the
    /// model's own defaults hold.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the model cannot be had, a plugin is not there, or the engine refuses the request.
    pub async fn send(self) -> Result<Generation, Error> {
        // Held until the request is in the engine's queue, so that the model is not unloaded before.
        let served = self.host.registry().get(Some(&self.model)).await?;
        let mut request = GenerateRequest::new("embedded", Input::Chat(self.chat));
        request.params = served.defaults.params.clone();
        for change in self.params {
            change(&mut request.params);
        }
        request.grammar = self.grammar;
        let finder = Finder { plugins: &self.host.plugins, on_fault: self.on_fault };
        let defaults = &served.defaults.plugins;
        let or_default = |named: Vec<(String, Value)>, defaults: &[PluginChoice]| {
            let default = |choice: &PluginChoice| (choice.id.clone(), choice.args.clone());
            if named.is_empty() { defaults.iter().map(default).collect() } else { named }
        };
        let template = or_default(self.template.into_iter().collect(), defaults.template.as_slice());
        let mut template = finder.find(template, plugin::Kind::Template, |found| found.template.clone())?;
        request.template = template.pop();
        let samplers = or_default(self.samplers, &defaults.samplers);
        request.samplers = finder.find(samplers, plugin::Kind::Sampler, |found| found.sampler.clone())?;
        let stream = or_default(self.stream, &defaults.stream);
        request.stream = finder.find(stream, plugin::Kind::Stream, |found| found.stream.clone())?;
        Ok(served.handle.generate(request).await?)
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

/// Finds plugins by name.
struct Finder<'a> {
    plugins: &'a Plugins,
    on_fault: Option<OnFault>,
}

impl Finder<'_> {
    fn find<P: ?Sized>(
        &self,
        named: Vec<(String, Value)>,
        kind: plugin::Kind,
        as_kind: impl Fn(&Plugin) -> Option<Arc<P>>,
    ) -> Result<Vec<Use<P>>, Error> {
        let find = |(name, args): (String, Value)| {
            let found = self.plugins.get(&name);
            let Some((found, plugin)) = found.and_then(|found| Some((Arc::clone(&found), as_kind(&found)?)))
            else {
                let list = self.plugins.list();
                let of_kind = list.iter().filter(|plugin| plugin.kinds().any(|of| of == kind));
                let plugins = of_kind.map(|plugin| plugin.identity.name.clone()).collect();
                return Err(Error::UnknownPlugin { name, kind, plugins });
            };
            let on_fault = self.on_fault.unwrap_or_else(|| self.plugins.on_fault(&found.identity.name));
            Ok(Use { plugin, args, on_fault })
        };
        named.into_iter().map(find).collect()
    }
}
