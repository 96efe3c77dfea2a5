//! What is asked of the engine: plain data, no JSON but where a plugin or a tool brings its own.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::grammar::Kind;
use crate::model::Token;
use crate::plugin::{OnFault, SamplerPlugin, StreamPlugin, Template};
use crate::trace::Observer;

/// One request for text.
#[derive(Clone)]
pub struct GenerateRequest {
    /// Names the request in logs, and in whatever a plugin is told of it.
    pub id: String,
    /// What to continue or answer.
    pub input: Input,
    /// How to sample, and when to stop.
    pub params: Params,
    /// What makes the prompt of a [`Input::Chat`]; the engine's default where there is none.
    pub template: Option<Use<dyn Template>>,
    /// The chain of samplers, first to last. The native sampler draws from what they leave.
    pub samplers: Vec<Use<dyn SamplerPlugin>>,
    /// The pipe of stream processors, first to last.
    pub stream: Vec<Use<dyn StreamPlugin>>,
    /// What the answer must be. It holds behind the thinking, if there is any.
    pub grammar: Option<Grammar>,
    /// Who is told what the request goes through.
    pub observer: Option<Arc<dyn Observer>>,
}

/// What an answer must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grammar {
    /// The notation of the source.
    pub kind: Kind,
    /// The schema, expression or grammar.
    pub source: Arc<str>,
    /// The field of the request that it comes from, for errors.
    pub param: String,
}

impl Grammar {
    /// A grammar that errors call `grammar`.
    #[must_use]
    pub fn new(kind: Kind, source: impl Into<Arc<str>>) -> Self {
        Self { kind, source: source.into(), param: "grammar".into() }
    }
}

impl GenerateRequest {
    /// A request with default parameters and no plugins.
    #[must_use]
    pub fn new(id: impl Into<String>, input: Input) -> Self {
        Self {
            id: id.into(),
            input,
            params: Params::default(),
            template: None,
            samplers: Vec::new(),
            stream: Vec::new(),
            grammar: None,
            observer: None,
        }
    }
}

/// A plugin as one request uses it.
pub struct Use<P: ?Sized> {
    /// The plugin.
    pub plugin: Arc<P>,
    /// Its arguments; `Null` when the request gives none.
    pub args: Value,
    /// What happens when it fails.
    pub on_fault: OnFault,
}

impl<P: ?Sized> Clone for Use<P> {
    fn clone(&self) -> Self {
        Self { plugin: Arc::clone(&self.plugin), args: self.args.clone(), on_fault: self.on_fault }
    }
}

/// What to continue or answer.
#[derive(Clone, Debug)]
pub enum Input {
    /// A conversation; a template makes the prompt of it.
    Chat(Chat),
    /// A prompt as text. The text of special tokens in it is read as those tokens.
    Text(String),
    /// A prompt as tokens, used as they are.
    Tokens(Vec<Token>),
}

/// A conversation.
#[derive(Clone, Debug, Default)]
pub struct Chat {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Tool definitions as the client sent them (OpenAI's form: `{"type": "function", "function": {…}}`).
    pub tools: Vec<Value>,
    /// Further variables for the template (`enable_thinking`, `documents`): an object, or `Null`.
    pub template_variables: Value,
    /// Leave the last message open, to be continued, if it is the assistant's.
    pub continue_last: bool,
    /// Do not begin the answer: the template's `add_generation_prompt` is false.
    pub no_generation_prompt: bool,
    /// How the answer tells what the model thought.
    pub reasoning: ReasoningFormat,
}

impl Chat {
    /// Whether the prompt begins the answer.
    pub(crate) fn opens_answer(&self) -> bool {
        !self.continue_last && !self.no_generation_prompt
    }
}

/// How an answer tells what the model thought before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReasoningFormat {
    /// Apart, as [`Event::Reasoning`](crate::event::Event::Reasoning).
    #[default]
    Apart,
    /// In the text, with the model's own marks.
    InText,
}

/// One message of a conversation.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, or whatever else the template knows.
    pub role: String,
    /// What was said, in order.
    pub content: Vec<Content>,
    /// Who said it, where the client says so.
    pub name: Option<String>,
    /// Tools that the assistant called.
    pub tool_calls: Vec<ToolCall>,
    /// Which call this message of a tool answers.
    pub tool_call_id: Option<String>,
    /// What the assistant thought before it spoke.
    pub reasoning: Option<String>,
}

impl Message {
    /// A message of text.
    #[must_use]
    pub fn text(role: impl Into<String>, text: impl Into<String>) -> Self {
        Self { role: role.into(), content: vec![Content::Text(text.into())], ..Self::default() }
    }

    /// The text of its content, parts joined.
    #[must_use]
    pub fn joined_text(&self) -> String {
        self.content.iter().map(|Content::Text(text)| text.as_str()).collect()
    }
}

/// A part of a message. Media will stand beside text here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text.
    Text(String),
}

/// A call of a tool by the assistant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolCall {
    /// Names the call.
    pub id: String,
    /// Names the tool.
    pub name: String,
    /// Its arguments, as JSON text.
    pub arguments: String,
}

/// How to sample, when to stop, and how urgent it is. Defaults are llama-server's.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// The most tokens to generate; `None` is up to the end of the context.
    pub max_tokens: Option<u32>,
    /// Texts that end the generation. They are not part of the answer.
    pub stop: Vec<String>,
    /// Go on after the model says that it is done.
    pub ignore_end: bool,
    /// Seeds all randomness of the request, plugins' included; `None` draws a seed and reports it.
    pub seed: Option<u64>,
    /// Divides the logits before the draw; 0 takes the best token.
    pub temperature: f32,
    /// Keep the best so many tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the best tokens that together have this probability; 1 keeps all.
    pub top_p: f32,
    /// Keep the tokens at least this probable, relative to the best one; 0 keeps all.
    pub min_p: f32,
    /// Keep the locally typical tokens of this probability; 1 keeps all.
    pub typical_p: f32,
    /// Keep the tokens within so many standard deviations of the best logit; 0 keeps all.
    pub top_n_sigma: f32,
    /// The fewest tokens that top-p, min-p, typical-p and XTC leave; 0 is one.
    pub min_keep: u32,
    /// Excludes top choices now and then.
    pub xtc: Xtc,
    /// Penalises repetitions by their length.
    pub dry: Dry,
    /// Holds the surprise of the text steady instead of truncating.
    pub mirostat: Option<Mirostat>,
    /// Moves the temperature with the entropy of each step.
    pub dynamic_temperature: DynamicTemperature,
    /// The stages of sampling, first to last. One that is not named is off.
    pub samplers: Vec<Stage>,
    /// Divides (or multiplies, below 0) the logits of tokens seen lately; 1 is off.
    pub repeat_penalty: f32,
    /// How many of the last tokens the penalties look at; 0 is none.
    pub repeat_last_n: u32,
    /// Subtracted from a token's logit for each time it was seen lately.
    pub frequency_penalty: f32,
    /// Subtracted once from the logit of every token seen lately.
    pub presence_penalty: f32,
    /// Added to the logits of given tokens; negative infinity bans.
    pub logit_bias: Vec<(Token, f32)>,
    /// Report the log-probability of each token, and of so many others beside it.
    pub logprobs: Option<u32>,
    /// Take over what was decoded for other requests, and leave them what is decoded for this one.
    pub cache_prompt: bool,
    /// Forget a part of the conversation when the context is full, and go on; `None` ends the answer there.
    pub context_shift: Option<ContextShift>,
    /// Who gets a slot first: the higher, and of equals who came first. A step more is a head start of
    /// [`Options::priority_step`](crate::Options::priority_step), so that nobody waits for ever.
    pub priority: i8,
    /// Whose request it is: the tenant with the fewest running requests is next, and those of one are in order of their
    /// priorities.
    pub tenant: u64,
    /// How long the request may take.
    pub deadlines: Deadlines,
}

/// What is forgotten when the context is full: a part of the tokens behind those that are kept. The model goes on with
/// a text that has a gap; what the samplers saw stays as it is.
///
/// Which prompts there is room for does not change. Without [`Params::max_tokens`] as many tokens are generated as the
/// context holds. What a shifted sequence holds is left to no other request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContextShift {
    /// How many tokens at the beginning stay; `None` is the whole prompt, and more than half of the context is half.
    pub keep: Option<u32>,
    /// How many tokens behind them are forgotten at a time; 0 is half of them.
    pub discard: u32,
}

impl ContextShift {
    /// What is to be forgotten of a sequence that has outgrown its context. Its last token stays, whatever else.
    pub(crate) fn range(self, length: u32, prompt: u32, context: u32) -> Range<u32> {
        let keep = self.keep.unwrap_or(prompt).min(context / 2);
        let behind = length - keep - 1;
        let discard = if self.discard == 0 { behind / 2 } else { self.discard };
        keep..keep + discard.max(length - context).min(behind)
    }
}

/// How long a request may take; `None` is as long as it likes. One that is late ends with
/// [`Error::Late`](crate::Error::Late). All count from when it is put into the queue, and are looked at between calls
/// of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// Until it has a slot.
    pub queue: Option<Duration>,
    /// Until its first token.
    pub first_token: Option<Duration>,
    /// Until its end.
    pub total: Option<Duration>,
}

/// What a request must reach in time, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deadline {
    /// A slot.
    Queue,
    /// Its first token.
    FirstToken,
    /// Its end.
    Total,
}

impl Deadlines {
    /// The first deadline that a request has missed after so long, and how much time it had. `next` is what it has not
    /// reached.
    pub(crate) fn missed(&self, next: Deadline, elapsed: Duration) -> Option<(Deadline, Duration)> {
        let limits = [
            (Deadline::Queue, self.queue),
            (Deadline::FirstToken, self.first_token),
            (Deadline::Total, self.total),
        ];
        let limits = limits.into_iter().filter_map(|(deadline, limit)| Some((deadline, limit?)));
        limits.filter(|(deadline, limit)| *deadline >= next && elapsed > *limit).min()
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            max_tokens: None,
            stop: Vec::new(),
            ignore_end: false,
            seed: None,
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typical_p: 1.0,
            top_n_sigma: 0.0,
            min_keep: 0,
            xtc: Xtc::default(),
            dry: Dry::default(),
            mirostat: None,
            dynamic_temperature: DynamicTemperature::default(),
            samplers: Stage::DEFAULT.to_vec(),
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            logprobs: None,
            cache_prompt: true,
            context_shift: None,
            priority: 0,
            tenant: 0,
            deadlines: Deadlines::default(),
        }
    }
}

/// A stage of sampling. Names and letters are llama.cpp's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Repeat, frequency and presence penalty.
    Penalties,
    /// [`Dry`].
    Dry,
    /// Top-n-sigma.
    TopNSigma,
    /// Top-k.
    TopK,
    /// Typical-p.
    TypicalP,
    /// Top-p.
    TopP,
    /// Min-p.
    MinP,
    /// [`Xtc`].
    Xtc,
    /// The temperature, dynamic or not.
    Temperature,
}

impl Stage {
    /// llama.cpp's default order.
    pub const DEFAULT: [Self; 9] = [
        Self::Penalties,
        Self::Dry,
        Self::TopNSigma,
        Self::TopK,
        Self::TypicalP,
        Self::TopP,
        Self::MinP,
        Self::Xtc,
        Self::Temperature,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Penalties => "penalties",
            Self::Dry => "dry",
            Self::TopNSigma => "top_n_sigma",
            Self::TopK => "top_k",
            Self::TypicalP => "typ_p",
            Self::TopP => "top_p",
            Self::MinP => "min_p",
            Self::Xtc => "xtc",
            Self::Temperature => "temperature",
        }
    }

    /// The stage of a name; `typical_p`, `temp` and hyphens are understood as well.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.replace('-', "_");
        let name = match name.as_str() {
            "typical_p" | "typical" | "typ" => "typ_p",
            "temp" => "temperature",
            "nucleus" => "top_p",
            other => other,
        };
        Self::DEFAULT.into_iter().find(|stage| stage.as_str() == name)
    }

    /// The stage of a letter.
    #[must_use]
    pub fn from_letter(letter: char) -> Option<Self> {
        let at = "edskypmxt".find(letter)?;
        Self::DEFAULT.get(at).copied()
    }
}

/// XTC: at each step, with some probability, all tokens but the least probable of those above a threshold are
/// excluded. By p-e-w, <https://github.com/oobabooga/text-generation-webui/pull/6335>.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Xtc {
    /// How often; 0 is never.
    pub probability: f32,
    /// What a token's probability must reach to count; above 0.5 nothing is ever excluded.
    pub threshold: f32,
}

impl Default for Xtc {
    fn default() -> Self {
        Self { probability: 0.0, threshold: 0.1 }
    }
}

/// DRY: a token that would continue a repetition of `length` tokens loses `multiplier * base ^ (length -
/// allowed_length)`. By p-e-w, <https://github.com/oobabooga/text-generation-webui/pull/5677>.
#[derive(Clone, Debug, PartialEq)]
pub struct Dry {
    /// 0 is off.
    pub multiplier: f32,
    /// At least 1.
    pub base: f32,
    /// Shorter repetitions are free.
    pub allowed_length: u32,
    /// How many of the last tokens are looked at; 0 is none, below 0 all.
    pub last_n: i32,
    /// Texts over which no repetition is counted.
    pub breakers: Vec<String>,
}

impl Default for Dry {
    fn default() -> Self {
        let breakers = ["\n", ":", "\"", "*"].map(str::to_owned).to_vec();
        Self { multiplier: 0.0, base: 1.75, allowed_length: 2, last_n: -1, breakers }
    }
}

/// Mirostat: chooses the truncation of each step so that the surprise of the text stays near a target. Basu et al.
/// 2020, <https://arxiv.org/abs/2007.14966>. As in llama.cpp, only the temperature is applied beside it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirostat {
    /// Which of the two algorithms.
    pub version: MirostatVersion,
    /// The target, in bits.
    pub tau: f32,
    /// How fast it is approached.
    pub eta: f32,
}

impl Mirostat {
    /// An algorithm with llama.cpp's defaults: a target of 5 bits, a rate of 0.1.
    #[must_use]
    pub fn new(version: MirostatVersion) -> Self {
        Self { version, tau: 5.0, eta: 0.1 }
    }
}

/// Which algorithm of [`Mirostat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirostatVersion {
    /// Estimates how steeply probabilities fall, and keeps the best k.
    V1,
    /// Keeps the tokens less surprising than a bound.
    V2,
}

/// The temperature of a step lies between `temperature - range` and `temperature + range`, by the step's entropy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DynamicTemperature {
    /// 0 is off.
    pub range: f32,
    /// How the entropy, as a part of the most there could be, becomes the place between both ends.
    pub exponent: f32,
}

impl Default for DynamicTemperature {
    fn default() -> Self {
        Self { range: 0.0, exponent: 1.0 }
    }
}
