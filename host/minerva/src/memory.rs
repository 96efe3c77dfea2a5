//! How many sequences fit beside a model.

use minerva_models::gguf::Gguf;

/// Sequences that a model gets where nobody says how many.
const SLOTS_DEFAULT: u32 = 16;

/// The part of the machine's memory that their caches may take: what is left is for the weights, and for others.
const MEMORY_PART: u64 = 4;

/// Sequences of `context` tokens (0: the default context) that a quarter of the machine's memory holds, 1 to 16.
pub(crate) fn slots(model: &Gguf, context: u32) -> u32 {
    let Some(memory) = system_bytes() else { return SLOTS_DEFAULT };
    slots_within(model, context, memory / MEMORY_PART)
}

fn slots_within(model: &Gguf, context: u32, budget: u64) -> u32 {
    let context = match context {
        0 => model
            .own_unsigned("context_length")
            .unwrap_or(0)
            .min(u64::from(minerva_llama::CONTEXT_DEFAULT_MAX)),
        tokens => u64::from(tokens),
    };
    let each = context.saturating_mul(cache_bytes_per_token(model)).max(1);
    u32::try_from(budget / each).unwrap_or(u32::MAX).clamp(1, SLOTS_DEFAULT)
}

/// Bytes of keys and values in 16 bits for one token. An upper bound for models with windows or shared layers.
fn cache_bytes_per_token(model: &Gguf) -> u64 {
    let number = |key| model.own_unsigned(key);
    let heads = number("attention.head_count").unwrap_or(1).max(1);
    let kv_heads = number("attention.head_count_kv").unwrap_or(heads);
    let width = number("embedding_length").unwrap_or(0) / heads;
    let key = number("attention.key_length").unwrap_or(width);
    let value = number("attention.value_length").unwrap_or(width);
    let layers = number("block_count").unwrap_or(0);
    2_u64.saturating_mul(layers).saturating_mul(kv_heads).saturating_mul(key.saturating_add(value))
}

/// The machine's memory, or less where a control group says so.
fn system_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse::<u64>().ok());
    machine.into_iter().chain(group).min()
}
