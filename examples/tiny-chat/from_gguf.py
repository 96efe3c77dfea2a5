"""Makes a checkpoint out of a GGUF of convert.py, to continue training where no checkpoint was kept.

    python from_gguf.py --gguf ../../host/models/builtin/minerva-tiny.gguf --out RUN/last.pt

The weights are those of the file (Q8_0 is close enough to go on from); the optimiser starts afresh.
"""

import argparse
from pathlib import Path

import gguf
import torch

from model import Model, Shape
from train import Muon, groups, optimiser


def halves(weight, heads):
    """Undoes convert.pairs."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--gguf", required=True)
    arguments.add_argument("--out", type=Path, required=True)
    options = arguments.parse_args()
    reader = gguf.GGUFReader(options.gguf)
    number = lambda key: int(reader.fields[f"llama.{key}"].contents())
    tensors = {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    shape = Shape(vocabulary=number("vocab_size"), width=number("embedding_length"), layers=number("block_count"), heads=number("attention.head_count"), kv_heads=number("attention.head_count_kv"), feed_forward=number("feed_forward_length"), context=number("context_length"))
    weights = {"embedding.weight": tensors["token_embd.weight"], "norm": tensors["output_norm.weight"]}
    names = {"attention_norm": "attn_norm", "q.weight": "attn_q", "k.weight": "attn_k", "v.weight": "attn_v", "o.weight": "attn_output", "ffn_norm": "ffn_norm", "gate.weight": "ffn_gate", "up.weight": "ffn_up", "down.weight": "ffn_down"}
    for layer in range(shape.layers):
        for ours, theirs in names.items():
            weight = tensors[f"blk.{layer}.{theirs}.weight"]
            heads = {"q.weight": shape.heads, "k.weight": shape.kv_heads}.get(ours)
            weights[f"layers.{layer}.{ours}"] = halves(weight, heads) if heads else weight
    model = Model(shape)
    model.load_state_dict({name: torch.tensor(weight) for name, weight in weights.items()})
    matrices, others = groups(model)
    torch.save(dict(model=model.state_dict(), muon=Muon(matrices).state(), adam=optimiser(others, 0.001).state_dict(), step=0, tokens=0, position=(0, 0), shape=shape.as_dict()), options.out)


if __name__ == "__main__":
    main()
