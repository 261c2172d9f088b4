"""A run that is resumed with another recipe: what goes on, what is said, and what is refused."""
import math
import re

from harness import *

TWENTY = ("--set", "train.max_tokens=7680 tokens")
TEN = (*TWENTY, "--stop-after", "10 steps")


@slow
class ResumeChanges(ProgramTest):
    def resumed(self, *arguments, output="run", ranks=None, expect=0):
        return self.train(output, *TWENTY, *arguments, ranks=ranks, expect=expect)

    def steps(self, output="run"):
        return [r for r in self.metrics(output) if "event" not in r]

    def changes(self, output="run"):
        """Of the last process that reported any: {key: (was, now)}."""
        events = [r for r in self.metrics(output) if r.get("event") == "recipe_changed"]
        return {c["key"]: (c["was"], c["now"]) for c in events[-1]["changes"]} if events else None

    def test_the_same_recipe_says_nothing(self):
        self.train("run", *TEN)
        done = self.resumed()
        self.assertNotIn("differs", done.stdout)
        self.assertIsNone(self.changes())

    def test_what_is_free_says_nothing(self):
        self.train("run", *TEN)
        done = self.resumed("--set", "train.micro_batch=3", "--set", "checkpoint.every=7 steps", "--set", "evaluation.every=0",
                            "--set", "log.every=2", "--set", "optimizer.sharded=false")
        self.assertNotIn("differs", done.stdout)
        self.assertIsNone(self.changes())

    def test_what_changes_training_is_shown(self):
        self.train("run", *TWENTY)
        done = self.train("run", "--set", "train.max_tokens=11520 tokens", "--set", "run.seed=2", "--set", "optimizer.learning_rate=6e-3",
                          "--set", "data.sequence_length=64", ranks=2)
        lines = [line for line in done.stdout.splitlines() if "differs from the checkpoint's" in line]
        self.assertEqual(len(lines), 1, done.stdout)
        for text in ("run.seed was 7 and is now 2", "data.sequence_length was 32 tokens and is now 64 tokens",
                     "train.max_tokens was 7680 tokens and is now 11520 tokens", "optimizer.learning_rate was 0.005 and is now 0.006"):
            self.assertIn(text, lines[0])
        self.assertEqual(self.changes()["run.seed"], ("7", "2"))
        self.assertEqual(self.steps()[-1]["tokens"], 11520)
        self.assertEqual(self.steps()[-1]["step"], 30)

    def test_another_batch_is_refused_and_loses_nothing(self):
        self.train("run", *TEN)
        before = self.metrics("run")
        for ranks in (None, 2):
            self.refused("train", self.recipe, "--output", self.folder / "run", *TWENTY, "--set", "train.batch=768 tokens", ranks=ranks,
                         says=["train.batch was 384 tokens and is now 768 tokens", "--from .*/run@10 ", "--allow-change train.batch"])
        self.assertEqual(before, [r for r in self.metrics("run") if r.get("event") != "recipe_changed"])
        self.resumed()
        self.assertEqual(self.steps()[-1]["step"], 20)

    def test_a_batch_that_is_allowed_to_change_goes_on_by_tokens(self):
        for batch, steps in ((768, 5), (192, 20)):
            output = f"run-{batch}"
            self.train(output, *TEN)
            first = self.steps(output)
            done = self.resumed("--set", f"train.batch={batch} tokens", "--allow-change", "train.batch", output=output)
            self.assertIn(f"train.batch was 384 tokens and is now {batch} tokens", done.stdout)
            self.assertIn(f"The run is complete at step {10 + steps} of {10 + steps}", done.stdout)
            rest = self.steps(output)[10:]
            self.assertEqual(self.steps(output)[:10], first)
            self.assertEqual([r["step"] for r in rest], list(range(11, 11 + steps)))
            self.assertEqual([r["tokens"] for r in rest], [3840 + batch * (i + 1) for i in range(steps)])
            self.assertEqual([r["samples"] for r in rest], [r["tokens"] // 32 for r in rest])
            # The schedule is where these tokens are in it: a cosine from its warm-up of 5 steps to the end.
            total, peak = 7680 / batch, 5e-3
            for record in rest:
                place = (record["tokens"] - batch) / batch
                share = (place - 5) / (total - 5)
                expected = peak * (place / 5 if place < 5 else 0.5 * (1 + math.cos(math.pi * share)))
                self.assertAlmostEqual(record["lr"], expected, delta=1e-9, msg=str(record))
            again = self.resumed("--set", f"train.batch={batch} tokens", output=output)  # the newest checkpoint knows the new batch
            self.assertIn("is complete", again.stdout)

    def test_a_child_may_have_another_batch(self):
        self.train("parent", *TEN)
        done = run("train", self.recipe, *TWENTY, "--from", self.folder / "parent", "--output", self.folder / "child",
                   "--set", "train.batch=768 tokens")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("train.batch was 384 tokens and is now 768 tokens", done.stdout)
        self.assertEqual([r["tokens"] for r in self.steps("child")], [3840 + 768 * i for i in range(1, 6)])
        self.assertEqual(self.changes("child")["train.batch"], ("384 tokens", "768 tokens"))

    def test_a_network_of_the_same_shape_is_refused(self):
        self.train("run", *TEN)
        self.refused("train", self.recipe, "--output", self.folder / "run", *TWENTY, "--set", "model.rope_base=500",
                     says="model.rope_base was 10000 and is now 500")
        self.resumed("--set", "model.rope_base=500", "--allow-change", "model.rope_base")

    def test_a_key_to_allow_must_exist(self):
        self.refused("train", self.recipe, "--output", self.folder / "run", "--allow-change", "train.bacth", says="did you mean 'batch'")
        self.refused("train", self.recipe, "--output", self.folder / "run", "--allow-change", "batch", says="write section.key")

    def test_a_moved_run_goes_on_where_it_is(self):
        for ranks in (None, 2):
            old, new = self.folder / f"old-{ranks}", self.folder / f"new-{ranks}"
            self.train(old, *TEN)
            old.rename(new)
            done = run("train", new / "recipe.yaml", ranks=ranks)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual(len(re.findall(rf"this run was moved here from .*old-{ranks}", done.stdout)), 1)
            self.assertIn(f"Resuming from {new}/checkpoints/step-10", done.stdout)
            self.assertFalse(old.exists())
            self.assertEqual(self.steps(new)[-1]["step"], 20)
            again = run("train", new / "recipe.yaml")  # which names its new place now
            self.assertNotIn("moved", again.stdout)
            self.assertIn("is complete", again.stdout)

    def test_a_copied_run_asks_which_one(self):
        self.train("run", *TEN)
        shutil.copytree(self.folder / "run", self.folder / "copy")
        before = self.metrics("run")
        for ranks in (None, 2):
            self.refused("train", self.folder / "copy" / "recipe.yaml", ranks=ranks, says=["copy/recipe.yaml lies beside", "which of the two"])
        self.assertEqual(self.metrics("run"), before)
        done = run("train", self.folder / "copy" / "recipe.yaml", "--output", self.folder / "copy")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(self.metrics("run"), before)

    def test_a_runs_recipe_may_begin_another_run(self):
        self.train("run", *TEN)
        done = run("train", self.folder / "run" / "recipe.yaml", "--set", f"run.output={self.folder}/other", "--stop-after", "2 steps")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual([r["step"] for r in self.steps("other")], [1, 2])


if __name__ == "__main__":
    unittest.main()
