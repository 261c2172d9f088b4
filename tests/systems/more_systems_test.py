"""Systems that a file of this folder adds to the program: each does all that a built-in system does, and is gone with its file."""
import re
import unittest

from harness import *

PLAIN = os.environ["SISA_PLAIN_BINARY"]
SHAPE = "{vocab_size: 257, d_model: 32, num_layers: 2, d_ff: 48, system: SYSTEM}"


def systems(program):
    """The systems that a program has, from what it says of one that no program has."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as recipe:
        recipe.write("model: {system: no_such}\n")
        recipe.flush()
        said = subprocess.run([program, "plan", recipe.name], capture_output=True, text=True).stderr
    return set(re.split(r", | or ", re.search(r"must be ([\w, ]+)", said)[1].strip()))


ADDED = sorted(systems(BINARY) - systems(PLAIN))


class MoreSystems(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.own = {}
        for system in ADDED:
            cls.own[system] = cls.shared / f"{system}.yaml"
            cls.own[system].write_text(re.sub(r"model: .*", "model: " + SHAPE.replace("SYSTEM", system), cls.recipe.read_text()))

    def test_a_file_adds_one(self):
        self.assertIn("running_mean", ADDED)

    def test_other_programs_do_not_have_it(self):
        for system, recipe in self.own.items():
            done = subprocess.run([PLAIN, "plan", recipe], capture_output=True, text=True)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"model.system is '{system}', but it must be transformer or sisa", done.stderr)

    def test_plan_and_help_show_it(self):
        for system, recipe in self.own.items():
            plan = run("plan", recipe)
            self.assertEqual(plan.returncode, 0, plan.stderr)
            self.assertRegex(plan.stdout, rf"system +│? *{system}|{system}")
            self.assertIn(system, run("plan", "--help").stdout)
            self.assertIn(system, run("train", "--help").stdout)

    def test_its_keys_are_its_own(self):
        recipe = self.own["running_mean"]
        printed = run("plan", recipe, "--print-recipe", "--set", "model.power=0.5")
        self.assertIn("  power: 0.5\n", printed.stdout)
        self.assertNotIn("num_heads", printed.stdout)
        self.assertNotIn("lambda_lr", printed.stdout)
        self.refused("plan", recipe, "--set", "model.power=2", says="model.power is '2', but it must be a number x with 0 <= x <= 1")
        self.refused("plan", recipe, "--set", "model.num_heads=2",
                     says="model.num_heads has a meaning only with model.system: transformer or sisa")
        self.refused("plan", self.recipe, "--set", "model.power=1", says="model.power has a meaning only with model.system: running_mean")

    def test_it_trains_on_any_number_of_ranks(self):
        for system, recipe in self.own.items():
            self.train(f"{system}-1", recipe=recipe)
            self.train(f"{system}-2", recipe=recipe, ranks=2)
            one, two = self.losses(f"{system}-1"), self.losses(f"{system}-2")
            self.assertLess(max(abs(a - b) / a for a, b in zip(one, two, strict=True)), 1e-5)
            self.assertLess(one[-1], one[0] - 0.5)

    def test_it_resumes_where_it_stopped(self):
        for system, recipe in self.own.items():
            self.train(f"{system}-whole", recipe=recipe)
            self.train(f"{system}-parts", "--stop-after", "23 steps", recipe=recipe)
            self.train(f"{system}-parts", recipe=recipe)
            self.assertEqual(self.losses(f"{system}-parts"), self.losses(f"{system}-whole"))

    def test_its_checkpoints_serve(self):
        for system, recipe in self.own.items():
            folder = self.folder / system
            self.train(system, recipe=recipe, ranks=2)
            self.assertIn("sound", run("checkpoint", "verify", folder).stdout)
            evaluated = run("evaluate", folder, "--monitors")
            self.assertEqual(evaluated.returncode, 0, evaluated.stderr)
            self.assertIn("held-out loss", evaluated.stdout)
            texts = {run("generate", folder, "--prompt", "the ", "--max-tokens", "60", "--greedy").stdout for _ in range(2)}
            self.assertEqual(len(texts), 1)
            self.assertGreater(len(texts.pop()), 50)


if __name__ == "__main__":
    unittest.main()
