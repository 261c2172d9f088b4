"""Where the program runs: a user without a home, cores that others have, too."""
from harness import *


class Surroundings(ProgramTest):
    @unittest.skipUnless("SISA_FAULTS" in os.environ, "the preloaded library is not there")
    def test_a_user_without_a_home(self):
        """MPI's library looks for one, and crashes if there is none."""
        environment = {name: value for name, value in os.environ.items() if name != "HOME"}
        environment.update(LD_PRELOAD=preloadable(self.folder), SISA_FAULT_USER="unknown")
        done = run("plan", self.recipe, env=environment)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_threads_are_those_of_the_affinity_mask(self):
        core = min(os.sched_getaffinity(0))
        done = subprocess.run(["taskset", "-c", str(core), *command("train", self.recipe, "--output", self.folder / "run",
                                                                    "--set", "run.threads=0", "--stop-after", "1 steps")],
                              capture_output=True, text=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"CPU, 1 thread\b")


if __name__ == "__main__":
    unittest.main()
