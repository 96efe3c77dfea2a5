//! `POST /v1/plugins` and `DELETE /v1/plugins/{name}`: puts plugins in and takes them out, for an administrator.

use std::fmt;
use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use minerva_engine::plugin::{Installer, Plugins};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api_key::ApiKeys;
use crate::app::Options;
use crate::body::{read, refuse};
use crate::failure::Failure;
use crate::json::Deleted;
use crate::nearest;
use crate::openapi::{Operation, Schemas};

/// Who may change the plugins, and how it is done. By default nobody.
#[derive(Clone)]
pub struct Admin {
    /// The administrator's keys; without any, the endpoints are off.
    pub keys: ApiKeys,
    /// Loads components. Not there while the server still starts.
    pub installer: Arc<OnceLock<Box<dyn Installer>>>,
    /// Most bytes of a component. Default 64 MiB.
    pub component_bytes_max: usize,
}

impl Default for Admin {
    fn default() -> Self {
        Self { keys: ApiKeys::default(), installer: Arc::default(), component_bytes_max: 64 << 20 }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Admin({:?})", self.keys)
    }
}

/// The layer that turns away who is no administrator.
pub(crate) async fn require(
    State(options): State<Options>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let keys = &options.admin.keys;
    if keys.is_empty() {
        let message =
            "plugins and models cannot be changed over HTTP here: the server was started without --admin-key";
        return Err(refuse(request, Failure::not_found(message)).await);
    }
    match keys.check(request.headers(), "an administrator's key") {
        Ok(_) => Ok(next.run(request).await),
        Err(failure) => Err(refuse(request, failure).await),
    }
}

#[derive(Deserialize)]
pub(crate) struct Install {
    name: Option<String>,
}

/// What the document says of it.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    let plugin = schemas.answer::<super::Entry>();
    Operation::new("plugins", "Installs a component")
        .asked("name", true, "What the plugin is to be called.")
        .takes_as("application/wasm", json!({"schema": {"type": "string", "format": "binary"}}))
        .answers(plugin.clone())
        .answers_as(201, "application/json", plugin)
        .fails(&[500, 503])
}

/// What the document says of taking one out.
pub(crate) fn describe_remove(schemas: &mut Schemas<'_>) -> Operation {
    let operation = Operation::new("plugins", "Removes a plugin").named("name", "The plugin's name.");
    operation.answers(schemas.answer::<Deleted>()).fails(&[400, 404])
}

/// Installs the component in the body under the name in the query.
pub(crate) async fn install(
    State(plugins): State<Plugins>,
    State(options): State<Options>,
    Query(Install { name }): Query<Install>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let Some(name) = name else {
        let message = "say what the plugin is to be called: POST /v1/plugins?name=min-p";
        return Err(refuse(request, Failure::invalid("name", message)).await);
    };
    let (admin, patience) = (options.admin, options.connections.body_timeout);
    if admin.installer.get().is_none() {
        return Err(refuse(request, Failure::unavailable("the server is still starting")).await);
    }
    let component = read(request, admin.component_bytes_max, patience).await?;
    let is_new = plugins.list().iter().all(|plugin| plugin.identity.name != name);
    let called = name.clone();
    let installed = tokio::task::spawn_blocking(move || {
        admin.installer.get().map_or(Ok(()), |installer| installer.install(&called, &component))
    });
    installed
        .await
        .map_err(|error| Failure::internal(error.to_string()))?
        .map_err(|why| Failure::invalid("name", why))?;
    let standing = plugins.standings().into_iter().find(|standing| standing.name == name);
    let entry = standing.map(|standing| super::entry(standing, &plugins));
    let version =
        entry.as_ref().and_then(|entry| entry.plugin.as_ref()).map(|plugin| plugin.version.as_str());
    tracing::info!(plugin = name, version, "an administrator installed plugin '{name}'");
    let entry = serde_json::to_value(entry).map_err(|error| Failure::internal(error.to_string()))?;
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(entry)))
}

/// Takes a plugin out. Requests in flight finish on it.
pub(crate) async fn remove(
    State(plugins): State<Plugins>,
    Path(name): Path<String>,
) -> Result<Json<Deleted>, Failure> {
    let names: Vec<String> = plugins.standings().into_iter().map(|standing| standing.name).collect();
    if !names.contains(&name) {
        let hint = nearest::hint(&name, names.iter().map(String::as_str));
        return Err(Failure::not_found(format!("there is no plugin `{}`{hint}", nearest::shown(&name))));
    }
    plugins.remove(&name);
    tracing::info!(plugin = name, "an administrator removed plugin '{name}'");
    Ok(Json(Deleted { id: name, object: "plugin", deleted: true }))
}
