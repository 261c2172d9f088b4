#!/usr/bin/env python3
"""A checkpoint of the published code (.pt) as a safetensors file, for `sisa checkpoint import`.

    python scripts/pt_to_safetensors.py final.pt final.safetensors
    sisa checkpoint import final.safetensors --recipe RECIPE --output runs/published

Takes a state_dict, or a dict that holds one as `model`, `model_state_dict` or `state_dict`; drops the prefixes that torch.compile and
data parallelism put before names, and a tied head that equals the embedding. Refuses any other name that the published `transformer`
and `sisa` do not have. Numbers keep their types. Nothing of the .pt is executed (weights_only). Needs the Python packages torch and
safetensors.
"""
import argparse
import pickle
import re
import sys

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

NAME = re.compile(r"embed\.weight|final_norm\.weight|layers\.\d+\.((attn_norm|ffn_norm|W_[QKVOBC]|theta_proj|ffn\.w_(gate|up|down))\.weight"
                  r"|alpha_proj\.(weight|bias)|lambda_raw)")
HEADS = ("lm_head.weight", "head.weight")
PREFIXES = re.compile(r"^((module|_orig_mod|model)\.)+")


def give_up(message):
    print(f"pt_to_safetensors.py: {message}", file=sys.stderr)
    sys.exit(2)


def load(path):
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        give_up(f"{path} cannot be read as a .pt of tensors and plain values alone: {error}")


def tensors_of(content, path):
    """The state_dict, under names without prefixes."""
    for key in ("model", "model_state_dict", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content or not all(isinstance(t, torch.Tensor) for t in content.values()):
        give_up(f"{path} holds no state_dict: a dict of tensors, by itself or as `model`, `model_state_dict` or `state_dict`, was expected")
    tensors = {}
    for name, tensor in content.items():
        name = PREFIXES.sub("", name)
        if name in tensors:
            give_up(f"{path} holds {name} twice, under several prefixes")
        tensors[name] = tensor
    return tensors


def without_tied_head(tensors):
    embedding = tensors.get("embed.weight")
    for head in HEADS:
        if head in tensors and embedding is not None:
            if not torch.equal(tensors[head], embedding):
                give_up(f"{head} differs from embed.weight: the head of the published models is their embedding")
            tensors = {name: tensor for name, tensor in tensors.items() if name != head}
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", metavar="FILE.pt")
    parser.add_argument("output", metavar="FILE.safetensors")
    arguments = parser.parse_args()
    content = load(arguments.input)
    tensors = without_tied_head(tensors_of(content, arguments.input))
    unknown = [name for name in tensors if not NAME.fullmatch(name)]
    if unknown:
        give_up(f"{arguments.input} holds what neither the published transformer nor sisa has: {', '.join(unknown[:8])}"
                + (f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""))
    # The progress of the run, as sisa's exports have it.
    told = {ours: str(content[theirs]) for ours, theirs in (("step", "step"), ("tokens", "tokens_seen"))
            if isinstance(content.get(theirs), int)}
    copies = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}  # of storage of their own
    try:
        save_file(copies, arguments.output, metadata={"format": "pt", **told})
    except (OSError, SafetensorError) as error:
        give_up(f"{arguments.output} cannot be written: {error}")
    print(f"{arguments.output}: {len(tensors)} tensors of {sum(t.numel() for t in tensors.values()):,} elements")


if __name__ == "__main__":
    main()
