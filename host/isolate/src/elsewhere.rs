//! Where there is no such thing.

use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::sync::Arc;

use minerva_engine::model::{self, Batch, Info, Model, Position, Slot, Vocabulary};
use minerva_llama::{Error, Options};

use crate::Isolation;

/// A model in a process of its own: there is none on this system.
pub struct Isolated(Infallible);

impl Isolated {
    /// The number of its process.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        match self.0 {}
    }
}

/// Refuses.
///
/// # Errors
///
/// Always.
pub fn load(_: &Isolation, options: &Options, _: impl FnMut(f32) -> bool) -> Result<Isolated, Error> {
    let cause = format!("a process of its own (--isolate) takes Linux, and this is {}", std::env::consts::OS);
    Err(Error::Options { path: options.path.clone(), cause })
}

/// Refuses.
///
/// # Errors
///
/// Always.
pub fn run() -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

impl Model for Isolated {
    fn info(&self) -> &Info {
        match self.0 {}
    }

    fn vocabulary(&self) -> Arc<dyn Vocabulary> {
        match self.0 {}
    }

    fn decode(&mut self, _: &Batch) -> Result<(), model::Error> {
        match self.0 {}
    }

    fn logits(&self, _: usize) -> &[f32] {
        match self.0 {}
    }

    fn remove(&mut self, _: Slot, _: Position) -> Result<(), model::Error> {
        match self.0 {}
    }

    fn copy(&mut self, _: Slot, _: Slot) -> Result<(), model::Error> {
        match self.0 {}
    }

    fn save(&mut self, _: Slot) -> Result<Vec<u8>, model::Error> {
        match self.0 {}
    }

    fn restore(&mut self, _: Slot, _: &[u8]) -> Result<(), model::Error> {
        match self.0 {}
    }

    fn positions(&self, _: Slot) -> Option<RangeInclusive<Position>> {
        match self.0 {}
    }
}
