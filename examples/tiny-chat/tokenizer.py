"""Trains the vocabulary: byte-level BPE with the split of Qwen2, which llama.cpp calls "qwen2".

Two departures from a plain BPE make copying easy for a small model. Digits stay single. And a word keeps its
pieces whether a space, a quote or a bracket comes before it: merges never reach across a space while the
pieces are learned, and only the most common whole words get a second token with the space in front.

    python tokenizer.py --out RUN/tokenizer.json
"""

import argparse
import collections
import json
import random
import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from corpus.conversation import conversation
from prompt import render

CONTROL = ["<|im_start|>", "<|im_end|>"]
MARKUP = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>", "<tools>", "</tools>"]
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPACE = "Ġ"


def corpus_text(seed, conversations):
    rng = random.Random(seed)
    for _ in range(conversations):
        made = conversation(rng)
        text = render(made.messages[:-1], made.tools, made.thinking, True) + made.messages[-1]["content"]
        yield re.sub("|".join(re.escape(token) for token in CONTROL + MARKUP), "\n", text)


def train(seed, conversations, size):
    texts = list(corpus_text(seed, conversations))
    spaced = 420
    pieces = size - len(CONTROL) - len(MARKUP) - spaced
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.Split(Regex(r"\p{L}+"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=pieces, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), min_frequency=4, show_progress=False))
    learned = json.loads(tokenizer.to_str())["model"]
    vocabulary, merges = learned["vocab"], [tuple(merge) for merge in learned["merges"]]
    counts = collections.Counter(word for text in texts for word in re.findall(r" ([A-Za-z]{2,})", text))
    common = [word for word, _ in counts.most_common(3000) if word in vocabulary][:spaced]
    for word in common:
        vocabulary[SPACE + word] = len(vocabulary)
        merges.append((SPACE, word))
    final = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    final.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    final.decoder = decoders.ByteLevel()
    final.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    final.add_tokens([AddedToken(token, special=False, normalized=False) for token in MARKUP])
    return final


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", required=True)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--conversations", type=int, default=60000)
    arguments.add_argument("--size", type=int, default=2560)
    options = arguments.parse_args()
    tokenizer = train(options.seed, options.conversations, options.size)
    tokenizer.save(options.out)
    print("tokens", tokenizer.get_vocab_size())


if __name__ == "__main__":
    main()
