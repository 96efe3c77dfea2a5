//! What both kinds of completion have in common: the fields around the prompt, and the way from a body to the
//! engine.

use std::sync::Arc;
use std::time::SystemTime;

use minerva_engine::request::{GenerateRequest, Grammar, Input, Params};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::models::unix_seconds;
use super::{grammar, sampling};
use crate::admission::Admission;
use crate::app::{App, ServedModel};
use crate::failure::Failure;
use crate::generation::Choices;
use crate::json::{self, Object};
use crate::openapi::Part;
use crate::origin::Origin;
use crate::plugins::choice::{self, Chosen};

/// What else `prepare` reads of a body.
pub(crate) const PARTS: [Part; 4] =
    [Body::json_schema, sampling::Body::json_schema, grammar::Body::json_schema, choice::Body::json_schema];

/// Beside them, of endpoints that have one answer.
pub(crate) const ONE_ANSWER: Part = OneAnswer::json_schema;

#[derive(JsonSchema)]
#[expect(dead_code, reason = "it says what these endpoints check")]
struct OneAnswer {
    /// There is one answer.
    #[schemars(range(min = 1, max = 1))]
    n: Option<i64>,
}

/// The fields around the prompt.
#[derive(Deserialize, JsonSchema)]
struct Body {
    /// The model's id or an alias. Where one model is served, any name means it.
    model: Option<String>,
    /// Whether the answer comes as server-sent events.
    stream: Option<bool>,
    stream_options: Option<Object<StreamOptions>>,
    /// How many answers there are to each prompt.
    #[schemars(range(min = 1))]
    n: Option<i64>,
    /// Take over what was decoded for prompts that begin alike, and leave it to others. True unless it is said.
    cache_prompt: Option<bool>,
    // Only their types are checked.
    /// For the client's own records.
    #[serde(rename = "user")]
    _user: Option<String>,
    /// For the client's own records.
    #[serde(rename = "metadata")]
    _metadata: Option<Map<String, Value>>,
}

#[derive(Default, Deserialize, JsonSchema)]
struct StreamOptions {
    /// End the stream with a chunk that has `usage` and no choices.
    include_usage: Option<bool>,
}

/// A request on its way to the engine, without its prompt.
pub(crate) struct Prepared {
    pub(crate) model: Arc<ServedModel>,
    pub(crate) params: Params,
    pub(crate) origin: Origin,
    pub(crate) is_stream: bool,
    pub(crate) include_usage: bool,
    n: Option<i64>,
    pub(crate) plugins: Chosen,
    /// What the answers must be.
    pub(crate) grammar: Option<Grammar>,
    choices_max: usize,
}

/// How many choices there will be.
#[derive(Clone, Copy)]
pub(crate) struct Count {
    pub(crate) choices: usize,
    pub(crate) per_prompt: usize,
}

/// Reads all of a body but its prompt, and waits for the model if it has to be loaded. `input` is the field that the
/// prompt is in.
pub(crate) async fn prepare(app: &App, text: &str, input: &'static str) -> Result<Prepared, Failure> {
    let body: Body = json::read(text)?;
    let model = app.models.choose(body.model.as_deref()).await?;
    let mut params = model.defaults.params.clone();
    json::read::<sampling::Body>(text)?.apply(&mut params, Some(model.handle.vocabulary().as_ref()))?;
    params.cache_prompt = body.cache_prompt.unwrap_or(params.cache_prompt);
    let mut origin = Origin { input, plugins: Vec::new() };
    let choice = json::read::<choice::Body>(text)?;
    (params.priority, params.deadlines) = choice.urgency(app.options.deadlines)?;
    let plugins = choice.resolve(&model.defaults.plugins, &app.plugins, &mut origin)?;
    let grammar = json::read::<grammar::Body>(text)?.into_grammar()?;
    let include_usage = body.stream_options.and_then(|options| options.0.include_usage).unwrap_or(false);
    Ok(Prepared {
        model,
        params,
        origin,
        is_stream: body.stream.unwrap_or(false),
        include_usage,
        n: body.n,
        plugins,
        grammar,
        choices_max: app.options.choices_max,
    })
}

impl Prepared {
    /// How many choices the request asks for, within the limit.
    pub(crate) fn count(&self, prompts: usize) -> Result<Count, Failure> {
        let per_prompt = sampling::choices(self.n, prompts, self.choices_max)?;
        Ok(Count { choices: prompts * per_prompt, per_prompt })
    }

    /// Submits everything.
    pub(crate) async fn submit(
        &mut self,
        id: &str,
        admission: &Admission,
        inputs: Vec<Input>,
        count: Count,
    ) -> Result<Choices, Failure> {
        self.params.tenant = admission.tenant();
        let Chosen { template, samplers, stream } = std::mem::take(&mut self.plugins);
        let trace = admission.trace();
        if let Some(trace) = trace {
            trace.asked(&self.model.id, &self.params, count.choices);
        }
        let requests = inputs.into_iter().map(|input| GenerateRequest {
            id: id.to_owned(),
            input,
            params: self.params.clone(),
            template: template.clone(),
            samplers: samplers.clone(),
            stream: stream.clone(),
            grammar: self.grammar.clone(),
            observer: None,
        });
        let submitted =
            Choices::submit(&self.model.handle, requests.collect(), count.per_prompt, trace).await;
        submitted.map_err(|error| self.origin.failure(error))
    }
}

/// What every object of one response says of it.
pub(crate) struct Head {
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
}

impl Head {
    pub(crate) fn new(id: String, model: &ServedModel) -> Self {
        Self { id, created: unix_seconds(SystemTime::now()), model: model.id.clone() }
    }
}
