"""Judges what scripts/gpu_check.sh measured, from the metrics.jsonl files that it left in a folder of logs.

    gpu_results.py strict LOGS           strict-1, strict-2 and fast: do two strict runs have the same bits, and what does that cost
    gpu_results.py curves LOGS           curve-SEED-FUSED for seeds 1 and 2: losses with our kernels and with LibTorch's operations
    gpu_results.py scaling LOGS GPU ...  scaling-alone-GPU for each GPU and scaling-together: speed and losses

Prints what it found. The exit status is 1 if a run does not do what it must.
"""
import argparse
import json
import math
import pathlib
import statistics
import sys

SEEDS = (1, 2)
FUSED = ("true", "false")
WINDOW = 50  # steps whose losses are averaged in `curves`
WARM_UP_STRICT, WARM_UP_SCALING = 2, 3  # first steps, whose speed does not count
MAX_LOSS_DIFFERENCE = 0.01  # `scaling`: relative. `curves`: in nats, unless two seeds differ by more


def read_steps(logs, name):
    """The records of a run's steps, in order; those of events are left out."""
    lines = (logs / f"{name}.metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if "event" not in record]


def judge_strict(logs):
    runs = {name: read_steps(logs, name) for name in ("strict-1", "strict-2", "fast")}
    bits = {name: [(step["loss"], step["grad_norm"]) for step in steps] for name, steps in runs.items()}

    def upper_median_speed(name):
        speeds = sorted(step["tokens_per_second"] for step in runs[name][WARM_UP_STRICT:])
        return speeds[len(speeds) // 2]

    same = bits["strict-1"] == bits["strict-2"]
    print("losses and gradient norms of two strict runs:", "the same bits" if same else "DIFFERENT")
    print("a strict and a fast run:", "the same bits" if bits["strict-1"] == bits["fast"] else "different bits")
    print(f"sisa-d16 152M, micro-batch 32: strict {upper_median_speed('strict-1'):.0f} tok/s, fast {upper_median_speed('fast'):.0f}")
    return same


def judge_curves(logs):
    curves = {(seed, fused): [step["loss"] for step in read_steps(logs, f"curve-{seed}-{fused}")] for seed in SEEDS for fused in FUSED}
    for (seed, fused), losses in curves.items():
        means = (f"{statistics.mean(losses[i:i + WINDOW]):.4f}" for i in range(0, len(losses), WINDOW))
        print(f"seed {seed} fused {fused:5}: {len(losses)} steps, means of {WINDOW}:", *means)
    numbers = [len(losses) for losses in curves.values()]
    even = min(numbers) == max(numbers)
    if not even:
        print(f"The runs have different numbers of steps: {', '.join(map(str, numbers))}.")
    last = {key: statistics.mean(losses[-WINDOW:]) for key, losses in curves.items()}
    between = abs(last[1, "false"] - last[2, "false"])
    within = [abs(last[seed, "true"] - last[seed, "false"]) for seed in SEEDS]
    print(f"last {WINDOW} steps: fused against plain {within[0]:.4f} and {within[1]:.4f}, seed against seed {between:.4f}")
    return even and max(within) <= max(MAX_LOSS_DIFFERENCE, between)


def loss_difference(a, b):
    """Of two steps, relative to the first. A loss that is no finite number is null in metrics.jsonl: infinitely far."""
    return abs(a["loss"] - b["loss"]) / a["loss"] if a["loss"] and b["loss"] else math.inf


def judge_scaling(logs, gpus):
    alone = [read_steps(logs, f"scaling-alone-{gpu}") for gpu in gpus]
    together = read_steps(logs, "scaling-together")

    def speed(steps):
        return statistics.harmonic_mean(step["tokens_per_second"] for step in steps[WARM_UP_SCALING:])

    numbers = [len(steps) for steps in alone]
    even = all(number == len(together) for number in numbers)
    if not even:
        print(f"The runs have different numbers of steps: alone {', '.join(map(str, numbers))}, together {len(together)}.")
    speeds = [speed(steps) for steps in alone]
    pairs = [(loss_difference(a, b), gpu, a, b) for gpu, steps in zip(gpus, alone) for a, b in zip(steps, together)]
    apart, gpu, a, b = max(pairs, key=lambda pair: pair[0])
    print(f"152m/sisa-d16, {len(together) - WARM_UP_SCALING} steps: {len(gpus)} GPUs {speed(together) / 1e3:.1f}K tok/s; alone",
          " and ".join(f"{s / 1e3:.1f}K" for s in speeds) + f": {100 * speed(together) / sum(speeds):.2f} % of their sum,",
          f"{100 * speed(together) / len(gpus) / min(speeds):.2f} % of {len(gpus)} times the slowest; losses at most {apart:.1e} apart")
    if apart > MAX_LOSS_DIFFERENCE:
        print(f"Losses are more than 1 % apart: at step {a['step']}, GPU {gpu} alone has {a['loss']}, all GPUs together have {b['loss']}.")
    return even and apart <= MAX_LOSS_DIFFERENCE


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for part in ("strict", "curves", "scaling"):
        of_part = parts.add_parser(part)
        of_part.add_argument("logs", type=pathlib.Path)
        if part == "scaling":
            of_part.add_argument("gpus", nargs="+", metavar="GPU")
    options = parser.parse_args(arguments)
    if options.part == "strict":
        return judge_strict(options.logs)
    if options.part == "curves":
        return judge_curves(options.logs)
    return judge_scaling(options.logs, options.gpus)


if __name__ == "__main__":
    sys.exit(not main(sys.argv[1:]))
