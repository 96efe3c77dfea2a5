//! What a served model is called, and what requests to it get where they say nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, ValueEnum};
use minerva::engine::request::{Params, ReasoningFormat};
use minerva::{Model, Spec};
use minerva_server::{Defaults, PluginChoice, PluginChoices};
use serde_json::{Map, Value};

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ServedArguments {
    /// What requests call the model; the first one is its id; may be repeated
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    pub alias: Vec<String>,
    /// Where thinking goes where a request says nothing: apart, or into the text (none)
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub reasoning_format: Reasoning,
    /// Variables of the chat template where a request says nothing, as JSON ({"enable_thinking": false}); may be repeated
    #[arg(long, value_name = "JSON")]
    pub chat_template_kwargs: Vec<String>,
    /// Load the model at the start, not when it is first asked for; a model given by --model always is
    #[arg(long)]
    pub preload: bool,
    /// Keep the model even where another needs its room
    #[arg(long)]
    pub pin: bool,
    /// Seconds without a request after which the model is unloaded, until the next one; -1 is never
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_hyphen_values = true, value_parser = clap::value_parser!(i64).range(-1..=31_536_000))]
    pub sleep_idle_seconds: i64,
    /// How to sample where a request says nothing: fields of a request, as JSON ({"temperature": 0.5}); may be
    /// repeated
    #[arg(help_heading = "Sampling", long = "sampling", value_name = "JSON")]
    pub sampling_fields: Vec<String>,
    #[command(flatten)]
    pub sampling: SamplingArguments,
}

/// How answers are made where a request does not say it.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArguments {
    /// The most tokens to generate [default: up to the end of the context]
    #[arg(short = 'n', long, visible_alias = "n-predict", value_name = "N")]
    pub predict: Option<u32>,
    /// Seeds all randomness [default: a new seed for every request]
    #[arg(short, long, value_name = "N")]
    pub seed: Option<u64>,
    /// Divides the logits before the draw; 0 takes the best token [default: 0.8]
    #[arg(long, visible_alias = "temp", value_name = "T", value_parser = at_least_zero)]
    pub temperature: Option<f32>,
    /// Keep the best so many tokens; 0 keeps all [default: 40]
    #[arg(long, value_name = "N")]
    pub top_k: Option<u32>,
    /// Keep the best tokens that together have this probability; 1 keeps all [default: 0.95]
    #[arg(long, value_name = "P", value_parser = probability)]
    pub top_p: Option<f32>,
    /// Keep the tokens at least this probable, relative to the best one; 0 keeps all [default: 0.05]
    #[arg(long, value_name = "P", value_parser = probability)]
    pub min_p: Option<f32>,
    /// Divides the logits of tokens seen lately; 1 is off [default: 1]
    #[arg(long, value_name = "X", value_parser = at_least_zero)]
    pub repeat_penalty: Option<f32>,
    /// How many of the last tokens the penalties look at [default: 64]
    #[arg(long, value_name = "N")]
    pub repeat_last_n: Option<u32>,
    /// Subtracted once from the logit of every token seen lately [default: 0]
    #[arg(long, value_name = "X", allow_hyphen_values = true, value_parser = finite)]
    pub presence_penalty: Option<f32>,
    /// Subtracted from a token's logit for each time it was seen lately [default: 0]
    #[arg(long, value_name = "X", allow_hyphen_values = true, value_parser = finite)]
    pub frequency_penalty: Option<f32>,
    /// A template plugin, with arguments as JSON
    #[arg(long, value_name = "NAME[=JSON]")]
    pub template: Option<String>,
    /// A sampler plugin, with arguments as JSON: min-p or min-p={"p":0.1}; may be repeated
    #[arg(long, value_name = "NAME[=JSON]")]
    pub sampler: Vec<String>,
    /// A stream plugin, with arguments as JSON; may be repeated
    #[arg(long, value_name = "NAME[=JSON]")]
    pub stream: Vec<String>,
}

/// llama-server's names for where thinking goes.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Reasoning {
    /// Apart, as `reasoning_content`
    #[default]
    Auto,
    /// The same
    Deepseek,
    /// Into the text
    None,
}

impl From<Reasoning> for ReasoningFormat {
    fn from(reasoning: Reasoning) -> Self {
        match reasoning {
            Reasoning::Auto | Reasoning::Deepseek => Self::Apart,
            Reasoning::None => Self::InText,
        }
    }
}

impl ServedArguments {
    /// What requests get that say nothing.
    pub(crate) fn defaults(&self) -> Result<Defaults> {
        let mut params = Params::default();
        for fields in &self.sampling_fields {
            minerva_server::sample(&mut params, fields).map_err(|error| anyhow!("--sampling: {error}"))?;
        }
        self.sampling.apply(&mut params);
        let mut template_variables = Map::new();
        for variables in &self.chat_template_kwargs {
            let more: Map<String, Value> = serde_json::from_str(variables)
                .with_context(|| format!("--chat-template-kwargs must be a JSON object, not {variables}"))?;
            template_variables.extend(more);
        }
        let reasoning = self.reasoning_format.into();
        Ok(Defaults { params, reasoning, template_variables, plugins: self.sampling.plugins()? })
    }

    /// How the model is served that is called `name` where it has no alias.
    pub(crate) fn spec(&self, name: String, source: Model) -> Result<Spec> {
        let id = self.alias.first().cloned().unwrap_or_else(|| name.clone());
        let mut spec = Spec::new(id.clone(), source);
        for alias in self.alias.iter().skip(1).cloned().chain([name]) {
            if alias != id && !spec.aliases.contains(&alias) {
                spec.aliases.push(alias);
            }
        }
        spec.defaults = self.defaults()?;
        spec.keep_alive = u64::try_from(self.sleep_idle_seconds).ok().map(Duration::from_secs);
        spec.pinned = self.pin;
        Ok(spec)
    }
}

impl SamplingArguments {
    /// Changes what was asked for.
    pub(crate) fn apply(&self, params: &mut Params) {
        params.max_tokens = self.predict.or(params.max_tokens);
        params.seed = self.seed.or(params.seed);
        params.temperature = self.temperature.unwrap_or(params.temperature);
        params.top_k = self.top_k.unwrap_or(params.top_k);
        params.top_p = self.top_p.unwrap_or(params.top_p);
        params.min_p = self.min_p.unwrap_or(params.min_p);
        params.repeat_penalty = self.repeat_penalty.unwrap_or(params.repeat_penalty);
        params.repeat_last_n = self.repeat_last_n.unwrap_or(params.repeat_last_n);
        params.presence_penalty = self.presence_penalty.unwrap_or(params.presence_penalty);
        params.frequency_penalty = self.frequency_penalty.unwrap_or(params.frequency_penalty);
    }

    fn plugins(&self) -> Result<PluginChoices> {
        let all = |named: &[String]| named.iter().map(|named| choice(named)).collect::<Result<Vec<_>>>();
        Ok(PluginChoices {
            template: self.template.as_deref().map(choice).transpose()?,
            samplers: all(&self.sampler)?,
            stream: all(&self.stream)?,
        })
    }
}

/// Reads `NAME[=JSON]`.
pub(crate) fn choice(named: &str) -> Result<PluginChoice> {
    let (id, args) = match named.split_once('=') {
        Some((name, json)) => {
            let args = serde_json::from_str(json)
                .with_context(|| format!("the arguments of plugin '{name}' are not JSON: {json}"))?;
            (name, args)
        }
        None => (named, Value::Null),
    };
    Ok(PluginChoice { id: id.to_owned(), args, on_fault: None })
}

fn finite(text: &str) -> Result<f32, String> {
    let number: Option<f32> = text.parse().ok();
    number.filter(|number| number.is_finite()).ok_or_else(|| "it is no number".to_owned())
}

fn probability(text: &str) -> Result<f32, String> {
    let number = finite(text)?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err("it is not from 0 to 1".into()) }
}

fn at_least_zero(text: &str) -> Result<f32, String> {
    let number = finite(text)?;
    if number >= 0.0 { Ok(number) } else { Err("it is not 0 or more".into()) }
}
