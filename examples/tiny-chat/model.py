"""The network: a llama of a few million parameters, as llama.cpp runs it (grouped-query attention, RoPE, RMSNorm, SwiGLU, tied embeddings)."""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Shape:
    vocabulary: int = 2560
    width: int = 256
    layers: int = 5
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 768
    context: int = 2048
    rope_base: float = 10000.0
    epsilon: float = 1e-5

    def as_dict(self):
        return asdict(self)


def rotate(x, cos, sin):
    """RoPE on the two halves of each head. convert.py reorders the rows to the pairs that llama.cpp turns."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.heads, self.kv_heads, self.head = shape.heads, shape.kv_heads, shape.width // shape.heads
        kv = self.kv_heads * self.head
        self.attention_norm = nn.Parameter(torch.ones(shape.width))
        self.q = nn.Linear(shape.width, shape.width, bias=False)
        self.k = nn.Linear(shape.width, kv, bias=False)
        self.v = nn.Linear(shape.width, kv, bias=False)
        self.o = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_norm = nn.Parameter(torch.ones(shape.width))
        self.gate = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.up = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.width, bias=False)
        self.epsilon = shape.epsilon

    def forward(self, x, cos, sin, mask):
        batch, length, width = x.shape
        y = F.rms_norm(x, (width,), self.attention_norm, self.epsilon)
        q = rotate(self.q(y).view(batch, length, self.heads, self.head).transpose(1, 2), cos, sin)
        k = rotate(self.k(y).view(batch, length, self.kv_heads, self.head).transpose(1, 2), cos, sin)
        v = self.v(y).view(batch, length, self.kv_heads, self.head).transpose(1, 2)
        # Plain matrix products: at these lengths they are faster on a CPU than the fused attention.
        group = self.heads // self.kv_heads
        q = q.reshape(batch * self.kv_heads, group * length, self.head)
        k = k.reshape(batch * self.kv_heads, length, self.head)
        v = v.reshape(batch * self.kv_heads, length, self.head)
        scores = torch.bmm(q, k.transpose(1, 2)).view(batch * self.kv_heads, group, length, length)
        weights = torch.softmax(scores.float() * self.head ** -0.5 + mask, -1).to(v.dtype)
        y = torch.bmm(weights.view(batch * self.kv_heads, group * length, length), v)
        y = y.view(batch, self.heads, length, self.head).transpose(1, 2).reshape(batch, length, width)
        x = x + self.o(y)
        y = F.rms_norm(x, (width,), self.ffn_norm, self.epsilon)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Model(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.Parameter(torch.ones(shape.width))
        head = shape.width // shape.heads
        angles = torch.outer(torch.arange(shape.context).float(), shape.rope_base ** (-torch.arange(0, head, 2).float() / head))
        self.register_buffer("cos", angles.cos().to(torch.bfloat16), persistent=False)
        self.register_buffer("sin", angles.sin().to(torch.bfloat16), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                deep = name.endswith(("o.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 if "embedding" in name else (parameter.shape[1] ** -0.5) * (0.3 if deep else 0.7))

    def states(self, tokens):
        length = tokens.shape[1]
        mask = torch.full((length, length), -1e9).triu(1)
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, self.cos[:length], self.sin[:length], mask)
        return F.rms_norm(x, (self.shape.width,), self.norm, self.shape.epsilon)

    def logits(self, tokens):
        return F.linear(self.states(tokens), self.embedding.weight)

    def forward(self, tokens, places, targets, weights):
        """The loss at the given places of the flattened batch, weighted by `weights`, and the same without weights for what the assistant said."""
        x = self.states(tokens).view(-1, self.shape.width)[places]
        losses = F.cross_entropy(F.linear(x, self.embedding.weight).float(), targets, reduction="none")
        said = (weights > 0.15 * weights.max()).float()
        return (losses * weights).sum(), (losses.detach() * said).sum()
