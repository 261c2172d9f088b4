#!/usr/bin/env python3
"""Our tokenizer and the Python package `tokenizers` in turn, on the same documents in memory.

    benchmarks/tokenizer.py --tokenizer tokenizer.json TEXT.jsonl[.zst] …

Prints for each number of threads the median speed of both, and the ratio. The package's faster method is taken
(encode_batch_fast, which leaves offsets out). Both must make the same number of tokens.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]


def documents(file, size):
    """Texts of the first documents of a file of JSON lines, until they have `size` bytes."""
    unpack = {".zst": ["zstd", "-dc"], ".gz": ["gzip", "-dc"]}.get(pathlib.Path(file).suffix, ["cat"])
    with subprocess.Popen([*unpack, file], stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            if size <= 0:
                break
            yield (text := json.loads(line)["text"])
            size -= len(text.encode())
        process.kill()


def package(arguments):
    """Prints bytes, tokens and seconds for each run, as tokenizer_speed does."""
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(arguments.tokenizer)
    texts = [t for file in arguments.files for t in documents(file, arguments.megabytes * 1_000_000 // len(arguments.files))]
    size = sum(len(t.encode()) for t in texts)
    for _ in range(arguments.runs):
        start = time.perf_counter()
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        print(size, sum(map(len, encodings)), time.perf_counter() - start, flush=True)


def measured(command, threads):
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr.strip() or f"{command[0]} failed.")
    runs = [line.split() for line in done.stdout.splitlines()]
    speed = statistics.median(int(size) / float(seconds) for size, _, seconds in runs) / 1e6
    return int(runs[0][0]), int(runs[0][1]), speed


def first_line(*command):
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.split("\n")[0]
    except FileNotFoundError:
        return ""


def processor():
    names = [line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokenizer", required=True, help="tokenizer.json")
    parser.add_argument("--program", default=ROOT / "build/release/tokenizer_speed", help="our side")
    parser.add_argument("--megabytes", type=int, default=50, help="of text, in equal parts from the files [50]")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, len(os.sched_getaffinity(0))}), help="[1 and all]")
    parser.add_argument("--runs", type=int, default=3, help="[3]")
    parser.add_argument("--package", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("files", nargs="+", metavar="FILE", help=".jsonl, .jsonl.zst or .jsonl.gz")
    arguments = parser.parse_args()
    if arguments.package:
        return package(arguments)

    if not pathlib.Path(arguments.program).exists():
        sys.exit(f"There is no {arguments.program}. Build it (scripts/test.sh does) or name it with --program.")
    import tokenizers
    print(f"{processor()}, {len(os.sched_getaffinity(0))} cores; commit {first_line('git', 'describe', '--always', '--dirty')}, "
          f"tokenizers {tokenizers.__version__}, Python {platform.python_version()}")
    print(f"{'threads':>7}  {'sisa MB/s':>10}  {'tokenizers MB/s':>15}  {'ratio':>6}")
    for threads in arguments.threads:
        numbers = [str(n) for n in (arguments.megabytes, threads, arguments.runs)]
        ours = measured([str(arguments.program), arguments.tokenizer, *numbers, *arguments.files], threads)
        theirs = measured([sys.executable, __file__, "--package", "--tokenizer", arguments.tokenizer, "--megabytes", numbers[0],
                           "--runs", numbers[2], *arguments.files], threads)
        if ours[:2] != theirs[:2]:
            sys.exit(f"sisa made {ours[1]} tokens of {ours[0]} bytes, tokenizers {theirs[1]} of {theirs[0]}: one of them is wrong.")
        print(f"{threads:7}  {ours[2]:10.1f}  {theirs[2]:15.2f}  {ours[2] / theirs[2]:6.1f}", flush=True)
    print(f"{ours[0] / 1e6:.1f} MB, {ours[1]:,} tokens, {arguments.runs} runs each, medians")


if __name__ == "__main__":
    main()
