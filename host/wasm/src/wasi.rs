//! WASI, emptied: what an ordinary toolchain's component needs to link and to print, and no more.
//!
//! The interfaces are wasmtime-wasi's, in a context with no file, no address, no argument and no variable, where
//! the clocks stand still and randomness is the same in every session. Three things differ. Streams and `poll`
//! never wait: a host function that sleeps knows no deadline, and wasmtime-wasi's need a tokio runtime. What is
//! printed goes to the log. And what is not [`OFFERED`], whatever the version of WASI, is linked as a trap that
//! says its name.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use minerva_engine::plugin::Fault;
use tracing::Level;
use wasmtime::Result;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasData, Linker, Resource, ResourceTable, ResourceType};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::sync::io::{poll, streams};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sync};
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, IoError, OutputStream, Pollable, StreamError, StreamResult,
};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};
use wasmtime_wasi::{
    Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView, async_trait,
};

use crate::fault::Denied;
use crate::imports::host;
use crate::state::{Speaker, State};

/// The longest line that is logged in one piece, and how much of a call's errors is remembered.
const LINE_BYTES_MAX: usize = 4 << 10;

/// What a guest may write at once.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// The most random bytes of one call.
const RANDOM_BYTES_MAX: u64 = 64 << 10;

/// The standing still of time: 2000-01-01.
const NOW: Duration = Duration::from_secs(946_684_800);

/// A session's WASI.
#[derive(Default)]
pub(crate) struct View {
    /// Made when the guest first asks: most never do.
    context: Option<WasiCtx>,
    errors: Printed,
}

/// What a guest printed, shared with the streams that it printed to.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Text>>);

#[derive(Default)]
struct Text {
    /// A line without an end yet.
    line: Vec<u8>,
    /// The beginning of what the call under way printed.
    call: Vec<u8>,
}

impl Printed {
    fn lock(&self) -> MutexGuard<'_, Text> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    pub(crate) fn begin_call(&mut self) {
        if self.context.is_some() {
            self.errors.lock().call.clear();
        }
    }

    /// What was printed as an error in this call, shortened to what a person wants to read: Rust's panics come
    /// in several lines, of which the place and the message count.
    pub(crate) fn last_words(&self) -> String {
        let printed = self.errors.lock();
        let errors = String::from_utf8_lossy(&printed.call);
        let mut lines = errors.lines().filter(|line| !line.trim().is_empty());
        let panic = lines.clone().position(|line| line.contains(" panicked at "));
        let text = match panic.and_then(|at| lines.nth(at).map(|place| (place, lines.next()))) {
            Some((place, message)) => {
                let place = place.split_once(" panicked at ").map_or(place, |(_, place)| place);
                format!("panicked at {place} {}", message.unwrap_or_default())
            }
            None => errors.lines().last().unwrap_or_default().to_owned(),
        };
        text.trim().chars().filter(|c| !c.is_control()).take(300).collect()
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Self { wasi, resources: table, speaker, .. } = self;
        let View { context, errors } = wasi;
        let ctx = context.get_or_insert_with(|| {
            let output = |level, printed| Output { level, speaker: Arc::clone(speaker), printed };
            WasiCtx::builder()
                .stdin(MemoryInputPipe::new(Bytes::new()))
                .stdout(output(Level::INFO, Printed::default()))
                .stderr(output(Level::WARN, errors.clone()))
                .wall_clock(Stopped)
                .monotonic_clock(Glances::default())
                .secure_random(Deterministic::new(noise(1)))
                .insecure_random(Deterministic::new(noise(2)))
                .insecure_random_seed(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834)
                .max_random_size(RANDOM_BYTES_MAX)
                .build()
        });
        WasiCtxView { ctx, table }
    }
}

/// Bytes that look random and are always the same. SplitMix64 (Steele, Lea and Flood 2014).
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let words = std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    });
    words.take(128).flat_map(u64::to_le_bytes).collect()
}

/// A wall clock that stands still.
struct Stopped;

impl HostWallClock for Stopped {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        NOW
    }
}

/// A clock that goes on by a nanosecond a look: some runtimes loop until time passes.
#[derive(Default)]
struct Glances(AtomicU64);

impl HostMonotonicClock for Glances {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Standard output or standard error: lines for the log.
#[derive(Clone)]
struct Output {
    level: Level,
    speaker: Arc<Speaker>,
    printed: Printed,
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    /// Asked for by WASI 0.3 only, which is not linked.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        MemoryOutputPipe::new(0).async_stream()
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let Text { line, call } = &mut *self.printed.lock();
        call.extend_from_slice(&bytes[..bytes.len().min(LINE_BYTES_MAX.saturating_sub(call.len()))]);
        for &byte in &bytes {
            if byte != b'\n' {
                line.push(byte);
            }
            if byte == b'\n' || line.len() >= LINE_BYTES_MAX {
                host::log(&self.speaker, self.level, &String::from_utf8_lossy(line));
                line.clear();
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

/// The interfaces of WASI 0.2 that [`link`] defines.
const OFFERED: [&str; 20] = [
    "cli/environment",
    "cli/exit",
    "cli/stderr",
    "cli/stdin",
    "cli/stdout",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stderr",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "clocks/monotonic-clock",
    "clocks/wall-clock",
    "filesystem/preopens",
    "filesystem/types",
    "io/error",
    "io/poll",
    "io/streams",
    "random/insecure",
    "random/insecure-seed",
    "random/random",
];

/// Defines what every component may import of WASI.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    cli::environment::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::exit::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::stderr::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::stdin::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::stdout::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    clocks::monotonic_clock::add_to_linker::<State, WasiClocks>(linker, State::clocks)?;
    clocks::wall_clock::add_to_linker::<State, WasiClocks>(linker, State::clocks)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    sync::filesystem::types::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    random::random::add_to_linker::<State, WasiRandom>(linker, State::random)?;
    random::insecure::add_to_linker::<State, WasiRandom>(linker, State::random)?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(linker, State::random)?;
    sync::io::error::add_to_linker::<State, Table>(linker, |state| &mut state.resources)?;
    poll::add_to_linker::<State, Prompt>(linker, |state| NeverWaits(&mut state.resources))?;
    streams::add_to_linker::<State, Prompt>(linker, |state| NeverWaits(&mut state.resources))
}

/// Defines the rest of what a component imports of WASI, as traps.
pub(crate) fn deny_the_rest(linker: &mut Linker<State>, component: &Component) -> Result<()> {
    let engine = linker.engine().clone();
    for (name, import) in component.component_type().imports(&engine) {
        let (Some(interface), ComponentItem::ComponentInstance(instance)) =
            (name.strip_prefix("wasi:"), import.ty)
        else {
            continue;
        };
        let (interface, version) = interface.split_once('@').unwrap_or((interface, ""));
        if version.starts_with("0.2.") && OFFERED.contains(&interface) {
            continue;
        }
        let mut target = linker.instance(name)?;
        for (item, export) in instance.exports(&engine) {
            match export.ty {
                ComponentItem::ComponentFunc(_) => {
                    let function = format!("{name}#{item}");
                    target.func_new(item, move |_, _, _, _| Err(denied(&function)))?;
                }
                ComponentItem::Resource(_) => {
                    target.resource(item, resource(item), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// A resource that no guest ever gets.
enum Never {}

/// The type of a resource in an interface that is denied: one that it shares with those that are offered, or none.
fn resource(name: &str) -> ResourceType {
    match name {
        "descriptor" => ResourceType::host::<filesystem::types::Descriptor>(),
        "error" => ResourceType::host::<IoError>(),
        "input-stream" => ResourceType::host::<DynInputStream>(),
        "output-stream" => ResourceType::host::<DynOutputStream>(),
        "pollable" => ResourceType::host::<DynPollable>(),
        _ => ResourceType::host::<Never>(),
    }
}

fn denied(function: &str) -> wasmtime::Error {
    Denied::new(Fault::Trap(format!("called {function}, which plugins do not have")))
}

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// Streams and polls that answer at once or trap.
struct NeverWaits<'a>(&'a mut ResourceTable);

struct Prompt;

impl HasData for Prompt {
    type Data<'a> = NeverWaits<'a>;
}

impl poll::Host for NeverWaits<'_> {
    fn poll(&mut self, _: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        Err(denied("wasi:io/poll#poll"))
    }
}

impl poll::HostPollable for NeverWaits<'_> {
    fn ready(&mut self, _: Resource<DynPollable>) -> Result<bool> {
        Err(denied("wasi:io/poll#[method]pollable.ready"))
    }

    fn block(&mut self, _: Resource<DynPollable>) -> Result<()> {
        Err(denied("wasi:io/poll#[method]pollable.block"))
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        poll::HostPollable::drop(self.0, pollable)
    }
}

impl streams::Host for NeverWaits<'_> {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError> {
        streams::Host::convert_stream_error(self.0, error)
    }
}

impl streams::HostOutputStream for NeverWaits<'_> {
    fn drop(&mut self, stream: Resource<DynOutputStream>) -> Result<()> {
        self.0.delete(stream)?;
        Ok(())
    }

    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        streams::HostOutputStream::check_write(self.0, stream)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        streams::HostOutputStream::write(self.0, stream, bytes)
    }

    fn blocking_write_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        bytes: Vec<u8>,
    ) -> StreamResult<()> {
        self.write(stream, bytes)
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        streams::HostOutputStream::flush(self.0, stream)
    }

    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        self.flush(stream)
    }

    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> Result<Resource<DynPollable>> {
        streams::HostOutputStream::subscribe(self.0, stream)
    }

    fn write_zeroes(&mut self, _: Resource<DynOutputStream>, _: u64) -> StreamResult<()> {
        Err(StreamError::Trap(denied("wasi:io/streams#[method]output-stream.write-zeroes")))
    }

    fn blocking_write_zeroes_and_flush(&mut self, _: Resource<DynOutputStream>, _: u64) -> StreamResult<()> {
        Err(StreamError::Trap(denied(
            "wasi:io/streams#[method]output-stream.blocking-write-zeroes-and-flush",
        )))
    }

    fn splice(
        &mut self,
        _: Resource<DynOutputStream>,
        _: Resource<DynInputStream>,
        _: u64,
    ) -> StreamResult<u64> {
        Err(StreamError::Trap(denied("wasi:io/streams#[method]output-stream.splice")))
    }

    fn blocking_splice(
        &mut self,
        _: Resource<DynOutputStream>,
        _: Resource<DynInputStream>,
        _: u64,
    ) -> StreamResult<u64> {
        Err(StreamError::Trap(denied("wasi:io/streams#[method]output-stream.blocking-splice")))
    }
}

impl streams::HostInputStream for NeverWaits<'_> {
    fn drop(&mut self, stream: Resource<DynInputStream>) -> Result<()> {
        self.0.delete(stream)?;
        Ok(())
    }

    fn read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        streams::HostInputStream::read(self.0, stream, len)
    }

    fn blocking_read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        self.read(stream, len)
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        streams::HostInputStream::skip(self.0, stream, len)
    }

    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        self.skip(stream, len)
    }

    fn subscribe(&mut self, stream: Resource<DynInputStream>) -> Result<Resource<DynPollable>> {
        streams::HostInputStream::subscribe(self.0, stream)
    }
}
