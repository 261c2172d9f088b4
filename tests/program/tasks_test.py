"""Synthetic tasks as sources: they are learned, they mix with text, and neither ranks nor a stop change what is trained."""
from harness import *

MODEL = """
run: {seed: 3, threads: 1}
model: {system: SYSTEM, vocab_size: 257, d_model: 32, num_layers: 2, num_heads: 2, d_ff: 48}
data:
  sources: SOURCES
  sequence_length: 32
train: {max_tokens: 19200 tokens, batch: 384 tokens, micro_batch: 5, warmup: 5 steps}
optimizer: {learning_rate: 5e-3}
evaluation: {every: 0}
"""


class Tasks(ProgramTest):
    def write(self, sources, system="transformer", tokenizer=""):
        recipe = self.folder / "tasks.yaml"
        recipe.write_text(MODEL.replace("SOURCES", sources).replace("SYSTEM", system).replace("data:", f"data:\n  tokenizer: bytes" if tokenizer
                                                                                              else "data:"))
        return recipe

    def evaluation(self, output):
        return [r for r in self.metrics(output) if r.get("event") == "evaluation"]

    def test_text_and_tasks_at_any_number_of_ranks_and_after_a_stop(self):
        recipe = self.write(f"[{{path: {self.data}}}, {{task: mqar, num_pairs: 3, weight: 0.5}}, {{task: parity, held_out: 30}}]",
                            tokenizer="bytes")
        self.train("alone", recipe=recipe)
        reference = self.losses("alone")
        self.assertLess(reference[-1], reference[0] - 1)
        for ranks in (2, 3):
            self.train(f"ranks-{ranks}", recipe=recipe, ranks=ranks)
            for a, b in zip(self.losses(f"ranks-{ranks}"), reference, strict=True):
                self.assertLess(abs(a - b), 1e-5 * abs(b))
        self.train("halves", "--set", "checkpoint.every=25 steps", "--stop-after", "25 steps", recipe=recipe)
        self.train("halves", recipe=recipe)
        self.assertEqual(self.losses("halves"), reference)

        alone, three = self.evaluation("alone")[-1], self.evaluation("ranks-3")[-1]
        self.assertEqual([part["name"] for part in alone["parts"]], ["text", "mqar", "parity"])
        self.assertEqual([part["tokens"] for part in alone["parts"]][1:], [1000 * 3, 30 * 32])
        self.assertAlmostEqual(alone["loss"], three["loss"], delta=1e-5 * alone["loss"])
        done = run("evaluate", self.folder / "alone")
        self.assertEqual(done.returncode, 0, done.stderr)
        for part in alone["parts"]:
            self.assertIn(f"{part['loss']:.4f}", done.stdout)

    @slow
    def test_a_task_is_learned(self):
        recipe = self.write("[{task: selective_copying, num_data: 3, vocab_size: 8}]", "sisa")
        self.train("run", "--set", "train.max_tokens=300K", "--set", "train.batch=1024 tokens", "--set", "train.micro_batch=64",
                   "--set", "data.sequence_length=16", "--set", "optimizer.learning_rate=1e-2", recipe=recipe)
        last = self.evaluation("run")[-1]
        self.assertGreater(last["accuracy"], 0.9)  # chance: 1/6

    def test_refused(self):
        self.refused("train", self.write("[{task: mqar, num_pairs: 9}]"), "--output", self.folder / "r",
                     says=r"The task mqar takes at least 36 tokens a sample")
        self.refused("train", self.write("[{task: recall}]"), "--output", self.folder / "r", says=r"'task' is 'recall', but it must be mqar,")


if __name__ == "__main__":
    unittest.main()
