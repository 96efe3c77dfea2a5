//! The chat template that a model's file carries, in Jinja, with what `transformers` gives its templates:
//! `raise_exception`, `strftime_now`, Python's methods of strings and mappings, and JSON as Python writes it.

use std::fmt;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value as JinjaValue};
use minijinja::{Environment, ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::{Special, Vocabulary};
use crate::request::{Chat, Message, ToolCall};

/// For models whose file has no template: the one that most are trained on.
const CHATML: &str = "{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}";

const NAME: &str = "chat_template";

/// Steps that a rendering may take: far more than the longest conversation needs, and over within a second.
const FUEL: u64 = 50_000_000;

/// A chat template failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The line of the template, counted from 1.
    pub line: Option<usize>,
    /// The text of that line.
    pub source_line: Option<String>,
    /// What went wrong; for `raise_exception`, the template's own words.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model's chat template failed")?;
        if let Some(line) = self.line {
            write!(f, " in line {line}")?;
        }
        write!(f, ": {}", self.message)?;
        match &self.source_line {
            Some(source) => write!(f, "; the line is: {}", source.trim()),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// A chat template, compiled.
pub struct JinjaTemplate {
    environment: Result<Environment<'static>, Error>,
    source: String,
    bos: String,
    eos: String,
}

impl JinjaTemplate {
    /// Compiles a template; without one, and for the word `chatml`, ChatML. A template that does not compile is an error at each rendering:
    /// the model still serves completions, and requests that bring their own template.
    #[must_use]
    pub fn new(source: Option<&str>, vocabulary: &dyn Vocabulary) -> Self {
        let text = |role| {
            let piece = vocabulary.special(role).map(|token| vocabulary.piece(token));
            piece.map_or_else(String::new, |piece| String::from_utf8_lossy(piece).into_owned())
        };
        // `{% generation %}` marks what `transformers` trains on; it prints nothing.
        let source = source.filter(|source| *source != "chatml").unwrap_or(CHATML);
        let marks = [
            "{% generation %}",
            "{%- generation %}",
            "{%- generation -%}",
            "{% endgeneration %}",
            "{%- endgeneration %}",
            "{%- endgeneration -%}",
        ];
        let source = marks.iter().fold(source.to_owned(), |source, mark| source.replace(mark, ""));
        let environment = compile(source.clone()).map_err(|error| describe(&error, &source));
        Self { environment, source, bos: text(Special::Bos), eos: text(Special::Eos) }
    }

    /// The template's text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Makes the prompt of a conversation.
    ///
    /// # Errors
    ///
    /// When the template does not compile, or refuses the conversation.
    pub fn render(&self, chat: &Chat) -> Result<String, Error> {
        let environment = self.environment.as_ref().map_err(Clone::clone)?;
        let template = environment.get_template(NAME).map_err(|error| describe(&error, &self.source))?;
        let messages: Vec<Value> = chat.messages.iter().map(message).collect();
        let mut variables = json!({
            "messages": messages,
            "add_generation_prompt": chat.opens_answer(),
            "bos_token": self.bos,
            "eos_token": self.eos,
        });
        // `tools is none` and `tools is defined` both are asked by templates; transformers passes None.
        variables["tools"] = if chat.tools.is_empty() { Value::Null } else { chat.tools.clone().into() };
        if let (Some(all), Value::Object(more)) = (variables.as_object_mut(), &chat.template_variables) {
            all.extend(more.clone());
        }
        let variables: JinjaValue = serde_json::from_value(variables).map_err(|error| Error {
            line: None,
            source_line: None,
            message: error.to_string(),
        })?;
        let rendered = template.render(variables);
        let mut rendered = rendered.map_err(|error| describe(&error, &self.source))?;
        if chat.continue_last {
            leave_open(&mut rendered, chat);
        } else if chat.template_variables["enable_thinking"] == false {
            end_thinking(&mut rendered);
        }
        Ok(rendered)
    }
}

/// What opens thinking and what ends it.
const THINKING: [(&str, &str); 3] =
    [("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<|START_THINKING|>", "<|END_THINKING|>")];

/// Ends the thinking that a template opens although it was told that there is to be none. As in llama-server.
fn end_thinking(rendered: &mut String) {
    let opened = rendered.trim_end();
    if let Some((_, end)) = THINKING.iter().find(|(open, _)| opened.ends_with(open)) {
        rendered.push_str(end);
    }
}

/// Cuts what the template wrote behind the last message, so that the model goes on with it.
pub(super) fn leave_open(rendered: &mut String, chat: &Chat) {
    let last = chat.messages.last().map(Message::joined_text).unwrap_or_default();
    let last = last.trim_end();
    if let Some(at) = rendered.rfind(last).filter(|_| !last.is_empty()) {
        rendered.truncate(at + last.len());
    }
}

fn compile(source: String) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", |message: String| -> Result<JinjaValue, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |format: String| {
        jiff::fmt::strtime::format(&format, &jiff::Zoned::now())
            .map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string()))
    });
    environment.add_template_owned(NAME, source)?;
    Ok(environment)
}

/// A message as templates expect it: content as text, calls of tools with their arguments as objects.
fn message(message: &Message) -> Value {
    let mut value = json!({ "role": message.role, "content": message.joined_text() });
    if let Some(name) = &message.name {
        value["name"] = json!(name);
    }
    if let Some(reasoning) = &message.reasoning {
        value["reasoning_content"] = json!(reasoning);
    }
    if let Some(id) = &message.tool_call_id {
        value["tool_call_id"] = json!(id);
    }
    if !message.tool_calls.is_empty() {
        value["tool_calls"] = message.tool_calls.iter().map(tool_call).collect();
    }
    value
}

fn tool_call(call: &ToolCall) -> Value {
    let arguments = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!(call.arguments));
    json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": arguments } })
}

/// JSON as Python's `json.dumps(value, ensure_ascii=False, indent=indent)` writes it.
#[expect(clippy::needless_pass_by_value, reason = "minijinja calls filters with owned arguments")]
fn to_json(value: JinjaValue, options: Kwargs) -> Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Others that transformers takes make no difference to what templates do with them.
    for ignored in ["ensure_ascii", "sort_keys", "separators"] {
        let _: Option<JinjaValue> = options.get(ignored)?;
    }
    options.assert_all_used()?;
    let value = Value::deserialize(value)
        .map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string()))?;
    let mut bytes = Vec::new();
    let written = match indent {
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, PythonFormatter)),
        Some(width) => {
            let spaces = vec![b' '; width];
            let formatter = serde_json::ser::PrettyFormatter::with_indent(&spaces);
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
        }
    };
    written.map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A space behind every comma and colon.
struct PythonFormatter;

impl serde_json::ser::Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

fn describe(error: &minijinja::Error, source: &str) -> Error {
    let line = error.line();
    let source_line = line.and_then(|line| source.lines().nth(line.checked_sub(1)?)).map(str::to_owned);
    let mut message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        message = format!("{message}: {inner}");
        cause = inner.source();
    }
    Error { line, source_line, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::ByteVocabulary;

    fn render(source: Option<&str>, chat: &Chat) -> String {
        match JinjaTemplate::new(source, &ByteVocabulary::new()).render(chat) {
            Ok(prompt) => prompt,
            Err(error) => format!("ERROR {error}"),
        }
    }

    fn chat() -> Chat {
        let call =
            ToolCall { id: "c1".into(), name: "add".into(), arguments: r#"{"a":1,"b":[2,"é"]}"#.into() };
        Chat {
            messages: vec![
                Message::text("user", "Hi <b>"),
                Message { role: "assistant".into(), tool_calls: vec![call], ..Message::default() },
            ],
            tools: vec![json!({"type": "function", "function": {"name": "add"}})],
            template_variables: json!({"enable_thinking": false}),
            continue_last: false,
            ..Chat::default()
        }
    }

    #[test]
    fn templates_see_what_transformers_shows_them() {
        let cases = [
            ("{{ messages[0].content }}", "Hi <b>"),
            ("{{ bos_token }}{{ eos_token }}", "<s></s>"),
            ("{{ tools | tojson }}", r#"[{"type": "function", "function": {"name": "add"}}]"#),
            ("{{ messages[1].tool_calls[0].function.arguments | tojson }}", r#"{"a": 1, "b": [2, "é"]}"#),
            ("{{ {'a': [1]} | tojson(indent=2) }}", "{\n  \"a\": [\n    1\n  ]\n}"),
            ("{{ messages[0].content.split(' ')[0].upper() }}", "HI"),
            ("{% if enable_thinking is false %}no{% endif %}", "no"),
            ("{{ 'x' if documents is defined else 'y' }}", "y"),
            ("{% generation %}a{% endgeneration %}b", "ab"),
            ("{{ strftime_now('%Y') | length }}", "4"),
            ("a\n  {% if true %}\nb\n  {% endif %}\nc", "a\nb\nc"),
            (
                "one\n{{ raise_exception('Roles must alternate') }}",
                "ERROR the model's chat template failed in line 2: Roles must alternate; the line is: \
                 {{ raise_exception('Roles must alternate') }}",
            ),
        ];
        for (source, expected) in cases {
            assert_eq!(render(Some(source), &chat()), expected, "{source}");
        }
    }

    #[test]
    fn without_a_template_chatml_is_used() {
        let mut chat = Chat { messages: vec![Message::text("user", "Hi")], ..Chat::default() };
        assert_eq!(render(None, &chat), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
        chat.messages.push(Message::text("assistant", "Hello, "));
        chat.continue_last = true;
        assert!(render(None, &chat).ends_with("<|im_start|>assistant\nHello,"));
    }

    #[test]
    fn thinking_that_is_not_wanted_is_ended_where_a_template_opens_it() {
        let mut quiet = chat();
        for (source, expected) in [
            ("{{ 'a<think>\\n' }}", "a<think>\n</think>"),
            ("[THINK]", "[THINK][/THINK]"),
            ("<think></think>", "<think></think>"),
        ] {
            assert_eq!(render(Some(source), &quiet), expected, "{source}");
        }
        quiet.template_variables = json!({"enable_thinking": true});
        assert_eq!(render(Some("<think>"), &quiet), "<think>");
    }

    #[test]
    fn an_answer_is_not_opened_where_it_is_not_wanted() {
        let mut chat = Chat { messages: vec![Message::text("user", "Hi")], ..Chat::default() };
        chat.no_generation_prompt = true;
        assert_eq!(render(Some("chatml"), &chat), "<|im_start|>user\nHi<|im_end|>\n");
    }

    #[test]
    fn a_template_that_does_not_end_is_stopped() {
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
        assert!(render(Some(endless), &chat()).contains("fuel"), "{:.200}", render(Some(endless), &chat()));
    }

    #[test]
    fn a_template_that_does_not_compile_is_an_error_when_it_is_used() {
        let message = render(Some("line one\n{% if %}"), &chat());
        assert!(message.starts_with("ERROR the model's chat template failed in line 2"), "{message}");
    }
}
