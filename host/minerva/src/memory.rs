//! How many models fit into memory, and how many sequences beside one.

use minerva_models::inspect::{Running, Summary};

/// Sequences that a model gets where nobody says how many.
const SLOTS_DEFAULT: u32 = 16;

/// The part of the machine's memory that their caches may take: what is left is for the weights, and for others.
const MEMORY_PART: u64 = 4;

/// Most bytes of models, where nobody says how many: four fifths of the machine's memory.
#[must_use]
pub fn memory_for_models() -> Option<u64> {
    Some(minerva_llama::host_memory()?.total / 5 * 4)
}

/// Sequences of which a quarter of the machine's memory holds the caches, 1 to 16. `running` says what each is like;
/// its context may be 0 for the default one.
pub(crate) fn slots(model: &Summary, running: Running) -> u32 {
    let Some(memory) = minerva_llama::host_memory() else { return SLOTS_DEFAULT };
    slots_within(model, running, memory.total / MEMORY_PART)
}

/// The context of a sequence where nobody says how long.
pub(crate) fn default_context(summary: &Summary) -> u32 {
    summary.context.clamp(1, minerva_llama::CONTEXT_DEFAULT_MAX)
}

fn slots_within(summary: &Summary, running: Running, budget: u64) -> u32 {
    let context = if running.context == 0 { default_context(summary) } else { running.context };
    let each = summary.memory(&Running { context, slots: 1, ..running }).cache.max(1);
    u32::try_from(budget / each).unwrap_or(u32::MAX).clamp(1, SLOTS_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_budget_holds_few_sequences_and_a_smaller_cache_more() {
        let path = minerva_models::builtin::path().expect("the built-in model");
        let model =
            minerva_models::inspect::summarize(&minerva_models::gguf::check(&path).expect("it is sound"));
        let running = Running { context: 512, ..Running::default() };
        let each = model.memory(&running).cache;
        assert_eq!(slots_within(&model, running, 0), 1);
        assert_eq!(slots_within(&model, running, 3 * each), 3);
        assert_eq!(slots_within(&model, running, 1 << 50), SLOTS_DEFAULT);
        let key_type = minerva_llama::KvType::Q4_0;
        assert!(slots_within(&model, Running { key_type, ..running }, 6 * each) > 6);
    }
}
