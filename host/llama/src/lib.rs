//! llama.cpp behind the model trait of minerva-engine.
//!
//! The only crate that touches llama.cpp's bindings. [`load`] opens a GGUF file and makes the sequences beside
//! each other that the engine decodes on; the result is a [`minerva_engine::model::Model`].
//!
//! ```no_run
//! use minerva_engine::model::{Batch, Encode, Model as _, Vocabulary as _};
//!
//! let options = minerva_llama::Options { context: 2048, slots: 4, ..minerva_llama::Options::new("model.gguf") };
//! let mut llama = minerva_llama::load(&options, |part| {
//!     println!("{:.0} %", part * 100.0);
//!     true
//! })?;
//!
//! let prompt = llama.vocabulary().encode("Once upon a time", Encode { add_special: true, parse_special: false })?;
//! let mut batch = Batch::default();
//! for (position, &token) in (0..).zip(&prompt) {
//!     batch.push(token, position, 0, position as usize + 1 == prompt.len());
//! }
//! llama.decode(&batch)?;
//! println!("the first logit is {}", llama.logits(0)[0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is unsafe
//!
//! Only `attention`, `context`, `kernels`, `log`, `products`, `quantize`, `quantize_file`, `trial` and `weights` hold
//! `unsafe` code: the context is made and owned over the raw bindings, because the safe ones hide its pointer and with
//! it half of what an engine needs.
//!
//! # The same logits, whatever else is in the batch
//!
//! On a CPU, with one stream per slot, the logits of a sequence need not depend on what else is decoded beside it nor
//! on how its prompt was cut into chunks: not to the last bit. It takes weights of the right types and the matrix
//! products and the attention of this repository's build, as `kernels` explains and a test proves;
//! [`minerva_engine::model::Capabilities::batch_invariant`] says whether it holds.

mod attention;
mod backend;
mod context;
mod embed;
mod error;
mod kernels;
mod load;
mod log;
mod memory;
mod model;
mod options;
mod products;
mod quantize;
mod quantize_file;
mod state;
mod tensor_type;
mod threads;
mod trial;
mod vocabulary;
mod weights;

pub use backend::{Device, DeviceKind, devices, has_backend, system_info};
pub use error::Error;
pub use load::{load, load_vocabulary};
pub use memory::{HostMemory, host_memory};
pub use model::Llama;
pub use options::{CONTEXT_DEFAULT_MAX, FlashAttention, KvType, Options, SLOTS_MAX};
pub use quantize::quantize_rows;
pub use quantize_file::{FileType, QuantizeOptions, quantize_file};
pub use tensor_type::TensorType;
pub use threads::physical_cores;
