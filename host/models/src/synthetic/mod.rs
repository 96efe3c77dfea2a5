//! Models with random weights, of any size and kind: to measure speed with, and to test with.
//!
//! ```no_run
//! use minerva_models::synthetic::{self, Spec};
//!
//! let spec = Spec { seed: 7, ..Spec::preset("0.5b").expect("a preset") };
//! synthetic::write(&spec, "random-0.5b.gguf".as_ref(), |part| {
//!     eprint!("\r{:3.0} %", part * 100.0);
//!     true
//! })?;
//! # Ok::<(), synthetic::Error>(())
//! ```
//!
//! The file is written front to back, a few megabytes of it in memory at a time. The same spec gives the same file,
//! byte for byte, whatever the number of threads.

mod plan;
mod random;
mod spec;
mod vocabulary;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use minerva_llama::quantize_rows;

use self::plan::{Fill, Tensor};
use self::random::Random;
pub use self::spec::{Kind, PRESETS, Spec, Vocabulary};
use crate::gguf;
use crate::gguf::write::{Header, Tensors};

/// Why a synthetic model could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The numbers do not make a model.
    #[error("no model has this shape: {0}")]
    Shape(String),
    /// The file to take the vocabulary from is of no use.
    #[error("cannot take the vocabulary")]
    Vocabulary(#[source] gguf::Error),
    /// ggml cannot write the type.
    #[error("cannot make the weights")]
    Weights(#[source] minerva_llama::Error),
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The progress callback said stop. Nothing is left of the file.
    #[error("cancelled")]
    Cancelled,
}

/// Numbers that one thread makes at a time. Part of what a seed means: the stream of random numbers starts anew with
/// each chunk.
const CHUNK: u64 = 1 << 20;

/// Writes a model. `progress` sees the part done, 0 to 1, and says whether to go on. The file appears under its name
/// only when it is whole.
///
/// # Errors
///
/// When the shape is impossible, or the file cannot be written.
pub fn write(spec: &Spec, path: &Path, mut progress: impl FnMut(f32) -> bool) -> Result<(), Error> {
    if let Some(problem) = spec.problem() {
        return Err(Error::Shape(problem));
    }
    let (header, tensors) = header(spec)?;
    let total = header.data_bytes().max(1);

    let failed = |source| Error::Write { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".synthetic-").tempfile_in(folder).map_err(failed)?;
    let mut out = header.begin(BufWriter::with_capacity(1 << 20, file.as_file_mut())).map_err(failed)?;
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let mut done = 0_u64;
    for (index, tensor) in tensors.iter().enumerate() {
        for wave in chunks(tensor).collect::<Vec<_>>().chunks(threads) {
            for bytes in make(spec.seed, index, tensor, wave)? {
                out.write(&bytes).map_err(failed)?;
                done += bytes.len() as u64;
            }
            if !progress(done as f32 / total as f32) {
                return Err(Error::Cancelled);
            }
        }
    }
    finish(out).map_err(failed)?;
    crate::open_to_others(file.as_file()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// The header, and the tensors that follow it.
fn header(spec: &Spec) -> Result<(Header, Vec<Tensor>), Error> {
    let mut header = Header::new();
    header.set("general.architecture", plan::architecture(spec.kind));
    header.set("general.type", "model");
    header.set("general.name", spec.name.as_str());
    header.set("general.description", "Random weights, for measuring and testing. It speaks nonsense.");
    header.set("general.quantization_version", 2_u32);
    plan::describe(spec, &mut header);
    let vocabulary = match &spec.vocabulary {
        Vocabulary::SentencePiece { tokens, fill_in_middle } => {
            vocabulary::sentence_piece(&mut header, *tokens, *fill_in_middle);
            u64::from(*tokens)
        }
        Vocabulary::Bpe { tokens } => {
            vocabulary::bpe(&mut header, *tokens);
            u64::from(*tokens)
        }
        Vocabulary::FromFile(path) => vocabulary::copy(&mut header, path).map_err(Error::Vocabulary)?,
    };
    header.set(
        &format!("{}.vocab_size", plan::architecture(spec.kind)),
        u32::try_from(vocabulary).unwrap_or(u32::MAX),
    );
    let tensors = plan::tensors(spec, vocabulary);
    for tensor in &tensors {
        header.tensor(&tensor.name, &tensor.dimensions, tensor.kind);
    }
    Ok((header, tensors))
}

/// The chunks of a tensor: their number and their rows.
fn chunks(tensor: &Tensor) -> impl Iterator<Item = (u64, u64)> + use<> {
    let columns = tensor.dimensions[0];
    let rows: u64 = tensor.dimensions[1..].iter().product();
    let at_a_time = (CHUNK / columns).max(1);
    (0..rows.div_ceil(at_a_time)).map(move |chunk| (chunk, at_a_time.min(rows - chunk * at_a_time)))
}

/// Makes some chunks of a tensor, each on a thread of its own.
fn make(seed: u64, index: usize, tensor: &Tensor, wave: &[(u64, u64)]) -> Result<Vec<Vec<u8>>, Error> {
    let one = |&(chunk, rows): &(u64, u64)| {
        let columns = usize::try_from(tensor.dimensions[0]).unwrap_or(usize::MAX);
        let mut numbers = vec![0.0; columns * usize::try_from(rows).unwrap_or(usize::MAX)];
        match tensor.fill {
            Fill::Spread(deviation) => {
                Random::new(seed, ((index as u64) << 32) | chunk).fill(&mut numbers, deviation);
            }
            Fill::Constant(number) => numbers.fill(number),
            Fill::Decay => {
                for row in numbers.chunks_mut(columns) {
                    row.iter_mut().zip(1_u16..).for_each(|(number, place)| *number = -f32::from(place));
                }
            }
        }
        quantize_rows(tensor.kind, &numbers, columns).map_err(Error::Weights)
    };
    if let [single] = wave {
        return Ok(vec![one(single)?]);
    }
    std::thread::scope(|scope| {
        let running: Vec<_> = wave.iter().map(|chunk| scope.spawn(|| one(chunk))).collect();
        running.into_iter().map(|thread| thread.join().expect("making weights does not panic")).collect()
    })
}

fn finish(out: Tensors<BufWriter<&mut File>>) -> std::io::Result<()> {
    let file = out.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_data()
}
