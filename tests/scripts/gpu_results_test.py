"""scripts/gpu_results.py on made-up runs: what it says and whether it finds each fault that it is there for."""
import contextlib
import importlib.util
import io
import json
import pathlib
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "gpu_results.py"
spec = importlib.util.spec_from_file_location("gpu_results", SCRIPT)
gpu_results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gpu_results)


class ResultsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.logs = pathlib.Path(folder.name)

    def run_of(self, name, losses, speeds=None, grad_norms=None):
        """Writes a run's metrics: a record for each step, among those of events."""
        records = [{"event": "start"}]
        for i, loss in enumerate(losses):
            records.append({"step": i + 1, "loss": loss, "grad_norm": grad_norms[i] if grad_norms else 1.0,
                            "tokens_per_second": speeds[i] if speeds else 1000.0})
        records.append({"event": "end", "loss": -1})
        (self.logs / f"{name}.metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))

    def judge(self, *arguments):
        """Whether the runs do what they must, and what was printed."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            good = gpu_results.main([arguments[0], str(self.logs), *arguments[1:]])
        return good, output.getvalue()


class Strict(ResultsTest):
    def setUp(self):
        super().setUp()
        # The first two steps are slow and do not count; of the other six the upper median is taken.
        self.run_of("strict-1", [3.5] * 8, speeds=[1, 2, 10, 20, 30, 40, 50, 60])
        self.run_of("strict-2", [3.5] * 8)
        self.run_of("fast", [3.5] * 8, speeds=[1, 2, 70, 70, 70, 70, 70, 70])

    def test_equal_runs(self):
        good, text = self.judge("strict")
        self.assertTrue(good)
        self.assertIn("two strict runs: the same bits", text)
        self.assertIn("a strict and a fast run: the same bits", text)
        self.assertIn("strict 40 tok/s, fast 70", text)

    def test_a_fast_run_may_differ(self):
        self.run_of("fast", [3.5] * 7 + [3.50001])
        good, text = self.judge("strict")
        self.assertTrue(good)
        self.assertIn("a strict and a fast run: different bits", text)

    def test_a_strict_run_with_another_loss(self):
        self.run_of("strict-2", [3.5] * 7 + [3.5000000000000004])
        good, text = self.judge("strict")
        self.assertFalse(good)
        self.assertIn("two strict runs: DIFFERENT", text)

    def test_a_strict_run_with_another_gradient_norm(self):
        self.run_of("strict-2", [3.5] * 8, grad_norms=[1.0] * 7 + [1.0000000000000002])
        self.assertFalse(self.judge("strict")[0])

    def test_a_strict_run_that_is_shorter(self):
        self.run_of("strict-2", [3.5] * 7)
        self.assertFalse(self.judge("strict")[0])


class Curves(ResultsTest):
    def curve(self, seed, fused, last):
        self.run_of(f"curve-{seed}-{fused}", [5.0] * 250 + [last] * 50)

    def setUp(self):
        super().setUp()
        for seed in 1, 2:
            for fused in "true", "false":
                self.curve(seed, fused, 3.0)

    def test_equal_curves(self):
        good, text = self.judge("curves")
        self.assertTrue(good)
        self.assertIn("seed 1 fused true : 300 steps, means of 50: 5.0000 5.0000 5.0000 5.0000 5.0000 3.0000\n", text)
        self.assertIn("fused against plain 0.0000 and 0.0000, seed against seed 0.0000", text)

    def test_a_kernel_may_differ_by_a_hundredth_of_a_nat(self):
        self.curve(2, "true", 3.009)
        self.assertTrue(self.judge("curves")[0])
        self.curve(2, "true", 3.011)
        good, text = self.judge("curves")
        self.assertFalse(good)
        self.assertIn("fused against plain 0.0000 and 0.0110", text)

    def test_a_kernel_may_differ_as_seeds_do(self):
        self.curve(1, "true", 3.02)
        self.curve(2, "false", 3.03)
        self.curve(2, "true", 3.03)
        self.assertTrue(self.judge("curves")[0])
        self.curve(1, "true", 3.04)
        self.assertFalse(self.judge("curves")[0])

    def test_a_run_that_is_shorter(self):
        self.run_of("curve-2-false", [5.0] * 200 + [3.0] * 50)
        good, text = self.judge("curves")
        self.assertFalse(good)
        self.assertIn("different numbers of steps: 300, 300, 300, 250.", text)


class Scaling(ResultsTest):
    def setUp(self):
        super().setUp()
        for gpu in "0", "3":
            self.run_of(f"scaling-alone-{gpu}", [4.0] * 6, speeds=[1, 1, 1, 400e3, 400e3, 400e3])
        self.run_of("scaling-together", [4.0] * 6, speeds=[1, 1, 1, 600e3, 600e3, 600e3])

    def test_speeds(self):
        self.run_of("scaling-alone-3", [4.0] * 6, speeds=[1, 1, 1, 500e3, 500e3, 500e3])
        good, text = self.judge("scaling", "0", "3")
        self.assertTrue(good)
        self.assertIn("3 steps: 2 GPUs 600.0K tok/s; alone 400.0K and 500.0K: 66.67 % of their sum, 75.00 % of 2 times the slowest", text)
        self.assertIn("losses at most 0.0e+00 apart", text)

    def test_losses_apart(self):
        self.run_of("scaling-alone-3", [4.0] * 5 + [4.05])
        good, text = self.judge("scaling", "0", "3")
        self.assertFalse(good)
        self.assertIn("at step 6, GPU 3 alone has 4.05, all GPUs together have 4.0", text)

    def test_losses_a_little_apart(self):
        self.run_of("scaling-alone-3", [4.0] * 5 + [4.03])
        good, text = self.judge("scaling", "0", "3")
        self.assertTrue(good)
        self.assertIn("losses at most 7.4e-03 apart", text)

    def test_a_loss_that_is_no_number(self):
        self.run_of("scaling-together", [4.0, None] + [4.0] * 4)
        good, text = self.judge("scaling", "0", "3")
        self.assertFalse(good)
        self.assertIn("at step 2, GPU 0 alone has 4.0, all GPUs together have None", text)

    def test_a_run_that_is_shorter(self):
        self.run_of("scaling-alone-0", [4.0] * 5)
        good, text = self.judge("scaling", "0", "3")
        self.assertFalse(good)
        self.assertIn("different numbers of steps: alone 5, 6, together 6", text)


if __name__ == "__main__":
    unittest.main()
