"""Checkpoints of a run: which are made, which stay, what grows from them, and what happens when the disk refuses."""
from harness import *

TWENTY = ("--set", "train.max_tokens=7680 tokens")


class Saving(ProgramTest):
    def steps(self, output):
        """Of the complete checkpoints: {step: it holds moments}."""
        done = run("checkpoint", "list", self.folder / output)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [line.split() for line in done.stdout.splitlines()]
        return {int(line[1].replace(",", "")): "weights" not in line for line in lines}

    @slow
    def test_weights_at_chosen_steps_stay(self):
        self.train("run", *SAVED_WHEN_DUE, "--set", "checkpoint.save_at=doubling", "--set", "checkpoint.keep_last=1")
        self.assertEqual(self.steps("run"), {1: False, 2: False, 4: False, 8: False, 16: False, 32: False, 50: True})
        listed = ("--set", "checkpoint.save_at=[3 steps, 5000 tokens, 20 steps]", "--set", "checkpoint.keep_last=1")
        self.train("listed", *TWENTY, *SAVED_WHEN_DUE, *listed)  # 5,000 tokens are passed in step 14; step 20 is the last
        self.assertEqual(self.steps("listed"), {3: False, 14: False, 20: True})
        self.assertEqual(self.losses("run")[:6], self.losses("listed")[:6])  # before the schedules part

    @slow
    def test_retention(self):
        # 50 steps of 384 tokens, a checkpoint every 5: steps 20 and 40 are the first after 7,500 and 15,000 tokens.
        self.train("run", *SAVED_WHEN_DUE, "--set", "checkpoint.every=5 steps", "--set", "evaluation.every=5 steps",
                   "--set", "checkpoint.keep_last=2", "--set", "checkpoint.keep_every=7500 tokens", "--set", "checkpoint.keep_best=true")
        losses = {r["step"]: r["loss"] for r in self.metrics("run") if r.get("event") == "evaluation"}
        best = min(losses, key=losses.get)
        self.assertEqual(sorted(self.steps("run")), sorted({20, 40, 45, 50, best}))

    @slow
    def test_what_a_save_costs_is_in_the_metrics(self):
        self.train("run", *TWENTY)
        saves = [r for r in self.metrics("run") if r.get("event") == "checkpoint"]
        self.assertEqual([r["step"] for r in saves][-1], 20)
        for record in saves:
            self.assertGreater(record["bytes"], 1000)
            self.assertGreater(record["mb_per_second"], 0)
            self.assertLessEqual(record["seconds_blocked"], record["seconds"] + 1)

    @slow
    def test_waiting_for_the_disk_changes_nothing_else(self):
        self.train("asynchronous", *TWENTY, ranks=2)
        self.train("waiting", *TWENTY, *SAVED_WHEN_DUE, ranks=2)
        self.assertEqual(self.losses("asynchronous"), self.losses("waiting"))
        self.assertEqual(self.steps("waiting"), {10: True, 20: True})

    def test_a_child_goes_on_where_its_parent_was(self):
        self.train("parent", *SAVED_WHEN_DUE)
        child = ("train", "--from", f"{self.folder}/parent@40", "--output", self.folder / "child")
        done = run(*child, "--stop-after", "5 steps")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(self.losses("child"), self.losses("parent")[40:45])
        self.assertEqual([r["step"] for r in self.metrics("child") if "event" not in r], list(range(41, 46)))
        done = run(*child)  # goes on with its own
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(self.losses("child"), self.losses("parent")[40:])

        other = run("train", "--from", f"{self.folder}/child@45", "--output", self.folder / "grandchild", "--set", "train.schedule=constant")
        self.assertEqual(other.returncode, 0, other.stdout + other.stderr)
        self.assertNotEqual(self.losses("grandchild"), self.losses("parent")[45:])
        lineage = [r for r in self.metrics("grandchild") if r.get("event") == "fork"][0]["lineage"]
        self.assertEqual([(pathlib.Path(a["run"]).name, a["step"]) for a in lineage], [("parent", 40), ("child", 45)])
        shown = run("checkpoint", "inspect", self.folder / "grandchild").stdout
        self.assertIn('"lineage":[{"run":', shown)
        self.assertIn('"step":45}]', shown)

    def test_a_chosen_step_stays_though_the_run_was_stopped_there(self):
        settings = (*TWENTY, *SAVED_WHEN_DUE, "--set", "checkpoint.save_at=[5 steps]", "--set", "checkpoint.keep_last=1")
        self.train("run", *settings, "--stop-after", "5 steps")
        self.train("run", *settings)
        self.assertEqual(sorted(p.name for p in (self.folder / "run" / "checkpoints").glob("step-*")), ["step-20", "step-5"])

    @slow
    def test_children_refused(self):
        self.train("parent", *TWENTY, *SAVED_WHEN_DUE, "--set", "checkpoint.save_at=[5 steps]")
        parent = self.folder / "parent"
        self.refused("train", "--from", parent, "--output", parent, says="Give the new run a folder of its own")
        self.refused("train", "--from", parent, says="run.output")
        self.refused("train", "--from", parent / "none", "--output", self.folder / "x", says="none")
        self.refused("train", "--from", f"{parent}@7", "--output", self.folder / "x", says="Choose one of these steps: 5, 10, 20")
        self.refused("train", "--from", f"{parent}@5", "--output", self.folder / "x", says="holds weights only")
        self.refused("train", "--from", parent, "--overlay", self.recipe, "--output", self.folder / "x", says="--overlay needs a RECIPE")
        self.refused("train", "--output", self.folder / "x", says="RECIPE is required")
        self.refused("train", "--from", parent, self.recipe, "--set", "model.d_ff=64", "--output", self.folder / "x", ranks=2,
                     says="is of another model")

    @slow
    def test_a_disk_that_refuses_does_not_stop_the_run(self):
        output = self.folder / "run"
        process = start("train", self.recipe, "--output", output, "--set", "train.max_tokens=153600 tokens", "--set", "log.every=1000")
        wait_for_step(output / "metrics.jsonl", 12)
        process.send_signal(signal.SIGSTOP)
        checkpoints, aside = output / "checkpoints", output / "aside"
        checkpoints.rename(aside)
        checkpoints.write_text("in the way")
        process.send_signal(signal.SIGCONT)
        wait_for_step(output / "metrics.jsonl", 100)
        checkpoints.unlink()
        aside.rename(checkpoints)
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 0, out + err)
        self.assertRegex(out, r"WARNING: The checkpoint of step \d+ was not saved\..*Training goes on\.")
        failed = [r for r in self.metrics("run") if r.get("event") == "checkpoint_failed"]
        self.assertGreater(len(failed), 2)
        self.assertIn(400, self.steps("run"))

    @slow
    def test_an_end_that_cannot_be_saved_is_a_failure(self):
        output = self.folder / "run"
        process = start("train", self.recipe, "--output", output, "--set", "train.max_tokens=153600 tokens", "--set", "log.every=1000")
        wait_for_step(output / "metrics.jsonl", 12)
        process.send_signal(signal.SIGSTOP)
        (output / "checkpoints").rename(output / "aside")
        (output / "checkpoints").write_text("in the way")
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertNotEqual(process.returncode, 0, out + err)
        self.assertRegex(err, r"The checkpoint of step \d+ was not saved\.")


if __name__ == "__main__":
    unittest.main()
