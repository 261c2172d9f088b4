"""Mistakes: each ends in one clear sentence and a non-zero exit, on one rank and on several, and harms nothing."""
from harness import *


class BadInput(ProgramTest):
    ranks = (None,)  # the numbers of ranks that are tried; None: without mpirun

    def refuse_recipe(self, *arguments, says, recipe=None):
        for ranks in self.ranks:
            output = self.folder / f"out-{ranks}"
            self.refused("train", recipe or self.recipe, "--output", output, *arguments, says=says, ranks=ranks)
            self.assertFalse((output / "checkpoints").exists() and any((output / "checkpoints").iterdir()))

    def test_missing_files(self):
        self.refuse_recipe(says="no-such.yaml", recipe=self.folder / "no-such.yaml")
        self.refuse_recipe("--set", "data.sources=[{path: /no/such/data}]", says="/no/such/data")
        self.refused("data", "prepare", self.folder / "absent.txt", "--tokenizer", "bytes", "--output", self.folder / "d",
                     says="absent.txt")
        self.refused("evaluate", self.folder / "no-run", says="no-run")
        self.refused("generate", self.folder / "no-run", "--prompt", "x", says="no-run")

    def test_empty_text(self):
        empty = self.folder / "empty.txt"
        empty.write_text("")
        self.refused("data", "prepare", empty, "--tokenizer", "bytes", "--output", self.folder / "d", says="empty")

    def test_sequence_longer_than_the_data(self):
        self.refuse_recipe("--set", "data.sequence_length=10000000", "--set", "train.batch=20000000 tokens",
                           "--set", "train.max_tokens=1B tokens", says="10,?000,?00[01]")

    def test_more_ranks_than_samples(self):
        self.refused("train", self.recipe, "--output", self.folder / "out", "--set", "train.batch=64 tokens", ranks=3,
                     says=["3 ranks", "2 samples"])

    def test_models_that_cannot_be(self):
        self.refuse_recipe("--set", "model.num_heads=3", says="d_model.*num_heads|num_heads.*d_model")
        self.refuse_recipe("--set", "model.d_model=-32", says="d_model")
        self.refuse_recipe("--set", "model.system=sissa", says="sisa")
        self.refuse_recipe("--set", "model.vocab_size=200", says="vocab")

    def test_memory_that_no_machine_has(self):
        large = ["train", self.recipe, "--output", self.folder / "large"]
        for setting in ("d_model=65536", "num_heads=1024", "num_layers=1000", "d_ff=1000000"):
            large += ["--set", f"model.{setting}"]
        says = r"Memory ran out: .*tried to allocate \d+ bytes.* For activations, lower train.micro_batch or raise train.recompute"
        self.refused(*large, says=says, status=1)
        several = run(*large, ranks=2)  # which of them say it before the first ends the others is a matter of time
        self.assertEqual(several.returncode, 1, several.stderr)
        self.assertRegex(several.stderr, r"Rank \d .*: " + says)

    def test_unknown_keys(self):
        self.refuse_recipe("--set", "model.d_modl=32", says="d_model")
        self.refuse_recipe("--set", "modle.d_model=32", says="model")
        wrong = self.folder / "wrong.yaml"
        wrong.write_text(self.recipe.read_text() + "trian: {batch: 3}\n")
        self.refuse_recipe(says=r"wrong\.yaml", recipe=wrong)

    def test_an_output_that_cannot_be_written(self):
        blocked = self.folder / "a-file"
        blocked.write_text("in the way")
        for ranks in self.ranks:
            self.refused("train", self.recipe, "--output", blocked / "run", ranks=ranks, says="a-file")
        self.assertEqual(blocked.read_text(), "in the way")
        (self.folder / "odd" / "metrics.jsonl").mkdir(parents=True)
        for ranks in self.ranks:
            self.refused("train", self.recipe, "--output", self.folder / "odd", ranks=ranks, says="metrics.jsonl")

    def test_a_checkpoint_of_another_model(self):
        short = ("--set", "train.max_tokens=3840 tokens")
        self.train("run", *short)
        checkpoint = self.folder / "run" / "checkpoints" / "step-10" / "master.h5"
        before = checkpoint.read_bytes()
        for ranks in self.ranks:
            self.refused("train", self.recipe, "--output", self.folder / "run", "--set", "model.d_model=64", ranks=ranks,
                         says=["is of another model than this recipe's: embed.weight is \\(257, 32\\) there"])
        self.assertEqual(checkpoint.read_bytes(), before)

    def test_no_gpu(self):
        if os.path.exists("/dev/nvidia0"):
            self.skipTest("this host has a GPU")
        self.refuse_recipe("--set", "run.device=cuda", says="CUDA|GPU")

    def test_options(self):
        self.refused("train", says="(?i)recipe")
        self.refused("train", self.recipe, "--output", self.folder / "o", "--no-such-option", says="no-such-option")
        self.refused("train", self.recipe, "--output", self.folder / "o", "--stop-after", "3 lemons", says="3 lemons")
        self.refused("train", self.recipe, "--output", self.folder / "o", "--resume", "maybe", says="maybe")

    def test_a_path_that_nobody_would_read(self):
        """It is shown by its ends, and the library that complains about it is not named."""
        done = self.refused("evaluate", "x" * 5000, says=r"The path x+…\(5000 characters\)…x+ cannot be used: File name too long")
        self.assertLess(len(done.stderr), 600)


@slow
class BadInputOnRanks(BadInput):
    ranks = (2,)


if __name__ == "__main__":
    unittest.main()
