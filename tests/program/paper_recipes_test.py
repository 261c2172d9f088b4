"""Every recipe of the paper trains for three steps at its full size; only batch and length are smaller, and the device is the CPU."""
import math
import time

from harness import *

PAPER = pathlib.Path(__file__).resolve().parents[2] / "recipes" / "paper"
PUBLISHED = PAPER / "published.yaml"
QUICK = ["50m/transformer", "50m/sisa-d32"]
WIDTHS = {"50m": 512, "152m": 768, "369m": 1024}
VOCABULARY = 50277
TIME_LIMIT = 600  # seconds; 369M parameters take a minute on two cores, most of it for a checkpoint of 4.4 GB


def recipes(scale):
    """Names such as 50m/controls/bilinear."""
    return [str(path.relative_to(PAPER).with_suffix("")) for path in sorted((PAPER / scale).rglob("*.yaml"))
            if path.name != "base.yaml"]


@slow
class PaperRecipes(ProgramTest):
    def run_three_steps(self, name, *arguments):
        """Returns the merged recipe's text."""
        settings = ["run.device=cpu", "data.tokenizer=bytes", f"data.sources=[{{path: {self.data}}}]",
                    "data.sequence_length=16", "train.batch=16", "train.micro_batch=1", "train.max_tokens=48",
                    "train.warmup=0", "evaluation.tokens=16"]
        output = self.folder / "run"
        started = time.monotonic()
        try:
            done = run("train", PAPER / f"{name}.yaml", "--output", output, *arguments,
                       *(word for setting in settings for word in ("--set", setting)), timeout=TIME_LIMIT)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            losses = self.losses("run")
            recipe = (output / "recipe.yaml").read_text()
        finally:
            shutil.rmtree(output, ignore_errors=True)  # gigabytes
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        # ln V + d 0.02^2 / 2 (spec section 0), for 16 tokens and not for many
        self.assertAlmostEqual(losses[0], math.log(VOCABULARY) + WIDTHS[name.split("/")[0]] * 2e-4, delta=0.7)
        self.assertEqual(len(losses), 3)
        self.assertLess(losses[1], losses[0])
        self.assertTrue(math.isfinite(losses[2]))
        return recipe

    def run_all(self, scale):
        names = [name for name in recipes(scale) if name not in QUICK]
        self.assertGreaterEqual(len(names), 8)
        for name in names:
            with self.subTest(name):
                self.run_three_steps(name)

    def test_quick(self):
        for name in QUICK:
            with self.subTest(name):
                self.run_three_steps(name)

    def test_50m(self):
        self.run_all("50m")

    def test_152m(self):
        self.run_all("152m")

    def test_369m(self):
        self.run_all("369m")

    def test_published(self):
        for name in QUICK:
            with self.subTest(name):
                recipe = self.run_three_steps(name, "--overlay", PUBLISHED)
                self.assertIn("precision: bf16_pure\n", recipe)
                self.assertEqual("offset: minimax\n" in recipe, "sisa" in name)


if __name__ == "__main__":
    unittest.main()
