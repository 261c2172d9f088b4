"""Systems that a file of this folder adds to the program: each does all that a built-in system does, and is gone with its file."""
from harness import *
from system_test import SystemTest, systems

PLAIN = os.environ["SISA_PLAIN_BINARY"]
ADDED = sorted(systems(BINARY) - systems(PLAIN))


class MoreSystems(SystemTest, ProgramTest):
    SYSTEMS = ADDED

    def test_a_file_adds_one(self):
        self.assertIn("running_mean", ADDED)

    def test_other_programs_do_not_have_it(self):
        for system, recipe in self.own.items():
            done = subprocess.run([PLAIN, "plan", recipe], capture_output=True, text=True)
            self.assertEqual(done.returncode, 2)
            self.assertRegex(done.stderr, rf"model.system is '{system}', but it must be transformer, [\w, ]+ or \w+")

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
                     says="model.num_heads has a meaning only with model.system: transformer, ")
        self.refused("plan", self.recipe, "--set", "model.power=1", says="model.power has a meaning only with model.system: running_mean")


if __name__ == "__main__":
    unittest.main()
