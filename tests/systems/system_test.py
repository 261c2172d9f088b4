"""What every system must do in the program, whether built in or added: train on any number of ranks, resume, serve from its checkpoints."""
import re

from harness import *

MODEL = """{vocab_size: 257, d_model: 32, num_layers: 2, num_heads: 2, d_ff: 48, d_state: 8, d_inner: 64, head_dim: 16, chunk_length: 8, num_kv_heads: 1,
  num_meta_tokens: 4, window: 8, attention_layers: [1], full_attention_layers: [0]}"""


def systems(program):
    """The systems that a program has, from what it says of one that no program has."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as recipe:
        recipe.write("model: {system: no_such}\n")
        recipe.flush()
        said = subprocess.run([program, "plan", recipe.name], capture_output=True, text=True).stderr
    return set(re.split(r", | or ", re.search(r"must be ([\w, ]+)", said)[1].strip()))


class SystemTest:
    """For a ProgramTest with the names of its systems in SYSTEMS; `self.own` has a small recipe of each."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        base = cls.shared / "base.yaml"
        base.write_text(re.sub(r"model: .*", "model: " + MODEL, cls.recipe.read_text()))
        cls.own = {}
        for system in cls.SYSTEMS:
            cls.own[system] = cls.shared / f"{system}.yaml"
            cls.own[system].write_text(f"extends: {base.name}\nmodel: {{system: {system}}}\n")

    def test_it_trains_on_any_number_of_ranks(self):
        for system, recipe in self.own.items():
            with self.subTest(system):
                self.train(f"{system}-1", recipe=recipe)
                self.train(f"{system}-2", recipe=recipe, ranks=2)
                one, two = self.losses(f"{system}-1"), self.losses(f"{system}-2")
                self.assertLess(max(abs(a - b) / a for a, b in zip(one, two, strict=True)), 1e-5)
                self.assertLess(one[-1], one[0] - 0.5)

    def test_it_resumes_where_it_stopped(self):
        for system, recipe in self.own.items():
            with self.subTest(system):
                self.train(f"{system}-whole", recipe=recipe)
                self.train(f"{system}-parts", "--stop-after", "23 steps", recipe=recipe)
                self.train(f"{system}-parts", recipe=recipe)
                self.assertEqual(self.losses(f"{system}-parts"), self.losses(f"{system}-whole"))

    def test_its_checkpoints_serve(self):
        for system, recipe in self.own.items():
            with self.subTest(system):
                folder = self.folder / system
                self.train(system, recipe=recipe, ranks=2)
                self.assertIn("sound", run("checkpoint", "verify", folder).stdout)
                evaluated = run("evaluate", folder, "--monitors")
                self.assertEqual(evaluated.returncode, 0, evaluated.stderr)
                self.assertIn("held-out loss", evaluated.stdout)
                texts = {run("generate", folder, "--prompt", "the ", "--max-tokens", "60", "--greedy").stdout for _ in range(2)}
                self.assertEqual(len(texts), 1)
                self.assertGreater(len(texts.pop()), 50)
