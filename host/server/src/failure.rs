//! What a client is told when something goes wrong, and the mapping from the engine's errors to it.
//!
//! A failure has two texts: the public one is the client's, the internal one goes to the log, under the request's
//! id. What a plugin says when it traps, what llama.cpp says and what a panic says are internal: they may hold
//! paths and addresses.

use std::time::Duration;

use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use minerva_engine::plugin::{self, Fault, Kind as PluginKind};
use minerva_engine::{Error, model};
use serde::Serialize;

/// Why a request fails, as its client is told.
#[derive(Debug)]
pub(crate) struct Failure(Box<Details>);

#[derive(Debug)]
struct Details {
    kind: Kind,
    message: String,
    param: Option<String>,
    internal: Option<String>,
    retry_after: Option<Duration>,
    extra: Extra,
}

/// The kinds of failure: a status and a type each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Invalid,
    Authentication,
    NotFound,
    Method,
    TooLarge,
    RateLimit,
    Server,
    NotSupported,
    Unavailable,
    Timeout,
}

impl Kind {
    fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Authentication => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RateLimit => StatusCode::TOO_MANY_REQUESTS,
            Self::Server => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotSupported => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn type_name(self) -> &'static str {
        match self {
            Self::Invalid | Self::Method | Self::TooLarge => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::NotFound => "not_found_error",
            Self::RateLimit => "rate_limit_error",
            Self::Server => "server_error",
            Self::NotSupported => "not_supported_error",
            Self::Unavailable => "unavailable_error",
            Self::Timeout => "timeout_error",
        }
    }
}

/// What some failures say beside the message, for programs to read.
#[derive(Debug, Default, Serialize)]
struct Extra {
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n_prompt_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n_ctx: Option<u32>,
}

/// The body of an error response, and the data of an error event.
#[derive(Serialize)]
pub(crate) struct ErrorBody<'a> {
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    code: u16,
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    #[serde(flatten)]
    extra: &'a Extra,
}

impl Failure {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            kind,
            message: message.into(),
            param: None,
            internal: None,
            retry_after: None,
            extra: Extra::default(),
        }))
    }

    /// 400: a field of the request cannot be what it is.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message).param(param)
    }

    /// 400: the body as a whole is not a request.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// 401: no key, or a wrong one.
    pub(crate) fn authentication(message: impl Into<String>) -> Self {
        Self::new(Kind::Authentication, message)
    }

    /// 404: no such path, no such model.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// 405: the path is there for another method.
    pub(crate) fn method(message: impl Into<String>) -> Self {
        Self::new(Kind::Method, message)
    }

    /// 413: the body is too long.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(Kind::TooLarge, format!("the body is longer than the limit of {limit} bytes"))
    }

    /// 501: a field of the request asks for what this server cannot do, and would change the answer if it could.
    pub(crate) fn not_supported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Kind::NotSupported, message).param(param)
    }

    /// 503: not now.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// 500: a mistake of ours. The client learns only that.
    pub(crate) fn internal(internal: impl Into<String>) -> Self {
        Self::new(Kind::Server, "internal error; the server's log has the details under this request's id")
            .because(internal)
    }

    /// Names the field that is to blame.
    pub(crate) fn param(mut self, param: impl Into<String>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    fn because(mut self, internal: impl Into<String>) -> Self {
        self.0.internal = Some(internal.into());
        self
    }

    /// What the client is told.
    pub(crate) fn body(&self) -> ErrorBody<'_> {
        let Details { kind, message, param, extra, .. } = &*self.0;
        ErrorBody {
            error: ErrorObject {
                code: kind.status().as_u16(),
                message,
                r#type: kind.type_name(),
                param: param.as_deref(),
                extra,
            },
        }
    }

    /// Puts the failure into the log, once, where it is handled. The request's span has its id.
    pub(crate) fn log(&self) {
        let Details { kind, message, internal, .. } = &*self.0;
        let status = kind.status().as_u16();
        let internal = internal.as_deref().unwrap_or_default();
        if kind.status().is_server_error() && *kind != Kind::NotSupported {
            tracing::error!(status, internal, "request failed: {message}");
        } else {
            tracing::debug!(status, internal, "request refused: {message}");
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.log();
        // A struct of strings and numbers always serialises.
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        let content_type = HeaderValue::from_static("application/json");
        let mut response =
            (self.0.kind.status(), [(header::CONTENT_TYPE, content_type)], body).into_response();
        if let Some(retry_after) = self.0.retry_after {
            let seconds = retry_after.as_secs_f64().ceil().max(1.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is at least 1")]
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds as u64));
        }
        if self.0.kind == Kind::Authentication {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Where in a request its parts are, so that an error of the engine can name them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// The field that the prompt comes from.
    pub(crate) input: &'static str,
    /// The plugins that the request itself names, and where.
    pub(crate) plugins: Vec<PluginOrigin>,
}

/// A plugin that a request names, and where.
#[derive(Clone, Debug)]
pub(crate) struct PluginOrigin {
    /// Its name.
    pub(crate) name: String,
    /// What it is used as.
    pub(crate) kind: PluginKind,
    /// Where it is named: `minerva.samplers[0]`.
    pub(crate) path: String,
}

impl Origin {
    /// What the client is told of an error of the engine.
    pub(crate) fn failure(&self, error: Error) -> Failure {
        match error {
            Error::Invalid { param, message } => Failure::invalid(param, message),
            Error::ContextExceeded { prompt, max_tokens, limit } => {
                let param = if prompt <= limit && max_tokens.is_some() { "max_tokens" } else { self.input };
                let mut failure = Failure::invalid(param, error.to_string());
                failure.0.extra.n_prompt_tokens = Some(prompt);
                failure.0.extra.n_ctx = Some(limit);
                failure
            }
            Error::Overloaded { retry_after, .. } => {
                let mut failure = Failure::new(Kind::RateLimit, error.to_string());
                failure.0.retry_after = Some(retry_after);
                failure
            }
            Error::Template(error) => Failure::invalid(self.input, error.to_string()),
            Error::Plugin(error) => self.plugin_failure(error),
            Error::Model(error) => model_failure(&error),
            Error::Sampling(_) => Failure::new(Kind::Server, error.to_string()),
            Error::Stalled { .. } => Failure::new(Kind::Timeout, error.to_string()),
            Error::ShuttingDown => Failure::unavailable(error.to_string()),
            error => Failure::internal(error.to_string()),
        }
    }

    fn plugin_failure(&self, error: plugin::Error) -> Failure {
        let internal = error.to_string();
        let plugin::Error { name, version, call, fault } = error;
        let what = match &fault {
            Fault::Refused(reason) => {
                let message = format!("plugin '{name}' {version} refused: {reason}");
                return match self.args_path(&name, call, reason) {
                    Some(path) => Failure::invalid(path, message),
                    None => Failure::malformed(message),
                };
            }
            Fault::Trap(_) => "it trapped; the server's log has the details under this request's id".into(),
            Fault::Host(_) => "the server could not run it; its log has the details".into(),
            fault => format!("it {fault}"),
        };
        let mut failure =
            Failure::new(Kind::Server, format!("plugin '{name}' {version} failed in {call}: {what}"));
        failure.0.extra.fault = Some(fault.kind());
        failure.0.extra.plugin = Some(name);
        failure.0.extra.version = Some(version);
        failure.because(internal)
    }

    /// What the plugin refused. What refuses in `render` is a template; other calls are not those of one kind only.
    fn args_path(&self, name: &str, call: &str, reason: &str) -> Option<String> {
        let renders = |kind| (kind == PluginKind::Template) == (call == "render");
        let mut named = self.plugins.iter().filter(|origin| origin.name == name && renders(origin.kind));
        let path = &named.next()?.path;
        if named.next().is_some() {
            // Named more than once, and nobody says which one it was.
            return path.split('[').next().map(str::to_owned);
        }
        Some(format!("{path}.{}", place_in_args(reason)))
    }
}

/// Where in its arguments a plugin found what it refuses, if it says so in front: `args.p: 2 is too much`.
fn place_in_args(reason: &str) -> &str {
    let is_place = |place: &&str| {
        place.strip_prefix("args").is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            && !place.contains(char::is_whitespace)
    };
    reason.split_once(": ").map(|(place, _)| place).filter(is_place).unwrap_or("args")
}

/// A fault that a request survived, as its client is told: what a trap or the host said stays here.
pub(crate) fn public_fault(fault: &str) -> &str {
    let cut = |fault: &'static str| move |text: &str| text.find(fault).map(|at| at + fault.len());
    let end = cut(": trapped")(fault).or_else(|| cut(": could not be run")(fault)).unwrap_or(fault.len());
    &fault[..end]
}

fn model_failure(error: &model::Error) -> Failure {
    let failure = match error {
        model::Error::NoRoom { .. } => {
            Failure::unavailable("the model's cache is full; try again, or serve with a larger context")
        }
        model::Error::Device(_) => {
            Failure::unavailable("the device that runs the model failed or is out of memory; try again")
        }
        model::Error::Unsupported { .. } => Failure::new(Kind::NotSupported, error.to_string()),
        model::Error::Encode(_) => Failure::new(Kind::Server, "the text could not be tokenised"),
        _ => Failure::new(Kind::Server, "the model failed; the server's log has the details"),
    };
    failure.because(error.to_string())
}
