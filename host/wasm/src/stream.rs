//! `minerva:plugin/streaming` as the engine's [`StreamPlugin`].

use minerva_engine::event::{FinishReason, ToolDelta};
use minerva_engine::plugin::{
    Chunk, Error, Fault, Identity, Output, SessionContext, StreamPlugin, StreamProcessor,
};
use serde_json::Value;
use wasmtime::component::ResourceAny;

use crate::args::Schema;
use crate::bindings::exports::minerva::plugin::streaming::{self as wit, Guest, GuestIndices};
use crate::fault::refused;
use crate::instance::{Component, Instance};
use crate::state::Rows;

/// The most events of one call.
const EVENTS_MAX: usize = 4_096;

/// A component as a stream processor.
pub(crate) struct WasmStream {
    pub(crate) component: Component,
    pub(crate) indices: GuestIndices,
    pub(crate) schema: Schema,
}

impl StreamPlugin for WasmStream {
    fn identity(&self) -> &Identity {
        &self.component.identity
    }

    fn args_schema(&self) -> &str {
        self.schema.text()
    }

    fn open(&self, context: &SessionContext, args: &Value) -> Result<Box<dyn StreamProcessor>, Error> {
        let refuse = |fault| Error::new(&self.component.identity, "open", fault);
        let args = self.schema.check(args).map_err(refuse)?;
        let mut instance = self.component.instance("open", Some(context), Rows::Nothing)?;
        let deadline = instance.limits().open;
        let opened = instance.start("open", deadline, |store, wasm| {
            let guest = self.indices.load(&mut *store, wasm)?;
            let session = guest.session().call_open(&mut *store, &args)?;
            Ok(session.map(|session| (guest, session)))
        })?;
        let (guest, session) = opened.map_err(|words| refuse(refused(&words)))?;
        Ok(Box::new(Session { instance, guest, session }))
    }
}

struct Session {
    instance: Instance,
    guest: Guest,
    session: ResourceAny,
}

impl StreamProcessor for Session {
    fn push(&mut self, chunk: &Chunk) -> Result<Vec<Output>, Error> {
        let deadline = self.instance.limits().push;
        let chunk = wit::Chunk { text: chunk.text.clone(), tokens: chunk.tokens.clone() };
        let events = self
            .instance
            .call("push", deadline, |store| self.guest.session().call_push(store, self.session, &chunk))?;
        outputs(events).map_err(|why| self.instance.fail("push", Fault::Invalid(why)))
    }

    fn close(&mut self, reason: FinishReason) -> Result<Vec<Output>, Error> {
        let deadline = self.instance.limits().close;
        let events = self.instance.call("close", deadline, |store| {
            self.guest.session().call_close(store, self.session, reason.into())
        })?;
        outputs(events).map_err(|why| self.instance.fail("close", Fault::Invalid(why)))
    }
}

/// The engine's form of events, if they mean something. Empty texts are left out.
fn outputs(events: Vec<wit::Event>) -> Result<Vec<Output>, String> {
    if events.len() > EVENTS_MAX {
        return Err(format!("{} events at once; at most {EVENTS_MAX}", events.len()));
    }
    check_json(
        events.iter().filter_map(|event| if let wit::Event::Meta(json) = event { Some(json) } else { None }),
    )?;
    let outputs = events.into_iter().filter_map(|event| match event {
        wit::Event::Text(text) => (!text.is_empty()).then_some(Output::Text(text)),
        wit::Event::Reasoning(text) => (!text.is_empty()).then_some(Output::Reasoning(text)),
        wit::Event::Tool(wit::ToolDelta { index, id, name, arguments }) => {
            Some(Output::Tool(ToolDelta { index, id, name, arguments }))
        }
        wit::Event::Meta(json) => Some(Output::Meta(json)),
        wit::Event::Stop(reason) => Some(Output::Stop(reason.into())),
    });
    Ok(outputs.collect())
}

/// What the client gets as JSON has to be JSON.
pub(crate) fn check_json<'a>(mut texts: impl Iterator<Item = &'a String>) -> Result<(), String> {
    texts.try_for_each(|text| match serde_json::from_str::<Value>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("metadata that is not JSON: {error}")),
    })
}
