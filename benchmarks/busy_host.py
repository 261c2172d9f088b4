#!/usr/bin/env python3
"""How much of its fair share a CPU run gets while ranks and threads outnumber the cores and other programs compute.

    benchmarks/busy_host.py --binary build/release/sisa [--ranks 1 2 4] [--threads 1 2] [--others 0 1 2] [--steps 40]

Each line trains the quickstart recipe's model for so many steps and prints tokens per second (without the first
three steps) beside the fair share: what the best run of this host alone makes, times our threads / (our threads + other programs) where
together they outnumber the cores. The others are processes that count without end. Settings of OpenMP and Open MPI in the
environment are passed on, so that one can compare. Start it on a host where nothing else runs.
"""
import argparse
import contextlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]


def write_text(path):
    draw = random.Random(1)
    words = "the of and to in a is that it was for on are as with his they be at one have this from or had by".split()
    path.write_text("\n".join(" ".join(draw.choice(words) for _ in range(5000)) for _ in range(20)))


@contextlib.contextmanager
def others(count):
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def tokens_per_second(binary, folder, ranks, threads, steps):
    output = folder / "run"
    subprocess.run(["rm", "-rf", output], check=True)
    train = [binary, "train", ROOT / "recipes" / "quickstart.yaml", "--output", output]
    for setting in (f"data.sources=[{{path: {folder / 'text.txt'}}}]", f"run.threads={threads}", "log.every=1000000", "evaluation.every=0",
                    "checkpoint.every=0", "train.warmup=1 steps", f"train.max_tokens={steps * 4096} tokens", f"train.micro_batch={8 // min(ranks, 8)}"):
        train += ["--set", setting]
    start = [] if ranks == 1 else ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)]
    done = subprocess.run([*start, *train], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    seconds = [4096 / r["tokens_per_second"] for r in records if "event" not in r and r["step"] > 3]
    return 4096 * len(seconds) / sum(seconds)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--binary", type=pathlib.Path, default=ROOT / "build" / "release" / "sisa")
    options.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    options.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options.add_argument("--others", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--steps", type=int, default=40)
    given = options.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="sisa-busy-") as name:
        folder = pathlib.Path(name)
        write_text(folder / "text.txt")
        found = {}
        for busy in given.others:
            for ranks in given.ranks:
                for threads in given.threads:
                    with others(busy):
                        found[busy, ranks, threads] = tokens_per_second(given.binary, folder, ranks, threads, given.steps)
                    best = max(found.values())
                    ours = ranks * threads
                    fair = best * min(1, ours / cores, ours / (ours + busy))
                    print(f"{cores} cores, {ranks} ranks x {threads} threads, {busy} others: {found[busy, ranks, threads]:8.0f} tok/s, "
                          f"{found[busy, ranks, threads] / fair:5.2f} of its fair share", flush=True)


if __name__ == "__main__":
    main()
