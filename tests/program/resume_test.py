"""Stopping and going on: nothing lost, nothing repeated."""
from harness import *

TWENTY = ("--set", "train.max_tokens=7680 tokens")


class Resume(ProgramTest):
    def test_two_halves_equal_the_whole_bit_for_bit(self):
        self.train("whole", *TWENTY, ranks=2)
        self.train("halves", *TWENTY, "--stop-after", "10 steps", ranks=2)
        self.assertEqual(len(self.losses("halves")), 10)
        self.train("halves", *TWENTY, "--resume", "auto", ranks=2)
        self.assertEqual(self.losses("halves"), self.losses("whole"))

    @slow
    def test_another_number_of_ranks(self):
        self.train("whole", *TWENTY)
        self.train("mixed", *TWENTY, "--stop-after", "6 steps", ranks=2)
        self.train("mixed", *TWENTY, "--stop-after", "5 steps", ranks=4)
        self.train("mixed", *TWENTY, "--stop-after", "5 steps", "--set", "optimizer.sharded=false", ranks=3)
        self.train("mixed", *TWENTY)
        for step, (a, b) in enumerate(zip(self.losses("mixed"), self.losses("whole"), strict=True), 1):
            self.assertLess(abs(a - b), 1e-5 * abs(b), f"step {step}")
        records = [r for r in self.metrics("mixed") if "event" not in r]
        self.assertEqual([r["step"] for r in records], list(range(1, 21)))
        self.assertEqual([r["samples"] for r in records], [12 * s for s in range(1, 21)])

    @slow
    def test_a_given_step(self):
        self.train("run", *TWENTY)
        first = self.losses("run")
        self.train("run", *TWENTY, "--resume", "10")
        self.assertEqual(self.losses("run")[20:], first[10:])

    @slow
    def test_a_finished_run_is_left_alone(self):
        self.train("run", *TWENTY)
        before = self.losses("run")
        done = self.train("run", *TWENTY)
        self.assertIn("20", done.stdout)
        self.assertEqual(self.losses("run"), before)

    @slow
    def test_never_refuses_to_overwrite(self):
        self.train("run", *TWENTY)
        self.refused("train", self.recipe, *TWENTY, "--output", self.folder / "run", "--resume", "never",
                     says="already holds checkpoints")

    @slow
    def test_a_killed_run_goes_on_from_its_last_checkpoint(self):
        process = start("train", self.recipe, "--output", self.folder / "run", ranks=2)
        wait_for_step(self.folder / "run" / "metrics.jsonl", 12)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=TIMEOUT)
        self.train("run", ranks=2)
        self.train("whole", ranks=2)
        by_step = {r["step"]: r["loss"] for r in self.metrics("run") if "event" not in r}  # a repeated step: the later record
        self.assertEqual([by_step[s] for s in range(1, 51)], self.losses("whole"))

    @slow
    def test_a_rank_that_dies_takes_the_run_with_it(self):
        process = start("train", self.recipe, "--output", self.folder / "run", "--set", "train.max_tokens=38M tokens",
                        "--set", "log.every=1000", ranks=2)
        wait_for_step(self.folder / "run" / "metrics.jsonl", 12)
        ranks = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        self.assertEqual(len(ranks), 2)
        os.kill(int(ranks[1]), signal.SIGKILL)
        process.communicate(timeout=TIMEOUT)
        self.assertNotEqual(process.returncode, 0)
        self.train("run", "--stop-after", "1 steps", "--set", "train.max_tokens=38M tokens", ranks=2)  # what was saved is sound

    @slow
    def test_a_damaged_checkpoint_is_passed_over(self):
        self.train("run", *TWENTY)
        newest = self.folder / "run" / "checkpoints" / "step-20" / "rank-00000.h5"
        content = bytearray(newest.read_bytes())
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
        done = self.train("run", *TWENTY)
        self.assertRegex(done.stdout, r"step-20.*(checksum|damaged)")
        self.assertEqual([r["step"] for r in self.metrics("run") if "event" not in r][-10:], list(range(11, 21)))

    def flip(self, step):
        file = self.folder / "run" / "checkpoints" / f"step-{step}" / "rank-00000.h5"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)

    def test_a_run_without_a_sound_checkpoint_does_not_begin_anew(self):
        self.train("run", *TWENTY)
        for step in (10, 20):
            self.flip(step)
        before = {p: p.read_bytes() for p in (self.folder / "run" / "checkpoints").rglob("*") if p.is_file()}
        for ranks in (None, 2):
            self.refused("train", self.recipe, *TWENTY, "--output", self.folder / "run", ranks=ranks, status=1,
                         says=["holds checkpoints, and none of them is sound: step-20 is damaged: .*; step-10 is damaged"])
        self.assertEqual({p: p.read_bytes() for p in (self.folder / "run" / "checkpoints").rglob("*") if p.is_file()}, before)
        done = run("evaluate", self.folder / "run")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertNotIn("sisa train", done.stderr)

    @slow
    def test_verify_reads_every_checkpoint(self):
        self.train("run", *TWENTY)
        self.assertEqual(run("checkpoint", "verify", self.folder / "run").stdout.count(": sound, "), 2)
        self.flip(20)
        for ranks in (None, 2):
            done = run("checkpoint", "verify", self.folder / "run", ranks=ranks)
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertRegex(done.stdout, r"step-10: sound, .* read\n.*step-20 is damaged:\n  .*checksum")
        self.assertEqual(run("checkpoint", "verify", f"{self.folder / 'run'}@10").returncode, 0)


if __name__ == "__main__":
    unittest.main()
