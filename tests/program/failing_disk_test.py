"""The disk fails or is slow under the real program: training goes on, and earlier checkpoints stay whole.

faults.c, preloaded, stands between the program and the disk; CTest sets SISA_FAULTS to the library.
"""
from harness import *

NEVER = 1 << 30


class FailingDisk(ProgramTest):
    def train_on(self, disk, output, *settings):
        """Trains with the calls of `disk`, "KIND:FIRST:LAST"; returns the finished process and its largest memory, in bytes."""
        errors = self.folder / "stderr"
        with errors.open("w") as stderr:
            process = subprocess.Popen(
                command("train", self.recipe, "--output", self.folder / output, *(part for s in settings for part in ("--set", s))),
                stdout=subprocess.PIPE, stderr=stderr, text=True,
                env={**os.environ, "LD_PRELOAD": preloadable(self.folder), "SISA_FAULT_WRITES": disk})
            out = process.stdout.read()
            process.stdout.close()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors.read_text()), usage.ru_maxrss * 1024

    def assert_equal(self, a, b):
        done = run("checkpoint", "diff", self.folder / a, self.folder / b)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def assert_sound(self, output, steps):
        self.assertEqual([p.name for p in (self.folder / output / "checkpoints").glob("*.tmp-*")], [])
        listed = run("checkpoint", "list", self.folder / output).stdout
        self.assertEqual([int(line.split()[1]) for line in listed.splitlines()], steps, listed)
        for step in steps:
            done = run("checkpoint", "verify", f"{self.folder / output}@{step}")
            self.assertEqual(done.returncode, 0, done.stdout)

    def test_a_disk_that_recovers_costs_checkpoints_alone(self):
        self.train("calm")
        for kind, reason in (("enospc", "No space left on device"), ("eio", "Input/output error")):
            # A step makes one call and a save about a hundred: the second save fails in its middle, and the two after it at once.
            done, _ = self.train_on(f"{kind}:190:225", kind)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertRegex(done.stdout, rf"WARNING: The checkpoint of step \d+ was not saved\. .*{reason}.* Training goes on\.")
            self.assertIn(f"WARNING: Cannot write the metrics: {reason}", done.stderr)
            self.assert_equal(kind, "calm")
            self.assertIn(10, [r["step"] for r in self.metrics(kind) if r.get("event") == "checkpoint"])
            known = dict(zip(range(1, 51), self.losses("calm")))
            for record in self.metrics(kind):  # whole lines, if not all
                if "event" not in record:
                    self.assertEqual(record["loss"], known[record["step"]])

    def test_a_disk_that_stays_full_fails_the_run_at_its_end(self):
        done, _ = self.train_on(f"enospc:190:{NEVER}", "run")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertRegex(done.stderr, r"The checkpoint of step 50 was not saved\. .*No space left on device.*\n")
        self.assertIn("are as they were", done.stderr)
        self.assert_sound("run", [10])
        self.train("run")  # with space again
        self.train("calm")
        self.assert_equal("run", "calm")

    def test_short_writes_are_gone_on_with(self):
        self.train("calm")
        done, _ = self.train_on(f"short:1:{NEVER}", "run")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assert_sound("run", [30, 40, 50])
        self.assert_equal("run", "calm")

    def test_training_does_not_wait_for_a_slow_disk_and_memory_does_not_pile_up(self):
        large = ("model.d_model=192", "model.num_heads=4", "model.d_ff=512", "checkpoint.every=2 steps",
                 "train.max_tokens=15360 tokens")  # a copy of 11 MB
        done, calm = self.train_on(f"slow:{NEVER}:{NEVER}", "calm", *large)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        done, slow = self.train_on(f"slow:1:{NEVER}", "run", *large)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        saves = [r for r in self.metrics("run") if r.get("event") == "checkpoint"]
        self.assertEqual(saves[-1]["step"], 40)
        self.assertLess(len(saves), 15, "of 20 that were due")
        for save in saves[:-1]:
            self.assertGreater(save["seconds"], 0.5)
        blocked = [save["seconds_blocked"] for save in saves[:-2]]  # the last two were waited for, at the end
        self.assertLess(sum(blocked), 0.2 * sum(save["seconds"] for save in saves[:-2]))
        self.assertLess(slow - calm, 25e6, "bytes; each copy takes 11e6")
        self.assert_equal("run", "calm")


if __name__ == "__main__":
    unittest.main()
