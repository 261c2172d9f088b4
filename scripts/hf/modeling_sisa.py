"""The networks that `sisa` trains, in plain PyTorch, for Hugging Face's `transformers`: what `sisa checkpoint export --format hf`
writes beside the weights. For evaluation, generation and fine-tuning; training from scratch is the trainer's.

Scores are formed by their definition, as sums with decays as differences, so that no range of decay is too wide:

    q_i.k_j / sqrt(d_head) + lambda e^(g_i - g_j) C_i^T R(Phi_j - Phi_i) B_j    for j <= i

Nothing is kept between tokens: generation reads the text anew for each one. Shapes: B sequences of T tokens, H heads.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

NORM_EPSILON = 1e-6
SMALLEST_LAMBDA = 1e-12  # below it the derivative of its root, in training, would grow without bound
INITIAL_LAMBDA_RAW = -1.0
ROWS = 256  # queries whose scores are in memory at once: B H ROWS T numbers


class SisaConfig(PretrainedConfig):
    """The keys of a recipe's `model:` section that decide what is computed."""

    model_type = "sisa"
    attribute_map = {"hidden_size": "d_model", "num_hidden_layers": "num_layers", "num_attention_heads": "num_heads",
                     "intermediate_size": "d_ff"}

    def __init__(self, system="sisa", vocab_size=50277, d_model=768, num_layers=12, num_heads=12, d_ff=2908, rope_base=10000.0,
                 d_state=16, offset="causal", clamp=11.0, decay="learned", rotation="learned", max_position_embeddings=2048,
                 **others):
        self.system = system  # "sisa", or "transformer", which has none of the keys from d_state on
        self.vocab_size, self.d_model, self.num_layers, self.num_heads = vocab_size, d_model, num_layers, num_heads
        self.d_ff, self.rope_base = d_ff, rope_base
        self.d_state, self.offset, self.clamp, self.decay, self.rotation = d_state, offset, clamp, decay, rotation
        setattr(self, "lambda", others.pop("lambda", "learned"))  # a keyword of Python
        self.max_position_embeddings = max_position_embeddings  # tokens a sample in training; the model has no bound
        super().__init__(**others)


def wide(x):
    """In fp32, or wider if x is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def rotate(x, phase):
    """Turns the interleaved pairs of x (..., 2 n) by phase (..., n)."""
    cos, sin = phase.cos().to(x.dtype), phase.sin().to(x.dtype)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class RMSNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        y = wide(x)
        return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + NORM_EPSILON) * self.weight).to(x.dtype)


class SwiGLU(nn.Module):
    def __init__(self, d_model, d_ff):
        super().__init__()
        self.w_gate = nn.Linear(d_model, d_ff, bias=False)
        self.w_up = nn.Linear(d_model, d_ff, bias=False)
        self.w_down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x):
        return self.w_down(F.silu(self.w_gate(x)) * self.w_up(x))


class Layer(nn.Module):
    """Pre-norm attention, whose score `sisa` augments, and pre-norm SwiGLU."""

    def __init__(self, config):
        super().__init__()
        if config.system not in ("transformer", "sisa"):
            raise ValueError(f"This file computes the systems transformer and sisa, but the model's system is {config.system!r}. "
                             "Evaluate it with `sisa evaluate` and `sisa generate`.")
        self.config = config
        d, H = config.d_model, config.num_heads
        self.attn_norm = RMSNorm(d)
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            setattr(self, name, nn.Linear(d, d, bias=False))
        self.augmented = config.system == "sisa"
        self.decays = self.augmented and config.decay == "learned"
        self.rotates = self.augmented and config.rotation == "learned"
        self.learns_lambda = self.augmented and getattr(config, "lambda") == "learned"
        if self.augmented:
            self.W_B = nn.Linear(d, H * config.d_state, bias=False)
            self.W_C = nn.Linear(d, H * config.d_state, bias=False)
        if self.learns_lambda:
            self.lambda_raw = nn.Parameter(torch.full((H,), INITIAL_LAMBDA_RAW))
        if self.decays:
            self.alpha_proj = nn.Linear(d, H)
        if self.rotates:
            self.theta_proj = nn.Linear(d, H * config.d_state // 2, bias=False)
        if config.d_ff > 0:
            self.ffn_norm = RMSNorm(d)
            self.ffn = SwiGLU(d, config.d_ff)

    def forward(self, x, seen):
        """x (B, T, d_model). seen (B, T) bool: tokens that are no padding; None: all."""
        x = x + self.attend(self.attn_norm(x), seen)
        return x + self.ffn(self.ffn_norm(x)) if self.config.d_ff > 0 else x

    def heads(self, x):
        """(B, T, H n) -> (B, H, T, n)"""
        return wide(x).unflatten(-1, (self.config.num_heads, -1)).transpose(1, 2)

    def attend(self, x, seen):
        T, d_head = x.shape[1], self.config.d_model // self.config.num_heads
        positions = torch.arange(T, dtype=torch.float64, device=x.device)
        pairs = torch.arange(0, d_head, 2, dtype=torch.float64, device=x.device)
        angles = positions[:, None] * self.config.rope_base ** (-pairs / d_head)
        query, key = (rotate(self.heads(projection(x)), angles) for projection in (self.W_Q, self.W_K))
        value = self.heads(self.W_V(x))
        C, B, exponent = self.state(x, seen) if self.augmented else (None, None, None)

        results = []
        for begin in range(0, T, ROWS):
            end = min(begin + ROWS, T)
            scores = query[:, :, begin:end] @ key[:, :, :end].transpose(-1, -2) / math.sqrt(d_head)
            if self.augmented:
                state_scores = C[:, :, begin:end] @ B[:, :, :end].transpose(-1, -2)
                if self.decays:  # later keys, whose exponents would be positive, are masked below
                    ranges = exponent[:, :, begin:end, None] - exponent[:, :, None, :end]
                    state_scores = state_scores * ranges.clamp(max=0).exp().to(scores.dtype)
                scores = scores + state_scores
            queries, keys = torch.arange(begin, end, device=x.device)[:, None], torch.arange(end, device=x.device)
            allowed = keys <= queries
            if seen is not None:  # padding sees itself, for a softmax over nothing is not defined
                allowed = allowed & (seen[:, None, None, :end] | (keys == queries))
            results.append(scores.masked_fill(~allowed, -math.inf).softmax(-1) @ value[:, :, :end])
        return self.W_O(torch.cat(results, 2).transpose(1, 2).flatten(2).to(x.dtype))

    def state(self, x, seen):
        """lambda C and B, both rotated, (B, H, T, d_state), and the exponents of the decays, (B, H, T) fp64."""
        C, B, exponent = self.heads(self.W_C(x)), self.heads(self.W_B(x)), None
        if self.rotates:
            phase = self.heads(self.theta_proj(x)).to(torch.float64).cumsum(2)
            C, B = rotate(C, phase), rotate(B, phase)
        if self.decays:
            log_alpha = -F.softplus(self.heads(self.alpha_proj(x)).squeeze(-1))
            exponent = log_alpha.to(torch.float64).cumsum(-1)
            if self.config.offset == "minimax":  # as published: what decays beyond the clamp does so no further
                low, high = (exponent if seen is None else exponent.masked_fill(~seen[:, None], bound)
                             for bound in (math.inf, -math.inf))
                middle = (low.amin(-1, keepdim=True) + high.amax(-1, keepdim=True)) / 2
                exponent = (exponent - middle.detach()).clamp(-self.config.clamp, self.config.clamp)
        raw = self.lambda_raw if self.learns_lambda else torch.tensor(INITIAL_LAMBDA_RAW, device=x.device)
        weight = F.softplus(raw.to(C.dtype)).clamp(min=SMALLEST_LAMBDA)
        return weight.reshape(-1, 1, 1) * C, B, exponent


class SisaForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = SisaConfig
    main_input_name = "input_ids"
    _no_split_modules = ["Layer"]
    accepts_loss_kwargs = False  # the mean is over the batch at hand, whatever others are accumulated

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.final_norm = RMSNorm(config.d_model)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def set_input_embeddings(self, embedding):
        self.embed = embedding

    def forward(self, input_ids, attention_mask=None, labels=None, logits_to_keep=0, use_cache=None, return_dict=None):
        """input_ids (B, T) -> logits (B, T, vocab_size) in fp32 or wider; of the last `logits_to_keep` tokens unless that is 0.

        attention_mask (B, T): 0 for padding, on either side. labels (B, T): the loss is the mean cross entropy of labels[:, 1:],
        -100 not counted. use_cache and return_dict, which transformers passes, change nothing.
        """
        seen = None if attention_mask is None or attention_mask.all() else attention_mask.bool()
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x, seen)
        logits = F.linear(wide(self.final_norm(x[:, -logits_to_keep:])), wide(self.embed.weight))
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **_):
        return {"input_ids": input_ids, "attention_mask": attention_mask, "logits_to_keep": 1}
