//! WASI, emptied: what an ordinary toolchain's component needs to link and to print, and no more.
//!
//! Written here rather than taken from wasmtime-wasi, because a guest must not be able to wait: a host function
//! that sleeps knows no deadline. What is not in the list of [`Known`] functions is linked as a trap, whatever
//! the version of WASI.

use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Linker, LinkerInstance, Resource, ResourceType, Val};
use wasmtime::{Result, StoreContextMut};

use crate::fault::Denied;
use crate::imports::host;
use crate::state::State;

/// What a session's WASI knows.
pub(crate) struct View {
    random: u64,
    clock: u64,
    lines: [Vec<u8>; 2],
    last_error: String,
}

impl Default for View {
    fn default() -> Self {
        Self {
            random: 0x9e37_79b9_7f4a_7c15,
            clock: 0,
            lines: [Vec::new(), Vec::new()],
            last_error: String::new(),
        }
    }
}

/// The longest line that is logged in one piece.
const LINE_BYTES_MAX: usize = 4 << 10;

/// The most random bytes of one call.
const RANDOM_BYTES_MAX: u64 = 64 << 10;

/// The standing still of time, in seconds: 2000-01-01.
const NOW_SECONDS: u64 = 946_684_800;

const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// A resource of WASI. All its handles are one of few: the representation is the file descriptor.
struct Handle;

impl View {
    /// SplitMix64: not random at all, which is the point.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn begin_call(&mut self) {
        self.last_error.clear();
    }

    /// What was printed as an error in this call, shortened to what a person wants to read: Rust's panics come
    /// in several lines, of which the place and the message count.
    pub(crate) fn last_words(&self) -> String {
        let mut lines = self.last_error.lines().filter(|line| !line.trim().is_empty());
        let panic = lines.clone().position(|line| line.contains(" panicked at "));
        let text = match panic.and_then(|at| lines.nth(at).map(|place| (place, lines.next()))) {
            Some((place, message)) => {
                let place = place.split_once(" panicked at ").map_or(place, |(_, place)| place);
                format!("panicked at {place} {}", message.unwrap_or_default())
            }
            None => self.last_error.lines().last().unwrap_or_default().to_owned(),
        };
        text.trim().chars().filter(|c| !c.is_control()).take(300).collect()
    }
}

impl State {
    fn print(&mut self, descriptor: u32, bytes: &[u8]) -> Result<()> {
        self.quota.work(bytes.len())?;
        let is_error = descriptor == STDERR;
        if is_error && self.wasi.last_error.len() < LINE_BYTES_MAX {
            let room = LINE_BYTES_MAX - self.wasi.last_error.len();
            self.wasi.last_error.push_str(&String::from_utf8_lossy(&bytes[..bytes.len().min(room)]));
        }
        let level = if is_error { tracing::Level::WARN } else { tracing::Level::INFO };
        for &byte in bytes {
            let line = &mut self.wasi.lines[usize::from(is_error)];
            if byte != b'\n' {
                line.push(byte);
            }
            if byte == b'\n' || line.len() >= LINE_BYTES_MAX {
                let text = String::from_utf8_lossy(line).into_owned();
                line.clear();
                host::log(&mut self.speaker, level, &text);
            }
        }
        Ok(())
    }
}

/// Defines everything that the component imports of WASI.
pub(crate) fn link(linker: &mut Linker<State>, component: &Component) -> Result<()> {
    let engine = linker.engine().clone();
    for (name, import) in component.component_type().imports(&engine) {
        let (Some(interface), ComponentItem::ComponentInstance(instance)) =
            (name.strip_prefix("wasi:"), import.ty)
        else {
            continue;
        };
        let interface = interface.split('@').next().unwrap_or(interface);
        let mut target = linker.instance(name)?;
        for (item, export) in instance.exports(&engine) {
            match export.ty {
                ComponentItem::ComponentFunc(_) => define(&mut target, interface, item, name)?,
                ComponentItem::Resource(_) => {
                    target.resource(item, ResourceType::host::<Handle>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

type Context<'a> = StoreContextMut<'a, State>;

/// What a guest may write at once.
const WRITE_BYTES_MAX: u64 = 64 << 10;

fn define(
    to: &mut LinkerInstance<'_, State>,
    interface: &str,
    name: &str,
    full_interface: &str,
) -> Result<()> {
    let handle = |descriptor| move |_: Context<'_>, (): ()| Ok((Resource::<Handle>::new_own(descriptor),));
    let nothing = |_: Context<'_>, _: ComponentFunc, _: &[Val], results: &mut [Val]| {
        results.fill(Val::Option(None));
        Ok(())
    };
    let written = |mut store: Context<'_>, (stream, bytes): (Resource<Handle>, Vec<u8>)| {
        store.data_mut().print(stream.rep(), &bytes)?;
        Ok((Ok::<(), StreamError>(()),))
    };
    let flushed = |_: Context<'_>, _: (Resource<Handle>,)| Ok((Ok::<(), StreamError>(()),));
    match (interface, name) {
        ("cli/environment", "get-environment") => {
            to.func_wrap(name, |_: Context<'_>, (): ()| Ok((Vec::<(String, String)>::new(),)))
        }
        ("cli/environment", "get-arguments") => {
            to.func_wrap(name, |_: Context<'_>, (): ()| Ok((Vec::<String>::new(),)))
        }
        ("cli/environment", _) => to.func_new(name, nothing),
        ("cli/exit", _) => to.func_new(name, |_, _, _, _| {
            Err(Denied::new(minerva_engine::plugin::Fault::Trap("called exit".to_owned())))
        }),
        ("cli/stdin", _) => to.func_wrap(name, handle(0)),
        ("cli/stdout", _) => to.func_wrap(name, handle(STDOUT)),
        ("cli/stderr", _) => to.func_wrap(name, handle(STDERR)),
        ("cli/terminal-stdin" | "cli/terminal-stdout" | "cli/terminal-stderr", _) => {
            to.func_new(name, nothing)
        }
        ("io/streams", "[method]output-stream.check-write") => to
            .func_wrap(name, |_: Context<'_>, _: (Resource<Handle>,)| {
                Ok((Ok::<_, StreamError>(WRITE_BYTES_MAX),))
            }),
        ("io/streams", "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush") => {
            to.func_wrap(name, written)
        }
        ("io/streams", "[method]output-stream.flush" | "[method]output-stream.blocking-flush") => {
            to.func_wrap(name, flushed)
        }
        // What the standard library asks at its start. Waiting on it traps, as all of `poll` does.
        ("io/streams", "[method]output-stream.subscribe" | "[method]input-stream.subscribe") => {
            to.func_wrap(name, |_: Context<'_>, _: (Resource<Handle>,)| Ok((Resource::<Handle>::new_own(0),)))
        }
        ("io/streams", "[method]input-stream.read" | "[method]input-stream.blocking-read") => to
            .func_wrap(name, |_: Context<'_>, _: (Resource<Handle>, u64)| {
                Ok((Err::<Vec<u8>, _>(StreamError::Closed),))
            }),
        ("clocks/monotonic-clock", "now") => to.func_wrap(name, |mut store: Context<'_>, (): ()| {
            let clock = &mut store.data_mut().wasi.clock;
            // A nanosecond a look: some runtimes loop until time passes.
            *clock += 1;
            Ok((*clock,))
        }),
        ("clocks/monotonic-clock", "resolution") => to.func_wrap(name, |_: Context<'_>, (): ()| Ok((1_u64,))),
        ("clocks/wall-clock", "now") => to.func_wrap(name, |_: Context<'_>, (): ()| {
            Ok((Datetime { seconds: NOW_SECONDS, nanoseconds: 0 },))
        }),
        ("clocks/wall-clock", "resolution") => {
            to.func_wrap(name, |_: Context<'_>, (): ()| Ok((Datetime { seconds: 1, nanoseconds: 0 },)))
        }
        ("random/random", "get-random-bytes") | ("random/insecure", "get-insecure-random-bytes") => to
            .func_wrap(name, |mut store: Context<'_>, (count,): (u64,)| {
                if count > RANDOM_BYTES_MAX {
                    return Err(Denied::limit("random bytes", RANDOM_BYTES_MAX as usize, "bytes"));
                }
                let view = &mut store.data_mut().wasi;
                let bytes = (0..count).map(|_| (view.next_random() >> 56) as u8).collect::<Vec<_>>();
                Ok((bytes,))
            }),
        ("random/random", _) | ("random/insecure", _) => {
            to.func_wrap(name, |mut store: Context<'_>, (): ()| Ok((store.data_mut().wasi.next_random(),)))
        }
        ("random/insecure-seed", _) => to.func_wrap(name, |mut store: Context<'_>, (): ()| {
            let view = &mut store.data_mut().wasi;
            Ok(((view.next_random(), view.next_random()),))
        }),
        ("filesystem/preopens", _) => {
            to.func_wrap(name, |_: Context<'_>, (): ()| Ok((Vec::<(Resource<Handle>, String)>::new(),)))
        }
        _ => {
            let function = format!("{full_interface}#{name}");
            to.func_new(name, move |_, _, _, _| {
                let why = format!("called {function}, which plugins do not have");
                Err(Denied::new(minerva_engine::plugin::Fault::Trap(why)))
            })
        }
    }
}

#[derive(wasmtime::component::ComponentType, wasmtime::component::Lower, wasmtime::component::Lift)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<Handle>),
    #[component(name = "closed")]
    Closed,
}

#[derive(
    Clone, Copy, wasmtime::component::ComponentType, wasmtime::component::Lower, wasmtime::component::Lift,
)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}
