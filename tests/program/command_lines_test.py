"""Hostile arguments: every command says in a sentence what is wrong, and no library's exception reaches the user by its own name."""
from harness import *

LONG = "x" * 5000
NOISE = ("INTERNAL ASSERT", "json.exception", "std::", "stoull", "filesystem error", "bad_alloc", "terminate called", "c10", "HDF5-DIAG",
         "Exception raised", "Internal error", "yaml-cpp", "CLI::", "what()")
PATHS = ("", LONG, "/" + LONG, "a/" * 3000, "nothing-there", "nothing@5", "@", "@5", "x@99999999999999999999", "x@-1", "x@1e3", "/dev/zero", "/dev/full",
         "/dev/null", "/proc/self/mem", "/proc/self/environ", "/root/\udcff\udcfe", "line\nbreak", "{}", "*", "-", "/", ".", "--")
SETTINGS = ("data.sources=[]", "data.sources={}", "data.sources=[[]]", "data.sources=[{path: ''}]", "data.sources=[{path: " + LONG + "}]",
            "data.sources=[{}]", "data.sources=[{path: /dev/zero}]", "data.sources=[null]", "data.tokenizer=/dev/zero", "data.tokenizer=" + LONG,
            "data.tokenizer=[]", "model={}", "model=", "=", "a", "run.seed=", "run.seed=99999999999999999999", "run.seed=-1", "run.seed=1e400",
            "model.d_model=1e999", "model.d_model=.nan", "model.d_model=99999999999999999999", "model.d_model=9223372036854775807", "run={",
            "run=[", "run.seed=*anchor", "run.seed=!!binary x", "run.seed=&a 1", "run.output=" + LONG, "run.threads=1025", "train.batch=1e30 tokens",
            "train.max_tokens=99999999999999999999999 tokens", "evaluation.every=-1 steps", "optimizer.learning_rate=.inf",
            "optimizer.learning_rate=-0", "model.vocab_size=9223372036854775807", "model.num_layers=9223372036854775807", "train.micro_batch=0")
NUMBERS = ("99999999999999999999", "-1", "1e3", "0x10", "1_000", "nan", "inf", "", "٣", "5 ", "-9223372036854775809", "1" * 5000)


@slow
class CommandLines(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.trained = cls.shared / "trained"
        done = run("train", cls.recipe, "--stop-after", "2 steps", "--output", cls.trained)
        assert done.returncode == 0, done.stdout + done.stderr

    def refused_well(self, *arguments, statuses=(1, 2)):
        with self.subTest(" ".join(str(a)[:80] for a in arguments)):
            done = run(*arguments, cwd=self.folder, stdin=subprocess.DEVNULL)
            printed = done.stdout + done.stderr
            self.assertIn(done.returncode, statuses, printed[:2000])
            if done.returncode != 0:
                self.assertTrue(done.stderr.strip(), "nothing was said")
            for noise in NOISE:
                self.assertNotIn(noise, printed[:100_000])
            self.assertLess(len(done.stderr), 4000, "a message that nobody reads")

    def test_paths(self):
        for path in PATHS:
            self.refused_well("train", path, "--output", self.folder / "run")
            self.refused_well("plan", path)
            self.refused_well("evaluate", path)
            self.refused_well("generate", path, "--prompt", "x")
            self.refused_well("checkpoint", "list", path, statuses=(0, 1, 2))
            self.refused_well("checkpoint", "verify", path)
            self.refused_well("checkpoint", "inspect", path)
            self.refused_well("checkpoint", "export", path, "--output", self.folder / "w.safetensors")
            self.refused_well("checkpoint", "diff", self.trained, path)
            self.refused_well("checkpoint", "import", path, "--output", self.folder / "imported")
            self.refused_well("checkpoint", "prune", path, "--dry-run", statuses=(0, 1, 2))
            self.refused_well("data", "inspect", path)
            self.refused_well("data", "encode", "--tokenizer", path)

    def test_outputs(self):
        for path in ("", LONG, "/" + LONG, "/dev/null", "/dev/full/run", "/proc/run", self.recipe, "a/" * 3000):
            self.refused_well("train", self.recipe, "--output", path)
            self.refused_well("checkpoint", "export", self.trained, "--output", path)
            self.refused_well("data", "prepare", self.recipe, "--tokenizer", "bytes", "--output", path)

    def test_settings(self):
        for setting in SETTINGS:
            self.refused_well("plan", self.recipe, "--set", setting, statuses=(0, 1, 2))
            self.refused_well("evaluate", self.trained, "--set", setting, statuses=(0, 1, 2))

    def test_numbers(self):
        for number in NUMBERS:
            for option in ("--max-tokens", "--seed", "--top-k", "--top-p", "--temperature"):
                self.refused_well("generate", self.trained, "--prompt", "x", "--max-tokens", "1", option, number,
                                  statuses=(0,) if option == "--temperature" and number in ("99999999999999999999", "1e3") else (2,))
            self.refused_well("plan", self.recipe, "--ranks", number, statuses=(2,))
            self.refused_well("data", "inspect", self.data, "--first", number, statuses=(2,))
            self.refused_well("train", self.recipe, "--output", self.folder / "run", "--stop-after", number, statuses=(2,))
            self.refused_well("train", self.recipe, "--output", self.folder / "run", "--resume", number)


if __name__ == "__main__":
    unittest.main()
