//! `POST /slots/{id}?action=save|restore|erase`: what a slot holds goes to a file, and comes back, as in llama-server.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::time::Instant;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{self, Query, State};
use minerva_engine::saved::{ReadError, Saved};
use minerva_engine::{Error, model};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::app::{Models, Options};
use crate::body::RawBody;
use crate::failure::Failure;
use crate::json;
use crate::openapi::{Operation, Schemas};
use crate::origin::Origin;

/// Most files in the folder. Clients choose the names.
const FILES_MAX: usize = 1_024;
/// Most bytes of a name.
const NAME_BYTES_MAX: usize = 128;

#[derive(Deserialize)]
pub(crate) struct Wanted {
    action: Option<String>,
    model: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct Body {
    /// Letters, digits, dots, hyphens and underscores. Not needed to erase.
    filename: String,
}

/// What was done.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "SlotDone")]
pub(crate) enum Done {
    /// Saved.
    Saved {
        /// The slot.
        id_slot: usize,
        /// The file.
        filename: String,
        /// Tokens.
        n_saved: usize,
        /// Bytes.
        n_written: u64,
        /// How long it took.
        timings: SaveTimings,
    },
    /// Restored.
    Restored {
        /// The slot.
        id_slot: usize,
        /// The file.
        filename: String,
        /// Tokens.
        n_restored: usize,
        /// Bytes.
        n_read: u64,
        /// How long it took.
        timings: RestoreTimings,
    },
    /// Erased.
    Erased {
        /// The slot.
        id_slot: usize,
        /// Tokens.
        n_erased: usize,
    },
}

/// In milliseconds.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SaveTimings {
    save_ms: f64,
}

/// In milliseconds.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RestoreTimings {
    restore_ms: f64,
}

/// What the document says of it.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    Operation::new("operations", "Saves, restores or erases what an idle slot holds, in llama-server's form")
        .named("id", "The slot, from 0.")
        .asked("action", true, "save, restore or erase.")
        .asked("model", false, "Which model, where several are served.")
        .takes(schemas.body("SlotFile", &[Body::json_schema]), json!({"filename": "a.bin"}))
        .answers(schemas.answer::<Done>())
        .fails(&[400, 404, 429, 500, 501, 503])
}

/// Saves, restores or erases what an idle slot holds.
pub(crate) async fn act(
    State(models): State<Models>,
    State(options): State<Options>,
    extract::Path(slot): extract::Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    RawBody(body): RawBody,
) -> Result<Json<Done>, Failure> {
    let Query(wanted) = wanted.map_err(|error| Failure::malformed(error.body_text()))?;
    let Some(folder) = options.slot_save_path else {
        let message = "slots are not saved here: the server was started without --slot-save-path";
        return Err(Failure::not_supported(message));
    };
    let slot: usize = slot
        .parse()
        .map_err(|_| Failure::invalid("id_slot", format!("`{slot}` is no slot; slots are numbers from 0")))?;
    let model = models.choose(wanted.model.as_deref()).await?;
    let (handle, origin) = (&model.handle, Origin::default());
    let failed = |error| origin.failure(error);
    let begun = Instant::now();
    let path = || {
        let Body { filename } = json::read(json::text(&body)?)?;
        Ok::<_, Failure>((folder.join(checked(&filename)?), filename))
    };
    match wanted.action.as_deref() {
        Some("save") => {
            let (path, filename) = path()?;
            let saved = handle.save_slot(slot).await.map_err(failed)?;
            let (tokens, bytes) = (saved.tokens().len(), saved.bytes());
            blocking(move || write(&path, &saved)).await?;
            let timings = SaveTimings { save_ms: milliseconds(begun) };
            Ok(Json(Done::Saved { id_slot: slot, filename, n_saved: tokens, n_written: bytes, timings }))
        }
        Some("restore") => {
            let (path, filename) = path()?;
            let limit = options.slot_file_bytes_max;
            let saved = blocking(move || read(&path, limit)).await?;
            let (tokens, bytes) = (saved.tokens().len(), saved.bytes());
            handle.restore_slot(slot, saved).await.map_err(|error| match error {
                Error::Model(model::Error::State(_)) => Failure::invalid("filename", error.to_string()),
                error => failed(error),
            })?;
            let timings = RestoreTimings { restore_ms: milliseconds(begun) };
            Ok(Json(Done::Restored { id_slot: slot, filename, n_restored: tokens, n_read: bytes, timings }))
        }
        Some("erase") => {
            let erased = handle.erase_slot(slot).await.map_err(failed)?;
            Ok(Json(Done::Erased { id_slot: slot, n_erased: erased }))
        }
        _ => Err(Failure::invalid("action", "say what is to be done: ?action=save, restore or erase")),
    }
}

/// A name that stays in the folder, whatever the file system makes of it.
fn checked(name: &str) -> Result<&str, Failure> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with('.') || !name.bytes().all(is_plain)
    {
        let message = format!(
            "`filename` must be 1 to {NAME_BYTES_MAX} letters, digits, dots, hyphens and underscores, and not begin \
             with a dot"
        );
        return Err(Failure::invalid("filename", message));
    }
    Ok(name)
}

/// Writes a file whole or not at all.
fn write(path: &Path, saved: &Saved) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::server("the slot could not be saved; the server's log says why").because(error.to_string())
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    if !path.exists() && fs::read_dir(folder).map_err(failed)?.count() >= FILES_MAX {
        let message = format!("there are {FILES_MAX} files already; save under one of their names");
        return Err(Failure::invalid("filename", message));
    }
    let mut part = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    saved.write(BufWriter::new(part.as_file_mut())).map_err(failed)?;
    part.persist(path).map(drop).map_err(|error| failed(error.error))
}

fn read(path: &PathBuf, limit: u64) -> Result<Saved, Failure> {
    let invalid = |why: String| Failure::invalid("filename", why);
    let file = File::open(path).map_err(|_| invalid("there is no saved slot of this name".to_owned()))?;
    Saved::read(BufReader::new(file), limit).map_err(|error| match error {
        ReadError::TooLarge { .. } => invalid(format!("{error}; serve with a larger --slot-file-limit")),
        _ => invalid(error.to_string()),
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::internal(error.to_string()))?
}

fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}
