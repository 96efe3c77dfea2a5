//! What is said where there is no route.

use axum::http::{Method, Uri};

use crate::failure::Failure;
use crate::nearest;
use crate::router::PATHS;

/// No such path.
pub(crate) async fn path(uri: Uri) -> Failure {
    let path = nearest::shown(uri.path());
    let hint = match nearest::nearest(uri.path(), PATHS.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => "OpenAI's routes are under /v1, for example POST /v1/chat/completions".into(),
    };
    Failure::not_found(format!("there is nothing at {path}; {hint}"))
}

/// The path is there, the method is not.
pub(crate) async fn method(method: Method, uri: Uri) -> Failure {
    Failure::method(format!(
        "{} does not take {method}; the Allow header has what it takes",
        nearest::shown(uri.path())
    ))
}
