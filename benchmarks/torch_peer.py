#!/usr/bin/env python3
"""The peer of benchmarks/step.sh: SISA and Transformer training steps in PyTorch, as fast as we know how to write them there.

    benchmarks/torch_peer.py --scale 152m --d-state 16 --tokens train-00000.bin [--micro-batch 32 64] [--steps 50]

torch.compile over model and loss together, bf16 autocast with fp32 weights, gradients and AdamW (fused), clipping, attention by
cuDNN, vocabulary and SwiGLU widths padded for tensor cores, 524,288 tokens a step. Tries each micro-batch for two steps and times
the best one. Prints a line of JSON of all steps so far every 10 steps and at the end. `--tokens`: a file of `sisa data prepare` with
uint16 ids (data/tokens/token_file.h).
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

BATCH, LENGTH, VOCAB = 524_288, 2048, 50_304
SIZES = {  # width, heads, layers, SwiGLU width by d_state (0: Transformer); recipes/paper
    "50m": (512, 8, 6, {0: 2048, 16: 1939, 32: 1832, 64: 1619, 128: 1192}),
    "152m": (768, 12, 12, {0: 3072, 16: 2908, 32: 2748, 64: 2428, 128: 1788}),
    "369m": (1024, 16, 24, {0: 2944, 16: 2725, 32: 2512, 64: 2085, 128: 1232}),
}


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        y = x.float()
        return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight).to(x.dtype)


def rotate(x, cos, sin):
    """Pairs (2i, 2i + 1) of the last dimension by their angles."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


class Layer(nn.Module):
    def __init__(self, width, heads, ff, d_state):
        super().__init__()
        self.heads, self.d_state = heads, d_state
        linear = lambda n, bias=False: nn.Linear(width, n, bias=bias)
        self.q, self.k, self.v, self.o = (linear(width) for _ in range(4))
        if d_state:
            self.b, self.c, self.theta = linear(heads * d_state), linear(heads * d_state), linear(heads * d_state // 2)
            self.alpha = linear(heads, bias=True)
            self.lambda_raw = nn.Parameter(torch.full((heads,), -1.0))
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.gate, self.up, self.down = linear(ff), linear(ff), nn.Linear(ff, width, bias=False)

    def state_channels(self, y, split):
        """Factors of C and B (augmented form, offset `minimax`), by docs/systems.md."""
        batch, length, _ = y.shape
        d_head = y.shape[-1] // self.heads
        # Sums along the sequence before the heads are split: torch.compile does not take the other order.
        g = torch.cumsum(-F.softplus(self.alpha(y).float()), 1).transpose(1, 2)
        phase = torch.cumsum(self.theta(y).float(), 1).view(batch, length, self.heads, -1).transpose(1, 2)
        offset = (g.amax(2, keepdim=True) + g.amin(2, keepdim=True)) / 2
        exponent = (g - offset).unsqueeze(-1).clamp(-11, 11)
        cos, sin = phase.cos(), phase.sin()
        amplitude = (d_head**0.25 * F.softplus(self.lambda_raw).sqrt()).view(1, -1, 1, 1).to(y.dtype)
        c = rotate(split(self.c(y)).float() * exponent.exp(), cos, sin).to(y.dtype)
        b = rotate(split(self.b(y)).float() * (-exponent).exp(), cos, sin).to(y.dtype)
        return amplitude * c, amplitude * b

    def forward(self, x, cos, sin):
        batch, length, width = x.shape
        y = self.norm1(x)
        split = lambda z: z.view(batch, length, self.heads, -1).transpose(1, 2)
        q, k, v = split(self.q(y)), split(self.k(y)), split(self.v(y))
        q, k = rotate(q, cos, sin).to(x.dtype), rotate(k, cos, sin).to(x.dtype)
        if self.d_state:
            c, b = self.state_channels(y, split)
            q, k = torch.cat([q, c], -1), torch.cat([k, b], -1)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=(width // self.heads) ** -0.5, is_causal=True)
        x = x + self.o(mixed.transpose(1, 2).reshape(batch, length, width))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class LossOfModel(nn.Module):
    """Model and loss in one graph."""

    def __init__(self, scale, d_state):
        super().__init__()
        width, heads, layers, ff = SIZES[scale]
        self.embedding = nn.Embedding(VOCAB, width)
        self.layers = nn.ModuleList(Layer(width, heads, -(-ff[d_state] // 64) * 64, d_state) for _ in range(layers))
        self.norm = RMSNorm(width)
        d_head = width // heads
        angles = torch.outer(torch.arange(LENGTH).float(), 10000 ** (-torch.arange(0, d_head, 2).float() / d_head))
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
                if getattr(module, "bias", None) is not None:
                    nn.init.constant_(module.bias, -5.0)

    def forward(self, ids, targets):
        x = self.embedding(ids).bfloat16()
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        logits = F.linear(self.norm(x), self.embedding.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


class Peer:
    def __init__(self, scale, d_state, tokens):
        torch.manual_seed(0)
        self.model = LossOfModel(scale, d_state).cuda()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=6e-4, betas=(0.9, 0.95), fused=True)
        self.compiled = torch.compile(self.model, dynamic=False)
        self.tokens, self.position = tokens, 0

    def batch(self, samples):
        """(samples, LENGTH + 1) ids on the GPU, from where the last batch ended."""
        size = samples * (LENGTH + 1)
        if self.position + size > len(self.tokens):
            self.position = 0
        ids = self.tokens[self.position : self.position + size].pin_memory().cuda(non_blocking=True)
        self.position += size
        return ids.long().bitwise_and(0xFFFF).view(samples, LENGTH + 1)

    def seconds(self, micro_batch, steps):
        """Yields those of each step, optimizer included."""
        parts = BATCH // (micro_batch * LENGTH)
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            for _ in range(steps):
                start = time.perf_counter()
                for _ in range(parts):
                    ids = self.batch(micro_batch)
                    with torch.autocast("cuda", torch.bfloat16):
                        loss = self.compiled(ids[:, :-1], ids[:, 1:])
                    (loss / parts).backward()
                nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=False)
                torch.cuda.synchronize()
                yield time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SIZES, required=True)
    parser.add_argument("--d-state", type=int, default=0, help="0: the Transformer")
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--micro-batch", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU here.")
    with open(arguments.tokens, "rb") as file:
        tokens = torch.frombuffer(bytearray(file.read()[64:]), dtype=torch.int16)
    peer = Peer(arguments.scale, arguments.d_state, tokens)
    tried = {}
    for micro_batch in arguments.micro_batch:
        try:
            list(peer.seconds(micro_batch, 1))  # compiles
            tried[micro_batch] = min(peer.seconds(micro_batch, 2))
        except torch.OutOfMemoryError:
            peer.optimizer.zero_grad(set_to_none=False)
            torch.cuda.empty_cache()
    if not tried:
        parser.error(f"No micro-batch of {arguments.micro_batch} fits into the GPU's memory.")
    best = min(tried, key=tried.get)
    seconds = []
    for second in peer.seconds(best, arguments.steps):
        seconds.append(second)
        if len(seconds) % 10 == 0 or len(seconds) == arguments.steps:
            print(json.dumps({"tokens_per_second": BATCH / statistics.mean(seconds), "micro_batch": best, "steps": len(seconds),
                              "tried": {m: round(BATCH / s) for m, s in tried.items()},
                              "memory": torch.cuda.max_memory_allocated(), "torch": torch.__version__}), flush=True)


if __name__ == "__main__":
    main()
