//! One call of a tool, or a list of them, read as it comes.

use std::hash::{BuildHasher, RandomState};

use serde_json::Value;

use super::json::{self, Begin, Scanner};
use super::{Fields, Form, Ids, Piece};
use crate::decoder::overlap;
use crate::event::ToolDelta;

/// The longest name of a tool that stands outside of JSON, with what may stand before it.
const NAME_BYTES_MAX: usize = 256;

/// A tool that an answer may call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// The schema of its arguments.
    pub(crate) parameters: Value,
}

impl Tool {
    /// A tool as clients define it, in OpenAI's form.
    pub(crate) fn of(definition: &Value) -> Option<Self> {
        let function = &definition["function"];
        let name = function["name"].as_str()?.to_owned();
        Some(Self { name, parameters: function["parameters"].clone() })
    }
}

/// The calls of one answer.
pub(super) struct Calls {
    /// The tools that there are.
    pub(super) tools: Vec<Tool>,
    pub(super) ids: Ids,
    pub(super) made: u32,
}

impl Calls {
    fn begin(&mut self, name: String, out: &mut Vec<Piece>) {
        let id = Some(id(self.ids));
        out.push(Piece::Tool(ToolDelta { index: self.made, id, name: Some(name), arguments: String::new() }));
        self.made += 1;
    }

    /// An argument that was written as plain text, as JSON: as the tool's schema says, and else as what it looks like.
    fn argument(&self, tool: &str, key: &str, text: &str) -> Value {
        let tool = self.tools.iter().find(|known| known.name == tool);
        let kind = tool.map_or(&Value::Null, |tool| &tool.parameters["properties"][key]["type"]);
        if kind == "string" {
            return Value::from(text);
        }
        match (kind.as_str(), text.trim()) {
            // Python's words, from templates that write them so.
            (Some("boolean"), "True") => Value::from(true),
            (Some("boolean"), "False") => Value::from(false),
            (_, trimmed) => serde_json::from_str(trimmed).unwrap_or_else(|_| Value::from(text)),
        }
    }

    /// More arguments of the call begun last.
    fn more(&self, arguments: &str, out: &mut Vec<Piece>) {
        if !arguments.is_empty() {
            let (index, arguments) = (self.made.saturating_sub(1), arguments.to_owned());
            out.push(Piece::Tool(ToolDelta { index, arguments, ..ToolDelta::default() }));
        }
    }
}

/// A name for a call that no other has.
fn id(ids: Ids) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    // The randomness that the standard library seeds its maps with.
    let random = RandomState::new();
    let letter = |at: usize| char::from(LETTERS[(random.hash_one(at) % 62) as usize]);
    match ids {
        Ids::Call => "call_".chars().chain((0..24).map(letter)).collect(),
        Ids::Nine => (0..9).map(letter).collect(),
    }
}

/// A call under way.
pub(super) struct Call {
    form: Form,
    phase: Phase,
    in_list: bool,
    /// What was taken, as long as it may turn out to be no call.
    taken: String,
}

enum Phase {
    /// Before the name.
    Head,
    /// In an object whose keys come in an unusual order: it is read when it is whole.
    Whole(Scanner, String),
    /// In the arguments. A string of JSON in them is read when it is whole.
    Arguments { scanner: Scanner, quoted: Option<String> },
    /// Behind the arguments, in the object.
    Tail,
    /// In keys behind the arguments.
    Rest(Scanner),
    /// Between arguments that have marks of their own.
    Fields { tool: String, begun: bool },
    /// In the value of one: `searched` bytes of it have no end in them.
    Field { tool: String, begun: bool, key: String, searched: usize },
    /// Before the closing mark.
    Close,
}

/// What became of a call with more text.
pub(super) enum Outcome {
    /// More text is needed.
    Wait,
    /// There was progress.
    Again,
    /// It is over.
    Done,
    /// It was no call after all, but this text.
    Text(String),
}

impl Call {
    pub(super) fn new(form: Form) -> Self {
        let taken = match form {
            Form::Tagged { open, .. } | Form::Named { open, .. } | Form::Fields(Fields { open, .. }) => {
                open.to_owned()
            }
            Form::Bare => String::new(),
        };
        Self { form, phase: Phase::Head, in_list: false, taken }
    }

    /// A call of which the name is known and the arguments follow, up to where they end.
    pub(super) fn named(name: String, calls: &mut Calls, out: &mut Vec<Piece>) -> Self {
        calls.begin(name, out);
        let phase = Phase::Arguments { scanner: Scanner::default(), quoted: None };
        let form = Form::Named { open: "", before: "", after: "", close: "" };
        Self { form, phase, in_list: false, taken: String::new() }
    }

    /// Takes what it can from `held`. `last` says that nothing follows.
    pub(super) fn step(
        &mut self,
        held: &mut String,
        last: bool,
        calls: &mut Calls,
        out: &mut Vec<Piece>,
    ) -> Outcome {
        match &mut self.phase {
            Phase::Head => match self.form {
                Form::Named { before, after, .. } => self.name(before, after, held, last, calls, out),
                Form::Fields(fields) => self.name_of_fields(fields, held, last, calls, out),
                Form::Tagged { .. } | Form::Bare => self.head(held, last, calls, out),
            },
            Phase::Whole(scanner, object) => {
                let (length, ended) = scanner.push(held);
                object.extend(held.drain(..length));
                match ended {
                    true => {
                        let object = std::mem::take(object);
                        self.whole(&object, calls, out)
                    }
                    false if last => Outcome::Text(format!("{}{object}", self.taken)),
                    false => Outcome::Wait,
                }
            }
            Phase::Arguments { scanner, quoted } => {
                let (length, ended) = scanner.push(held);
                let mut text: String = held.drain(..length).collect();
                if let Some(quoted) = quoted {
                    quoted.push_str(&text);
                    text = match serde_json::from_str::<String>(quoted.trim()) {
                        Ok(unquoted) if ended => unquoted,
                        _ if ended || last => quoted.clone(),
                        _ => String::new(),
                    };
                }
                calls.more(&text, out);
                self.phase = match (ended, self.form) {
                    (true, Form::Named { .. }) => Phase::Close,
                    (true, _) => Phase::Tail,
                    (false, _) => return if last { Outcome::Done } else { Outcome::Wait },
                };
                Outcome::Again
            }
            Phase::Tail => {
                skip_space(held);
                self.phase = match held.chars().next() {
                    None => return if last { Outcome::Done } else { Outcome::Wait },
                    Some('}') => {
                        held.remove(0);
                        self.after_object()
                    }
                    Some(',') => Phase::Rest(Scanner::in_object()),
                    Some(_) => Phase::Close,
                };
                Outcome::Again
            }
            Phase::Rest(scanner) => {
                let (length, ended) = scanner.push(held);
                held.drain(..length);
                if !ended {
                    return if last { Outcome::Done } else { Outcome::Wait };
                }
                self.phase = self.after_object();
                Outcome::Again
            }
            Phase::Fields { .. } | Phase::Field { .. } => match self.form {
                Form::Fields(fields) => self.fields(fields, held, last, calls, out),
                Form::Tagged { .. } | Form::Named { .. } | Form::Bare => Outcome::Done,
            },
            Phase::Close => {
                let close = match self.form {
                    Form::Tagged { close, .. } | Form::Named { close, .. } => close,
                    Form::Fields(_) | Form::Bare => "",
                };
                let trimmed = held.trim_start();
                if !last && !close.is_empty() && trimmed.len() < close.len() && close.starts_with(trimmed) {
                    return Outcome::Wait;
                }
                if let Some(rest) = trimmed.strip_prefix(close) {
                    *held = rest.to_owned();
                }
                Outcome::Done
            }
        }
    }

    fn after_object(&self) -> Phase {
        if self.in_list { Phase::Head } else { Phase::Close }
    }

    fn name(
        &mut self,
        before: &str,
        after: &str,
        held: &mut String,
        last: bool,
        calls: &mut Calls,
        out: &mut Vec<Piece>,
    ) -> Outcome {
        let start = held.find(before).map(|at| at + before.len());
        let end = start.and_then(|start| held[start..].find(after).map(|at| start + at));
        let (Some(start), Some(end)) = (start, end) else {
            let is_none = last || held.len() > NAME_BYTES_MAX;
            return if is_none { self.give_back() } else { Outcome::Wait };
        };
        let name = held[start..end].trim().to_owned();
        // The limit holds for all that had to be held for it, so that it is the same however the text is cut.
        if name.is_empty() || end + after.len() > NAME_BYTES_MAX {
            return self.give_back();
        }
        held.drain(..end + after.len());
        calls.begin(name, out);
        self.phase = Phase::Arguments { scanner: Scanner::default(), quoted: None };
        Outcome::Again
    }

    fn name_of_fields(
        &mut self,
        fields: Fields,
        held: &mut String,
        last: bool,
        calls: &mut Calls,
        out: &mut Vec<Piece>,
    ) -> Outcome {
        let start = held.len() - held.trim_start().len();
        let Some((end, mark)) =
            held[start..].char_indices().find(|(_, mark)| fields.name_ends.contains(mark))
        else {
            let is_none = last || held.len() > NAME_BYTES_MAX;
            return if is_none { self.give_back() } else { Outcome::Wait };
        };
        let tool = held[start..start + end].trim().to_owned();
        if tool.is_empty() || start + end + mark.len_utf8() > NAME_BYTES_MAX {
            return self.give_back();
        }
        held.drain(..start + end + if mark == '<' { 0 } else { mark.len_utf8() });
        self.taken.clear();
        calls.begin(tool.clone(), out);
        self.phase = Phase::Fields { tool, begun: false };
        Outcome::Again
    }

    fn fields(
        &mut self,
        fields: Fields,
        held: &mut String,
        last: bool,
        calls: &mut Calls,
        out: &mut Vec<Piece>,
    ) -> Outcome {
        // An argument that was cut off has no end that makes JSON of it.
        let wait = |held: &mut String| {
            if last {
                held.clear();
                return Outcome::Done;
            }
            Outcome::Wait
        };
        if let Phase::Field { tool, begun, key, searched } = &mut self.phase {
            let Some(at) = held[*searched..].find(fields.value_close).map(|at| at + *searched) else {
                *searched = held.len() - overlap(held, fields.value_close);
                return wait(held);
            };
            // The marks stand on lines of their own, or they do not.
            let value = held[..at].strip_prefix('\n').unwrap_or(&held[..at]);
            let value = calls.argument(tool, key, value.strip_suffix('\n').unwrap_or(value));
            let before = if *begun { ", " } else { "{" };
            calls.more(&format!("{before}{}: {value}", Value::from(key.as_str())), out);
            held.drain(..at + fields.value_close.len());
            self.phase = Phase::Fields { tool: std::mem::take(tool), begun: true };
            return Outcome::Again;
        }
        let Phase::Fields { tool, begun } = &mut self.phase else { return Outcome::Done };
        skip_space(held);
        if let Some(rest) = held.strip_prefix(fields.key_open) {
            let Some((key, rest)) = rest.split_once(fields.key_close) else { return wait(held) };
            let rest = if fields.value_open.is_empty() { rest } else { rest.trim_start() };
            let Some(rest) = rest.strip_prefix(fields.value_open) else {
                if fields.value_open.starts_with(rest) {
                    return wait(held);
                }
                // A key without a value.
                calls.more(if *begun { "}" } else { "{}" }, out);
                return Outcome::Done;
            };
            let (tool, begun, key) = (std::mem::take(tool), *begun, key.trim().to_owned());
            *held = rest.to_owned();
            self.phase = Phase::Field { tool, begun, key, searched: 0 };
            return Outcome::Again;
        }
        let is_begun = |mark: &&str| mark.len() > held.len() && mark.starts_with(held.as_str());
        let may_come = [fields.key_open, fields.close].iter().any(is_begun);
        if may_come && !(last && held.is_empty()) {
            return wait(held);
        }
        // Its end, or something that is no part of it.
        calls.more(if *begun { "}" } else { "{}" }, out);
        if let Some(rest) = held.strip_prefix(fields.close) {
            *held = rest.to_owned();
        }
        Outcome::Done
    }

    fn head(&mut self, held: &mut String, last: bool, calls: &mut Calls, out: &mut Vec<Piece>) -> Outcome {
        let trimmed = held.trim_start();
        let space = held.len() - trimmed.len();
        match trimmed.chars().next() {
            None if last => return self.give_back(),
            None => return Outcome::Wait,
            Some('[') if !self.in_list => {
                self.in_list = true;
                self.taken.extend(held.drain(..=space));
                return Outcome::Again;
            }
            Some(',') if self.in_list => {
                held.drain(..=space);
                return Outcome::Again;
            }
            Some(']') if self.in_list => {
                held.drain(..=space);
                self.phase = Phase::Close;
                return Outcome::Again;
            }
            Some(_) => {}
        }
        match json::head(trimmed) {
            Begin::Open if !last => Outcome::Wait,
            Begin::Is(head)
                if self.form != Form::Bare || calls.tools.iter().any(|tool| tool.name == head.name) =>
            {
                held.drain(..space + head.length);
                self.taken.clear();
                calls.begin(head.name, out);
                self.phase = if head.has_arguments {
                    let quoted = held.starts_with('"').then(String::new);
                    Phase::Arguments { scanner: Scanner::default(), quoted }
                } else {
                    calls.more("{}", out);
                    Phase::Tail
                };
                Outcome::Again
            }
            Begin::Not if self.form != Form::Bare => {
                self.phase = Phase::Whole(Scanner::default(), String::new());
                Outcome::Again
            }
            Begin::Open | Begin::Is(_) | Begin::Not => self.give_back(),
        }
    }

    fn whole(&mut self, object: &str, calls: &mut Calls, out: &mut Vec<Piece>) -> Outcome {
        let read = serde_json::from_str::<Value>(object).ok();
        let name = read.as_ref().and_then(|call| call["name"].as_str());
        let Some((call, name)) = read.as_ref().zip(name) else {
            return Outcome::Text(format!("{}{object}", self.taken));
        };
        let arguments = call.get("arguments").or_else(|| call.get("parameters"));
        self.taken.clear();
        calls.begin(name.to_owned(), out);
        let arguments = match arguments {
            None | Some(Value::Null) => "{}".to_owned(),
            Some(Value::String(quoted)) => quoted.clone(),
            Some(arguments) => arguments.to_string(),
        };
        calls.more(&arguments, out);
        self.phase = self.after_object();
        Outcome::Again
    }

    /// What was taken is text. What is held may still have marks of another call in it.
    fn give_back(&mut self) -> Outcome {
        Outcome::Text(std::mem::take(&mut self.taken))
    }
}

fn skip_space(held: &mut String) {
    let space = held.len() - held.trim_start().len();
    held.drain(..space);
}
