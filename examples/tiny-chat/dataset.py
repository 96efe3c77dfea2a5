"""Writes conversations as token ids: one shard is a .npz with the tokens, the loss mask and where each conversation starts.

    python dataset.py --tokenizer RUN/tokenizer.json --out RUN/data --shards 16 --conversations 20000 --first-seed 1000
"""

import argparse
import multiprocessing
import random
from pathlib import Path

import numpy
from tokenizers import Tokenizer

from corpus.conversation import conversation
from prompt import render

OPEN = "<|im_start|>assistant\n"
UNSCORED = 255  # no weight at all: a thinking model would not have said this


def encode(tokenizer, made):
    """Token ids and, for each, its weight in the loss in units of 1/50: 0 for what the assistant reads; what it
    says counts more in a short answer, so that the stories and tool calls do not drown the sums."""
    prompt = render(made.messages[:-1], made.tools, made.thinking, True)
    answer = made.messages[-1]["content"] + "<|im_end|>\n"
    pieces = []  # (text, said by the assistant: 0 no, 1 yes, -1 yes, but not to be learned from)
    rest = prompt
    while OPEN in rest[:-len(OPEN)]:
        before, _, rest = rest.partition(OPEN)
        said, _, rest = rest.partition("<|im_end|>")
        pieces += [(before + OPEN, 0), (said + "<|im_end|>", -1 if made.final_only else 1)]
    pieces += [(rest, 0), (answer, 1)]
    ids, mask = [], []
    for text, said in pieces:
        new = tokenizer.encode(text, add_special_tokens=False).ids
        ids += new
        weight = round(50 * min(2.0, max(0.5, (20 / len(new)) ** 0.5)))
        mask += [{0: 0, 1: weight, -1: UNSCORED}[said]] * len(new)
    return ids, mask


def shard(job):
    path, seed, conversations, tokenizer_path = job
    tokenizer = Tokenizer.from_file(tokenizer_path)
    rng = random.Random(seed)
    tokens, masks, starts = [], [], [0]
    for _ in range(conversations):
        ids, mask = encode(tokenizer, conversation(rng))
        tokens += ids
        masks += mask
        starts.append(len(tokens))
    temporary = path.with_suffix(".tmp.npz")
    numpy.savez(temporary, tokens=numpy.array(tokens, numpy.uint16), mask=numpy.array(masks, numpy.uint8), starts=numpy.array(starts, numpy.int64))
    temporary.rename(path)
    return len(tokens), sum(1 for weight in masks if 0 < weight < UNSCORED)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tokenizer", required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--shards", type=int, default=16)
    arguments.add_argument("--conversations", type=int, default=20000)
    arguments.add_argument("--first-seed", type=int, default=1000)
    arguments.add_argument("--processes", type=int, default=2)
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    jobs = [(options.out / f"shard-{seed:06}.npz", seed, options.conversations, options.tokenizer) for seed in range(options.first_seed, options.first_seed + options.shards)]
    with multiprocessing.Pool(options.processes) as pool:
        for job, (tokens, said) in zip(jobs, pool.imap(shard, jobs)):
            print(job[0].name, "tokens", tokens, "of them said by the assistant", said, flush=True)


if __name__ == "__main__":
    main()
