//! Reads an answer as it comes: thinking, text and calls of tools apart.

use super::call::{Call, Calls, Outcome, Tool};
use super::{Dialect, Fields, Form};
use crate::decoder::overlap;
use crate::event::ToolDelta;

/// A piece of an answer that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Reasoning(String),
    Tool(ToolDelta),
}

/// What a request wants read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Thinking apart from text.
    pub(crate) reasoning: bool,
    /// Calls of these tools; none where there are none.
    pub(crate) tools: Vec<Tool>,
    /// The end of the prompt: some templates open the thinking themselves.
    pub(crate) prompt_end: String,
}

/// Reads one answer. However the text is cut into pieces, the same comes out, joined.
pub(crate) struct Reader {
    dialect: Dialect,
    reasoning: bool,
    state: State,
    /// Text that may still become part of a mark.
    held: String,
    calls: Calls,
    /// Text behind a call begins where something stands.
    after_call: bool,
}

enum State {
    /// Nothing but white space yet; of the whole answer, or behind its thinking.
    Start {
        after_thinking: bool,
    },
    Thinking {
        close: &'static str,
        begun: bool,
    },
    Text,
    Call(Call),
    /// In front of a message of a channel.
    Header,
    /// In a message of a channel that is for the reader.
    Message,
}

const CHANNEL_BODY: &str = "<|message|>";
const CHANNEL_END: &str = "<|end|>";
const CHANNEL_ENDS: [&str; 4] = [CHANNEL_END, "<|start|>", "<|channel|>", "<|return|>"];
pub(super) const CHANNEL_MARKS: [&str; 6] =
    ["<|start|>", "<|channel|>", CHANNEL_BODY, CHANNEL_END, "<|return|>", "<|constrain|>"];

impl Reader {
    /// A reader for an answer, or `None` where there is nothing to read out of it.
    pub(crate) fn new(dialect: Dialect, wanted: Wanted) -> Option<Self> {
        let Wanted { reasoning, tools, prompt_end } = wanted;
        let thinks = reasoning && (dialect.thinking.is_some() || dialect.channels);
        if !thinks && (tools.is_empty() || dialect.calls.is_empty()) {
            return None;
        }
        let opened = dialect.thinking.filter(|thinking| prompt_end.trim_end().ends_with(thinking.open));
        let state = match opened {
            _ if dialect.channels => State::Header,
            Some(thinking) if reasoning => State::Thinking { close: thinking.close, begun: false },
            _ => State::Start { after_thinking: false },
        };
        let calls = Calls { tools, ids: dialect.ids, made: 0 };
        Some(Self { dialect, reasoning, state, held: String::new(), calls, after_call: false })
    }

    /// Takes more of the answer.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        self.read(false)
    }

    /// What was held back; nothing follows.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
        self.read(true)
    }

    fn read(&mut self, last: bool) -> Vec<Piece> {
        let mut out = Vec::new();
        while self.step(last, &mut out) {}
        out
    }

    /// Whether there was progress.
    fn step(&mut self, last: bool, out: &mut Vec<Piece>) -> bool {
        match &mut self.state {
            State::Start { after_thinking } => {
                let after_thinking = *after_thinking;
                self.start(after_thinking, last)
            }
            State::Thinking { close, begun } => {
                let close = *close;
                if !*begun {
                    let space = self.held.len() - self.held.trim_start().len();
                    self.held.drain(..space);
                    *begun = !self.held.is_empty();
                }
                if let Some(at) = self.held.find(close) {
                    say(out, Piece::Reasoning, self.held[..at].trim_end());
                    self.held.drain(..at + close.len());
                    self.state = match self.dialect.channels {
                        true => State::Header,
                        false => State::Start { after_thinking: true },
                    };
                    return true;
                }
                let keep = if last { 0 } else { overlap(&self.held, close) };
                let kept = self.held.split_off(self.held.len() - keep);
                // White space goes out with what follows it, and not at all before the close.
                let end = self.held.trim_end().len();
                say(out, Piece::Reasoning, &self.held[..end]);
                self.held.drain(..end);
                self.held.push_str(&kept);
                if last {
                    self.held.clear();
                }
                false
            }
            State::Text => self.text(last, out),
            State::Call(call) => match call.step(&mut self.held, last, &mut self.calls, out) {
                Outcome::Wait => false,
                Outcome::Again => true,
                Outcome::Done => {
                    self.after_call = true;
                    self.state = if self.dialect.channels { State::Message } else { State::Text };
                    true
                }
                Outcome::Text(text) => {
                    self.say_text(&text, out);
                    self.state = State::Text;
                    true
                }
            },
            State::Header => self.header(last, out),
            State::Message => self.message(last, out),
        }
    }

    fn start(&mut self, after_thinking: bool, last: bool) -> bool {
        let trimmed = self.held.trim_start();
        let thinking = self.dialect.thinking.filter(|_| self.reasoning && !after_thinking);
        if let Some(thinking) = thinking {
            if let Some(rest) = trimmed.strip_prefix(thinking.open) {
                self.held = rest.to_owned();
                self.state = State::Thinking { close: thinking.close, begun: false };
                return true;
            }
            if !last && thinking.open.starts_with(trimmed) {
                return false;
            }
        }
        let may_be_bare = !self.calls.tools.is_empty() && self.dialect.calls.contains(&Form::Bare);
        if !last && trimmed.is_empty() && (after_thinking || may_be_bare) {
            return false;
        }
        let is_bare = may_be_bare && trimmed.starts_with(['{', '[']);
        if after_thinking {
            self.held = trimmed.to_owned();
        }
        self.state = if is_bare { State::Call(Call::new(Form::Bare)) } else { State::Text };
        true
    }

    fn text(&mut self, last: bool, out: &mut Vec<Piece>) -> bool {
        let forms = if self.calls.tools.is_empty() { &[][..] } else { self.dialect.calls };
        let opens = forms.iter().filter_map(|form| match form {
            Form::Tagged { open, .. } | Form::Named { open, .. } | Form::Fields(Fields { open, .. }) => {
                Some((*open, Some(*form)))
            }
            Form::Bare => None,
        });
        let noise = self.dialect.noise.iter().filter(|_| !forms.is_empty()).map(|mark| (*mark, None));
        let marks: Vec<_> = opens.chain(noise).collect();
        let found = marks.iter().filter_map(|(mark, form)| Some((self.held.find(mark)?, *mark, *form)));
        if let Some((at, mark, form)) = found.min_by_key(|(at, ..)| *at) {
            let text = self.held[..at].trim_end().to_owned();
            self.say_text(&text, out);
            self.held.drain(..at + mark.len());
            if let Some(form) = form {
                self.state = State::Call(Call::new(form));
            }
            return true;
        }
        let keep = marks.iter().map(|(mark, _)| overlap(&self.held, mark)).max().unwrap_or(0);
        let mut end = self.held.len() - if last { 0 } else { keep };
        let is_whole_answer = last && self.calls.made == 0;
        if !marks.is_empty() && !is_whole_answer {
            // White space before a call is not part of the text.
            end = self.held[..end].trim_end().len();
        }
        let text: String = self.held.drain(..end).collect();
        self.say_text(&text, out);
        if last {
            self.held.clear();
        }
        false
    }

    fn say_text(&mut self, text: &str, out: &mut Vec<Piece>) {
        let text = if self.after_call { text.trim_start() } else { text };
        self.after_call &= text.is_empty();
        say(out, Piece::Text, text);
    }

    /// `<|channel|>analysis<|message|>`, or `<|channel|>commentary to=functions.name …<|message|>`.
    fn header(&mut self, last: bool, out: &mut Vec<Piece>) -> bool {
        let may_be_header = ["<|", " to=", "assistant"]
            .iter()
            .any(|begin| self.held.starts_with(begin) || begin.starts_with(self.held.as_str()));
        if !may_be_header {
            self.state = State::Message;
            return true;
        }
        let Some(at) = self.held.find(CHANNEL_BODY) else {
            if last {
                self.held.clear();
            }
            return false;
        };
        let header = self.held[..at].to_owned();
        self.held.drain(..at + CHANNEL_BODY.len());
        let recipient = header.split(" to=functions.").nth(1);
        let name = recipient.and_then(|rest| rest.split([' ', '<']).next()).filter(|name| !name.is_empty());
        let channel = header.split("<|channel|>").nth(1).unwrap_or_default();
        self.state = match name {
            Some(name) if !self.calls.tools.is_empty() => {
                State::Call(Call::named(name.to_owned(), &mut self.calls, out))
            }
            _ if channel.starts_with("analysis") => State::Thinking { close: CHANNEL_END, begun: false },
            _ => State::Message,
        };
        true
    }

    fn message(&mut self, last: bool, out: &mut Vec<Piece>) -> bool {
        let found = CHANNEL_ENDS.iter().filter_map(|end| Some((self.held.find(end)?, *end)));
        if let Some((at, end)) = found.min_by_key(|(at, _)| *at) {
            let text = self.held[..at].to_owned();
            self.say_text(&text, out);
            let opens = end == "<|start|>" || end == "<|channel|>";
            self.held.drain(..if opens { at } else { at + end.len() });
            self.state = State::Header;
            return true;
        }
        let keep = CHANNEL_ENDS.iter().map(|end| overlap(&self.held, end)).max().unwrap_or(0);
        let end = self.held.len() - if last { 0 } else { keep };
        let text: String = self.held.drain(..end).collect();
        self.say_text(&text, out);
        false
    }
}

fn say(out: &mut Vec<Piece>, kind: fn(String) -> Piece, text: &str) {
    if !text.is_empty() {
        out.push(kind(text.to_owned()));
    }
}

#[cfg(test)]
mod tests;
