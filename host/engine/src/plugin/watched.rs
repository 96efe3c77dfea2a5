//! Plugins as the registry hands them out: every call is measured, every fault counted, and a plugin that is out of
//! service opens nothing. The plugin's own object is inside.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::Value;

use super::meter::{Call, Meter};
use super::policy::Breaker;
use super::{
    Choice, Chunk, Error, Identity, Kind, Output, Part, Prompt, Sampler, SamplerDescriptor, SamplerPlugin,
    SessionContext, StreamPlugin, StreamProcessor, Template,
};
use crate::event::FinishReason;
use crate::model::Token;
use crate::request::{Chat, Content};
use crate::step::{Candidates, Step};
use crate::trace::{Watched, What, Work};

/// Who watches a plugin.
#[derive(Clone)]
pub(super) struct Watch {
    pub(super) identity: Identity,
    pub(super) meter: Arc<Meter>,
    pub(super) breaker: Arc<Breaker>,
}

impl Watch {
    /// Calls the plugin; `given` and `size` say how many bytes go in and come out.
    fn call<T>(
        &self,
        tenant: u64,
        call: Call,
        given: usize,
        body: impl FnOnce() -> Result<T, Error>,
        size: impl FnOnce(&T) -> usize,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        let result = body();
        self.meter.called(call, begun.elapsed(), given);
        match &result {
            Ok(value) => self.meter.returned(size(value)),
            Err(error) => {
                self.meter.failed(call, &error.fault);
                self.breaker.note(tenant, error, Instant::now());
            }
        }
        result
    }

    /// Calls the plugin for the first time in a request, unless it is out of service for the tenant.
    fn begin<T>(
        &self,
        tenant: u64,
        call: Call,
        given: usize,
        body: impl FnOnce() -> Result<T, Error>,
        size: impl FnOnce(&T) -> usize,
    ) -> Result<T, Error> {
        if let Err(fault) = self.breaker.admit(tenant, Instant::now()) {
            self.meter.failed(call, &fault);
            return Err(Error::new(&self.identity, call.as_str(), fault));
        }
        self.call(tenant, call, given, body, size)
    }

    fn session(&self, tenant: u64, tally: Option<Tally>) -> Session {
        self.meter.sessions.fetch_add(1, Ordering::Relaxed);
        Session { watch: self.clone(), tenant, tally }
    }
}

/// An open session, counted as long as it lives.
struct Session {
    watch: Watch,
    tenant: u64,
    tally: Option<Tally>,
}

impl Session {
    /// Calls the plugin.
    fn call<T>(
        &mut self,
        call: Call,
        given: usize,
        body: impl FnOnce() -> Result<T, Error>,
        size: impl FnOnce(&T) -> usize,
    ) -> Result<T, Error> {
        let Some(tally) = &mut self.tally else {
            return self.watch.call(self.tenant, call, given, body, size);
        };
        tally.count(call, || self.watch.call(self.tenant, call, given, body, size))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.watch.meter.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a plugin does for one answer that somebody watches, who is told of it in the end.
struct Tally {
    watched: Watched,
    work: Work,
    began: Instant,
    ended: Instant,
}

impl Tally {
    fn new(watched: Watched, identity: &Identity, kind: Kind) -> Self {
        let work = Work { identity: identity.clone(), kind, calls: Vec::new(), fault: None };
        let now = Instant::now();
        Self { watched, work, began: now, ended: now }
    }

    fn of(context: &SessionContext, identity: &Identity, kind: Kind) -> Option<Self> {
        Some(Self::new(context.watched.clone()?, identity, kind))
    }

    fn count<T>(&mut self, call: Call, body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let begun = Instant::now();
        let result = body();
        self.ended = Instant::now();
        let took = self.ended - begun;
        match self.work.calls.iter_mut().find(|(name, ..)| *name == call.as_str()) {
            Some((_, count, all)) => {
                *count += 1;
                *all += took;
            }
            None => self.work.calls.push((call.as_str(), 1, took)),
        }
        if let Err(error) = &result {
            self.work.fault = Some(error.fault.kind());
        }
        result
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.watched.tell(What::Plugin(self.work.clone()), self.began, self.ended);
    }
}

/// Counts a call, where somebody watches.
fn counted<T>(
    tally: &mut Option<Tally>,
    call: Call,
    body: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    match tally {
        Some(tally) => tally.count(call, body),
        None => body(),
    }
}

/// A template that is watched.
pub(super) struct WatchedTemplate(pub(super) Watch, pub(super) Arc<dyn Template>);

impl Template for WatchedTemplate {
    fn identity(&self) -> &Identity {
        self.1.identity()
    }

    fn args_schema(&self) -> &str {
        self.1.args_schema()
    }

    fn render(&self, context: &SessionContext, chat: &Chat, args: &Value) -> Result<Prompt, Error> {
        let said = |Content::Text(text): &Content| text.len();
        let given = chat.messages.iter().flat_map(|message| &message.content).map(said).sum::<usize>();
        let tally = Tally::of(context, self.identity(), Kind::Template);
        let mut session = self.0.session(context.tenant, tally);
        counted(&mut session.tally, Call::Render, || {
            self.0.begin(
                context.tenant,
                Call::Render,
                given + json_bytes(args),
                || self.1.render(context, chat, args),
                |prompt| prompt.parts.iter().map(part_bytes).sum(),
            )
        })
    }
}

fn part_bytes(part: &Part) -> usize {
    match part {
        Part::Text(text) | Part::Special(text) => text.len(),
        Part::Tokens(tokens) => size_of_val(&tokens[..]),
    }
}

/// A sampler that is watched.
pub(super) struct WatchedSampler(pub(super) Watch, pub(super) Arc<dyn SamplerPlugin>);

impl SamplerPlugin for WatchedSampler {
    fn identity(&self) -> &Identity {
        self.1.identity()
    }

    fn descriptor(&self) -> &SamplerDescriptor {
        self.1.descriptor()
    }

    fn open(
        &self,
        context: &SessionContext,
        args: &Value,
        prompt: &[Token],
    ) -> Result<Box<dyn Sampler>, Error> {
        let given = json_bytes(args) + size_of_val(prompt);
        let mut tally = Tally::of(context, self.identity(), Kind::Sampler);
        let open = || self.1.open(context, args, prompt);
        let inner = counted(&mut tally, Call::SamplerOpen, || {
            self.0.begin(context.tenant, Call::SamplerOpen, given, open, |_| 0)
        })?;
        Ok(Box::new(WatchedSession { inner, session: self.0.session(context.tenant, tally) }))
    }
}

struct WatchedSession {
    // First: it is gone before it is counted off.
    inner: Box<dyn Sampler>,
    session: Session,
}

impl Sampler for WatchedSession {
    fn advance(&mut self, step: &mut Step, committed: &[Token]) -> Result<(), Error> {
        let given = size_of_val(committed);
        self.session.call(Call::Advance, given, || self.inner.advance(step, committed), |()| 0)
    }

    fn pick(&mut self, step: &mut Step, cut: &Candidates) -> Result<Choice, Error> {
        let given = size_of_val(&cut.ids[..]) + size_of_val(&cut.logits[..]);
        let size = |choice: &Choice| match choice {
            Choice::Host => 0,
            Choice::Token(token) => size_of_val(token),
            Choice::Only(tokens) => size_of_val(&tokens[..]),
        };
        self.session.call(Call::Pick, given, || self.inner.pick(step, cut), size)
    }

    fn fork(&mut self) -> Result<Box<dyn Sampler>, Error> {
        let inner = self.session.call(Call::Fork, 0, || self.inner.fork(), |_| 0)?;
        let Session { watch, tenant, tally } = &self.session;
        let tally = tally.as_ref();
        let tally =
            tally.map(|Tally { watched, work, .. }| Tally::new(watched.clone(), &work.identity, work.kind));
        Ok(Box::new(Self { inner, session: watch.session(*tenant, tally) }))
    }

    fn rollback(&mut self, tokens: u32) -> Result<(), Error> {
        self.session.call(Call::Rollback, size_of_val(&tokens), || self.inner.rollback(tokens), |()| 0)
    }

    fn close(&mut self) -> Result<Option<String>, Error> {
        let size = |meta: &Option<String>| meta.as_ref().map_or(0, String::len);
        self.session.call(Call::SamplerClose, 0, || self.inner.close(), size)
    }
}

/// A stream processor that is watched.
pub(super) struct WatchedStream(pub(super) Watch, pub(super) Arc<dyn StreamPlugin>);

impl StreamPlugin for WatchedStream {
    fn identity(&self) -> &Identity {
        self.1.identity()
    }

    fn args_schema(&self) -> &str {
        self.1.args_schema()
    }

    fn open(&self, context: &SessionContext, args: &Value) -> Result<Box<dyn StreamProcessor>, Error> {
        let mut tally = Tally::of(context, self.identity(), Kind::Stream);
        let open = || self.1.open(context, args);
        let inner = counted(&mut tally, Call::StreamOpen, || {
            self.0.begin(context.tenant, Call::StreamOpen, json_bytes(args), open, |_| 0)
        })?;
        Ok(Box::new(WatchedProcessor { inner, session: self.0.session(context.tenant, tally) }))
    }
}

struct WatchedProcessor {
    inner: Box<dyn StreamProcessor>,
    session: Session,
}

impl StreamProcessor for WatchedProcessor {
    fn push(&mut self, chunk: &Chunk) -> Result<Vec<Output>, Error> {
        let given = chunk.text.len() + size_of_val(&chunk.tokens[..]);
        self.session.call(Call::Push, given, || self.inner.push(chunk), |outputs| bytes(outputs))
    }

    fn close(&mut self, reason: FinishReason) -> Result<Vec<Output>, Error> {
        self.session.call(Call::StreamClose, 0, || self.inner.close(reason), |outputs| bytes(outputs))
    }
}

fn bytes(outputs: &[Output]) -> usize {
    let size = |output: &Output| match output {
        Output::Text(text) | Output::Reasoning(text) | Output::Meta(text) => text.len(),
        Output::Tool(delta) => delta.arguments.len(),
        Output::Stop(_) => 1,
    };
    outputs.iter().map(size).sum()
}

/// How long arguments are as text.
fn json_bytes(args: &Value) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Neither counting nor a `Value` fails.
    let _ = serde_json::to_writer(&mut count, args);
    count.0
}
