//! The whole path of a request, in order: template, tokenise, open plugins, queue; then, as tokens come,
//! detokenise, stop texts, stream processors. All of it is off the engine's thread, and what may be slow is on
//! tokio's blocking threads.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use tokio::sync::{mpsc, oneshot};

use crate::Error;
use crate::builtin::native::Native;
use crate::constraint::Constraint;
use crate::decoder::TextDecoder;
use crate::dialect::{Piece, Reader, Tool, Wanted};
use crate::event::{Event, FinishReason, Finished, Text, TokenLogprob, Usage};
use crate::grammar::{self, Grammar};
use crate::model::{self, Encode, Info, Token, Vocabulary};
use crate::plugin::{self, Chunk, Fault, Kind, OnFault, Part, Prompt, Report, SessionContext};
use crate::processing::{Item, Pipe};
use crate::queue::Ticket;
use crate::request::{self, Chat, ContextShift, GenerateRequest, Input, Params, ReasoningFormat, Use};
use crate::sampling::{Chosen, Link, Sampling};
use crate::sequence::{self, End, Lead, Submission};
use crate::shared::Shared;
use crate::trace::{Stages, Watched};

/// Tokens taken from the worker at a time, when they wait: a slow reader pays the way to the plugins less often.
const TOKENS_AT_A_TIME: usize = 64;

/// An answer as it comes: a stream of events, of which [`Event::Finished`] is the last. Dropping it cancels the
/// request: its slot is free before the next decode.
pub struct Generation {
    events: Pin<Box<dyn Stream<Item = Result<Event, Error>> + Send>>,
    prompt_tokens: u32,
    seed: u64,
}

impl Generation {
    /// Tokens of the prompt.
    #[must_use]
    pub fn prompt_tokens(&self) -> u32 {
        self.prompt_tokens
    }

    /// The seed that reproduces it.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

impl Stream for Generation {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.as_mut().poll_next(context)
    }
}

/// Runs what may be slow where it delays nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::Internal(
            if error.is_panic() { "native plugin code panicked" } else { "the runtime stops" }.into(),
        )
    })?
}

/// Prepares a request and puts it into the queue, once for each of so many answers.
pub(crate) async fn generate(
    shared: Arc<Shared>,
    request: GenerateRequest,
    answers: usize,
) -> Result<Vec<Generation>, Error> {
    if shared.info.embeds.is_some() {
        let architecture = shared.info.architecture.clone();
        let operation = "generate text when they are loaded for embeddings";
        return Err(Error::Model(model::Error::Unsupported { operation: operation.into(), architecture }));
    }
    let preparing = Arc::clone(&shared);
    let Params { priority, tenant, deadlines, .. } = request.params;
    let prepared = blocking(move || prepare(&preparing, request, answers)).await?;

    let (mut submissions, mut generations) = (Vec::new(), Vec::new());
    let mut group = shared.can_fork().then(Lead::new).filter(|_| answers > 1);
    let mut follow = None;
    for prepared in prepared {
        let (tokens, receive_token) = mpsc::channel(shared.options.token_buffer.max(1));
        let (end, receive_end) = oneshot::channel();
        let (prompt_tokens, seed) = (length(&prepared.prompt), prepared.seed);
        let follows = follow.clone();
        let leads = group.take().filter(|_| prepared.caches).map(|(lead, others)| {
            follow = Some(others);
            lead
        });
        let submitted = Instant::now();
        submissions.push(Submission {
            prompt: prepared.prompt,
            backtracks: prepared.sampling.backtracks(),
            sampling: Box::new(prepared.sampling),
            max_tokens: prepared.max_tokens,
            ignore_end: prepared.ignore_end,
            context_shift: prepared.context_shift,
            caches: prepared.caches,
            leads,
            follows,
            reader: sequence::Reader { tokens, end },
            tenant,
            deadlines,
            submitted,
            stages: prepared.watched.map(|watched| Stages::new(watched, submitted)),
        });
        let answer = Answer {
            decoder: prepared.decoder,
            reader: prepared.reader,
            pipe: Some(prepared.pipe),
            tokens: Some(receive_token),
            end: Some(receive_end),
            ready: VecDeque::new(),
            logprobs: Vec::new(),
            completion_tokens: 0,
            prompt_tokens,
            seed,
            template: prepared.template,
            _wake: Wake(Arc::clone(&shared)),
        };
        let events = Box::pin(futures::stream::unfold(answer, Answer::next).fuse());
        generations.push(Generation { events, prompt_tokens, seed });
    }
    let tokens = submissions.first().map_or(0, |first| first.prompt.len());
    shared.submit(submissions, Ticket { priority, tenant, tokens, came: Instant::now() })?;
    Ok(generations)
}

/// A request that only waits for a slot.
struct Prepared {
    watched: Option<Watched>,
    prompt: Vec<Token>,
    sampling: Sampling,
    decoder: TextDecoder,
    reader: Option<Reader>,
    pipe: Pipe,
    template: Option<Report>,
    max_tokens: u32,
    ignore_end: bool,
    context_shift: Option<ContextShift>,
    caches: bool,
    seed: u64,
}

/// Makes the prompt once, and opens the plugins for each answer: all of them see what they would see of a request
/// of its own.
fn prepare(shared: &Shared, request: GenerateRequest, answers: usize) -> Result<Vec<Prepared>, Error> {
    let GenerateRequest { id, input, params, template, samplers, stream, grammar, observer } = request;
    let watched = |answer| observer.clone().map(|observer| Watched { observer, answer });
    let context = |answer: usize| SessionContext {
        request: if answer == 0 { id.clone() } else { format!("{id}/{answer}") },
        tenant: params.tenant,
        vocabulary: Arc::clone(&shared.vocabulary),
        grammars: Arc::clone(&shared.grammars),
        watched: watched(answer),
    };
    let may_think = matches!(&input, Input::Chat(chat) if chat.template_variables["enable_thinking"] == true);
    let calls = [grammar::Kind::ToolCall, grammar::Kind::ToolCalls];
    let dialect = match &grammar {
        Some(grammar) if calls.contains(&grammar.kind) => shared.dialect.demanded(),
        _ => shared.dialect,
    };
    let mut grammar = grammar.map(|grammar| compile(shared, &grammar)).transpose()?;
    let mut wanted = None;
    let (prompt, mut stops, template) = match input {
        Input::Chat(chat) => {
            let (prompt, report) = render(shared, &context(0), &chat, template.as_ref(), &mut grammar)?;
            let tokens = tokenise(shared.vocabulary.as_ref(), &prompt.parts)?;
            wanted = Some(wanted_of(&chat, &tokens, shared.vocabulary.as_ref()));
            (tokens, prompt.stops, report)
        }
        Input::Text(text) => {
            (tokenise(shared.vocabulary.as_ref(), &[Part::Special(text)])?, Vec::new(), None)
        }
        Input::Tokens(tokens) => (check_tokens(tokens, shared.info.vocabulary_size)?, Vec::new(), None),
    };
    let max_tokens = check_length(&prompt, &params, &shared.info)?;
    stops.extend(params.stop.iter().cloned());
    let first_seed = params.seed.unwrap_or_else(draw_seed);
    let open = |answer: usize| {
        let context = context(answer);
        let seed = first_seed.wrapping_add(answer as u64);
        let pipe = Pipe::open(&context, &stream)?;
        check_backtracking(shared, &params, &samplers)?;
        let chain = open_samplers(&context, &samplers, &prompt)?;
        let constraint = grammar
            .as_ref()
            .map(|grammar| Constraint::new(grammar.matcher(), &prompt, &shared.vocabulary, may_think));
        let end_tokens = Arc::clone(&shared.end_tokens);
        let native = Native::new(&params, shared.vocabulary.as_ref());
        let sampling =
            Sampling::new(params.clone(), seed, prompt.clone(), chain, constraint, native, end_tokens);
        let reader = wanted.clone().and_then(|wanted| Reader::new(dialect, wanted));
        let mut decoder = TextDecoder::new(context.vocabulary, stops.clone());
        if reader.is_some() {
            decoder = decoder.showing(Arc::clone(&shared.marks));
        }
        let (ignore_end, caches) = (params.ignore_end, params.cache_prompt);
        let (prompt, template) = (prompt.clone(), template.clone());
        Ok(Prepared {
            watched: watched(answer),
            prompt,
            sampling,
            decoder,
            reader,
            pipe,
            template,
            max_tokens,
            ignore_end,
            context_shift: params.context_shift,
            caches,
            seed,
        })
    };
    (0..answers).map(open).collect()
}

/// What is to be read out of the answer to a conversation.
fn wanted_of(chat: &Chat, prompt: &[Token], vocabulary: &dyn Vocabulary) -> Wanted {
    /// More than any mark has.
    const END_TOKENS: usize = 32;
    let end = prompt[prompt.len().saturating_sub(END_TOKENS)..].iter();
    let end: Vec<u8> = end.flat_map(|token| vocabulary.piece(*token)).copied().collect();
    Wanted {
        reasoning: chat.reasoning == ReasoningFormat::Apart,
        tools: chat.tools.iter().filter_map(Tool::of).collect(),
        prompt_end: String::from_utf8_lossy(&end).into_owned(),
    }
}

/// Compiles a request's grammar. What cannot be obeyed is refused here.
fn compile(shared: &Shared, wanted: &request::Grammar) -> Result<Grammar, Error> {
    shared.grammars.compile(wanted.kind, &wanted.source).map_err(|error| {
        let message = format!("`{}`: {error}", wanted.param);
        Error::Invalid { param: wanted.param.clone(), message }
    })
}

/// Makes the prompt by the request's template, or by the model's own. What grammar the template wants is `grammar` then.
fn render(
    shared: &Shared,
    context: &SessionContext,
    chat: &Chat,
    template: Option<&Use<dyn plugin::Template>>,
    grammar: &mut Option<Grammar>,
) -> Result<(Prompt, Option<Report>), Error> {
    let native = || -> Result<Prompt, Error> {
        Ok(Prompt { parts: vec![Part::Special(shared.template.render(chat)?)], ..Prompt::default() })
    };
    let Some(used) = template else { return Ok((native()?, None)) };
    let mut report = Report::new(used.plugin.identity(), Kind::Template);
    let refused = |why| plugin::Error::new(used.plugin.identity(), "render", Fault::Refused(why));
    let rendered = used.plugin.render(context, chat, &used.args).and_then(|prompt| {
        if let Some((kind, source)) = &prompt.grammar {
            if grammar.is_some() {
                return Err(refused("it brings a grammar, and the request has one; take one away".into()));
            }
            let compiled = shared.grammars.compile(*kind, source);
            *grammar = Some(compiled.map_err(|error| refused(error.to_string()))?);
        }
        Ok(prompt)
    });
    match rendered {
        Ok(prompt) => Ok((prompt, Some(report))),
        Err(error) if used.on_fault == OnFault::Fail => Err(error.into()),
        Err(error) => {
            report.survive(&error);
            Ok((native()?, Some(report)))
        }
    }
}

/// The tokens of a conversation's prompt, by the model's own template.
pub(crate) fn prompt(shared: &Shared, chat: &Chat) -> Result<Vec<Token>, Error> {
    tokenise(shared.vocabulary.as_ref(), &[Part::Special(shared.template.render(chat)?)])
}

/// The parts of a prompt as tokens, with what the model wants in front of a whole prompt, once.
fn tokenise(vocabulary: &dyn Vocabulary, parts: &[Part]) -> Result<Vec<Token>, Error> {
    let encode = |text: &str, parse_special| {
        vocabulary.encode(text, Encode { add_special: false, parse_special }).map_err(Error::Model)
    };
    let mut tokens = vocabulary.encode("", Encode { add_special: true, parse_special: false })?;
    let front = tokens.clone();
    for part in parts {
        match part {
            Part::Text(text) => tokens.extend(encode(text, false)?),
            Part::Special(text) => tokens.extend(encode(text, true)?),
            Part::Tokens(given) => tokens.extend(check_tokens(given.clone(), vocabulary.size())?),
        }
    }
    // Most templates write the begin-of-sequence token themselves.
    if !front.is_empty() && tokens[front.len()..].starts_with(&front) {
        tokens.drain(..front.len());
    }
    Ok(tokens)
}

fn check_tokens(tokens: Vec<Token>, vocabulary_size: u32) -> Result<Vec<Token>, Error> {
    match tokens.iter().find(|token| **token >= vocabulary_size) {
        None => Ok(tokens),
        Some(token) => Err(Error::Invalid {
            param: "prompt".into(),
            message: format!("token {token} is outside the model's vocabulary of {vocabulary_size} tokens"),
        }),
    }
}

/// The most tokens that this request may generate.
/// How many tokens may be generated.
fn check_length(prompt: &[Token], params: &Params, info: &Info) -> Result<u32, Error> {
    let (max_tokens, limit) = (params.max_tokens, info.context);
    if prompt.is_empty() {
        let message = "the prompt is empty: there is nothing to continue".into();
        return Err(Error::Invalid { param: "prompt".into(), message });
    }
    let prompt = length(prompt);
    if params.context_shift.is_some() {
        if !info.capabilities.shift {
            let message =
                format!("models of the architecture {} cannot shift their context", info.architecture);
            return Err(Error::Invalid { param: "context_shift".into(), message });
        }
        if prompt >= limit {
            return Err(Error::ContextExceeded { prompt, max_tokens: None, limit });
        }
        return Ok(max_tokens.unwrap_or(limit));
    }
    if prompt.saturating_add(max_tokens.unwrap_or(1)) > limit {
        return Err(Error::ContextExceeded { prompt, max_tokens, limit });
    }
    Ok(max_tokens.unwrap_or(limit - prompt))
}

fn open_samplers(
    context: &SessionContext,
    samplers: &[Use<dyn plugin::SamplerPlugin>],
    prompt: &[Token],
) -> Result<Vec<Link>, Error> {
    let open = |used: &Use<dyn plugin::SamplerPlugin>| {
        let mut report = Report::new(used.plugin.identity(), Kind::Sampler);
        let session = match used.plugin.open(context, &used.args, prompt) {
            Ok(session) => Some(session),
            Err(error) if used.on_fault == OnFault::Fail => return Err(Error::Plugin(error)),
            Err(error) => {
                report.survive(&error);
                None
            }
        };
        let descriptor = used.plugin.descriptor().clone();
        Ok(Link { session, descriptor, on_fault: used.on_fault, report })
    };
    samplers.iter().map(open).collect()
}

/// Refuses a request with a sampler that takes tokens back, where somebody else cannot.
fn check_backtracking(
    shared: &Shared,
    params: &Params,
    samplers: &[Use<dyn plugin::SamplerPlugin>],
) -> Result<(), Error> {
    let takes_back = |used: &&Use<dyn plugin::SamplerPlugin>| used.plugin.descriptor().backtrack_max > 0;
    let Some(wants) = samplers.iter().find(takes_back) else { return Ok(()) };
    let name = &wants.plugin.identity().name;
    if !shared.info.capabilities.partial_removal {
        let identity = wants.plugin.identity();
        let fault = Fault::Unsupported("take tokens back: the model cannot forget them");
        return Err(plugin::Error::new(identity, "open", fault).into());
    }
    if params.context_shift.is_some() {
        let message = format!("the sampler '{name}' takes tokens back, and a context that shifts cannot");
        return Err(Error::Invalid { param: "context_shift".into(), message });
    }
    let rigid = samplers.iter().find(|used| !used.plugin.descriptor().can_rollback);
    rigid.map_or(Ok(()), |rigid| {
        let other = &rigid.plugin.identity().name;
        let message = format!("the sampler '{name}' takes tokens back, and '{other}' beside it cannot");
        Err(Error::Invalid { param: "samplers".into(), message })
    })
}

/// A seed nobody chose: from the randomness that the standard library seeds its maps with.
fn draw_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // 53 bits: a seed survives JSON readers that know only doubles.
    RandomState::new().hash_one(0) >> 11
}

pub(crate) fn length(tokens: &[Token]) -> u32 {
    u32::try_from(tokens.len()).unwrap_or(u32::MAX)
}

/// Wakes the worker when the reader is gone, so that the slot is free at once.
struct Wake(Arc<Shared>);

impl Drop for Wake {
    fn drop(&mut self) {
        self.0.wake();
    }
}

/// The reader's side of a generation.
struct Answer {
    decoder: TextDecoder,
    /// Takes thinking and calls of tools out of the text.
    reader: Option<Reader>,
    /// `None` while a blocking thread has it.
    pipe: Option<Pipe>,
    /// `None` once no more are wanted.
    tokens: Option<mpsc::Receiver<Chosen>>,
    /// `None` once the end is known.
    end: Option<oneshot::Receiver<Result<End, Error>>>,
    ready: VecDeque<Event>,
    /// Of tokens whose text is not out yet.
    logprobs: Vec<TokenLogprob>,
    completion_tokens: u32,
    prompt_tokens: u32,
    seed: u64,
    template: Option<Report>,
    // Dropped last: the channels above are closed when the worker looks.
    _wake: Wake,
}

/// What a round of tokens came to.
#[derive(Default)]
struct Round {
    chunk: Chunk,
    /// Why nothing follows, if that is so, and by which stop text.
    end: Option<(FinishReason, Option<String>)>,
}

impl Answer {
    /// The next event, and the rest.
    async fn next(mut self) -> Option<(Result<Event, Error>, Self)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((Ok(event), self));
            }
            self.end.as_ref()?;
            if let Err(error) = self.round().await {
                self.tokens = None;
                self.end = None;
                return Some((Err(error), self));
            }
        }
    }

    /// Takes what tokens there are, and makes events of them.
    async fn round(&mut self) -> Result<(), Error> {
        let mut taken = Vec::new();
        if let Some(tokens) = &mut self.tokens {
            tokens.recv_many(&mut taken, TOKENS_AT_A_TIME).await;
        }
        if taken.is_empty() {
            let ended = self.ended().await?;
            let rest = self.decoder.finish();
            let reason = if rest.stop.is_some() { FinishReason::Stop } else { ended.reason };
            let chunk = Chunk { text: rest.text, tokens: Vec::new() };
            let reason = self.process(chunk, Some(reason)).await?.unwrap_or(reason);
            self.finish(reason, rest.stop, ended);
            return Ok(());
        }
        let round = self.decode(taken);
        match round.end {
            None => {
                if let Some(reason) = self.process(round.chunk, None).await? {
                    self.stop(reason, None).await?;
                }
                Ok(())
            }
            Some((reason, stop)) => {
                let reason = self.process(round.chunk, Some(reason)).await?.unwrap_or(reason);
                self.stop(reason, stop).await
            }
        }
    }

    fn decode(&mut self, taken: Vec<Chosen>) -> Round {
        let mut round = Round::default();
        for chosen in taken {
            self.completion_tokens += 1;
            self.logprobs.extend(chosen.logprob.map(|logprob| *logprob));
            round.chunk.tokens.push(chosen.token);
            let decoded = self.decoder.push(chosen.token);
            round.chunk.text.push_str(&decoded.text);
            if decoded.stop.is_some() {
                round.end = Some((FinishReason::Stop, decoded.stop));
                break;
            }
        }
        round
    }

    /// Sends a chunk through the stream processors, and closes them where `closing` says why. Returns why a
    /// processor ended the answer, if one did.
    async fn process(
        &mut self,
        chunk: Chunk,
        closing: Option<FinishReason>,
    ) -> Result<Option<FinishReason>, Error> {
        let items = self.read(chunk, closing.is_some());
        if self.pipe.as_ref().is_some_and(Pipe::is_empty) {
            for item in items {
                self.say(item.into_event());
            }
            if closing.is_some() && !self.logprobs.is_empty() {
                self.say(Event::Text(Text::default()));
            }
            return Ok(None);
        }
        let Some(mut pipe) = self.pipe.take() else {
            return Err(Error::Internal("the stream processors are lost".into()));
        };
        let (pipe, processed) = blocking(move || {
            let processed = pipe.process(items, closing);
            Ok((pipe, processed))
        })
        .await?;
        self.pipe = Some(pipe);
        let processed = processed?;
        for event in processed.events {
            self.say(event);
        }
        Ok(processed.stopped)
    }

    /// Text with what it is to a client: thinking and calls of tools are no longer text.
    fn read(&mut self, chunk: Chunk, last: bool) -> Vec<Item> {
        let Some(reader) = &mut self.reader else {
            return if chunk.text.is_empty() { Vec::new() } else { vec![Item::Chunk(chunk)] };
        };
        let mut pieces = reader.push(&chunk.text);
        if last {
            pieces.extend(reader.finish());
        }
        let Chunk { text: whole, tokens } = chunk;
        let mut tokens = Some(tokens);
        let item = |piece| match piece {
            // The tokens belong to the text only as long as it is what they decode to.
            Piece::Text(text) if text == whole => {
                Item::Chunk(Chunk { text, tokens: tokens.take().unwrap_or_default() })
            }
            Piece::Text(text) => Item::Chunk(Chunk { text, tokens: Vec::new() }),
            Piece::Reasoning(text) => Item::Event(Event::Reasoning(text)),
            Piece::Tool(delta) => Item::Event(Event::Tool(delta)),
        };
        pieces.into_iter().map(item).collect()
    }

    /// Makes an event ready. Log-probabilities go with the text that comes next after their tokens.
    fn say(&mut self, mut event: Event) {
        if let Event::Text(text) = &mut event {
            text.logprobs = std::mem::take(&mut self.logprobs);
        }
        self.ready.push_back(event);
    }

    /// Ends the answer here, whatever else the worker would say.
    async fn stop(&mut self, reason: FinishReason, stop: Option<String>) -> Result<(), Error> {
        self.tokens = None;
        self._wake.0.wake();
        let ended = self.ended().await?;
        self.finish(reason, stop, ended);
        Ok(())
    }

    async fn ended(&mut self) -> Result<End, Error> {
        let stopped = || Error::Internal("the engine stopped before the answer was complete".into());
        match &mut self.end {
            Some(end) => end.await.map_err(|_| stopped())?,
            None => Err(stopped()),
        }
    }

    fn finish(&mut self, reason: FinishReason, stop: Option<String>, ended: End) {
        self.end = None;
        self._wake.0.gauges.answers_finished[reason as usize].fetch_add(1, Ordering::Relaxed);
        let mut plugins: Vec<Report> = self.template.take().into_iter().collect();
        plugins.extend(ended.samplers);
        plugins.extend(self.pipe.take().map(Pipe::into_reports).unwrap_or_default());
        let usage = Usage {
            prompt_tokens: self.prompt_tokens,
            cached_tokens: ended.cached_tokens,
            discarded_tokens: ended.discarded_tokens,
            completion_tokens: self.completion_tokens,
            queue_time: ended.queue_time,
            prefill_time: ended.prefill_time,
            decode_time: ended.decode_time.max(Duration::ZERO),
        };
        self.ready.push_back(Event::Finished(Finished { reason, stop, usage, seed: self.seed, plugins }));
    }
}
