//! Which devices a model runs on, and how many of its layers: from a list of devices to a plan, without touching any.
//!
//! ```
//! use minerva_models::devices::Gpu;
//!
//! assert_eq!("cuda:1".parse(), Ok(Gpu::Backend { name: "CUDA", index: Some(1) }));
//! assert_eq!("auto".parse(), Ok(Gpu::Auto));
//! ```

use std::fmt;
use std::str::FromStr;

use minerva_llama::{Device, DeviceKind};

use crate::inspect::{Running, Summary};

/// The backends that can be asked for, as llama.cpp calls them, with the cargo feature of each.
pub const BACKENDS: [(&str, &str); 3] = [("CUDA", "cuda"), ("Metal", "metal"), ("Vulkan", "vulkan")];

/// What the device keeps for itself and for what is not counted: a context, kernels, fragments.
const MARGIN_BYTES: u64 = 512 << 20;

/// Which devices a model may run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gpu {
    /// The best that there are; without any, the processor.
    #[default]
    Auto,
    /// The processor alone.
    Cpu,
    /// Those of one backend, or one of them.
    Backend {
        /// llama.cpp's name for it.
        name: &'static str,
        /// Which of its devices, counted from 0; all without.
        index: Option<u32>,
    },
}

impl FromStr for Gpu {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        match lower.as_str() {
            "auto" => return Ok(Self::Auto),
            "cpu" | "none" | "off" => return Ok(Self::Cpu),
            _ => {}
        }
        let (name, index) = match lower.split_once(':') {
            None => (lower.as_str(), None),
            Some((name, index)) => {
                let index = index.parse().map_err(|_| format!("`{index}` is no number of a device"))?;
                (name, Some(index))
            }
        };
        let known = BACKENDS.iter().find(|(_, feature)| *feature == name);
        let (name, _) = known.ok_or_else(|| {
            format!("`{text}` is no device; there are auto, cpu, cuda, cuda:N, metal, vulkan and vulkan:N")
        })?;
        Ok(Self::Backend { name, index })
    }
}

/// The most of a device's memory that may be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// So many bytes.
    Bytes(u64),
    /// A part of its memory, above 0 and at most 1.
    Part(f64),
}

impl FromStr for Limit {
    type Err = String;

    /// `70%`, `6GiB`, `6G`, `6000MiB` or `6000`, in MiB.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no amount of memory; write 70%, 6GiB or 6000MiB");
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit() && c != '.');
        let number: f64 = digits.parse().map_err(|_| wrong())?;
        let bytes = |unit: u64| {
            let bytes = number * unit as f64;
            // Exact up to petabytes.
            (1.0..1e15).contains(&bytes).then_some(Self::Bytes(bytes as u64)).ok_or_else(wrong)
        };
        match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
            "%" if number > 0.0 && number <= 100.0 => Ok(Self::Part(number / 100.0)),
            "g" | "gb" | "gib" => bytes(1 << 30),
            "" | "m" | "mb" | "mib" => bytes(1 << 20),
            _ => Err(wrong()),
        }
    }
}

impl Limit {
    fn of(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.min(total),
            Self::Part(part) => (total as f64 * part) as u64,
        }
    }
}

/// What is to be decided for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// Which devices.
    pub gpu: Gpu,
    /// The layers to put on them; as many as fit without.
    pub layers: Option<u32>,
    /// The most of each device's memory; without, 80 % of its own and half of one that it shares with the processor.
    pub limit: Option<Limit>,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The devices to use, in llama.cpp's order; none is the processor alone.
    pub devices: Vec<Share>,
    /// The layers on them; the output counts as one.
    pub gpu_layers: u32,
    /// The layers that there are, the output among them.
    pub layers: u32,
    /// Bytes that stay with the processor.
    pub host_bytes: u64,
    /// Why it is so, and what could be better: a sentence each.
    pub reasons: Vec<String>,
}

/// What one device gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// llama.cpp's name for it.
    pub name: String,
    /// Layers.
    pub layers: u32,
    /// Bytes of weights, cache and computation.
    pub bytes: u64,
    /// Bytes that it was allowed.
    pub budget: u64,
}

/// A device that was asked for and is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no device {wanted}: {reason}")]
pub struct Missing {
    /// What was asked for.
    pub wanted: String,
    /// Why there is none, and what to do.
    pub reason: String,
}

/// Decides which devices run a model, and how many of its layers.
///
/// One device is taken where the whole model fits on it: layers on several wait for each other. Where it does not fit,
/// all devices get layers in proportion to their free memory, which is how llama.cpp splits them, and as many as leave
/// each within its budget.
///
/// # Errors
///
/// When a backend or a device of it was asked for by name and is not there.
pub fn plan(summary: &Summary, running: &Running, devices: &[Device], wish: &Wish) -> Result<Plan, Missing> {
    let units = units(summary, running);
    let candidates = candidates(devices, wish)?;
    let mut plan = Plan {
        devices: Vec::new(),
        gpu_layers: 0,
        layers: u32::try_from(units.len()).unwrap_or(u32::MAX),
        host_bytes: 0,
        reasons: Vec::new(),
    };
    if candidates.is_empty() {
        let reason = match wish.gpu {
            Gpu::Cpu => "the processor was asked for".to_owned(),
            _ => "llama.cpp has no GPU here".to_owned(),
        };
        plan.reasons.push(reason);
    } else {
        fit(&mut plan, &units, summary.compute_bytes(running), &candidates, wish);
    }
    let offloaded = units.len() - (plan.gpu_layers as usize).min(units.len());
    let stays: u64 = units[..offloaded].iter().sum();
    plan.host_bytes =
        stays.saturating_add(summary.input_bytes).saturating_add(summary.compute_bytes(running));
    Ok(plan)
}

/// The bytes of every layer with its cache, and of the output behind them.
fn units(summary: &Summary, running: &Running) -> Vec<u64> {
    let layers = summary.layers.iter();
    let layers = layers.map(|layer| layer.weight_bytes.saturating_add(layer.cache_bytes(running)));
    layers.chain([summary.output_bytes]).collect()
}

/// A device, and what it may be given.
struct Candidate<'a> {
    device: &'a Device,
    budget: u64,
}

/// The devices that may be used.
fn candidates<'a>(devices: &'a [Device], wish: &Wish) -> Result<Vec<Candidate<'a>>, Missing> {
    let is_gpu = |device: &&Device| matches!(device.kind, DeviceKind::Gpu | DeviceKind::IntegratedGpu);
    let gpus = devices.iter().filter(is_gpu);
    let chosen: Vec<&Device> = match wish.gpu {
        Gpu::Cpu => Vec::new(),
        Gpu::Auto => {
            let all: Vec<&Device> = gpus.collect();
            // An integrated one beside another would only slow it down, and one device can have two backends: those
            // of the first GPU's backend are taken, as llama.cpp does.
            let real = all.iter().find(|device| device.kind == DeviceKind::Gpu).or(all.first()).copied();
            let alike = |device: &&Device| {
                real.is_some_and(|real| (&device.backend, device.kind) == (&real.backend, real.kind))
            };
            all.iter().copied().filter(alike).collect()
        }
        Gpu::Backend { name, index } => {
            let own: Vec<&Device> = gpus.filter(|device| is_backend(&device.backend, name)).collect();
            let found = match index {
                None => own.clone(),
                Some(index) => own.get(index as usize).copied().into_iter().collect(),
            };
            if found.is_empty() {
                let wanted = index.map_or_else(|| name.to_owned(), |index| format!("{name} {index}"));
                return Err(Missing { wanted, reason: why_missing(name, own.len(), devices) });
            }
            found
        }
    };
    Ok(chosen.into_iter().map(|device| Candidate { device, budget: budget(device, wish.limit) }).collect())
}

/// llama.cpp calls Metal `MTL` in some versions.
fn is_backend(backend: &str, name: &str) -> bool {
    backend.eq_ignore_ascii_case(name) || (name == "Metal" && backend.eq_ignore_ascii_case("MTL"))
}

fn why_missing(name: &str, count: usize, devices: &[Device]) -> String {
    if count > 0 {
        return format!("there are {count} of {name}, counted from 0");
    }
    let feature =
        BACKENDS.iter().find(|(backend, _)| *backend == name).map_or("cuda", |(_, feature)| feature);
    let built = minerva_llama::has_backend(feature);
    let others: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    if built {
        format!(
            "its driver is missing, or it is not allowed to this process; there are {}",
            others.join(", ")
        )
    } else {
        format!(
            "this program was built without it: cargo build --release --features {feature}; there are {}",
            others.join(", ")
        )
    }
}

/// What a device may be given: the policy's part of all of it, and no more than is free but for a margin.
fn budget(device: &Device, limit: Option<Limit>) -> u64 {
    let default = if device.kind == DeviceKind::IntegratedGpu { Limit::Part(0.5) } else { Limit::Part(0.8) };
    let allowed = limit.unwrap_or(default).of(device.memory_total);
    allowed.min(device.memory_free.saturating_sub(MARGIN_BYTES))
}

fn fit(plan: &mut Plan, units: &[u64], compute: u64, candidates: &[Candidate<'_>], wish: &Wish) {
    let most = wish.layers.map_or(units.len(), |layers| (layers as usize).min(units.len()));
    let whole = |candidate: &&Candidate<'_>| shares(units, most, compute, &[candidate]).is_some();
    let best = candidates.iter().filter(whole).max_by_key(|candidate| candidate.budget);
    let all: Vec<&Candidate<'_>> = match best {
        Some(one) => vec![one],
        None => candidates.iter().collect(),
    };
    let fits = (1..=most).rev().find_map(|count| Some((count, shares(units, count, compute, &all)?)));
    let fitting = fits.as_ref().map_or(0, |(count, _)| *count);
    match (fits, wish.layers) {
        (_, Some(layers)) => {
            // What was asked for is done; what is known of it is said.
            plan.gpu_layers = u32::try_from(most).unwrap_or(u32::MAX);
            if fitting < most {
                plan.reasons.push(format!("{layers} layers were asked for, and {fitting} are known to fit"));
            }
            plan.devices = spread(units, most, compute, &all);
        }
        (Some((count, shares)), None) => {
            plan.gpu_layers = u32::try_from(count).unwrap_or(u32::MAX);
            if count < units.len() {
                plan.reasons.push(format!(
                    "{count} of {} layers fit; the others run on the processor: a smaller context, a quantised cache \
                     (--cache-type-k q8_0 --cache-type-v q8_0) or a smaller model would put more on the GPU",
                    units.len()
                ));
            } else {
                plan.reasons.push("all layers fit".to_owned());
            }
            plan.devices = shares;
        }
        (None, None) => {
            let least = units.last().copied().unwrap_or(0).saturating_add(compute);
            plan.reasons.push(format!(
                "not even the output fits: it takes {}, and {} are allowed; the processor runs everything",
                Bytes(least),
                Bytes(all.iter().map(|candidate| candidate.budget).max().unwrap_or(0))
            ));
        }
    }
    for candidate in &all {
        let Device { name, description, memory_free, memory_total, .. } = candidate.device;
        plan.reasons.push(format!(
            "{name} ({description}) has {} free of {}, and may be given {}",
            Bytes(*memory_free),
            Bytes(*memory_total),
            Bytes(candidate.budget)
        ));
    }
}

/// The last `count` units on some devices, where each stays within its budget.
fn shares(units: &[u64], count: usize, compute: u64, devices: &[&Candidate<'_>]) -> Option<Vec<Share>> {
    let shares = spread(units, count, compute, devices);
    shares.iter().all(|share| share.bytes <= share.budget).then_some(shares)
}

/// The last `count` units, in proportion to the devices' free memory, by llama.cpp's own rule.
fn spread(units: &[u64], count: usize, compute: u64, devices: &[&Candidate<'_>]) -> Vec<Share> {
    let free: Vec<f64> = devices.iter().map(|candidate| candidate.device.memory_free as f64).collect();
    let sum: f64 = free.iter().sum::<f64>().max(1.0);
    let ends: Vec<f64> = free
        .iter()
        .scan(0.0, |end, free| {
            *end += free / sum;
            Some(*end)
        })
        .collect();
    let mut shares: Vec<Share> = devices
        .iter()
        .map(|candidate| Share {
            name: candidate.device.name.clone(),
            layers: 0,
            bytes: compute,
            budget: candidate.budget,
        })
        .collect();
    for (place, bytes) in units[units.len() - count..].iter().enumerate() {
        let part = place as f64 / count as f64;
        let device = ends.iter().position(|end| part < *end).unwrap_or(shares.len() - 1);
        shares[device].layers += 1;
        shares[device].bytes = shares[device].bytes.saturating_add(*bytes);
    }
    shares
}

/// Bytes as people say them.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} GiB", self.0 as f64 / f64::from(1 << 30))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::Layer;

    const GIB: u64 = 1 << 30;

    fn device(name: &str, kind: DeviceKind, total: u64, free: u64) -> Device {
        let backend = name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        Device {
            name: name.into(),
            description: "a device".into(),
            backend,
            kind,
            memory_total: total,
            memory_free: free,
        }
    }

    fn cpu() -> Device {
        device("CPU", DeviceKind::Cpu, 64 * GIB, 48 * GIB)
    }

    fn gpu(name: &str, total: u64) -> Device {
        device(name, DeviceKind::Gpu, total * GIB, total * GIB - GIB / 2)
    }

    /// A model of the shape of Llama 3: so many layers of so many MiB, 8 heads of 128 for keys and values.
    fn model(layers: usize, mib: u64) -> Summary {
        let layer = Layer { weight_bytes: mib << 20, keys: 1024, values: 1024, state: 0 };
        Summary {
            name: "a model".into(),
            architecture: "llama".into(),
            parameters: 0,
            weight_bytes: (layers as u64 * mib) << 20,
            types: Vec::new(),
            layers: vec![layer; layers],
            input_bytes: 300 << 20,
            output_bytes: 410 << 20,
            width: 4096,
            heads: 32,
            kv_heads: 8,
            context: 8192,
            vocabulary_size: 128_256,
            tokenizer: "gpt2".into(),
            chat_template: None,
            sliding_window: None,
            experts: None,
        }
    }

    /// 8B in Q4_0, and 70B.
    fn small() -> Summary {
        model(32, 125)
    }

    fn large() -> Summary {
        model(80, 480)
    }

    fn running() -> Running {
        Running { context: 4096, slots: 4, chunk: 512, flash_attention: true, ..Running::default() }
    }

    fn planned(summary: &Summary, devices: &[Device], wish: &Wish) -> Plan {
        let plan = plan(summary, &running(), devices, wish).expect("a plan");
        let on_devices: u32 = plan.devices.iter().map(|share| share.layers).sum();
        assert_eq!(on_devices, plan.gpu_layers, "{plan:?}");
        if wish.layers.is_none() {
            assert!(plan.devices.iter().all(|share| share.bytes <= share.budget), "{plan:?}");
        }
        plan
    }

    #[test]
    fn without_a_gpu_the_processor_runs_all_and_says_so() {
        let plan = planned(&small(), &[cpu()], &Wish::default());
        assert_eq!((plan.gpu_layers, plan.layers, plan.devices.len()), (0, 33, 0));
        assert_eq!(plan.reasons, ["llama.cpp has no GPU here"]);
        assert!(plan.host_bytes > small().weight_bytes);
    }

    #[test]
    fn on_24_gib_a_small_model_fits_whole_and_a_large_one_in_part() {
        let devices = [gpu("CUDA0", 24), cpu()];
        let whole = planned(&small(), &devices, &Wish::default());
        assert_eq!((whole.gpu_layers, whole.devices[0].name.as_str()), (33, "CUDA0"));
        let part = planned(&large(), &devices, &Wish::default());
        // 80 % of 24 GiB; a layer takes 480 MiB and 64 MiB of cache, the computation 0.3 GiB. The output comes after the
        // last layer, and so is not there.
        assert_eq!(part.gpu_layers, 35, "{part:?}");
        assert!(part.reasons[0].contains("35 of 81 layers fit"), "{part:?}");
        assert!(part.host_bytes > 46 * (480 << 20));
    }

    #[test]
    fn the_cache_counts_and_a_quantised_one_leaves_room_for_layers() {
        let devices = [gpu("CUDA0", 24), cpu()];
        let long = Running { context: 32_768, slots: 4, ..running() };
        let fitted = |running: &Running| {
            plan(&large(), running, &devices, &Wish::default()).expect("a plan").gpu_layers
        };
        let q8 = minerva_llama::KvType::Q8_0;
        let (plain, quantised) = (fitted(&long), fitted(&Running { key_type: q8, value_type: q8, ..long }));
        assert!(plain < quantised && quantised < fitted(&running()), "{plain} {quantised}");
    }

    #[test]
    fn half_of_a_memory_that_is_shared_is_used_unless_the_operator_says_otherwise() {
        let devices = [device("Metal", DeviceKind::IntegratedGpu, 16 * GIB, 15 * GIB), cpu()];
        let plan = planned(&small(), &devices, &Wish::default());
        assert_eq!((plan.gpu_layers, plan.devices[0].budget), (33, 8 * GIB));
        let tight = Wish { limit: Some("4GiB".parse().expect("a limit")), ..Wish::default() };
        let plan = planned(&small(), &devices, &tight);
        assert!((10..33).contains(&plan.gpu_layers), "{plan:?}");
        let wide = Wish { limit: Some(Limit::Part(1.0)), ..Wish::default() };
        assert_eq!(planned(&small(), &devices, &wide).devices[0].budget, 15 * GIB - MARGIN_BYTES);
    }

    #[test]
    fn two_gpus_share_what_one_cannot_hold_and_one_holds_what_it_can() {
        let devices = [gpu("CUDA0", 24), gpu("CUDA1", 12), cpu()];
        let alone = planned(&small(), &devices, &Wish::default());
        assert_eq!((alone.devices.len(), alone.devices[0].name.as_str()), (1, "CUDA0"));
        let shared = planned(&large(), &devices, &Wish::default());
        let layers: Vec<u32> = shared.devices.iter().map(|share| share.layers).collect();
        assert!(layers[0] > layers[1] && layers[1] > 10, "{shared:?}");
        assert!(shared.gpu_layers > planned(&large(), &devices[..1], &Wish::default()).gpu_layers);
        let second = Wish { gpu: "cuda:1".parse().expect("a device"), ..Wish::default() };
        assert_eq!(planned(&small(), &devices, &second).devices[0].name, "CUDA1");
    }

    #[test]
    fn of_two_backends_one_is_taken_and_a_helper_never() {
        let integrated = device("Vulkan0", DeviceKind::IntegratedGpu, 32 * GIB, 30 * GIB);
        let helper = device("BLAS", DeviceKind::Accelerator, 0, 0);
        let devices = [helper.clone(), integrated, gpu("CUDA0", 24), cpu()];
        assert_eq!(planned(&small(), &devices, &Wish::default()).devices[0].name, "CUDA0");
        let vulkan = Wish { gpu: "vulkan".parse().expect("a device"), ..Wish::default() };
        assert_eq!(planned(&small(), &devices, &vulkan).devices[0].name, "Vulkan0");
        let none = Wish { gpu: Gpu::Cpu, ..Wish::default() };
        assert_eq!(planned(&small(), &devices, &none).gpu_layers, 0);
        assert_eq!(planned(&small(), &[helper, cpu()], &Wish::default()).gpu_layers, 0);
    }

    #[test]
    fn where_nothing_fits_the_processor_runs_all_and_what_was_asked_for_is_done() {
        let devices = [gpu("CUDA0", 1), cpu()];
        let plan = planned(&large(), &devices, &Wish::default());
        assert_eq!((plan.gpu_layers, plan.devices.len()), (0, 0));
        assert!(plan.reasons[0].contains("not even the output fits"), "{plan:?}");
        let asked = planned(&large(), &devices, &Wish { layers: Some(99), ..Wish::default() });
        assert_eq!(asked.gpu_layers, 81);
        assert!(asked.reasons[0].contains("0 are known to fit"), "{asked:?}");
    }

    #[test]
    fn a_device_that_is_not_there_is_named_with_a_remedy() {
        let missing = |text: &str, devices: &[Device]| {
            let wish = Wish { gpu: text.parse().expect("a device"), ..Wish::default() };
            plan(&small(), &running(), devices, &wish).expect_err("it is missing").to_string()
        };
        let message = missing("cuda:3", &[gpu("CUDA0", 24), cpu()]);
        assert!(message.contains("CUDA 3") && message.contains("there are 1 of CUDA"), "{message}");
        let message = missing("vulkan", &[cpu()]);
        assert!(message.contains("Vulkan") && message.contains("CPU"), "{message}");
    }

    #[test]
    fn what_operators_write_is_read() {
        for (text, limit) in [
            ("70%", Limit::Part(0.7)),
            ("6GiB", Limit::Bytes(6 * GIB)),
            ("1.5 GB", Limit::Bytes(GIB + GIB / 2)),
            ("6000", Limit::Bytes(6000 << 20)),
            ("512MiB", Limit::Bytes(512 << 20)),
        ] {
            assert_eq!(text.parse(), Ok(limit), "{text}");
        }
        for text in ["", "0%", "101%", "-5", "6 parsecs", "much", "1e30", "99999999999G"] {
            let error = text.parse::<Limit>().expect_err(text);
            assert!(error.contains("70%"), "{error}");
        }
        for text in ["gpu", "cuda:x", "cuda:", "rocm", ""] {
            assert!(text.parse::<Gpu>().is_err(), "{text}");
        }
        assert_eq!("OFF".parse(), Ok(Gpu::Cpu));
    }
}
