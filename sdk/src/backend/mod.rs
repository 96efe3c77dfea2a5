//! Where the functions that a plugin can call lead: to the host, or natively to [`testing`](crate::testing). Both
//! files define the same functions.

#[cfg(target_family = "wasm")]
pub mod exports;
#[cfg(target_family = "wasm")]
mod wasm;
#[cfg(target_family = "wasm")]
pub(crate) use wasm::*;

#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(not(target_family = "wasm"))]
pub(crate) use native::*;
