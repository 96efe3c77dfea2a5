//! The numbers that describe the network.

use super::super::{Gguf, Value};
use super::{Problem, problem};

/// llama.cpp's limits.
const LAYERS_MAX: u64 = 512;
const EXPERTS_MAX: u64 = 1024;
/// Beyond what is ever built; keeps the products of two below what 64 bits hold.
const SIZE_MAX: u64 = 1 << 24;

/// Architectures whose heads llama.cpp rotates whole, and insists on it.
const ROTATED_WHOLE: [&str; 62] = [
    "apertus",
    "arcee",
    "arctic",
    "baichuan",
    "chameleon",
    "codeshell",
    "cogvlm",
    "cohere2moe",
    "dbrx",
    "deci",
    "deepseek",
    "dots1",
    "dream",
    "ernie4_5",
    "ernie4_5-moe",
    "exaone",
    "exaone-moe",
    "exaone4",
    "falcon",
    "granite",
    "granitemoe",
    "grok",
    "grovemoe",
    "hunyuan-moe",
    "hunyuan_vl",
    "internlm2",
    "jais2",
    "llada",
    "llada-moe",
    "llama",
    "llama4",
    "maincoder",
    "mellum",
    "minicpm",
    "mistral3",
    "nemotron",
    "olmo",
    "olmo2",
    "olmoe",
    "orion",
    "paddleocr",
    "pangu-embedded",
    "plamo",
    "qwen",
    "qwen2",
    "qwen2moe",
    "qwen2vl",
    "qwen3",
    "qwen3moe",
    "qwen3vl",
    "qwen3vlmoe",
    "refact",
    "rnd1",
    "seed_oss",
    "smallthinker",
    "smollm3",
    "starcoder2",
    "talkie",
    "xverse",
    "gemma2",
    "gemma3",
    "gemma",
];

pub(super) fn check(gguf: &Gguf) -> Result<(), Problem> {
    sizes(gguf)?;
    floats(gguf)?;
    heads(gguf)?;
    experts(gguf)?;
    pooling(gguf)?;
    rope(gguf)
}

/// The full name of a key of the architecture.
pub(super) fn name(gguf: &Gguf, key: &str) -> String {
    format!("{}.{key}", gguf.architecture().unwrap_or_default())
}

/// The number of layers, which [`check`] has found sane.
pub(super) fn layers(gguf: &Gguf) -> u64 {
    gguf.own_unsigned("block_count").unwrap_or(0)
}

/// Whether queries, keys and values are made of whole heads, each by a matrix of its own.
pub(super) fn is_plain_attention(architecture: &str) -> bool {
    ROTATED_WHOLE.contains(&architecture)
}

/// A number of a layer, where there is one for all or one for each.
pub(super) fn of_layer(gguf: &Gguf, key: &str, layer: u64) -> Option<u64> {
    let value = gguf.get_own(key)?;
    match value {
        Value::Array(each) => each.iter().nth(usize::try_from(layer).ok()?)?.as_unsigned(),
        other => other.as_unsigned(),
    }
}

fn sizes(gguf: &Gguf) -> Result<(), Problem> {
    for (key, most) in [
        ("block_count", LAYERS_MAX),
        ("embedding_length", SIZE_MAX),
        ("context_length", u64::from(u32::MAX >> 1)),
    ] {
        match gguf.get_own(key) {
            None => return problem(name(gguf, key), "is missing"),
            Some(Value::Unsigned(number)) if (1..=most).contains(&number) => {}
            Some(other) => {
                return problem(name(gguf, key), format!("is {}; 1 to {most} is possible", shown(&other)));
            }
        }
    }
    let layers = layers(gguf);
    for key in ["nextn_predict_layers", "leading_dense_block_count"] {
        if let Some(number) = gguf.own_unsigned(key).filter(|&number| number > layers) {
            return problem(name(gguf, key), format!("is {number}, of {layers} layers"));
        }
    }
    // One number, or one for each layer.
    for key in ["feed_forward_length", "attention.head_count", "attention.head_count_kv"] {
        let Some(value) = gguf.get_own(key) else { continue };
        if let Some(each) = value.as_array().filter(|each| each.length < layers || each.length > LAYERS_MAX) {
            return problem(name(gguf, key), format!("has {} values for {layers} layers", each.length));
        }
        if let Some(bad) = numbers(&value).find(|number| number.is_none_or(|number| number > SIZE_MAX)) {
            let bad = bad.map_or("no number".to_owned(), |number| number.to_string());
            return problem(name(gguf, key), format!("is {bad}"));
        }
    }
    Ok(())
}

/// A float that is not finite is never meant, and a negative epsilon stops llama.cpp at the first token.
fn floats(gguf: &Gguf) -> Result<(), Problem> {
    let prefix = name(gguf, "");
    for (key, value) in gguf.entries().filter(|(key, _)| key.starts_with(&prefix)) {
        let values = value.as_array().into_iter().flat_map(|array| array.iter()).chain([value]);
        for number in values.filter_map(|value| value.as_float()) {
            if !number.is_finite() || !(number as f32).is_finite() {
                return problem(key, format!("is {number}"));
            }
            if key.ends_with("epsilon") && !(0.0..1.0).contains(&number) {
                return problem(key, format!("is {number}; 0 to 1 is possible"));
            }
        }
    }
    Ok(())
}

fn heads(gguf: &Gguf) -> Result<(), Problem> {
    let width = gguf.own_unsigned("embedding_length").unwrap_or(0);
    let Some(heads) = gguf.get_own("attention.head_count") else { return Ok(()) };
    for count in numbers(&heads).flatten() {
        let given = gguf.get_own("attention.key_length").is_some();
        if count > 0 && !given && (count > width || !width.is_multiple_of(count)) {
            let what = format!("is {count}, which does not divide the width of {width}");
            return problem(name(gguf, "attention.head_count"), what);
        }
    }
    for key in ["attention.key_length", "attention.value_length"] {
        if let Some(length) = gguf.own_unsigned(key).filter(|length| !(1..=1 << 16).contains(length)) {
            return problem(name(gguf, key), format!("is {length}"));
        }
    }
    if let Some(shared) = gguf.get_own("attention.head_count_kv") {
        let layers = usize::try_from(layers(gguf)).unwrap_or(0);
        let repeat = |value| {
            let each: Vec<u64> = numbers(value).flatten().collect();
            (0..layers).map(move |layer| each[layer.min(each.len() - 1)])
        };
        for (heads, shared) in repeat(&heads).zip(repeat(&shared)) {
            // 0 is a layer without attention.
            if heads > 0 && shared > 0 && !heads.is_multiple_of(shared) {
                let what = format!("is {shared}, which does not divide {heads} heads");
                return problem(name(gguf, "attention.head_count_kv"), what);
            }
        }
    }
    Ok(())
}

fn experts(gguf: &Gguf) -> Result<(), Problem> {
    let count = gguf.own_unsigned("expert_count").unwrap_or(0);
    let groups = gguf.own_unsigned("expert_group_count").unwrap_or(0);
    let groups_used = gguf.own_unsigned("expert_group_used_count").unwrap_or(0);
    let used = gguf.get_own("expert_used_count");
    let used = used.iter().flat_map(numbers).flatten().max().unwrap_or(0);
    if count > EXPERTS_MAX {
        return problem(name(gguf, "expert_count"), format!("is {count}; {EXPERTS_MAX} is the limit"));
    }
    if used > count || (used == 0 && count > 0) {
        return problem(name(gguf, "expert_used_count"), format!("is {used}, of {count} experts"));
    }
    let uneven = groups > 1 && (!count.is_multiple_of(groups) || groups_used == 0 || groups_used >= groups);
    if (groups > 0 && groups >= count) || uneven {
        let what = format!("is {groups}, of which {groups_used} are used, with {count} experts");
        return problem(name(gguf, "expert_group_count"), what);
    }
    Ok(())
}

/// How an embedding model makes one vector of its tokens: 0 to 4, of which the last needs a head that scores.
fn pooling(gguf: &Gguf) -> Result<(), Problem> {
    const RANK: u64 = 4;
    let Some(kind) = gguf.own_unsigned("pooling_type") else { return Ok(()) };
    let scores = || ["cls.weight", "cls.output.weight"].iter().any(|head| gguf.tensor(head).is_some());
    if kind > RANK || (kind == RANK && !scores()) {
        return problem(
            name(gguf, "pooling_type"),
            format!("is {kind}, which is unknown or needs what is not there"),
        );
    }
    Ok(())
}

fn rope(gguf: &Gguf) -> Result<(), Problem> {
    if let Some(scaling) = gguf.get_own("rope.scaling.type") {
        let known = ["none", "linear", "yarn", "longrope"];
        if !scaling.as_text().is_some_and(|scaling| known.contains(&scaling)) {
            return problem(
                name(gguf, "rope.scaling.type"),
                format!("is {}; {known:?} are known", shown(&scaling)),
            );
        }
    }
    let Some(rotated) = gguf.own_unsigned("rope.dimension_count") else { return Ok(()) };
    let width = gguf.own_unsigned("embedding_length").unwrap_or(0);
    let heads = gguf.get_own("attention.head_count");
    let heads = heads.iter().flat_map(numbers).flatten().find(|&heads| heads > 0);
    let head = gguf.own_unsigned("attention.key_length").or_else(|| heads.map(|heads| width / heads));
    let whole = gguf.architecture().is_some_and(is_plain_attention);
    match head {
        Some(head) if rotated > head || !rotated.is_multiple_of(2) || (whole && rotated != head) => {
            problem(name(gguf, "rope.dimension_count"), format!("is {rotated}, with heads of {head}"))
        }
        _ => Ok(()),
    }
}

/// The number or the numbers of a value; `None` for what is no number.
fn numbers<'a>(value: &Value<'a>) -> impl Iterator<Item = Option<u64>> + use<'a> {
    let (single, several) = match *value {
        Value::Array(array) => (None, Some(array)),
        other => (Some(other), None),
    };
    single
        .into_iter()
        .chain(several.into_iter().flat_map(|array| array.iter()))
        .map(|value| value.as_unsigned())
}

/// A value in a message: short, whatever it is.
fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Unsigned(number) => number.to_string(),
        Value::Negative(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Text(text) => format!("`{}`", text[..text.len().min(40)].escape_ascii()),
        Value::Array(array) => format!("an array of {} values", array.length),
    }
}
