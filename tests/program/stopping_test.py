"""A run that is asked to stop saves what it has done, whatever it is doing at the moment."""
import time

from harness import *


class Stopping(ProgramTest):
    def test_signals_save_and_stop(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGQUIT, signal.SIGHUP):
            output = f"signal-{int(number)}"
            process = start("train", self.recipe, "--output", self.folder / output, "--set", "train.max_tokens=38M tokens")
            wait_for_step(self.folder / output / "metrics.jsonl", 3)
            process.send_signal(number)
            out, err = process.communicate(timeout=TIMEOUT)
            self.assertEqual(process.returncode, 128 + number, out + err)
            last = [r for r in self.metrics(output) if "event" not in r][-1]["step"]
            self.assertTrue((self.folder / output / "checkpoints" / f"step-{last}" / "master.h5").exists())

    def test_a_reader_that_is_gone_does_not_end_the_run(self):
        """As `tee` in `sisa train … | tee log`, which Ctrl-C ends first."""
        output = self.folder / "run"
        process = start("train", self.recipe, "--output", output, "--set", "train.max_tokens=38M tokens")
        wait_for_step(output / "metrics.jsonl", 3)
        process.stdout.close()
        reached = self.losses("run")
        wait_for_step(output / "metrics.jsonl", len(reached) + 5)
        process.send_signal(signal.SIGINT)
        error = process.stderr.read()
        self.assertEqual(process.wait(timeout=TIMEOUT), 128 + signal.SIGINT, error)
        self.assertTrue((output / "checkpoints" / f"step-{len(self.losses('run'))}" / "master.h5").exists())

    def mpirun_is_sent(self, number):
        """Every rank is to save and stop: mpirun passes SIGTERM and SIGUSR1 on."""
        process = start("train", self.recipe, "--output", self.folder / "run", "--set", "train.max_tokens=38M tokens",
                        "--set", "log.every=1000", ranks=2)  # while mpirun waits it takes no output, and a full pipe stops the ranks
        wait_for_step(self.folder / "run" / "metrics.jsonl", 3)
        process.send_signal(number)
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertNotEqual(process.returncode, 0)
        last = [r for r in self.metrics("run") if "event" not in r][-1]["step"]
        self.assertTrue((self.folder / "run" / "checkpoints" / f"step-{last}" / "master.h5").exists(), out + err)

    def test_mpirun_is_told_to_end(self):
        self.mpirun_is_sent(signal.SIGTERM)

    @slow
    def test_mpirun_is_sent_a_users_signal(self):
        self.mpirun_is_sent(signal.SIGUSR1)


@slow
class DuringAnEvaluation(ProgramTest):
    def test_a_signal_during_an_evaluation_saves_and_stops(self):
        """The evaluation would take many seconds. It is made up for when the run goes on."""
        data, source = self.folder / "data", self.folder / "long.jsonl"
        source.write_text("".join(json.dumps({"text": t}) + "\n" for t in text(1200)))
        done = run("data", "prepare", source, "--tokenizer", "bytes", "--output", data, "--validation", "0.5")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        settings = [part for s in (f"data.sources=[{{path: {data}}}]", "model.d_model=192", "model.num_heads=4", "model.d_ff=512",
                                   "model.num_layers=6", "train.micro_batch=1", "evaluation.every=2 steps",
                                   "checkpoint.every=1000 steps", "train.max_tokens=1536 tokens", "train.warmup=2 steps")
                    for part in ("--set", s)]
        for ranks, step in ((None, 2), (2, 4)):  # in the middle, and at the end of the run
            output = self.folder / "run"
            process = start("train", self.recipe, "--output", output, *settings, ranks=ranks)
            wait_for_step(output / "metrics.jsonl", step)
            time.sleep(0.5)
            began = time.time()
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=TIMEOUT)
            self.assertLess(time.time() - began, 8, "seconds; mpirun waits 3 in any case")
            self.assertEqual(process.returncode, 128 + signal.SIGTERM if ranks is None else process.returncode, out + err)
            self.assertTrue((output / "checkpoints" / f"step-{step}" / "master.h5").exists(), out + err)
            self.assertNotIn(step, [r["step"] for r in self.metrics("run") if r.get("event") == "evaluation"])
        self.train("run", *settings)
        self.assertEqual([r["step"] for r in self.metrics("run") if r.get("event") == "evaluation"], [2, 4])
        self.assertEqual([r["step"] for r in self.metrics("run") if "event" not in r], [1, 2, 3, 4])
        before = self.metrics("run")
        self.train("run", *settings)  # the checkpoint has the loss: there is nothing left to do
        self.assertEqual([r["event"] for r in self.metrics("run")[len(before):]], ["resume", "end"])


if __name__ == "__main__":
    unittest.main()
