"""The disk fails or is slow under the real program: training goes on, and earlier checkpoints stay whole.

faults.c, preloaded, stands between the program and the disk; CTest sets SISA_FAULTS to the library.
"""
import re
import time

from harness import *

NEVER = 1 << 30


@slow
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

    def with_reads(self, reads, *arguments):
        """The finished program where opening files fails, "KIND:TEXT"."""
        return run(*arguments, env={**os.environ, "LD_PRELOAD": preloadable(self.folder), "SISA_FAULT_READS": reads})

    def content(self, output):
        return {p: p.read_bytes() for p in sorted((self.folder / output / "checkpoints").rglob("*")) if p.is_file()}

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

    def test_what_cannot_be_read_is_neither_passed_over_nor_deleted(self):
        twenty = ("--set", "train.max_tokens=7680 tokens")
        self.train("run", *twenty)
        output = self.folder / "run"
        before = self.content("run")
        for kind, reason in (("eacces", "Permission denied"), ("eio", "Input/output error")):
            newest = f"{kind}:step-20/rank-"
            done = self.with_reads(newest, "train", self.recipe, "--output", output)
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertRegex(done.stderr, rf"step-20 cannot be read: .*{reason}.* Make it readable .* --resume 10\.")
            done = self.with_reads(newest, "checkpoint", "prune", output, "--damaged", "--keep-last", "1")
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertRegex(done.stderr, rf"step-20 stays, since it cannot be read and may be sound: .*{reason}")
            done = self.with_reads(newest, "checkpoint", "prune", output, "--keep-last", "1")
            self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
            done = self.with_reads(newest, "checkpoint", "verify", output)
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertRegex(done.stdout, rf"step-10: sound, .* read\n.*step-20 cannot be read:\n.*{reason}")
            done = self.with_reads(newest, "evaluate", output)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertRegex(done.stderr, "step-20 cannot be read")

            done = self.with_reads(f"{kind}:/rank-", "train", self.recipe, "--output", output)
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertRegex(done.stderr, reason)
            done = self.with_reads(f"{kind}:/rank-", "evaluate", output)
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertIn("None of the checkpoints", done.stderr)
            self.assertNotIn("sisa train", done.stderr)
        self.assertEqual(self.content("run"), before)
        self.train("run", *twenty, "--resume", "10")  # the user's word

    def test_a_disk_that_hangs_is_reported_and_a_signal_ends_the_run(self):
        for ranks in (None, 2):
            output = self.folder / f"run-{ranks}"
            faults = ["env", f"LD_PRELOAD={preloadable(self.folder)}", f"SISA_FAULT_WRITES=hang:190:{NEVER}"]
            arguments = [BINARY, "train", self.recipe, "--output", output, "--set", "train.max_tokens=38M tokens",
                         "--set", "checkpoint.patience=1s", "--set", "log.every=100000"]
            process = subprocess.Popen([*(["mpirun", "-n", str(ranks)] if ranks else []), *faults, *map(str, arguments)],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                       env={**os.environ, "OMPI_MCA_odls_base_sigkill_timeout": "1"})
            stalled = []
            limit = time.time() + TIMEOUT
            while len(stalled) < 2 and time.time() < limit:
                time.sleep(0.2)
                if (output / "metrics.jsonl").exists():
                    stalled = [r for r in map(json.loads, (output / "metrics.jsonl").read_text().splitlines(keepends=False)[:-1])
                               if r.get("event") == "checkpoint_stalled"]
            self.assertGreaterEqual(stalled[1]["seconds"], 2 * stalled[0]["seconds"])
            self.assertGreater(stalled[1]["waiting"], 0)
            began = time.time()
            process.send_signal(signal.SIGTERM if ranks is None else signal.SIGUSR1)  # mpirun passes SIGUSR1 on at once
            out, err = process.communicate(timeout=TIMEOUT)
            self.assertLess(time.time() - began, 20)
            self.assertEqual(process.returncode, 75, out + err)
            self.assertEqual(len(re.findall("The disk has not answered for .* while the checkpoint of step", err)), 1, err)
            self.assertRegex(out, "WARNING: The disk has not answered for .* checkpoints have fallen due and could not be saved")
            done = run("checkpoint", "verify", output)  # what was there before
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
