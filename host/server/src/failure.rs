//! What a client is told when something goes wrong.
//!
//! A failure has two texts: the public one is the client's, the internal one goes to the log, under the request's
//! id. What a plugin says when it traps, what llama.cpp says and what a panic says are internal: they may hold
//! paths and addresses.

use std::time::Duration;

use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
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
    Forbidden,
    NotFound,
    Method,
    TooLarge,
    RateLimit,
    Server,
    NotSupported,
    Unavailable,
    Timeout,
    SlowBody,
}

impl Kind {
    fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Authentication => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RateLimit => StatusCode::TOO_MANY_REQUESTS,
            Self::Server => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotSupported => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
        }
    }

    fn type_name(self) -> &'static str {
        match self {
            Self::Invalid | Self::Method | Self::TooLarge => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Forbidden => "permission_error",
            Self::NotFound => "not_found_error",
            Self::RateLimit => "rate_limit_error",
            Self::Server => "server_error",
            Self::NotSupported => "not_supported_error",
            Self::Unavailable => "unavailable_error",
            Self::Timeout | Self::SlowBody => "timeout_error",
        }
    }
}

/// The type of the error that a response has, as an extension of it.
#[derive(Clone, Copy)]
pub(crate) struct ErrorType(pub(crate) &'static str);

/// What some failures say beside the message, for programs to read.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "ErrorExtra")]
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

/// The body of an error response in Anthropic's dialect.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AnthropicError<'a> {
    r#type: &'static str,
    error: AnthropicErrorObject<'a>,
}

#[derive(Serialize, JsonSchema)]
struct AnthropicErrorObject<'a> {
    r#type: &'static str,
    message: &'a str,
}

/// The body of an error response, and the data of an error event.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(crate) struct ErrorBody<'a> {
    error: ErrorObject<'a>,
}

#[derive(Serialize, JsonSchema)]
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

    /// 403: whoever asks may not.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, message)
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

    /// 408: the body comes too slowly.
    pub(crate) fn slow_body(bytes: usize, after: Duration) -> Self {
        let seconds = after.as_secs();
        Self::new(
            Kind::SlowBody,
            format!("only {bytes} bytes of the body came within {seconds} s; send it faster"),
        )
    }

    /// 501: this server cannot do what would change the answer if it could.
    pub(crate) fn not_supported(message: impl Into<String>) -> Self {
        Self::new(Kind::NotSupported, message)
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

    /// 500: something that the client is told of.
    pub(crate) fn server(message: impl Into<String>) -> Self {
        Self::new(Kind::Server, message)
    }

    /// 500: a plugin failed.
    pub(crate) fn plugin(
        message: impl Into<String>,
        plugin: String,
        version: String,
        fault: &'static str,
    ) -> Self {
        let mut failure = Self::new(Kind::Server, message);
        failure.0.extra =
            Extra { plugin: Some(plugin), version: Some(version), fault: Some(fault), ..Extra::default() };
        failure
    }

    /// 503: a plugin failed so often that it is not called for a while.
    pub(crate) fn suspended(
        message: impl Into<String>,
        plugin: String,
        version: String,
        fault: &'static str,
        retry_after: Duration,
    ) -> Self {
        let mut failure = Self::plugin(message, plugin, version, fault);
        failure.0.kind = Kind::Unavailable;
        failure.0.retry_after = Some(retry_after);
        failure
    }

    /// 400: the request does not fit into the context.
    pub(crate) fn too_long(
        param: &str,
        message: impl Into<String>,
        n_prompt_tokens: u32,
        n_ctx: u32,
    ) -> Self {
        let mut failure = Self::invalid(param, message);
        failure.0.extra =
            Extra { n_prompt_tokens: Some(n_prompt_tokens), n_ctx: Some(n_ctx), ..Extra::default() };
        failure
    }

    /// 429: too much at once.
    pub(crate) fn rate_limit(message: impl Into<String>, retry_after: Duration) -> Self {
        let mut failure = Self::new(Kind::RateLimit, message);
        failure.0.retry_after = Some(retry_after);
        failure
    }

    /// 504: it took longer than it may.
    pub(crate) fn timeout(message: impl Into<String>) -> Self {
        Self::new(Kind::Timeout, message)
    }

    /// Names the field that is to blame.
    pub(crate) fn param(mut self, param: impl Into<String>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// Says when it may be worth trying again.
    pub(crate) fn retry_after(mut self, time: Duration) -> Self {
        self.0.retry_after = Some(time);
        self
    }

    /// What goes to the log beside what the client is told.
    pub(crate) fn because(mut self, internal: impl Into<String>) -> Self {
        self.0.internal = Some(internal.into());
        self
    }

    /// Whether it is the server's fault or state rather than the request's.
    pub(crate) fn is_ours(&self) -> bool {
        self.0.kind.status().is_server_error()
    }

    /// The type that the client is told.
    pub(crate) fn type_name(&self) -> &'static str {
        self.0.kind.type_name()
    }

    /// What is wrong, in the client's words.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
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

    /// What the client of Anthropic's dialect is told.
    pub(crate) fn anthropic_body(&self) -> AnthropicError<'_> {
        let r#type = match self.0.kind {
            Kind::Invalid | Kind::Method | Kind::NotSupported => "invalid_request_error",
            Kind::Authentication => "authentication_error",
            Kind::Forbidden => "permission_error",
            Kind::NotFound => "not_found_error",
            Kind::TooLarge => "request_too_large",
            Kind::RateLimit => "rate_limit_error",
            Kind::Server => "api_error",
            Kind::Unavailable => "overloaded_error",
            Kind::Timeout | Kind::SlowBody => "timeout_error",
        };
        AnthropicError { r#type: "error", error: AnthropicErrorObject { r#type, message: &self.0.message } }
    }

    /// The `error` of a response that failed on its way.
    pub(crate) fn response_error(&self) -> serde_json::Value {
        let code = if self.0.kind == Kind::RateLimit { "rate_limit_exceeded" } else { "server_error" };
        serde_json::json!({"code": code, "message": self.0.message})
    }

    /// The response to a client of Anthropic's dialect.
    pub(crate) fn into_anthropic(self) -> Response {
        let body = serde_json::to_vec(&self.anthropic_body()).unwrap_or_default();
        self.into_response_with(body)
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
        // A struct of strings and numbers always serialises.
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        self.into_response_with(body)
    }
}

impl Failure {
    fn into_response_with(self, body: Vec<u8>) -> Response {
        self.log();
        let content_type = HeaderValue::from_static("application/json");
        let mut response =
            (self.0.kind.status(), [(header::CONTENT_TYPE, content_type)], body).into_response();
        response.extensions_mut().insert(ErrorType(self.type_name()));
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
