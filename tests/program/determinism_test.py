"""determinism: strict on the CPU: at a fixed number of ranks and threads the same bits, however often and in however many parts."""
import h5py

from harness import *

# Activations of 5 x 64 x 128 numbers and more: above the 32,768 from which LibTorch shares an operation among threads.
LARGE = ("--set", "run.threads=2", "--set", "model.d_model=128", "--set", "model.num_heads=4", "--set", "model.d_ff=384",
         "--set", "model.d_state=16", "--set", "data.sequence_length=64", "--set", "train.batch=640 tokens",
         "--set", "train.max_tokens=5120 tokens", "--set", "checkpoint.every=4 steps")


class Determinism(ProgramTest):
    def curves(self, output):
        records = [r for r in self.metrics(output) if "event" not in r]
        return [(r["step"], r["loss"], r["grad_norm"]) for r in records]

    def arrays(self, output, step):
        """Weights and moments of a checkpoint, as bytes by name."""
        found = {}
        with h5py.File(self.folder / output / "checkpoints" / f"step-{step}" / "master.h5") as master:
            for group in ("parameters", "moment1", "moment2"):
                for name, dataset in master[group].items():
                    found[f"{group}/{name}"] = dataset[...].tobytes()
        return found

    def assert_same_bits(self, output, reference):
        self.assertEqual(self.curves(output), self.curves(reference))
        for step in (4, 8):
            found, expected = self.arrays(output, step), self.arrays(reference, step)
            self.assertGreater(len(expected), 3 * 20)
            self.assertEqual([name for name in expected if found.get(name) != expected[name]], [])

    def check(self, ranks, *options):
        options = (*LARGE, *options)
        self.train("first", *options, ranks=ranks)
        self.assertEqual(len(self.curves("first")), 8)
        self.train("second", *options, ranks=ranks)
        self.assert_same_bits("second", "first")
        self.train("halves", *options, "--stop-after", "4 steps", ranks=ranks)
        self.train("halves", *options, ranks=ranks)
        self.assert_same_bits("halves", "first")

    def test_one_rank(self):
        self.check(None)

    def test_two_ranks(self):
        self.check(2)

    def test_bf16(self):
        self.check(2, "--set", "run.precision=bf16")

    def test_the_transformer(self):
        recipe = self.folder / "transformer.yaml"
        recipe.write_text(self.recipe.read_text().replace("system: sisa", "system: transformer").replace(", d_state: 8", ""))
        options = tuple(o for pair in zip(LARGE[::2], LARGE[1::2]) if "d_state" not in pair[1] for o in pair)
        for output in ("first", "second"):
            self.train(output, *options, ranks=2, recipe=recipe)
        self.assert_same_bits("second", "first")


if __name__ == "__main__":
    unittest.main()
