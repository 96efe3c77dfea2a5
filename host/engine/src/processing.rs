//! The pipe of stream processors: the text of one is the chunk of the next, all other events pass untouched.

use crate::Error;
use crate::event::{Event, FinishReason, Meta, Text};
use crate::plugin::{
    self, Chunk, Kind, OnFault, Output, Report, SessionContext, StreamPlugin, StreamProcessor,
};
use crate::request::Use;

/// The processors of one request.
pub(crate) struct Pipe {
    links: Vec<Link>,
    closed: bool,
}

struct Link {
    /// `None` once a fault took it out: text then passes as it is.
    session: Option<Box<dyn StreamProcessor>>,
    on_fault: OnFault,
    report: Report,
}

/// What came out of the pipe.
#[derive(Debug, Default)]
pub(crate) struct Processed {
    pub events: Vec<Event>,
    /// Why a processor ended the answer.
    pub stopped: Option<FinishReason>,
}

/// What is on its way through the pipe.
pub(crate) enum Item {
    Chunk(Chunk),
    Event(Event),
}

impl Pipe {
    pub(crate) fn open(context: &SessionContext, used: &[Use<dyn StreamPlugin>]) -> Result<Self, Error> {
        let open = |used: &Use<dyn StreamPlugin>| {
            let mut report = Report::new(used.plugin.identity(), Kind::Stream);
            let session = match used.plugin.open(context, &used.args) {
                Ok(session) => Some(session),
                Err(error) if used.on_fault == OnFault::Fail => return Err(Error::Plugin(error)),
                Err(error) => {
                    report.survive(&error);
                    None
                }
            };
            Ok(Link { session, on_fault: used.on_fault, report })
        };
        Ok(Self { links: used.iter().map(open).collect::<Result<_, Error>>()?, closed: false })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    pub(crate) fn into_reports(self) -> Vec<Report> {
        self.links.into_iter().map(|link| link.report).collect()
    }

    /// Sends chunks and events through, and ends the processors where `closing` says why. A processor that ends the answer
    /// closes the ones behind it, with what they still hold.
    pub(crate) fn process(
        &mut self,
        mut items: Vec<Item>,
        closing: Option<FinishReason>,
    ) -> Result<Processed, Error> {
        if self.closed {
            return Ok(Processed::default());
        }
        let mut ending = closing;
        let mut stopped = None;
        for link in &mut self.links {
            let (passed, stop) = link.process(items, ending)?;
            items = passed;
            if let Some(reason) = stop {
                stopped = Some(reason);
                ending = Some(reason);
            }
        }
        self.closed = ending.is_some();
        Ok(Processed { events: items.into_iter().map(Item::into_event).collect(), stopped })
    }
}

impl Item {
    pub(crate) fn into_event(self) -> Event {
        match self {
            Self::Chunk(chunk) => Event::Text(Text { text: chunk.text, logprobs: Vec::new() }),
            Self::Event(event) => event,
        }
    }
}

impl Link {
    fn process(
        &mut self,
        items: Vec<Item>,
        closing: Option<FinishReason>,
    ) -> Result<(Vec<Item>, Option<FinishReason>), Error> {
        let mut passed = Vec::new();
        for item in items {
            let Item::Chunk(chunk) = item else {
                passed.push(item);
                continue;
            };
            let Some(outputs) = self.call(|session| session.push(&chunk))? else {
                passed.push(Item::Chunk(chunk));
                continue;
            };
            if let Some(reason) = self.pass(outputs, Some(&chunk), &mut passed) {
                return Ok((passed, Some(reason)));
            }
        }
        let mut stopped = None;
        if let Some(reason) = closing
            && let Some(outputs) = self.call(|session| session.close(reason))?
        {
            stopped = self.pass(outputs, None, &mut passed);
        }
        Ok((passed, stopped))
    }

    /// Turns outputs into items, up to where they end the answer.
    fn pass(
        &self,
        outputs: Vec<Output>,
        from: Option<&Chunk>,
        passed: &mut Vec<Item>,
    ) -> Option<FinishReason> {
        for output in outputs {
            let event = match output {
                Output::Text(text) if text.is_empty() => continue,
                Output::Text(text) => {
                    // The tokens belong to the text only as long as it is what they decode to.
                    let tokens = match from {
                        Some(chunk) if chunk.text == text => chunk.tokens.clone(),
                        _ => Vec::new(),
                    };
                    passed.push(Item::Chunk(Chunk { text, tokens }));
                    continue;
                }
                Output::Reasoning(text) => Event::Reasoning(text),
                Output::Tool(delta) => Event::Tool(delta),
                Output::Meta(json) => Event::Meta(Meta { plugin: self.report.name.clone(), json }),
                Output::Stop(reason) => return Some(reason),
            };
            passed.push(Item::Event(event));
        }
        None
    }

    /// Calls the session, unless a fault took it out. `None` if it is out, or goes out now.
    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut dyn StreamProcessor) -> Result<T, plugin::Error>,
    ) -> Result<Option<T>, Error> {
        let Some(session) = &mut self.session else { return Ok(None) };
        self.report.calls += 1;
        match call(session.as_mut()) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.session = None;
                if self.on_fault == OnFault::Fail {
                    return Err(error.into());
                }
                self.report.survive(&error);
                Ok(None)
            }
        }
    }
}
