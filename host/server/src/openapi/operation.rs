//! One operation of the document.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Access, Route};
use crate::app::Options;

/// What the operations are sorted by.
pub(super) const TAGS: [(&str, &str); 8] = [
    ("chat", "Conversations"),
    ("text", "Prompts, and gaps in code"),
    ("tokens", "What the model makes of text"),
    ("embeddings", "Rows of numbers, and judged documents"),
    ("models", "The models that are served"),
    ("plugins", "What a request can name in its `minerva` object"),
    ("operations", "For those who run the server"),
    ("other names", "The same under other paths"),
];

/// Whose errors an operation answers with.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    #[default]
    OpenAi,
    Anthropic,
}

/// What there is to say of a method of a path.
pub(crate) struct Operation {
    tag: &'static str,
    summary: &'static str,
    description: Option<&'static str>,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: Map<String, Value>,
    dialect: Dialect,
    failures: BTreeSet<u16>,
    security: Option<Value>,
}

impl Operation {
    pub(crate) fn new(tag: &'static str, summary: &'static str) -> Self {
        Self {
            tag,
            summary,
            description: None,
            parameters: Vec::new(),
            body: None,
            answers: Map::new(),
            dialect: Dialect::default(),
            failures: BTreeSet::new(),
            security: None,
        }
    }

    pub(crate) fn description(mut self, description: &'static str) -> Self {
        self.description = Some(description);
        self
    }

    /// A parameter in the path.
    pub(crate) fn named(mut self, name: &str, description: &str) -> Self {
        self.parameters.push(json!({
            "name": name, "in": "path", "required": true, "description": description,
            "schema": {"type": "string", "minLength": 1},
        }));
        self
    }

    /// A parameter behind the path.
    pub(crate) fn asked(mut self, name: &str, required: bool, description: &str) -> Self {
        self.parameters.push(json!({
            "name": name, "in": "query", "required": required, "description": description,
            "schema": {"type": "string"},
        }));
        self
    }

    /// A body of JSON.
    #[expect(clippy::needless_pass_by_value, reason = "schemas are made for this")]
    pub(crate) fn takes(self, schema: Value, example: Value) -> Self {
        self.takes_as("application/json", json!({"schema": schema, "example": example}))
    }

    /// A body of any kind.
    #[expect(clippy::needless_pass_by_value, reason = "media are made for this")]
    pub(crate) fn takes_as(mut self, media_type: &str, media: Value) -> Self {
        self.body = Some(json!({"required": true, "content": {media_type: media}}));
        self.fails(&[400, 408, 413])
    }

    /// A whole answer.
    pub(crate) fn answers(self, schema: Value) -> Self {
        self.answers_as(200, "application/json", schema)
    }

    /// An answer as server-sent events, each of them with such data; beside a whole one, where there is one.
    pub(crate) fn streams(self, data: Value) -> Self {
        self.events(data, false)
    }

    /// The same, with OpenAI's mark at the end.
    pub(crate) fn streams_until_done(self, data: Value) -> Self {
        self.events(data, true)
    }

    #[expect(clippy::needless_pass_by_value, reason = "schemas are made for this")]
    fn events(self, data: Value, with_done: bool) -> Self {
        // The form that OpenAPI 3.2 gives to events.
        let json = json!({"type": "string", "contentMediaType": "application/json", "contentSchema": data});
        let data = if with_done { json!({"anyOf": [{"const": "[DONE]"}, json]}) } else { json };
        let event = json!({"type": "string"});
        let schema = json!({
            "type": "object", "required": ["data"], "properties": {"event": event, "data": data},
        });
        self.answers_as(200, "text/event-stream", schema)
    }

    /// An answer of any kind.
    #[expect(clippy::needless_pass_by_value, reason = "schemas are made for this")]
    pub(crate) fn answers_as(mut self, status: u16, media_type: &str, schema: Value) -> Self {
        let answer = self.answers.entry(status.to_string()).or_insert_with(|| {
            let description = match status {
                201 => "made",
                202 => "begun",
                _ => "as asked",
            };
            json!({"description": description, "content": {}})
        });
        answer["content"][media_type] = json!({"schema": schema});
        self
    }

    /// An answer that is the end of HTTP.
    pub(crate) fn switches(mut self, description: &str) -> Self {
        self.answers.insert("101".into(), json!({"description": description}));
        self
    }

    /// Statuses of errors.
    pub(crate) fn fails(mut self, statuses: &[u16]) -> Self {
        self.failures.extend(statuses);
        self
    }

    /// That a model answers.
    pub(crate) fn runs_a_model(self) -> Self {
        self.fails(&[400, 404, 429, 500, 501, 503, 504])
    }

    pub(crate) fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    pub(super) fn with_access(mut self, access: Access, options: &Options) -> Self {
        let keys = [json!({"bearer": []}), json!({"key": []})];
        match access {
            Access::Open => self,
            Access::Key => {
                let anyone = options.api_keys.is_empty().then(|| json!({}));
                self.security = Some(anyone.into_iter().chain(keys).collect());
                self.fails(&[401, 429])
            }
            Access::Administrator => {
                self.security = Some(keys.into_iter().collect());
                self.fails(&[401, 404])
            }
        }
    }

    /// The kinds of failures that it has.
    pub(super) fn failures(&self) -> impl Iterator<Item = (Dialect, u16)> {
        self.failures.iter().map(|status| (self.dialect, *status))
    }

    pub(super) fn into_json(mut self, route: &Route) -> Value {
        for status in self.failures {
            let name = failure_name(self.dialect, status);
            let reference = json!({"$ref": format!("#/components/responses/{name}")});
            self.answers.insert(status.to_string(), reference);
        }
        let id: String = route
            .path
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' })
            .collect();
        let mut operation = json!({
            "operationId": format!("{}{id}", route.method),
            "tags": [if route.other_name_of.is_some() { "other names" } else { self.tag }],
            "summary": self.summary,
            "responses": self.answers,
        });
        let description = match route.other_name_of {
            Some(name) => Some(format!("Another name of `{name}`.")),
            None => self.description.map(str::to_owned),
        };
        let optional = [
            ("description", description.map(Value::from)),
            ("parameters", (!self.parameters.is_empty()).then(|| self.parameters.into())),
            ("requestBody", self.body),
            ("security", self.security),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                operation[name] = value;
            }
        }
        operation
    }
}

/// What a kind of failure is called in the document.
pub(super) fn failure_name(dialect: Dialect, status: u16) -> String {
    match dialect {
        Dialect::OpenAi => format!("Error{status}"),
        Dialect::Anthropic => format!("AnthropicError{status}"),
    }
}

/// A kind of failure.
pub(super) fn failure(status: u16, schema: &Value) -> Value {
    let description = match status {
        400 => "the request cannot be what it is; `param` says where",
        401 => "no key, or a wrong one",
        403 => "whoever asks may not",
        404 => "there is nothing of that name",
        408 => "the body came too slowly",
        413 => "the body is too long",
        429 => "too much at once: the queue is full, or the key's limits are reached",
        500 => "a plugin, the model or the server failed",
        501 => "the server cannot do that",
        503 => "not now: loading, draining or out of memory",
        _ => "it took longer than it may",
    };
    let mut failure =
        json!({"description": description, "content": {"application/json": {"schema": schema}}});
    if matches!(status, 429 | 503) {
        let header = json!({"description": "when to try again, in seconds", "schema": {"type": "integer", "minimum": 1}});
        failure["headers"] = json!({"Retry-After": header});
    }
    failure
}
