"""Every built-in system trains, resumes and serves; the list is the program's own, so that none can be forgotten."""
from harness import *
from system_test import SystemTest, systems


class EverySystem(SystemTest, ProgramTest):
    SYSTEMS = sorted(systems(BINARY))

    def test_the_list_is_the_programs(self):
        self.assertGreaterEqual(len(self.SYSTEMS), 2)

    def test_plan_shows_it(self):
        for system, recipe in self.own.items():
            with self.subTest(system):
                plan = run("plan", recipe)
                self.assertEqual(plan.returncode, 0, plan.stderr)
                self.assertIn(system, plan.stdout)
                printed = run("plan", recipe, "--print-recipe").stdout
                again = self.folder / f"{system}.yaml"
                again.write_text(printed)
                self.assertEqual(run("plan", again, "--print-recipe").stdout, printed)


if __name__ == "__main__":
    unittest.main()
