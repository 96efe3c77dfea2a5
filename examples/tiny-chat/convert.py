"""Turns a checkpoint into a GGUF that llama.cpp runs: Q8_0 matrices, F32 norms, vocabulary and chat template inside.

    python convert.py --checkpoint RUN/last.pt --tokenizer RUN/tokenizer.json --out ../../host/models/builtin/minerva-tiny.gguf
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy
import torch

from prompt import TEMPLATE
from tokenizer import CONTROL


def pairs(weight, heads):
    """Reorders the rows of Q and K: training turns the two halves of a head, llama.cpp turns neighbours."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def add_vocabulary(writer, path):
    made = json.loads(Path(path).read_text())
    ids = dict(made["model"]["vocab"])
    special = {token["content"]: token["id"] for token in made["added_tokens"]}
    ids.update(special)
    tokens = sorted(ids, key=ids.get)
    assert [ids[token] for token in tokens] == list(range(len(tokens)))
    types = [gguf.TokenType.CONTROL if token in CONTROL else gguf.TokenType.USER_DEFINED if token in special else gguf.TokenType.NORMAL for token in tokens]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in made["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(ids["<|im_start|>"])
    writer.add_eos_token_id(ids["<|im_end|>"])
    writer.add_eot_token_id(ids["<|im_end|>"])
    writer.add_pad_token_id(ids["<|im_end|>"])
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)
    return len(tokens)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--checkpoint", required=True)
    arguments.add_argument("--tokenizer", required=True)
    arguments.add_argument("--out", required=True)
    options = arguments.parse_args()
    state = torch.load(options.checkpoint, weights_only=False)
    shape, weights = state["shape"], {name: tensor.float().numpy() for name, tensor in state["model"].items()}
    writer = gguf.GGUFWriter(options.out, "llama")
    writer.add_name("Minerva Tiny")
    writer.add_basename("minerva-tiny")
    writer.add_description("A very small chat model, trained from nothing on generated conversations. It knows next to nothing and is there to try Minerva with.")
    writer.add_author("The Minerva project")
    writer.add_organization("Minerva")
    writer.add_license("apache-2.0")
    writer.add_version("1")
    writer.add_size_label(f"{sum(w.size for w in weights.values()) / 1e6:.1f}M")
    writer.add_languages(["en"])
    writer.add_tags(["text-generation", "chat", "tool-use"])
    writer.add_custom_alignment(32)
    head = shape["width"] // shape["heads"]
    writer.add_context_length(shape["context"])
    writer.add_embedding_length(shape["width"])
    writer.add_block_count(shape["layers"])
    writer.add_feed_forward_length(shape["feed_forward"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv_heads"])
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(shape["rope_base"])
    writer.add_layer_norm_rms_eps(shape["epsilon"])
    writer.add_vocab_size(shape["vocabulary"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    assert add_vocabulary(writer, options.tokenizer) == shape["vocabulary"]

    def matrix(name, weight):
        writer.add_tensor(name, gguf.quants.quantize(numpy.ascontiguousarray(weight), gguf.GGMLQuantizationType.Q8_0), raw_dtype=gguf.GGMLQuantizationType.Q8_0)

    matrix("token_embd.weight", weights["embedding.weight"])
    writer.add_tensor("output_norm.weight", weights["norm"])
    for i in range(shape["layers"]):
        layer = lambda name: weights[f"layers.{i}.{name}"]
        writer.add_tensor(f"blk.{i}.attn_norm.weight", layer("attention_norm"))
        matrix(f"blk.{i}.attn_q.weight", pairs(layer("q.weight"), shape["heads"]))
        matrix(f"blk.{i}.attn_k.weight", pairs(layer("k.weight"), shape["kv_heads"]))
        matrix(f"blk.{i}.attn_v.weight", layer("v.weight"))
        matrix(f"blk.{i}.attn_output.weight", layer("o.weight"))
        writer.add_tensor(f"blk.{i}.ffn_norm.weight", layer("ffn_norm"))
        matrix(f"blk.{i}.ffn_gate.weight", layer("gate.weight"))
        matrix(f"blk.{i}.ffn_up.weight", layer("up.weight"))
        matrix(f"blk.{i}.ffn_down.weight", layer("down.weight"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"step {state['step']}, {state['tokens']} tokens, {Path(options.out).stat().st_size} bytes")


if __name__ == "__main__":
    main()
