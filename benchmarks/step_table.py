#!/usr/bin/env python3
"""Collects what benchmarks/step.sh measures in results.jsonl, and prints it as a table."""
import argparse
import json
import pathlib
import statistics

# Tokens a second of torch_peer.py's model where the project's goals were set, on an H100 SXM, over two steps. Compared with them
# is its fastest trial step: it tries each micro-batch for two, after one that compiles. A host further than 3 % away is not comparable.
REFERENCE = {"152m/transformer": 415e3, "152m/sisa-d16": 343e3, "50m/sisa-d64": 823e3, "369m/transformer": 175e3, "369m/sisa-d128": 95e3}


def lines(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines() if line.startswith("{")]


def sisa_result(metrics, warm):
    steps = [line for line in lines(metrics) if "event" not in line][warm:]
    speeds = [line["tokens_per_second"] for line in steps]
    result = {"tokens_per_second": statistics.harmonic_mean(speeds), "slowest": min(speeds), "fastest": max(speeds), "steps": len(steps),
              "first_loss": steps[0]["loss"], "last_loss": steps[-1]["loss"]}
    return result | {key: statistics.mean(line[key] for line in steps) for key in ("mfu", "mfu_exact") if key in steps[0]}


def clocks(output, recipe, who):
    """Medians over the busy part: SM clock in MHz, watts, degrees Celsius."""
    path = pathlib.Path(output) / f"{recipe.replace('/', '-')}.{who}.clocks.csv"
    rows = [[float(x) for x in line.split(",")] for line in path.read_text().splitlines() if line.count(",") == 2 and "N/A" not in line]
    busy = [row for row in rows if row[1] > 0.6 * max(r[1] for r in rows)]
    return dict(zip(("sm_mhz", "watts", "celsius"), map(statistics.median, zip(*busy)))) if busy else {}


def add(arguments):
    result = {"recipe": arguments.recipe, "who": arguments.who}
    if arguments.who == "sisa":
        result |= sisa_result(getattr(arguments, "from"), arguments.warm) | {"micro_batch": arguments.micro_batch}
    else:
        result |= lines(getattr(arguments, "from"))[-1]
    result |= clocks(arguments.add, arguments.recipe, arguments.who)
    with open(pathlib.Path(arguments.add) / "results.jsonl", "a") as file:
        file.write(json.dumps(result) + "\n")


def show(output):
    results = {}
    for line in lines(pathlib.Path(output) / "results.jsonl"):
        results.setdefault(line["recipe"], {})[line["who"]] = line
    kilo = lambda x: f"{x['tokens_per_second'] / 1e3:.1f}K ({x['steps']} steps)" if x else "none"
    print("| recipe | sisa | PyTorch | ratio | MFU, exact | SM clock | PyTorch's best trial step (two a micro-batch) against the reference |")
    print("|---|---|---|---|---|---|---|")
    for recipe, both in results.items():
        ours, peer = both.get("sisa"), both.get("torch")
        cells = [recipe, kilo(ours), kilo(peer)]
        cells.append(f"{ours['tokens_per_second'] / peer['tokens_per_second']:.3f}" if ours and peer else "")
        cells.append(f"{100 * ours['mfu']:.1f} %, {100 * ours['mfu_exact']:.1f} %" if ours and "mfu" in ours else "")
        cells.append(" and ".join(f"{x['sm_mhz']:.0f}" for x in (ours, peer) if x and "sm_mhz" in x))
        if peer and recipe in REFERENCE:
            away = max(peer["tried"].values()) / REFERENCE[recipe] - 1
            cells.append(f"{100 * away:+.1f} %: " + ("comparable" if abs(away) <= 0.03 else "NOT comparable"))
        else:
            cells.append("")
        print("| " + " | ".join(cells) + " |")
    speed = {recipe: both["sisa"]["tokens_per_second"] for recipe, both in results.items() if "sisa" in both}
    if "152m/transformer" in speed and "152m/sisa-d16" in speed:
        print(f"\nsisa d_state 16 / transformer at 152M: {speed['152m/sisa-d16'] / speed['152m/transformer']:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--add", metavar="FOLDER")
    parser.add_argument("--show", metavar="FOLDER")
    parser.add_argument("--recipe")
    parser.add_argument("--who", choices=("sisa", "torch"))
    parser.add_argument("--from", help="sisa: metrics.jsonl; torch: what torch_peer.py printed")
    parser.add_argument("--warm", type=int, default=3, help="first steps to leave out")
    parser.add_argument("--micro-batch", type=int)
    arguments = parser.parse_args()
    if arguments.add:
        add(arguments)
    if arguments.show:
        show(arguments.show)


if __name__ == "__main__":
    main()
