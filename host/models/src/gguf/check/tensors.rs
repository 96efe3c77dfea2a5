//! The tensors, against what the metadata says of the network.

use super::super::Gguf;
use super::network::{layers, name};
use super::{Problem, network, problem, tokenizer};

pub(super) fn check(gguf: &Gguf) -> Result<(), Problem> {
    blocks(gguf)?;
    embedding(gguf)?;
    if gguf.architecture().is_some_and(network::is_plain_attention) { heads(gguf) } else { Ok(()) }
}

/// The rows of the matrices that make queries, keys and values are what the heads of their layer take. Some networks
/// of llama.cpp trust that they are as many as the model is wide, and stop the process where the heads say otherwise.
fn heads(gguf: &Gguf) -> Result<(), Problem> {
    let width = gguf.own_unsigned("embedding_length").unwrap_or(0);
    for tensor in gguf.tensors() {
        let Some((layer, part)) = block(&tensor.name) else { continue };
        let Ok(layer) = layer.parse() else { continue };
        let heads = network::of_layer(gguf, "attention.head_count", layer).unwrap_or(0);
        let shared = network::of_layer(gguf, "attention.head_count_kv", layer).unwrap_or(heads);
        let head = width.checked_div(heads).unwrap_or(0);
        let length = |key: &str| gguf.own_unsigned(key).unwrap_or(head);
        let (count, length) = match part {
            "attn_q.weight" => (heads, length("attention.key_length")),
            "attn_k.weight" => (shared, length("attention.key_length")),
            "attn_v.weight" => (shared, length("attention.value_length")),
            _ => continue,
        };
        if heads > 0 && tensor.dimensions.get(1) != Some(&count.saturating_mul(length)) {
            let shape = &tensor.dimensions;
            let what = format!("has the shape {shape:?}, and its layer has {count} heads of {length}");
            return problem(format!("the tensor `{}`", tensor.name), what);
        }
    }
    Ok(())
}

/// The layer and the part in `blk.0.attn_q.weight`.
fn block(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("blk.")?.split_once('.')
}

/// Every layer that is announced has tensors, and no other has.
fn blocks(gguf: &Gguf) -> Result<(), Problem> {
    let layers = layers(gguf);
    let mut highest = None;
    for tensor in gguf.tensors() {
        let Some((layer, _)) = block(&tensor.name) else { continue };
        let Ok(layer) = layer.parse::<u64>() else {
            return problem(format!("the tensor `{}`", tensor.name), "is of no layer");
        };
        if layer >= layers {
            return problem(
                format!("the tensor `{}`", tensor.name),
                format!("is of a layer beyond the {layers} there are"),
            );
        }
        highest = highest.max(Some(layer));
    }
    match highest {
        // Extra prediction layers at the end are left out of some files.
        Some(highest) if highest + 1 < layers - gguf.own_unsigned("nextn_predict_layers").unwrap_or(0) => {
            problem(
                name(gguf, "block_count"),
                format!("is {layers}, and there are tensors for {} layers", highest + 1),
            )
        }
        _ => Ok(()),
    }
}

fn embedding(gguf: &Gguf) -> Result<(), Problem> {
    let Some(embedding) = gguf.tensor("token_embd.weight") else { return Ok(()) };
    let place = "the tensor `token_embd.weight`";
    let width = gguf.own_unsigned("embedding_length").unwrap_or(0);
    let shape = &embedding.dimensions;
    if shape.first() != Some(&width) {
        return problem(
            place,
            format!("has the shape {shape:?}, and {} is {width}", name(gguf, "embedding_length")),
        );
    }
    match tokenizer::size(gguf) {
        Some(tokens) if shape.get(1) != Some(&tokens) => {
            problem(place, format!("has the shape {shape:?}, and the vocabulary has {tokens} tokens"))
        }
        _ => Ok(()),
    }
}
