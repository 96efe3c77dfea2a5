//! `GET /props` and `GET /slots`: what the server is and does, under llama-server's names.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use minerva_engine::model::Special;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::Settings;
use crate::app::{Models, Options, ServedModel};
use crate::failure::Failure;
use crate::openai::summary::FINGERPRINT;
use crate::openapi::{Operation, Schemas};

/// Which model is meant, and when a client wants no answer.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Which {
    model: Option<String>,
    fail_on_no_slot: Option<String>,
}

/// What the server is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Props {
    default_generation_settings: Defaults,
    total_slots: u32,
    model_alias: String,
    /// The file's name: where it lies is nobody's business.
    model_path: String,
    modalities: Modalities,
    chat_template: String,
    bos_token: String,
    eos_token: String,
    build_info: &'static str,
    endpoint_slots: bool,
    endpoint_props: bool,
    endpoint_metrics: bool,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PropsDefaults")]
struct Defaults {
    params: Settings,
    n_ctx: u32,
}

#[derive(Serialize, JsonSchema)]
struct Modalities {
    vision: bool,
    audio: bool,
}

/// What a sequence of the model is used for.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Slot {
    id: usize,
    /// The request that has it, counted since the start; −1 where none does.
    id_task: i64,
    n_ctx: u32,
    speculative: bool,
    is_processing: bool,
    /// Whether its prompt is decoded.
    is_generating: bool,
    /// The tokens that it holds; of an idle one, those that lie ready for a prompt that begins with them.
    n_past: usize,
    /// The most tokens that may still come.
    n_remain: usize,
}

/// What the document says of it.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    Operation::new("operations", "The model, its template and how it is sampled, in llama-server's form")
        .asked("model", false, "Which model, where several are served.")
        .answers(schemas.answer::<Props>())
        .fails(&[400, 404, 503])
}

/// What the document says of the slots.
pub(crate) fn describe_slots(schemas: &mut Schemas<'_>) -> Operation {
    Operation::new("operations", "What each sequence is used for")
        .asked("model", false, "Which model, where several are served.")
        .asked("fail_on_no_slot", false, "Whether the answer is a 503 where none is free.")
        .answers(schemas.answer::<Vec<Slot>>())
        .fails(&[400, 404, 501, 503])
}

/// Says what the server is.
pub(crate) async fn props(
    State(models): State<Models>,
    State(options): State<Options>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Props>, Failure> {
    let which = read(which)?;
    let model = models.choose(which.model.as_deref()).await?;
    let (handle, info) = (&model.handle, model.handle.info());
    let vocabulary = handle.vocabulary();
    let text = |role| {
        let piece = vocabulary.special(role).map(|token| vocabulary.piece(token));
        String::from_utf8_lossy(piece.unwrap_or_default()).into_owned()
    };
    Ok(Json(Props {
        default_generation_settings: defaults(&model),
        total_slots: info.slots,
        model_alias: model.id.clone(),
        model_path: info.file.clone(),
        modalities: Modalities { vision: false, audio: false },
        chat_template: handle.chat_template().to_owned(),
        bos_token: text(Special::Bos),
        eos_token: text(Special::Eos),
        build_info: FINGERPRINT,
        endpoint_slots: options.shows_slots,
        endpoint_props: false,
        endpoint_metrics: true,
    }))
}

fn read(which: Result<Query<Which>, QueryRejection>) -> Result<Which, Failure> {
    let Query(which) = which.map_err(|error| Failure::malformed(error.body_text()))?;
    Ok(which)
}

fn defaults(model: &ServedModel) -> Defaults {
    let params = &model.defaults.params;
    // A seed is drawn for each request: as in llama-server, the largest of 32 bits says so.
    let vocabulary = model.handle.vocabulary();
    let seed = params.seed.unwrap_or(u32::MAX.into());
    let params = Settings::new(params, seed, false, 0, "", vocabulary.as_ref());
    Defaults { params, n_ctx: model.handle.info().context }
}

/// Says what each sequence is used for.
pub(crate) async fn slots(
    State(models): State<Models>,
    State(options): State<Options>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Vec<Slot>>, Failure> {
    if !options.shows_slots {
        return Err(Failure::not_supported("this server does not tell what its slots do (--no-slots)"));
    }
    let which = read(which)?;
    let model = models.choose(which.model.as_deref()).await?;
    let n_ctx = model.handle.info().context;
    let slots = model.handle.slots();
    if which.fail_on_no_slot.is_some() && slots.iter().all(|slot| slot.request.is_some()) {
        return Err(Failure::unavailable("no slot is free"));
    }
    let slot = |(id, slot): (usize, minerva_engine::SlotStatus)| Slot {
        id,
        id_task: slot.request.map_or(-1, |request| i64::try_from(request).unwrap_or(i64::MAX)),
        n_ctx,
        speculative: false,
        is_processing: slot.request.is_some(),
        is_generating: slot.generating,
        n_past: slot.tokens_held,
        n_remain: slot.tokens_left,
    };
    Ok(Json(slots.into_iter().enumerate().map(slot).collect()))
}
