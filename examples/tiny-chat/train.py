"""Trains the model on the shards that dataset.py writes. Stops and resumes at any step.

    python train.py --name tiny-chat-train --run RUN --steps 7000

Each worker is a process with one thread that takes its share of every batch. On a busy machine this is
several times faster than one process with two threads, which wait for each other in every operation.

The schedule is warm-up, flat, decay to nothing over the last part ("WSD"): a flat run can be continued with
more data, and `--decay-from STEP --steps STEP` branches a finished model off any of its checkpoints.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy
import torch
import torch.distributed as dist

from dataset import UNSCORED
from model import Model, Shape

PROMPT_WEIGHT = 0.1  # loss weight of what the assistant reads (where it is scored at all); what it says counts 0.5 to 2 (dataset.py)


def rows_of(shard, length, rng, shortest=0, longest=None):
    """Packs whole conversations, in random order, into rows of `length` + 1 tokens."""
    data = numpy.load(shard)
    tokens, mask, starts = data["tokens"], data["mask"], data["starts"]
    sizes = numpy.diff(starts)
    longest = longest or length
    order = rng.permutation(numpy.nonzero((sizes > shortest) & (sizes <= longest))[0])
    rows, open_rows = [], []
    for index in order:
        size = sizes[index]
        fitting = [row for row in open_rows if row[0] >= size]
        if fitting:
            row = min(fitting, key=lambda row: row[0])
            row[0] -= size
            row[1].append(index)
            if row[0] < 16:
                open_rows.remove(row)
        else:
            row = [length + 1 - size, [index]]
            rows.append(row)
            open_rows.append(row)
            if len(open_rows) > 64:
                open_rows.pop(0)
    inputs = numpy.zeros((len(rows), length + 1), numpy.int64)
    weights = numpy.zeros((len(rows), length + 1), numpy.float32)
    for position, (_, members) in enumerate(rows):
        at = 0
        for index in members:
            size = sizes[index]
            inputs[position, at:at + size] = tokens[starts[index]:starts[index + 1]]
            scored = mask[starts[index]:starts[index + 1]]
            weights[position, at:at + size] = numpy.where(scored == UNSCORED, 0, numpy.maximum(scored / 50, PROMPT_WEIGHT))
            weights[position, at] = 0  # nothing before it says what a conversation opens with
            at += size
    return inputs, weights


def batches(run, position, tokens_per_step, seed, long_share):
    """Endless batches from the shards in order of number, waiting for none: after the last it starts again.
    Yields (inputs, weights, position) where position is what to store to continue."""
    shard_number, skip = position
    while True:
        shards = sorted((run / "data").glob("shard-*.npz"))
        chosen = shards[shard_number % len(shards)]
        rng = numpy.random.default_rng([seed, shard_number])
        made = []
        for length, shortest in ((256, 0), (512, 256)):
            inputs, weights = rows_of(chosen, length, rng, shortest)
            count = tokens_per_step // length
            made += [(inputs[i:i + count], weights[i:i + count]) for i in range(0, len(inputs) - count + 1, count)]
        if long_share:
            for length in (1024, 2048):
                inputs, weights = rows_of(chosen, length, rng, 0, 512)
                count = max(1, tokens_per_step // length)
                extra = [(inputs[i:i + count], weights[i:i + count]) for i in range(0, len(inputs) - count + 1, count)]
                made += extra[:int(len(made) * long_share)]
        order = rng.permutation(len(made))
        for index, at in enumerate(order):
            if index >= skip:
                yield *made[at], (shard_number, index + 1)
        shard_number, skip = shard_number + 1, 0


def orthogonalise(matrices, rounds=5):
    """Newton-Schulz: the nearest orthogonal matrices, for a stack of them."""
    x = matrices.to(torch.bfloat16)
    turned = x.shape[1] > x.shape[2]
    if turned:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        a = torch.bmm(x, x.transpose(1, 2))
        x = 3.4445 * x + torch.bmm(-4.7750 * a + 2.0315 * torch.bmm(a, a), x)
    return (x.transpose(1, 2) if turned else x).float()


class Muon:
    """Momentum, orthogonalised: for the matrices of the layers, grouped by form so that one product serves all."""

    def __init__(self, parameters, momentum=0.95, decay=0.02):
        self.groups = {}
        for parameter in parameters:
            self.groups.setdefault(tuple(parameter.shape), []).append(parameter)
        self.momentum, self.decay = momentum, decay
        self.buffers = {form: torch.zeros(len(group), *form) for form, group in self.groups.items()}

    @torch.no_grad()
    def step(self, rate, worker, workers):
        """Each worker orthogonalises its share of the matrices; then they add up what they have."""
        for form, group in self.groups.items():
            gradient = torch.stack([parameter.grad for parameter in group])
            buffer = self.buffers[form]
            buffer.lerp_(gradient, 1 - self.momentum)
            wanted = gradient.lerp(buffer, self.momentum)
            update = torch.zeros_like(wanted)
            update[worker::workers] = orthogonalise(wanted[worker::workers])
            if workers > 1:
                dist.all_reduce(update)
            update *= max(1, form[0] / form[1]) ** 0.5
            for parameter, change in zip(group, update):
                parameter.mul_(1 - rate * self.decay).add_(change, alpha=-rate)

    def state(self):
        return {str(form): buffer for form, buffer in self.buffers.items()}

    def load(self, state):
        for form in self.buffers:
            self.buffers[form].copy_(state[str(form)])


def groups(model):
    """The matrices of the layers, and everything else."""
    named = list(model.named_parameters())
    return [p for n, p in named if p.dim() == 2 and "embedding" not in n], [p for n, p in named if p.dim() != 2 or "embedding" in n]


def optimiser(others, rate):
    return torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)


def schedule(step, warm_up, decay_from, steps):
    if step < warm_up:
        return (step + 1) / warm_up
    if decay_from is not None and step >= decay_from:
        return max(0.0, 1 - (step - decay_from) / (steps - decay_from))
    return 1.0


def save(path, **state):
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.rename(path)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--name", default="tiny-chat-train", help="only there to find the process by")
    arguments.add_argument("--run", type=Path, required=True)
    arguments.add_argument("--steps", type=int, required=True)
    arguments.add_argument("--resume", type=Path, help="a checkpoint; default: RUN/last.pt if it is there")
    arguments.add_argument("--decay-from", type=int)
    arguments.add_argument("--finish-at", help="HH:MM of today: decay with the time that is left instead of with the steps, and stop then; for a shared machine")
    arguments.add_argument("--out", default="last.pt", help="name of the checkpoint in RUN")
    arguments.add_argument("--keep-every", type=int, default=1000, help="also keep a checkpoint every so many steps")
    arguments.add_argument("--tokens-per-step", type=int, default=8192)
    arguments.add_argument("--rate", type=float, default=0.02)
    arguments.add_argument("--embedding-rate", type=float, default=0.003)
    arguments.add_argument("--warm-up", type=int, default=150)
    arguments.add_argument("--long-share", type=float, default=0.0, help="share of batches of 1,024 and of 2,048 tokens")
    arguments.add_argument("--seed", type=int, default=7)
    arguments.add_argument("--layers", type=int, default=5)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--worker", type=int, default=0, help="which of them this is; the first starts the others")
    arguments.add_argument("--restart-data", type=int, help="go on with this shard number")
    options = arguments.parse_args()
    if options.workers > 1:
        if options.worker == 0:
            (options.run / "rendezvous").unlink(missing_ok=True)
            for other in range(1, options.workers):
                subprocess.Popen([sys.executable, *sys.argv, "--worker", str(other)])
    work(options.worker, options)


def scored_places(weights, worker, workers, share=0.42):
    """Where this worker's rows are scored: always the same number of places, so that the compiled code fits
    every batch. The heaviest (what the assistant says) come first, then some of what it reads."""
    flat = weights[worker::workers].reshape(-1)
    jitter = torch.rand(flat.shape, generator=torch.Generator().manual_seed(int(flat.sum() * 1000)))
    return (flat + 0.05 * jitter).topk(int(flat.numel() * share)).indices


def add_up_gradients(parameters):
    flat = torch.cat([parameter.grad.view(-1) for parameter in parameters])
    dist.all_reduce(flat)
    at = 0
    for parameter in parameters:
        parameter.grad.copy_(flat[at:at + parameter.numel()].view_as(parameter))
        at += parameter.numel()


def work(worker, options):
    workers = options.workers
    if workers > 1:
        dist.init_process_group("gloo", init_method=f"file://{(options.run / 'rendezvous').resolve()}", rank=worker, world_size=workers)
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    model = Model(Shape(layers=options.layers))
    parameters = list(model.parameters())
    matrices, others = groups(model)
    muon, adam = Muon(matrices), optimiser(others, options.embedding_rate)
    step, tokens_seen, position = 0, 0, (0, 0)
    resume = options.resume or options.run / "last.pt"
    if resume.exists():
        state = torch.load(resume, weights_only=False)
        model.load_state_dict(state["model"])
        muon.load(state["muon"])
        adam.load_state_dict(state["adam"])
        step, tokens_seen, position = state["step"], state["tokens"], state["position"]
        print("worker", worker, "resumes at step", step, flush=True)
    if options.restart_data is not None:
        position = (options.restart_data, 0)
    finish, began = None, time.time()
    if options.finish_at:
        hours, minutes = map(int, options.finish_at.split(":"))
        finish = time.mktime(time.localtime()[:3] + (hours, minutes, 0, 0, 0, -1))
    compiled = torch.compile(model, dynamic=False)
    log = open(options.run / "train.log", "a")
    last, since_tokens, losses = time.monotonic(), 0, []

    def keep(name):
        if worker == 0:
            save(options.run / name, model=model.state_dict(), muon=muon.state(), adam=adam.state_dict(), step=step, tokens=tokens_seen, position=position, shape=model.shape.as_dict())

    for inputs, weights, position in batches(options.run, position, options.tokens_per_step, options.seed, options.long_share):
        if step >= options.steps:
            break
        count = inputs.shape[0] * (inputs.shape[1] - 1)
        inputs, weights = torch.from_numpy(inputs), torch.from_numpy(weights)[:, 1:]
        total = sum(weights[other::workers].reshape(-1)[scored_places(weights, other, workers)].sum() for other in range(workers))
        share = 1 / (weights > 2 * PROMPT_WEIGHT).sum()
        places = scored_places(weights, worker, workers)
        inputs, targets, weights = inputs[worker::workers], inputs[worker::workers, 1:].reshape(-1)[places], weights[worker::workers].reshape(-1)[places]
        with torch.autocast("cpu", torch.bfloat16):
            loss, said = compiled(inputs[:, :-1].contiguous(), places, targets, weights / total)
        loss.backward()
        if workers > 1:
            add_up_gradients(parameters)
        factor = schedule(step, options.warm_up, options.decay_from, options.steps)
        if finish:
            factor = torch.tensor(max(0.0, (finish - time.time()) / (finish - began)))
            if workers > 1:
                dist.broadcast(factor, 0)  # all by the clock of the first
            factor = factor.item()
            if factor == 0:
                break
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        muon.step(options.rate * factor, worker, workers)
        for group in adam.param_groups:
            group["lr"] = options.embedding_rate * factor
        adam.step()
        for parameter in parameters:
            parameter.grad = None
        step, tokens_seen, since_tokens = step + 1, tokens_seen + count, since_tokens + count
        losses.append((loss.item(), said.item() * share.item()))
        if step % 20 == 0:
            now = time.monotonic()
            mean = numpy.mean(losses, axis=0)
            if workers > 1:
                mean = torch.from_numpy(mean)
                dist.all_reduce(mean)
            line = dict(step=step, tokens=tokens_seen, loss=round(float(mean[0]), 4), said=round(float(mean[1]), 4), rate=round(factor, 4), tokens_per_second=round(since_tokens / (now - last)), clock=time.strftime("%H:%M:%S"))
            if worker == 0:
                log.write(json.dumps(line) + "\n")
                log.flush()
                print(line, flush=True)
            last, since_tokens, losses = now, 0, []
        if step % 50 == 0:
            keep(options.out)
        if options.keep_every and step % options.keep_every == 0:
            keep(f"step-{step:06}.pt")
    keep(options.out)


if __name__ == "__main__":
    main()
