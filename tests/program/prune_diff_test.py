"""sisa checkpoint prune and diff, and two processes in one run's folder."""
from harness import *

FIVE = ("--set", "checkpoint.every=10 steps", "--set", "checkpoint.keep_last=5", "--set", "evaluation.every=10 steps")


@slow
class PruneDiff(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.trained = cls.shared / "trained"  # steps 10, 20 … 50
        done = run("train", cls.recipe, "--output", cls.trained, *FIVE, *SAVED_WHEN_DUE, ranks=2)
        assert done.returncode == 0, done.stdout + done.stderr

    def setUp(self):
        super().setUp()
        self.target = self.folder / "run"
        shutil.copytree(self.trained, self.target)
        self.checkpoints = self.target / "checkpoints"

    def prune(self, *arguments, expect=0, ranks=None):
        done = run("checkpoint", "prune", self.target, *arguments, ranks=ranks)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done.stdout

    def names(self):
        return sorted(p.name for p in self.checkpoints.iterdir() if p.name != "latest")

    def damage(self, step):
        file = self.checkpoints / f"step-{step}" / "rank-00001.h5"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)

    def test_rules(self):
        size = sum(f.stat().st_size for step in (10, 20, 30) for f in (self.checkpoints / f"step-{step}").iterdir())
        told = self.prune("--keep-last", "2", "--dry-run")
        self.assertEqual(len(self.names()), 5)
        self.assertRegex(told, r"step-10 +\d+\.\d+ KiB  no rule keeps it\n")
        self.assertIn(f"3 of 5 checkpoints and leftovers would go, {size / 2**20:.2f} MiB", told)
        # 3,840 tokens in 10 steps: 7,000 are passed by step 20 and 14,000 by step 40.
        self.prune("--keep-last", "1", "--keep-every", "7000")
        self.assertEqual(self.names(), ["step-20", "step-40", "step-50"])
        self.prune("--keep-last", "1", ranks=2)
        self.assertEqual(self.names(), ["step-50"])
        self.assertIn("0 of 1 checkpoints and leftovers went, 0 bytes", self.prune())

    def test_the_best_stays(self):
        losses = {r["step"]: r["loss"] for r in map(json.loads, (self.target / "metrics.jsonl").read_text().splitlines())
                  if r.get("event") == "evaluation"}
        best = min(losses, key=losses.get)
        self.prune("--keep-last", "1", "--keep-best")
        self.assertEqual(self.names(), sorted({f"step-{best}", "step-50"}))

    def test_what_killed_runs_left_goes(self):
        (self.checkpoints / "step-30").rename(self.checkpoints / "step-30.tmp-77-deleted")
        (self.checkpoints / "step-60.tmp-78").mkdir()
        (self.checkpoints / "latest.tmp-78").write_text("ste")
        (self.checkpoints / "notes").write_text("a user's")
        told = self.prune()
        self.assertEqual(told.count("left by a run that was killed"), 3)
        self.assertEqual(self.names(), ["notes", "step-10", "step-20", "step-40", "step-50"])

    def test_damaged_ones_go_only_when_asked(self):
        self.damage(20)
        shutil.rmtree(self.checkpoints / "step-30")
        (self.checkpoints / "step-30").mkdir()
        self.prune("--keep-last", "2")
        self.assertEqual(self.names(), ["step-30", "step-40", "step-50"])  # 20 was not looked into
        self.damage(50)
        self.refused("checkpoint", "prune", self.target, "--keep-last", "1", ranks=2,
                     says=["step-50, is damaged: .*rank-00001.h5", "Nothing was removed"])
        self.assertEqual(self.names(), ["step-30", "step-40", "step-50"])
        told = self.prune("--keep-last", "1", "--damaged", ranks=2)
        self.assertIn("checksum", told)
        self.assertEqual(self.names(), ["step-40"])
        self.assertEqual((self.checkpoints / "latest").read_text(), "step-40\n")
        self.damage(40)
        self.refused("checkpoint", "prune", self.target, "--damaged", says="no sound checkpoint that a run could resume from")
        self.assertEqual(self.names(), ["step-40"])

    def test_prune_refused(self):
        self.refused("checkpoint", "prune", f"{self.target}@50", "--keep-last", "1", says="prune chooses among all checkpoints")
        self.refused("checkpoint", "prune", self.folder / "none", says="no such folder")

    def test_one_run_at_a_time(self):
        endless = ("--set", "train.max_tokens=38M tokens", "--set", "log.every=100000")
        training = start("train", self.recipe, "--output", self.target, *endless)
        wait_for_step(self.target / "metrics.jsonl", 55)
        self.refused("train", self.recipe, "--output", self.target, ranks=2,
                     says=rf"process {training.pid} on \S+ is training in {self.target}")
        leftover = self.checkpoints / "step-7.tmp-1"  # as what the run writes
        training.send_signal(signal.SIGSTOP)
        leftover.mkdir()
        told = self.prune("--keep-last", "1")
        self.assertIn(f"process {training.pid} on ", told)
        self.assertTrue(leftover.exists())
        training.kill()
        training.communicate(timeout=TIMEOUT)
        self.prune()  # a dead process holds nothing
        self.assertFalse(leftover.exists())
        self.train("run", *endless, "--stop-after", "1 steps")

    def diff(self, a, b, expect):
        done = run("checkpoint", "diff", a, b)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done.stdout

    def test_equal_checkpoints(self):
        self.assertRegex(self.diff(f"{self.trained}@50", self.target, 0), r"All 96 arrays of 85,464 numbers are equal, bit for bit\.\n$")

    def test_differences_are_named(self):
        told = self.diff(f"{self.target}@40", self.target, 1)
        self.assertIn("state step\n  a  40\n  b  50\n", told)
        self.assertRegex(told, r"moment2/layers\.1\.ffn\.w_up\.weight: [\d,]+ of 1,536 numbers differ, by up to \S+, relatively \S+\n")
        self.assertRegex(told, r"\d\d of 96 arrays differ\.\n$")

    def test_recipes_types_and_shapes(self):
        ten = ("--stop-after", "10 steps")
        self.train("bf16", *ten, "--set", "run.precision=bf16_pure", "--set", "optimizer.clip=2")
        told = self.diff(f"{self.target}@10", self.folder / "bf16", 1)
        self.assertIn("recipe optimizer.clip\n  a  1\n  b  2\n", told)
        self.assertIn("state ranks\n  a  2\n  b  1\n", told)
        self.assertRegex(told, r"parameters/embed\.weight: float32 in a, bfloat16 in b; [\d,]+ of 8,224 numbers differ")
        self.train("wide", *ten, "--set", "model.d_ff=64", "--set", "model.num_layers=1", "--set", "checkpoint.save_at=[3 steps]")
        told = self.diff(f"{self.target}@10", f"{self.folder}/wide@3", 1)
        self.assertIn("parameters/layers.0.ffn.w_up.weight: shape (48, 32) in a, (64, 32) in b\n", told)
        self.assertIn("parameters/layers.1.ffn.w_up.weight: only in a\n", told)
        self.assertIn("moment1/embed.weight: only in a\n", told)

    def test_diff_refused(self):
        self.refused("checkpoint", "diff", self.target, f"{self.target}@7", says="Choose one of these steps")
        self.damage(50)
        self.refused("checkpoint", "diff", f"{self.target}@50", f"{self.target}@40", says=r"is damaged: \w+/\S+, elements", status=1)


if __name__ == "__main__":
    unittest.main()
