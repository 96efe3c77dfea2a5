//! How a family of models marks its thinking and its calls of tools, and how to read them out of an answer.
//!
//! A model writes text; clients want reasoning, content and tool calls apart. Which marks to look for is read from
//! the model's chat template, because that is the text it was trained to continue.

mod call;
mod json;
mod reader;

pub(crate) use call::Tool;
pub(crate) use reader::{Piece, Reader, Wanted};

/// A family of models, by how it marks thinking and calls of tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Its name in flags and logs.
    pub name: &'static str,
    thinking: Option<Thinking>,
    calls: &'static [Form],
    ids: Ids,
    /// Markup around calls that says nothing.
    noise: &'static [&'static str],
    channels: bool,
}

/// What encloses thinking at the beginning of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Thinking {
    open: &'static str,
    close: &'static str,
}

/// How a call of a tool is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `OPEN {"name": …, "arguments": {…}} CLOSE`, or a list of such objects. Without a close, to the end.
    Tagged { open: &'static str, close: &'static str },
    /// The answer is such an object or list and nothing else; only names of tools that there are count.
    Bare,
    /// `OPEN … BEFORE name AFTER {…} CLOSE`: the name stands outside of the arguments.
    Named { open: &'static str, before: &'static str, after: &'static str, close: &'static str },
    /// `OPEN name` and then each argument between marks of its own.
    Fields(Fields),
}

/// The marks of a call whose arguments are no JSON: `KEY_OPEN key KEY_CLOSE VALUE_OPEN value VALUE_CLOSE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fields {
    open: &'static str,
    /// What ends the name; it is part of the next mark if it is `<`.
    name_ends: &'static [char],
    key_open: &'static str,
    key_close: &'static str,
    value_open: &'static str,
    value_close: &'static str,
    close: &'static str,
}

/// What the names of calls look like. Some templates refuse others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ids {
    /// `call_` and 24 letters and digits, as OpenAI's.
    Call,
    /// Nine letters and digits, as Mistral's templates demand.
    Nine,
}

/// `<function=add>\n<parameter=a>\n1\n</parameter>\n</function>`, as Qwen3-Coder writes it.
const PARAMETERS: Fields = Fields {
    open: "<function=",
    name_ends: &['>'],
    key_open: "<parameter=",
    key_close: ">",
    value_open: "",
    value_close: "</parameter>",
    close: "</function>",
};

/// `<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>`, as GLM 4.5 and later write it.
const KEYS_AND_VALUES: Fields = Fields {
    open: "<tool_call>",
    name_ends: &['\n', '<'],
    key_open: "<arg_key>",
    key_close: "</arg_key>",
    value_open: "<arg_value>",
    value_close: "</arg_value>",
    close: "</tool_call>",
};

const THINK: Option<Thinking> = Some(Thinking { open: "<think>", close: "</think>" });
const TOOL_CALL: Form = Form::Tagged { open: "<tool_call>", close: "</tool_call>" };

const fn dialect(name: &'static str, calls: &'static [Form]) -> Dialect {
    Dialect { name, thinking: None, calls, ids: Ids::Call, noise: &[], channels: false }
}

/// All dialects, and what in a template tells them. The first that fits is it.
const DIALECTS: [(&[&str], Dialect); 13] = [
    (&["<|channel|>", "<|message|>"], Dialect { channels: true, ..dialect("harmony", &[]) }),
    (
        &["<｜tool▁call▁begin｜>", "```json"],
        Dialect {
            noise: &["<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"],
            ..dialect(
                "deepseek",
                &[Form::Named {
                    open: "<｜tool▁call▁begin｜>",
                    before: "<｜tool▁sep｜>",
                    after: "\n```json\n",
                    close: "```<｜tool▁call▁end｜>",
                }],
            )
        },
    ),
    (
        &["<｜tool▁call▁begin｜>"],
        Dialect {
            noise: &["<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"],
            ..dialect(
                "deepseek-v3.1",
                &[Form::Named {
                    open: "<｜tool▁call▁begin｜>",
                    before: "",
                    after: "<｜tool▁sep｜>",
                    close: "<｜tool▁call▁end｜>",
                }],
            )
        },
    ),
    (
        &["[TOOL_CALLS]", "[ARGS]"],
        Dialect {
            ids: Ids::Nine,
            ..dialect(
                "mistral-v11",
                &[Form::Named { open: "[TOOL_CALLS]", before: "", after: "[ARGS]", close: "" }],
            )
        },
    ),
    (
        &["[TOOL_CALLS]"],
        Dialect { ids: Ids::Nine, ..dialect("mistral", &[Form::Tagged { open: "[TOOL_CALLS]", close: "" }]) },
    ),
    (&["<|tool_call|>"], dialect("granite", &[Form::Tagged { open: "<|tool_call|>", close: "" }])),
    (
        &["<function=", "<parameter="],
        Dialect {
            noise: &["<tool_call>", "</tool_call>"],
            ..dialect("qwen3-coder", &[Form::Fields(PARAMETERS)])
        },
    ),
    (&["<arg_key>"], dialect("glm", &[Form::Fields(KEYS_AND_VALUES)])),
    (
        &["<function="],
        dialect(
            "functionary",
            &[Form::Named { open: "<function=", before: "", after: ">", close: "</function>" }],
        ),
    ),
    (&["<tool_call>"], dialect("hermes", &[TOOL_CALL])),
    (
        &["<|python_tag|>"],
        dialect("llama3", &[Form::Tagged { open: "<|python_tag|>", close: "" }, Form::Bare]),
    ),
    (&["ipython"], dialect("llama3", &[Form::Tagged { open: "<|python_tag|>", close: "" }, Form::Bare])),
    (&[], dialect("generic", &[TOOL_CALL, Form::Bare])),
];

impl Dialect {
    /// The dialect that a chat template speaks.
    #[must_use]
    pub fn of_template(source: &str) -> Self {
        let fits = |marks: &[&str]| marks.iter().all(|mark| source.contains(mark));
        let found = DIALECTS.iter().find(|(marks, _)| fits(marks)).map(|(_, dialect)| *dialect);
        // The last one always fits.
        let found = found.unwrap_or(DIALECTS[DIALECTS.len() - 1].1);
        found.with_thinking(source)
    }

    /// The dialect of a name, for a model whose template says `source`.
    #[must_use]
    pub fn named(name: &str, source: &str) -> Option<Self> {
        let (_, dialect) = DIALECTS.iter().find(|(_, dialect)| dialect.name == name)?;
        Some(dialect.with_thinking(source))
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let mut last = "";
        DIALECTS.iter().map(|(_, dialect)| dialect.name).filter(move |name| {
            let is_new = *name != last;
            last = name;
            is_new
        })
    }

    /// The same family where a grammar demands calls: it demands them in one form, whatever the model's own is.
    pub(crate) fn demanded(self) -> Self {
        Self { calls: &[TOOL_CALL], noise: &[], channels: false, ..self }
    }

    /// What an answer in such pieces comes to: parts of thinking, of text, names of calls and arguments, each joined,
    /// with what it is. For tests; `prompt_end` and `tools` are those of the request.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub fn transcript<'a>(
        self,
        prompt_end: &str,
        tools: &[serde_json::Value],
        pieces: impl IntoIterator<Item = &'a str>,
    ) -> Vec<(&'static str, String)> {
        let tools = tools.iter().filter_map(Tool::of).collect();
        let wanted = Wanted { reasoning: true, tools, prompt_end: prompt_end.into() };
        let Some(mut reader) = Reader::new(self, wanted) else { return Vec::new() };
        let mut read: Vec<Piece> = pieces.into_iter().flat_map(|piece| reader.push(piece)).collect();
        read.extend(reader.finish());
        let mut joined: Vec<(&'static str, String)> = Vec::new();
        for piece in read {
            let (kind, text) = match piece {
                Piece::Text(text) => ("text", text),
                Piece::Reasoning(text) => ("reasoning", text),
                Piece::Tool(crate::event::ToolDelta { name: Some(name), .. }) => ("call", name),
                Piece::Tool(delta) => ("arguments", delta.arguments),
            };
            match joined.last_mut() {
                Some((last, before)) if *last == kind && kind != "call" => before.push_str(&text),
                _ => joined.push((kind, text)),
            }
        }
        joined
    }

    fn with_thinking(self, source: &str) -> Self {
        let thinking = if source.contains("</think>") && !self.channels { THINK } else { None };
        Self { thinking, ..self }
    }

    /// All markup that a reader needs to see: tokens that are never shown otherwise.
    pub(crate) fn marks(&self) -> Vec<&'static str> {
        let mut marks = self.noise.to_vec();
        marks.extend(self.thinking.iter().flat_map(|thinking| [thinking.open, thinking.close]));
        for form in self.calls {
            match *form {
                Form::Tagged { open, close } => marks.extend([open, close]),
                Form::Named { open, before, after, close } => marks.extend([open, before, after, close]),
                Form::Fields(Fields {
                    open, key_open, key_close, value_open, value_close, close, ..
                }) => {
                    marks.extend([open, key_open, key_close, value_open, value_close, close]);
                }
                Form::Bare => {}
            }
        }
        if self.channels {
            marks.extend(reader::CHANNEL_MARKS);
        }
        // DeepSeek's end of a call has a fence before the token.
        marks.extend(marks.clone().iter().filter_map(|mark| mark.strip_prefix("```")));
        marks.retain(|mark| !mark.is_empty());
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_tell_their_dialect() {
        for (template, name, thinks) in [
            ("{{'<tool_call>'}}", "hermes", false),
            ("<tool_call> {% if x %}</think>{% endif %}", "hermes", true),
            ("Environment: ipython", "llama3", false),
            ("<|python_tag|> ipython", "llama3", false),
            ("[TOOL_CALLS] [", "mistral", false),
            ("[TOOL_CALLS]{{ name }}[ARGS]", "mistral-v11", false),
            ("<｜tool▁call▁begin｜>function<｜tool▁sep｜>\n```json </think>", "deepseek", true),
            ("<｜tool▁call▁begin｜>{{ name }}<｜tool▁sep｜> </think>", "deepseek-v3.1", true),
            ("only with <|tool_call|> followed by", "granite", false),
            ("<function=example>", "functionary", false),
            ("<tool_call>\n<function=example>\n<parameter=x>", "qwen3-coder", false),
            ("<tool_call>{{ name }}\n<arg_key> </think>", "glm", true),
            ("<|start|>assistant<|channel|>analysis<|message|> </think>", "harmony", false),
            ("{{ messages }}", "generic", false),
            ("", "generic", false),
        ] {
            let dialect = Dialect::of_template(template);
            assert_eq!((dialect.name, dialect.thinking.is_some()), (name, thinks), "{template}");
            assert_eq!(Dialect::named(name, template), Some(dialect));
        }
        assert_eq!(Dialect::named("klingon", ""), None);
        assert!(Dialect::names().collect::<Vec<_>>().contains(&"llama3"));
    }
}
