"""What the exit status says: lost output, training that no longer trains, options without a value, a look that leaves nothing."""
import struct

from harness import *

TWENTY = ("--set", "train.max_tokens=7680 tokens")


class LostOutput(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.trained = cls.shared / "trained"
        done = run("train", cls.recipe, *TWENTY, "--output", cls.trained)
        assert done.returncode == 0, done.stdout + done.stderr

    def commands(self):
        """Of every command that prints something, one call that succeeds."""
        source = self.folder / "text.jsonl"
        source.write_text(json.dumps({"text": "the of and"}) + "\n" * 2)
        exported = self.folder / "weights.safetensors"
        yield "--version",
        yield "--help",
        yield "plan", self.recipe
        yield "doctor",
        yield "data", "prepare", source, "--tokenizer", "bytes", "--output", self.folder / "prepared", "--validation", "0"
        yield "data", "inspect", self.data
        yield "checkpoint", "list", self.trained
        yield "checkpoint", "verify", self.trained
        yield "checkpoint", "inspect", self.trained
        yield "checkpoint", "prune", self.trained, "--dry-run"
        yield "checkpoint", "diff", self.trained, self.trained
        yield "checkpoint", "export", self.trained, "--output", exported
        yield "checkpoint", "import", exported, "--output", self.folder / "imported"
        yield "checkpoint", "probe", self.trained, "--output", self.folder / "probe.safetensors"
        yield "evaluate", self.trained
        yield "generate", self.trained, "--prompt", "the ", "--max-tokens", "5"

    def finish(self, arguments, **options):
        return subprocess.run(command(*arguments), stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, **options)

    @slow
    def test_a_full_device(self):
        for arguments in self.commands():
            with self.subTest(" ".join(map(str, arguments[:2]))), open("/dev/full", "w") as full:
                done = self.finish(arguments, stdout=full)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn("Standard output could not be written", done.stderr)
                self.assertNotIn("Internal error", done.stderr)

    def test_a_closed_output(self):
        for arguments in (("plan", self.recipe), ("--version",), ("checkpoint", "list", self.trained), ("evaluate", self.trained)):
            with self.subTest(" ".join(map(str, arguments[:2]))):
                done = self.finish(arguments, preexec_fn=lambda: os.close(1))
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn("Standard output could not be written", done.stderr)

    @slow
    def test_a_file_does_not_take_the_place_of_a_closed_output(self):
        target = self.folder / "weights.safetensors"
        done = self.finish(("checkpoint", "export", self.trained, "--output", target), preexec_fn=lambda: [os.close(d) for d in (0, 1)])
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(run("checkpoint", "export", self.trained, "--output", self.folder / "again.safetensors").returncode, 0)
        self.assertEqual(target.read_bytes(), (self.folder / "again.safetensors").read_bytes())

    @slow
    def test_success_is_still_success(self):
        for arguments in self.commands():
            with self.subTest(" ".join(map(str, arguments[:2]))):
                done = run(*arguments)
                self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)

    def test_training_goes_on(self):
        for name, options in (("full", {"stdout": open("/dev/full", "w")}), ("closed", {"preexec_fn": lambda: os.close(1)})):
            done = self.finish(("train", self.recipe, *TWENTY, "--output", self.folder / name), **options)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("WARNING: Standard output could not be written", done.stderr)
            self.assertEqual(self.losses(name), [json.loads(line)["loss"] for line in (self.trained / "metrics.jsonl").read_text().splitlines()
                                                 if "event" not in json.loads(line)])


class LookingOnly(ProgramTest):
    @slow
    def test_a_dry_run_leaves_nothing(self):
        self.train("run", *TWENTY)
        (self.folder / "run" / "lock").unlink()
        before = sorted(p for p in (self.folder / "run").rglob("*"))
        done = run("checkpoint", "prune", self.folder / "run", "--keep-last", "1", "--dry-run")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(sorted(p for p in (self.folder / "run").rglob("*")), before)

    def test_a_dry_run_sees_who_trains(self):
        process = start("train", self.recipe, "--output", self.folder / "run", "--set", "train.max_tokens=38M tokens", "--set", "log.every=1000")
        wait_for_step(self.folder / "run" / "metrics.jsonl", 12)
        process.send_signal(signal.SIGSTOP)  # its next save would clear away what is left
        (self.folder / "run" / "checkpoints" / "step-60.tmp-78").mkdir()
        lock = (self.folder / "run" / "lock").read_text()
        done = run("checkpoint", "prune", self.folder / "run", "--dry-run")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=TIMEOUT)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("is training here: what is unfinished stays", done.stdout)
        self.assertEqual((self.folder / "run" / "lock").read_text(), lock)


class EmptyValues(ProgramTest):
    def test_options_without_a_value(self):
        self.refused("train", self.recipe, "--output", "", says="--output")
        self.refused("train", self.recipe, "--from", "", "--output", self.folder / "x", says="--from")
        self.assertFalse((self.folder / "x").exists())
        self.refused("evaluate", "", says="RUN")


class SkippedSteps(ProgramTest):
    """Steps whose gradient is not finite."""

    def weights(self, name, change):
        """A safetensors file with a trained run's weights, of which `change` is applied to each of the embedding's."""
        self.train("source", "--stop-after", "10 steps")
        target = self.folder / name
        done = run("checkpoint", "export", self.folder / "source", "--output", target)
        self.assertEqual(done.returncode, 0, done.stderr)
        content = bytearray(target.read_bytes())
        size = struct.unpack("<Q", content[:8])[0]
        begin, end = json.loads(content[8:8 + size])["embed.weight"]["data_offsets"]
        count = (end - begin) // 4
        values = list(struct.unpack_from(f"<{count}f", content, 8 + size + begin))
        struct.pack_into(f"<{count}f", content, 8 + size + begin, *map(change, values))
        target.write_bytes(content)
        return target

    def test_a_run_that_no_longer_trains_stops(self):
        broken = self.weights("broken.safetensors", lambda value: 3e38 if value > 0 else -3e38)
        for ranks in (None, 2):
            output = f"run-{ranks}"
            done = self.train(output, "--set", f"run.init_from={broken}", "--set", "checkpoint.every=2 steps", *SAVED_WHEN_DUE,
                              ranks=ranks, expect=1)
            self.assertEqual(done.stderr.count("The last 10 steps were all skipped"), 1, done.stderr)
            self.assertIn("Lower optimizer.learning_rate", done.stderr)
            self.assertIn("The run gave up at step 10 of 50", done.stdout)
            self.assertIn("10 of them skipped", done.stdout)
            self.assertEqual(len([r for r in self.metrics(output) if "event" not in r]), 10)
            checkpoints = self.folder / output / "checkpoints"
            self.assertEqual(list(checkpoints.iterdir()), [])  # nothing useless was saved

    @slow
    def test_a_short_run_that_trained_nothing_fails(self):
        broken = self.weights("broken.safetensors", lambda value: 3e38 if value > 0 else -3e38)
        done = self.train("run", "--set", f"run.init_from={broken}", "--set", "train.max_tokens=2688 tokens", expect=1)
        self.assertIn("7 of the 7 steps were skipped", done.stderr)
        self.assertIn("is complete at step 7 of 7", done.stdout)


if __name__ == "__main__":
    unittest.main()
