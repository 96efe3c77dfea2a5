//! `minerva bench device`: what layers on a GPU gain, with how many sequences and how much context, and what it takes.
//!
//! Each row is a load in a process of its own, where there is such a thing: its memory is its own, and what ends it ends
//! no other row.

use std::fmt;
use std::time::Instant;

use anyhow::Result;
use minerva::engine::model;
use minerva::isolate::{IS_SUPPORTED, Isolated, Isolation};
use minerva::llama::{Device, DeviceKind, Options};
use minerva::models::devices::{BACKENDS, Gpu, Wish};
use serde_json::{Value, json};

use super::engine::bare_loop;
use super::figures::Spread;
use crate::command::{progress_bar, show_part};
use crate::config::DeviceBench;

/// What was found.
pub(super) struct Found {
    settings: Value,
    rows: Vec<Row>,
    notes: Vec<String>,
}

/// One load, and what was measured on it.
struct Row {
    device: String,
    layers: u32,
    sequences: u32,
    context: u32,
    measured: Result<Measured, String>,
}

struct Measured {
    load_seconds: f64,
    prefill_rate: Spread,
    decode_rate: Spread,
    /// The most that the process had resident.
    host_bytes: Option<u64>,
    /// What was taken of the devices' free memory.
    device_bytes: Option<u64>,
}

/// Measures all combinations that this machine can run.
pub(super) fn run(arguments: &DeviceBench) -> Result<Found> {
    let (places, mut notes) = places(arguments)?;
    if !IS_SUPPORTED {
        notes.push("no peak memory: a row has no process of its own on this system".to_owned());
    }
    let wanted = arguments.model.brought(&arguments.hub)?;
    let bar = progress_bar("measuring");
    let all = places.len() * arguments.sequences.len() * arguments.contexts.len();
    let mut rows: Vec<Row> = Vec::new();
    for (gpu, layers) in places {
        let wish = Wish { gpu, layers: Some(layers), limit: None };
        let layered = wanted.clone().gpu(wish).llama(|llama| llama.gpu_layers = Some(layers));
        for &context in &arguments.contexts {
            for &sequences in &arguments.sequences {
                let planned = layered.clone().context(context).slots(sequences).plan()?;
                let on_gpu = planned.plan.gpu_layers;
                let names = planned.plan.devices.iter().map(|share| share.name.clone()).collect::<Vec<_>>();
                let device = if on_gpu == 0 { "CPU".to_owned() } else { names.join(" + ") };
                // More layers than there are is the same as all of them.
                let is_known = |row: &Row| {
                    (&row.device, row.layers, row.sequences, row.context)
                        == (&device, on_gpu, sequences, context)
                };
                if !rows.iter().any(is_known) {
                    let measured = measure(&planned.llama, arguments).map_err(|error| format!("{error:#}"));
                    rows.push(Row { device, layers: on_gpu, sequences, context, measured });
                }
                #[expect(clippy::cast_precision_loss, reason = "it moves a bar")]
                show_part(&bar, rows.len() as f32 / all as f32);
            }
        }
    }
    bar.finish_and_clear();
    let settings = json!({
        "model": arguments.model.name(),
        "rounds": arguments.rounds.rounds,
        "prompt_tokens": arguments.prompt_tokens,
        "tokens": arguments.tokens,
    });
    Ok(Found { settings, rows, notes })
}

/// A device, and how many layers are on it.
type Place = (Gpu, u32);

/// Which devices, with how many layers, and why there are no others.
fn places(arguments: &DeviceBench) -> Result<(Vec<Place>, Vec<String>)> {
    let is_gpu = |device: &Device| matches!(device.kind, DeviceKind::Gpu | DeviceKind::IntegratedGpu);
    let has_gpu = minerva::llama::devices()?.iter().any(is_gpu);
    let (on_gpu, on_cpu): (Vec<u32>, Vec<u32>) = arguments.layers.iter().partition(|&&layers| layers > 0);
    let mut places: Vec<Place> = on_cpu.iter().map(|_| (Gpu::Cpu, 0)).collect();
    let mut notes = Vec::new();
    if has_gpu {
        places.extend(on_gpu.iter().map(|&layers| (Gpu::Auto, layers)));
    } else if !on_gpu.is_empty() {
        let built = BACKENDS.iter().filter(|(_, feature)| minerva::llama::has_backend(feature));
        let built: Vec<&str> = built.map(|(name, _)| *name).collect();
        let why = if built.is_empty() {
            "this program was built without cuda, metal and vulkan".to_owned()
        } else {
            format!("{} finds no device, or is not allowed to use it", built.join(" and "))
        };
        let shown: Vec<String> = on_gpu.iter().map(|&layers| shown(layers)).collect();
        notes.push(format!(
            "no rows with layers on a GPU ({}): {why}; see `minerva doctor`",
            shown.join(", ")
        ));
    }
    Ok((places, notes))
}

fn shown(layers: u32) -> String {
    if layers == u32::MAX { "all".to_owned() } else { layers.to_string() }
}

fn measure(options: &Options, arguments: &DeviceBench) -> Result<Measured> {
    let free = device_bytes_free()?;
    let begun = Instant::now();
    let mut isolated: Option<Isolated> = None;
    let mut own = None;
    let model: &mut dyn model::Model = if IS_SUPPORTED {
        let isolation = Isolation::new("/proc/self/exe");
        isolated.insert(minerva::isolate::load(&isolation, options, |_| true)?)
    } else {
        own.insert(minerva::llama::load(options, |_| true)?)
    };
    let load_seconds = begun.elapsed().as_secs_f64();
    let room = options.context.saturating_sub(arguments.tokens);
    let length = arguments.prompt_tokens.min(room).max(1);
    let (mut prefills, mut decodes) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds.rounds {
        let looped = bare_loop(model, options.slots, length, arguments.tokens)?;
        prefills.push(f64::from(options.slots * length) / looped.prefill_seconds);
        decodes.push(f64::from(options.slots * (arguments.tokens - 1)) / looped.decode_seconds);
    }
    let nothing = || anyhow::anyhow!("it took no time");
    Ok(Measured {
        load_seconds,
        prefill_rate: Spread::of(prefills).ok_or_else(nothing)?,
        decode_rate: Spread::of(decodes).ok_or_else(nothing)?,
        host_bytes: isolated.as_ref().and_then(Isolated::process).and_then(resident_most),
        device_bytes: free.zip(device_bytes_free()?).map(|(before, after)| before.saturating_sub(after)),
    })
}

/// Bytes that are free on all GPUs together, if there is one.
fn device_bytes_free() -> Result<Option<u64>> {
    let devices = minerva::llama::devices()?;
    let gpus =
        devices.iter().filter(|device| matches!(device.kind, DeviceKind::Gpu | DeviceKind::IntegratedGpu));
    Ok(gpus.map(|device| device.memory_free).reduce(|sum, free| sum + free))
}

/// The most bytes that a process has had resident.
fn resident_most(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

impl Found {
    pub(super) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let mut json = json!({
                "device": row.device,
                "layers": row.layers,
                "sequences": row.sequences,
                "context": row.context,
            });
            match &row.measured {
                Ok(measured) => {
                    json["load_seconds"] = measured.load_seconds.into();
                    json["prefill_tokens_per_second"] = measured.prefill_rate.json();
                    json["decode_tokens_per_second"] = measured.decode_rate.json();
                    json["peak_host_bytes"] = measured.host_bytes.into();
                    json["device_bytes"] = measured.device_bytes.into();
                }
                Err(why) => json["error"] = why.as_str().into(),
            }
            json
        });
        json!({
            "bench": "device",
            "version": env!("CARGO_PKG_VERSION"),
            "settings": self.settings,
            "rows": rows.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

impl fmt::Display for Found {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "minerva bench device: {}\n", self.settings)?;
        let titles = [
            "device",
            "layers",
            "sequences",
            "context",
            "load s",
            "prefill/s",
            "decode/s",
            "peak MiB",
            "GPU MiB",
        ];
        let mib =
            |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), |bytes| (bytes >> 20).to_string());
        let width = self.rows.iter().map(|row| row.device.len()).max().unwrap_or(0).max(titles[0].len());
        write!(out, "{:width$}", titles[0])?;
        titles[1..].iter().try_for_each(|title| write!(out, " {title:>10}"))?;
        writeln!(out)?;
        for Row { device, layers, sequences, context, measured } in &self.rows {
            write!(out, "{device:width$} {layers:>10} {sequences:>10} {context:>10}")?;
            match measured {
                Ok(measured) => writeln!(
                    out,
                    " {:>10.2} {:>10.1} {:>10.1} {:>10} {:>10}",
                    measured.load_seconds,
                    measured.prefill_rate.median,
                    measured.decode_rate.median,
                    mib(measured.host_bytes),
                    mib(measured.device_bytes),
                )?,
                Err(why) => writeln!(out, " {why}")?,
            }
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "\n{note}"))
    }
}
