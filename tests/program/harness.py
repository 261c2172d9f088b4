"""What the tests of the whole program share: how to start it, a text to train on, a small recipe.

They start the real binary, alone or under mpirun, as a user does. CTest sets SISA_BINARY.
"""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

BINARY = os.environ["SISA_BINARY"]
TIMEOUT = 120  # seconds; a program that takes longer hangs

RECIPE = """
run: {seed: 7, threads: 1}
model: {system: sisa, vocab_size: 257, d_model: 32, num_layers: 2, num_heads: 2, d_ff: 48, d_state: 8}
data:
  tokenizer: bytes
  sources: [{path: DATA}]
  sequence_length: 32
train: {max_tokens: 19200 tokens, batch: 384 tokens, micro_batch: 5, warmup: 5 steps}
optimizer: {learning_rate: 5e-3}
checkpoint: {every: 10 steps, keep_last: 3}
evaluation: {every: 25 steps}
"""
# A save that falls due while another runs waits for it, a step or more if the disk is slow. For tests that name steps in between.
SAVED_WHEN_DUE = ("--set", "checkpoint.asynchronous=false")


def text(num_documents=300, seed=1):
    """English-like lines from a small vocabulary: learnable in a few steps."""
    draw = random.Random(seed)
    words = "the of and to in a is that it was for on are as with his they be at one have this from or had by".split()
    return ["".join(draw.choice(words) + draw.choice([" ", " ", " ", ", "]) for _ in range(draw.randint(20, 60))).strip() + "."
            for _ in range(num_documents)]


class ProgramTest(unittest.TestCase):
    """A test with a folder of its own; `self.data` is a prepared dataset, `self.recipe` a recipe that trains on it for 50 steps."""

    @classmethod
    def setUpClass(cls):
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="sisa-test-"))
        source = cls.shared / "text.jsonl"
        source.write_text("".join(json.dumps({"text": t}) + "\n" for t in text()))
        cls.data = cls.shared / "data"
        done = run("data", "prepare", source, "--tokenizer", "bytes", "--output", cls.data, "--validation", "0.1")
        assert done.returncode == 0, done.stdout + done.stderr
        cls.recipe = cls.shared / "recipe.yaml"
        cls.recipe.write_text(RECIPE.replace("DATA", str(cls.data)))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.shared, ignore_errors=True)

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=self.shared))

    def train(self, output, *arguments, ranks=None, recipe=None, expect=0):
        """Runs `sisa train`; returns the finished process, whose exit status must be `expect`."""
        done = run("train", recipe or self.recipe, "--output", self.folder / output, *arguments, ranks=ranks)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done

    def metrics(self, output):
        return [json.loads(line) for line in (self.folder / output / "metrics.jsonl").read_text().splitlines()]

    def losses(self, output):
        return [r["loss"] for r in self.metrics(output) if "event" not in r]

    def refused(self, *arguments, says, ranks=None, status=2):
        """The program must end with `status`, once and only once saying something that matches every pattern of `says`."""
        done = run(*arguments, ranks=ranks)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        for pattern in says if isinstance(says, (list, tuple)) else [says]:
            found = re.findall(pattern, done.stderr)
            self.assertEqual(len(found), 1, f"{pattern!r} should stand once in:\n{done.stderr}")
        for noise in ("terminate called", "C10_THROW", "Exception raised from", "frame #"):
            self.assertNotIn(noise, done.stderr)
        return done


def slow(case):
    """Marks a case, or a class of them, that only `scripts/test.sh --slow` runs (tests/run_cases.py)."""
    case.is_slow = True
    return case


def command(*arguments, ranks=None):
    start = [BINARY, *map(str, arguments)]
    return start if ranks is None else ["mpirun", "-n", str(ranks), *start]


def run(*arguments, ranks=None, timeout=TIMEOUT, **options):
    return subprocess.run(command(*arguments, ranks=ranks), capture_output=True, text=True, timeout=timeout,
                          errors="replace", **options)  # a young model's bytes need not be UTF-8


def start(*arguments, ranks=None):
    """A running process in a process group of its own, for tests that send signals."""
    # Once told to end, mpirun takes this many seconds, whether its ranks end at once or not.
    environment = {**os.environ, "OMPI_MCA_odls_base_sigkill_timeout": "3"}
    return subprocess.Popen(command(*arguments, ranks=ranks), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True, env=environment)


def preloadable(folder):
    """The library made of faults.c, in a folder without a space in its path, which LD_PRELOAD would take for the end of a name."""
    return shutil.copy(os.environ["SISA_FAULTS"], folder)


def wait_for_step(metrics, step):
    """Waits until the metrics file shows that `step` is done."""
    limit = time.time() + TIMEOUT
    while time.time() < limit:
        if metrics.exists() and any(json.loads(line).get("step", 0) >= step
                                    for line in metrics.read_text().splitlines() if line.endswith("}")):
            return
        time.sleep(0.02)
    raise TimeoutError(f"step {step} never came")


__all__ = ["BINARY", "ProgramTest", "run", "start", "command", "preloadable", "slow", "wait_for_step", "text", "json", "os", "pathlib", "shutil", "signal",
           "subprocess", "tempfile", "unittest", "RECIPE", "SAVED_WHEN_DUE", "TIMEOUT"]
