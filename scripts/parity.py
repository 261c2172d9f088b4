#!/usr/bin/env python3
"""Compares the network that `sisa` trains with a PyTorch module of yours: logits and gradients, in float64, on the CPU.

Ours come from the trainer itself (`sisa checkpoint probe`): the logits from the form that evaluates and generates, the gradients of
the mean cross entropy from the form that trains. Both sides get the same weights and the same random tokens.

What is called as --module FILE.py:CLASS
  - is made by CLASS(config), a dict of the keys of a recipe's `model:` section: system, vocab_size, d_model, num_layers, num_heads …
  - is a torch.nn.Module whose parameters have the names and shapes of the file (`sisa checkpoint inspect RUN` lists them)
  - maps token ids (B, T) to logits (B, T, vocab_size), or to an object that holds them as `.logits`

It is converted to float64; what it computes in float32 all the same, as the published code does its norms and decays, agrees to about
1e-5 only: say so with --tolerance. A tensor's difference is its largest one, relative to our tensor's largest element. Exit status: 0 if
all are within the tolerance, 1 if not, 2 if they cannot be compared. Needs the Python packages torch and safetensors.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import traceback

import torch
from safetensors import safe_open
from safetensors.torch import load_file

SISA = pathlib.Path(__file__).resolve().parent.parent / "build" / "release" / "sisa"


def give_up(message):
    print(f"parity.py: {message}", file=sys.stderr)
    sys.exit(2)


def probe(sisa, model, folder, arguments):
    """The weights by name, the tensors that `sisa checkpoint probe` writes, and the config."""
    def call(*words):
        if subprocess.run([sisa, "checkpoint", *map(str, words)], stdout=sys.stderr).returncode != 0:
            give_up(f"`sisa checkpoint {words[0]}` failed; see above")

    weights, run, results = folder / "weights.safetensors", folder / "run", folder / "probe.safetensors"
    if os.path.isfile(model):
        weights = model
        call("import", weights, "--output", run)
    else:
        run = model
        call("export", run, "--output", weights, "--dtype", "fp64")
    call("probe", run, "--output", results, "--sequences", arguments.sequences, "--length", arguments.length, "--seed", arguments.seed)
    with safe_open(results, "pt") as file:
        config = json.loads(file.metadata()["config"])
    return load_file(weights), load_file(results), config


def make_module(reference, config, weights):
    """The user's module in float64 with our weights."""
    path, _, name = reference.rpartition(":")
    if not os.path.isfile(path):
        give_up(f"--module is {reference}; FILE.py:CLASS with an existing file was expected")
    sys.path.insert(0, str(pathlib.Path(path).resolve().parent))  # for what the file imports from beside it
    spec = importlib.util.spec_from_file_location("module_to_compare", path)
    file = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(file)
    if not hasattr(file, name):
        give_up(f"{path} has no class {name}")
    module = getattr(file, name)(config).double()

    own = dict(module.named_parameters())  # a tied head stands under one of its names
    wrong = [f"{n} {tuple(own[n].shape)} is of the module only" for n in own.keys() - weights.keys()]
    wrong += [f"{n} {tuple(weights[n].shape)} is of the file only" for n in weights.keys() - own.keys()]
    wrong += [f"{n} is {tuple(own[n].shape)} in the module and {tuple(weights[n].shape)} in the file"
              for n in own.keys() & weights.keys() if own[n].shape != weights[n].shape]
    if wrong:
        give_up("module and file hold other parameters: " + "; ".join(sorted(wrong)[:8]))
    with torch.no_grad():
        for n, parameter in own.items():
            parameter.copy_(weights[n])
    return module


def compute(module, tokens, shape):
    """Logits and gradients by the names of `sisa checkpoint probe`."""
    logits = module(tokens[:, :-1])
    logits = getattr(logits, "logits", logits)
    if logits.shape != shape:
        give_up(f"the module's logits are {tuple(logits.shape)}; {tuple(shape)} was expected")
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    gradients = {f"gradients/{name}": torch.zeros_like(p) if p.grad is None else p.grad for name, p in module.named_parameters()}
    return {"logits": logits.detach(), "loss": loss.detach(), **gradients}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help="a safetensors file that `sisa checkpoint export` wrote, or RUN[@STEP]")
    parser.add_argument("--module", required=True, metavar="FILE.py:CLASS", help="what to compare with")
    parser.add_argument("--tolerance", type=float, default=1e-9, metavar="X", help="largest relative difference allowed [1e-9]")
    parser.add_argument("--sequences", type=int, default=2, metavar="N", help="how many [2]")
    parser.add_argument("--length", type=int, default=64, metavar="N", help="tokens of each [64]")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="decides the tokens [1]")
    parser.add_argument("--sisa", default=os.environ.get("SISA_BINARY", SISA), metavar="FILE", help="the program [%(default)s]")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="sisa-parity-") as folder:
        weights, ours, config = probe(arguments.sisa, arguments.model, pathlib.Path(folder), arguments)
    theirs = compute(make_module(arguments.module, config, weights), ours["tokens"].long(), ours["logits"].shape)

    differences = {}
    print(f"{'tensor':<44} {'shape':<18} {'difference':>10} {'relative':>10}")
    for name, right in theirs.items():
        difference, largest = (right - ours[name]).abs().max().item(), ours[name].abs().max().item()
        differences[name] = difference / largest if largest > 0 else difference
        print(f"{name:<44} {str(tuple(right.shape)):<18} {difference:10.1e} {differences[name]:10.1e}")
    # Written so that NaN counts as a difference.
    beyond = [name for name, difference in differences.items() if not difference <= arguments.tolerance]
    print(f"largest relative difference: {max(differences.values()):.1e}; "
          f"{len(beyond)} of {len(differences)} tensors are beyond {arguments.tolerance:.0e}")
    return 1 if beyond else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Exception:  # of the module, most likely
        traceback.print_exc()
        sys.exit(2)
