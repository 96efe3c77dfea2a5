//! What plugins import: one file per WIT interface.

pub(crate) mod constraints;
pub(crate) mod grammar;
pub(crate) mod host;
pub(crate) mod model;
pub(crate) mod step;
pub(crate) mod store;

use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::minerva::plugin;
use crate::state::State;
use crate::wasi;

/// Offers all interfaces of `minerva:plugin`, and an empty WASI.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    plugin::types::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    plugin::host::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    plugin::model::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    plugin::constraints::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    plugin::step::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    plugin::store::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    wasi::link(linker)
}

/// The interfaces that [`link`] offers.
pub(crate) const OFFERED: [&str; 6] = ["types", "host", "model", "constraints", "step", "store"];

impl plugin::types::Host for State {}
