//! What is said where there is no route.

use axum::extract::State;
use axum::http::{Method, Uri};

use crate::failure::Failure;
use crate::nearest;
use crate::router::Shared;

/// No such path.
pub(crate) async fn path(State(shared): State<Shared>, uri: Uri) -> Failure {
    let path = nearest::shown(uri.path());
    // Other names may come and go, and names in paths are the client's.
    let paths =
        shared.routes.iter().filter(|route| route.other_name_of.is_none() && !route.path.contains('{'));
    let hint = match nearest::nearest(uri.path(), paths.map(|route| route.path)) {
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
