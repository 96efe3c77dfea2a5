//! `minerva doctor`: what this machine has, what would run where and why, and what could be better.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use minerva::Planned;
use minerva::llama::{self, Device, DeviceKind, FlashAttention, HostMemory};
use minerva::models::devices::BACKENDS;
use serde_json::{Value, json};

use super::models::inspect::size;
use crate::config::ModelArguments;

/// Shows all of it for a model: the one that the arguments name, or the built-in one.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn run(arguments: &ModelArguments, as_json: bool) -> Result<()> {
    let machine = Machine::look()?;
    // What is wrong with the model or the wish is a finding like the others, not the end of the report.
    let planned = arguments.described()?.plan().map_err(|error| error.to_string());
    let advice = advice(&machine, planned.as_ref().ok());
    if as_json {
        println!("{:#}", json(&machine, &planned, &advice));
    } else {
        print!("{}", text(&machine, &planned, &advice));
    }
    planned.map(drop).map_err(anyhow::Error::msg).context("the model would not load")
}

/// What the machine has, and the program was built with.
struct Machine {
    devices: Vec<Device>,
    /// The processor's features that llama.cpp was built for and uses.
    features: Vec<String>,
    processors: usize,
    cores: u32,
    memory: Option<HostMemory>,
    built_with: Vec<&'static str>,
    /// GPUs that the system shows, whether this program can use them or not: the feature that would.
    seen: Vec<&'static str>,
}

impl Machine {
    fn look() -> Result<Self> {
        let there = |path: &str| Path::new(path).exists();
        let mut seen = Vec::new();
        if there("/dev/nvidia0") || there("/dev/nvidiactl") || there("/proc/driver/nvidia/version") {
            seen.push("cuda");
        }
        if there("/dev/dri/renderD128") || there("/dev/kfd") {
            seen.push("vulkan");
        }
        if cfg!(target_os = "macos") {
            seen.push("metal");
        }
        let built = BACKENDS.iter().map(|(_, feature)| *feature).chain(["dynamic-backends"]);
        Ok(Self {
            devices: llama::devices()?,
            features: features(&llama::system_info()?),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            cores: llama::physical_cores(),
            memory: llama::host_memory(),
            built_with: built.filter(|feature| llama::has_backend(feature)).collect(),
            seen,
        })
    }

    fn gpus(&self) -> usize {
        let is_gpu = |device: &&Device| matches!(device.kind, DeviceKind::Gpu | DeviceKind::IntegratedGpu);
        self.devices.iter().filter(is_gpu).count()
    }
}

/// The names in `CPU : SSE3 = 1 | AVX512 = 0 | …` that are on.
fn features(info: &str) -> Vec<String> {
    let parts = info.split(['|', ':']).filter_map(|part| part.split_once('='));
    parts.filter(|(_, value)| value.trim() == "1").map(|(name, _)| name.trim().to_owned()).collect()
}

/// What to install or change, the most useful first.
fn advice(machine: &Machine, planned: Option<&Planned>) -> Vec<String> {
    let mut advice = Vec::new();
    for feature in &machine.seen {
        let usable = machine.built_with.contains(feature) || machine.built_with.contains(&"dynamic-backends");
        if !usable && machine.gpus() == 0 {
            let needs = match *feature {
                "cuda" => "an NVIDIA GPU is there; with the CUDA toolkit installed",
                "metal" => "this Mac has Metal; with Xcode's command line tools installed",
                _ => "a GPU is there; with the Vulkan headers and glslc installed",
            };
            advice.push(format!("{needs}, build with: cargo build --release --features {feature}"));
        } else if usable && machine.gpus() == 0 {
            advice.push(format!(
                "{feature} is built in and a GPU is there, but its driver shows none: is the driver installed, and \
                 its device given to this container or user?"
            ));
        }
    }
    if cfg!(target_arch = "x86_64") && !machine.features.iter().any(|feature| feature == "AVX2") {
        advice.push(
            "llama.cpp was built without AVX2, which makes it several times slower: build on this machine, where \
             .cargo/config.toml sets target-cpu=native, or with --features dynamic-backends"
                .to_owned(),
        );
    }
    if let Some(planned) = planned {
        let threads = if planned.llama.threads == 0 { machine.cores } else { planned.llama.threads };
        if threads > machine.cores {
            advice.push(format!(
                "{threads} threads on {} cores wait for each other at every layer: leave --threads out",
                machine.cores
            ));
        }
        if let Some(memory) = machine.memory.filter(|memory| memory.free < planned.plan.host_bytes) {
            advice.push(format!(
                "{} of the host's memory are needed and {} are free: take a smaller quantisation (minerva quantize), a \
                 shorter context (-c), fewer sequences (-np), or a quantised cache (-ctk q8_0 -ctv q8_0)",
                size(planned.plan.host_bytes),
                size(memory.free)
            ));
        }
    }
    advice
}

fn attention(planned: &Planned) -> &'static str {
    match planned.llama.flash_attention {
        FlashAttention::On => "on",
        FlashAttention::Off => "off",
        FlashAttention::Auto if planned.plan.gpu_layers > 0 => "where the GPU has it",
        FlashAttention::Auto if planned.llama.value_type.is_quantised() => "on, for the quantised values",
        FlashAttention::Auto => "on, where this build has a kernel for it",
    }
}

fn text(machine: &Machine, planned: &Result<Planned, String>, advice: &[String]) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| _ = writeln!(text, "{name:<12}{value}");
    let built = if machine.built_with.is_empty() { "none".to_owned() } else { machine.built_with.join(", ") };
    line("minerva", &format!("{}, GPU backends built in: {built}", env!("CARGO_PKG_VERSION")));
    line("processor", &format!("{} cores of {} processors", machine.cores, machine.processors));
    line("features", &machine.features.join(" "));
    if let Some(memory) = machine.memory {
        let limited = if memory.is_limited { ", as a control group allows" } else { "" };
        line("memory", &format!("{}{limited}; {} are free", size(memory.total), size(memory.free)));
    }
    for device in &machine.devices {
        let Device { name, description, backend, memory_free, memory_total, .. } = device;
        let memory = format!("{} free of {}", size(*memory_free), size(*memory_total));
        line("device", &format!("{name} ({backend}): {description}, {memory}"));
    }
    match planned {
        Err(error) => line("model", error),
        Ok(planned) => {
            let Planned { llama, plan, summary, memory } = planned;
            line("model", &format!("{} ({})", llama.path.display(), size(summary.weight_bytes)));
            let whole = format!("{} of {} layers on the GPU", plan.gpu_layers, plan.layers);
            line("would run", &if plan.gpu_layers == 0 { "on the processor".to_owned() } else { whole });
            for share in &plan.devices {
                let bytes = format!("{} of {} allowed", size(share.bytes), size(share.budget));
                line("", &format!("{}: {} layers, {bytes}", share.name, share.layers));
            }
            let threads = if llama.threads == 0 { machine.cores } else { llama.threads };
            line(
                "with",
                &format!("{} sequences, {threads} threads, {} tokens at a time", llama.slots, llama.ubatch),
            );
            let types = (llama.key_type.tensor_type().name(), llama.value_type.tensor_type().name());
            line(
                "",
                &format!("cache in {} and {}; flash attention {}", types.0, types.1, attention(planned)),
            );
            let parts = (size(memory.weights), size(memory.cache), size(memory.compute));
            let parts = format!("weights {}, cache {}, computation about {}", parts.0, parts.1, parts.2);
            line("takes", &format!("{}: {parts}", size(memory.total())));
            plan.reasons.iter().for_each(|reason| line("because", reason));
        }
    }
    advice.iter().for_each(|advice| line("advice", advice));
    if advice.is_empty() {
        line("advice", "none");
    }
    text
}

fn json(machine: &Machine, planned: &Result<Planned, String>, advice: &[String]) -> Value {
    let devices = machine.devices.iter().map(|device| {
        json!({
            "name": device.name, "description": device.description, "backend": device.backend,
            "kind": format!("{:?}", device.kind), "memory_free": device.memory_free, "memory_total": device.memory_total,
        })
    });
    let plan = match planned {
        Err(error) => json!({ "error": error }),
        Ok(Planned { llama, plan, memory, .. }) => json!({
            "model": llama.path,
            "gpu_layers": plan.gpu_layers,
            "layers": plan.layers,
            "devices": plan.devices.iter().map(|share| json!({
                "name": share.name, "layers": share.layers, "bytes": share.bytes, "budget": share.budget,
            })).collect::<Vec<_>>(),
            "host_bytes": plan.host_bytes,
            "sequences": llama.slots,
            "threads": if llama.threads == 0 { machine.cores } else { llama.threads },
            "memory": { "weights": memory.weights, "cache": memory.cache, "compute": memory.compute },
            "reasons": plan.reasons,
        }),
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "backends": machine.built_with,
        "cores": machine.cores,
        "processors": machine.processors,
        "features": machine.features,
        "memory": machine.memory.map(|memory| json!({
            "total": memory.total, "free": memory.free, "is_limited": memory.is_limited,
        })),
        "devices": devices.collect::<Vec<_>>(),
        "plan": plan,
        "advice": advice,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(seen: &[&'static str], built_with: &[&'static str]) -> Machine {
        Machine {
            devices: Vec::new(),
            features: vec!["AVX2".into()],
            processors: 8,
            cores: 4,
            memory: Some(HostMemory { total: 8 << 30, free: 1 << 30, is_limited: false }),
            built_with: built_with.to_vec(),
            seen: seen.to_vec(),
        }
    }

    #[test]
    fn what_is_on_is_read_from_llama_cpps_line() {
        assert_eq!(
            features("CPU : SSE3 = 1 | AVX2 = 1 | AMX_INT8 = 0 | OPENMP = 1 | "),
            ["SSE3", "AVX2", "OPENMP"]
        );
        assert!(features("").is_empty());
    }

    #[test]
    fn a_gpu_that_is_seen_and_not_used_is_worth_a_word() {
        assert!(advice(&machine(&[], &[]), None).is_empty());
        let unbuilt = advice(&machine(&["cuda"], &[]), None);
        assert!(unbuilt[0].contains("--features cuda"), "{unbuilt:?}");
        let undriven = advice(&machine(&["vulkan"], &["vulkan"]), None);
        assert!(undriven[0].contains("driver"), "{undriven:?}");
    }

    #[test]
    fn too_many_threads_and_too_little_memory_are_told() {
        let model = minerva::Model::built_in().llama(|llama| llama.threads = 64);
        let mut planned = model.plan().expect("a plan");
        planned.plan.host_bytes = 2 << 30;
        let advice = advice(&machine(&[], &[]), Some(&planned));
        assert!(advice[0].contains("64 threads on 4 cores"), "{advice:?}");
        assert!(advice[1].contains("2.00 GiB") && advice[1].contains("minerva quantize"), "{advice:?}");
    }
}
