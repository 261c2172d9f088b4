"""One rank or several, sharded or replicated: the same training."""
from harness import *


class Ranks(ProgramTest):
    def assert_same_curve(self, output, reference):
        losses = self.losses(output)
        self.assertEqual(len(losses), len(reference))
        for step, (a, b) in enumerate(zip(losses, reference), 1):
            self.assertLess(abs(a - b), 1e-5 * abs(b), f"{output}, step {step}: {a} and {b}")

    def test_losses_of_50_steps_agree(self):
        self.train("alone")
        reference = self.losses("alone")
        self.assertEqual(len(reference), 50)
        self.assertLess(reference[-1], reference[0] - 1.5)  # it learns, so that agreement says something
        for ranks in (1, 2, 3, 4):
            self.train(f"sharded-{ranks}", ranks=ranks)
            self.assert_same_curve(f"sharded-{ranks}", reference)
        for ranks in (2, 3):
            self.train(f"replicated-{ranks}", "--set", "optimizer.sharded=false", ranks=ranks)
            self.assert_same_curve(f"replicated-{ranks}", reference)

    def test_a_batch_that_does_not_divide_evenly(self):
        ten_samples = ("--set", "train.batch=320 tokens", "--set", "train.max_tokens=3200 tokens")
        self.train("alone", *ten_samples)
        for ranks in (3, 4):
            self.train(f"ranks-{ranks}", *ten_samples, ranks=ranks)
            self.assert_same_curve(f"ranks-{ranks}", self.losses("alone"))

    def test_the_micro_batch_does_not_matter(self):
        short = ("--set", "train.max_tokens=3840 tokens")
        self.train("five", *short)
        self.train("twelve", *short, "--set", "train.micro_batch=12")
        self.assert_same_curve("twelve", self.losses("five"))


if __name__ == "__main__":
    unittest.main()
