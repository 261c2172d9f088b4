"""determinism: strict on the CPU: at a fixed number of ranks and threads the same bits, in one part or two."""
import h5py

from harness import *

# Activations of 5 x 128 x 128 numbers: beyond the 32,768 from which LibTorch shares an operation among threads.
LARGE = ("--set", "run.threads=2", "--set", "run.determinism=strict", "--set", "model.d_model=128", "--set", "model.num_heads=4",
         "--set", "model.d_ff=384", "--set", "data.sequence_length=128", "--set", "train.batch=1280 tokens",
         "--set", "train.max_tokens=7680 tokens", "--set", "checkpoint.every=3 steps")
os.environ["OMP_WAIT_POLICY"] = "passive"  # with more threads than cores, waiting ones would take the time of those that work


class Determinism(ProgramTest):
    def curves(self, output):
        return [(r["step"], r["loss"], r["grad_norm"]) for r in self.metrics(output) if "event" not in r]

    def arrays(self, output, step):
        """The bytes of all weights and moments of a checkpoint."""
        with h5py.File(self.folder / output / "checkpoints" / f"step-{step}" / "master.h5") as master:
            return {f"{group}/{name}": dataset[...].tobytes()
                    for group in ("parameters", "moment1", "moment2") for name, dataset in master[group].items()}

    def assert_same_bits(self, output, reference):
        self.assertEqual(self.curves(output), self.curves(reference))
        for step in (3, 6):
            found, expected = self.arrays(output, step), self.arrays(reference, step)
            self.assertEqual(found.keys(), expected.keys())
            self.assertEqual([name for name in expected if found[name] != expected[name]], [])

    def check(self, *options, ranks=None):
        done = self.train("whole", *LARGE, *options, ranks=ranks)
        self.assertIn("CPU, 2 threads", done.stdout)
        self.assertEqual([step for step, _, _ in self.curves("whole")], list(range(1, 7)))
        self.assertNotEqual(self.arrays("whole", 3), self.arrays("whole", 6))
        self.train("again", *LARGE, *options, ranks=ranks)
        self.assert_same_bits("again", "whole")
        self.train("halves", *LARGE, *options, "--stop-after", "3 steps", ranks=ranks)
        self.train("halves", *LARGE, *options, ranks=ranks)
        self.assert_same_bits("halves", "whole")

    @slow
    def test_one_rank(self):
        self.check()

    @slow
    def test_two_ranks(self):
        self.check(ranks=2)

    def test_bf16(self):
        self.check("--set", "run.precision=bf16", ranks=2)


if __name__ == "__main__":
    unittest.main()
