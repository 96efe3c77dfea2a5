//! The tensors, against what the metadata says of the network.

use super::super::Gguf;
use super::network::{layers, name};
use super::{Problem, problem, tokenizer};

pub(super) fn check(gguf: &Gguf) -> Result<(), Problem> {
    blocks(gguf)?;
    embedding(gguf)
}

/// Every layer that is announced has tensors, and no other has.
fn blocks(gguf: &Gguf) -> Result<(), Problem> {
    let layers = layers(gguf);
    let mut highest = None;
    for tensor in gguf.tensors() {
        let Some((layer, _)) = tensor.name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else {
            continue;
        };
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
