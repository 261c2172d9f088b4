"""One rank or several, sharded or replicated: the same training."""
import re

from harness import *


class Ranks(ProgramTest):
    steps = 20
    sharded, replicated, uneven = (3,), (2,), (3,)  # numbers of ranks that are tried

    def assert_same_curve(self, output, reference):
        losses = self.losses(output)
        self.assertEqual(len(losses), len(reference))
        for step, (a, b) in enumerate(zip(losses, reference), 1):
            self.assertLess(abs(a - b), 1e-5 * abs(b), f"{output}, step {step}: {a} and {b}")

    def test_losses_agree(self):
        length = ("--set", f"train.max_tokens={self.steps * 384} tokens")
        self.train("alone", *length)
        reference = self.losses("alone")
        self.assertEqual(len(reference), self.steps)
        self.assertLess(reference[-1], reference[0] - 1.5)  # it learns, so that agreement says something
        for ranks in self.sharded:
            self.train(f"sharded-{ranks}", *length, ranks=ranks)
            self.assert_same_curve(f"sharded-{ranks}", reference)
        for ranks in self.replicated:
            self.train(f"replicated-{ranks}", *length, "--set", "optimizer.sharded=false", ranks=ranks)
            self.assert_same_curve(f"replicated-{ranks}", reference)

    def test_a_batch_that_does_not_divide_evenly(self):
        ten_samples = ("--set", "train.batch=320 tokens", "--set", "train.max_tokens=3200 tokens")
        self.train("alone", *ten_samples)
        for ranks in self.uneven:
            self.train(f"ranks-{ranks}", *ten_samples, ranks=ranks)
            self.assert_same_curve(f"ranks-{ranks}", self.losses("alone"))

    @slow
    def test_the_micro_batch_does_not_matter(self):
        short = ("--set", "train.max_tokens=3840 tokens")
        self.train("five", *short)
        self.train("twelve", *short, "--set", "train.micro_batch=12")
        self.assert_same_curve("twelve", self.losses("five"))


@slow
class RanksFurther(Ranks):
    steps = 50
    sharded, replicated, uneven = (1, 2, 4), (3,), (4,)


class Agreement(ProgramTest):
    """Ranks that were started differently: one sentence names who differs and in what, and nothing hangs."""

    def started_apart(self, first, second, says, ranks=2, status=2):
        """Rank 0 runs sisa with the arguments `first`, the others with `second`."""
        done = subprocess.run(["mpirun", "-n", "1", *command(*first), ":", "-n", str(ranks - 1), *command(*second)],
                              capture_output=True, text=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        for pattern in says if isinstance(says, (list, tuple)) else [says]:
            self.assertEqual(len(re.findall(pattern, done.stderr)), 1, f"{pattern!r} should stand once in:\n{done.stderr}")
        return done

    def recipes_apart(self, *settings, says):
        """The ranks read different files under the same name, as hosts with copies of their own would."""
        other = self.folder / "other.yaml"
        text = self.recipe.read_text()
        for old, new in settings:
            self.assertIn(old, text)
            text = text.replace(old, new)
        other.write_text(text)
        output = self.folder / "out"
        self.started_apart(["train", self.recipe, "--output", output], ["train", other, "--output", output], says=says)
        self.assertFalse(output.exists())

    def test_settings(self):
        train = ["train", self.recipe, "--output", self.folder / "out"]
        self.started_apart(train, [*train, "--set", "train.micro_batch=3"], ranks=3,
                           says=["train.micro_batch is 3 on rank 1 and 5 on rank 0", "So does rank 2"])

    def test_recipes(self):
        self.recipes_apart(("seed: 7", "seed: 8"), ("5e-3", "6e-3"),
                           says=[r"Rank 1 \(.*\) differs from rank 0 \(.*\): run.seed is 8 on rank 1 and 7 on rank 0; "
                                 r"optimizer.learning_rate is 0.006 on rank 1 and 0.005 on rank 0; .*one recipe"])

    @slow
    def test_a_recipe_that_used_to_hang(self):
        self.recipes_apart(("19200 tokens", "3840 tokens"), says="train.max_tokens is 3840 tokens on rank 1 and 19200 tokens on rank 0")

    @slow
    def test_a_recipe_that_used_to_fail_in_mpi(self):
        self.recipes_apart(("every: 25 steps", "every: 20 steps"), says="evaluation.every is 20 steps on rank 1 and 25 steps on rank 0")

    def test_a_recipe_that_only_one_rank_can_read(self):
        self.recipes_apart(("seed: 7", "sead: 7"), says=r"Rank 1 \(.*\): .*section 'run' has no key 'sead'")

    @slow
    def test_options(self):
        train = ["train", self.recipe, "--output", self.folder / "out"]
        self.started_apart([*train, "--stop-after", "3 steps"], train, says="--stop-after is not given on rank 1 and 3 steps on rank 0")
        self.started_apart(train, [*train[:-1], self.folder / "elsewhere"], says="--output is .*elsewhere on rank 1 and .*out on rank 0")
        self.started_apart(train, [*train, "--resume", "never"], says="--resume is never on rank 1 and auto on rank 0")

    @slow
    def test_commands(self):
        self.train("run", "--stop-after", "2 steps")
        run_folder = self.folder / "run"
        self.started_apart(["train", self.recipe, "--output", run_folder], ["evaluate", run_folder],
                           says="the command is not given on rank 1 and train on rank 0")
        self.started_apart(["evaluate", run_folder], ["evaluate", run_folder, "--monitors"],
                           says="the command line is `sisa evaluate .*run --monitors` on rank 1 and `sisa evaluate .*run` on rank 0")
        self.started_apart(["evaluate", run_folder], ["evalute", run_folder], says="the command line is `sisa evalute .*` on rank 1")
        self.started_apart(["trian"], ["train", self.recipe], says="the command is train on rank 1 and not given on rank 0")

    @slow
    def test_data(self):
        copies = [self.folder / name for name in ("a", "b")]
        for copy, seed in zip(copies, (1, 2)):
            copy.mkdir()
            source = copy / "text.jsonl"
            source.write_text("".join(json.dumps({"text": t}) + "\n" for t in text(seed=seed)))
            done = run("data", "prepare", source, "--tokenizer", "bytes", "--output", copy / "data", "--validation", "0.1")
            self.assertEqual(done.returncode, 0, done.stderr)
        train = command("train", self.recipe, "--output", self.folder / "out", "--set", "data.sources=[{path: data}]")
        done = subprocess.run(["mpirun", "-n", "1", "-wdir", copies[0], *train, ":", "-n", "1", "-wdir", copies[1], *train],
                              capture_output=True, text=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertRegex(done.stderr, "Rank 1 .* differs from rank 0 .*the fingerprint of data, training tokens, is [0-9a-f]{16} on rank 1 and "
                                      "[0-9a-f]{16} on rank 0; .*held-out tokens.*same data")

    @slow
    def test_folders_that_are_not_shared(self):
        for name in ("a", "b"):
            (self.folder / name).mkdir()
        train = command("train", self.recipe, "--output", "run")
        apart = ["mpirun", "-n", "1", "-wdir", self.folder / "a", *train, ":", "-n", "1", "-wdir", self.folder / "b", *train]
        done = subprocess.run(apart, capture_output=True, text=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertRegex(done.stderr, r"Rank 1 \(.*\): run/checkpoints, which rank 0 \(.*\) has made, is not there")
        (self.folder / "b" / "run" / "checkpoints").mkdir(parents=True)
        done = subprocess.run(apart, capture_output=True, text=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertRegex(done.stderr, r"Rank 1 \(.*\): run/checkpoints is not the folder of this name that rank 0 \(.*\) writes to")
        for name in ("a", "b"):
            self.assertEqual(list((self.folder / name / "run" / "checkpoints").iterdir()), [])


if __name__ == "__main__":
    unittest.main()
