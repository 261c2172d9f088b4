"""Evaluating and generating from a finished run."""
import re

from harness import *


@slow
class Generate(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_folder = cls.shared / "run"
        done = run("train", cls.recipe, "--output", cls.run_folder, *SAVED_WHEN_DUE, "--set", "log.monitors=25 steps", ranks=2)
        assert done.returncode == 0, done.stdout + done.stderr

    def generate(self, *arguments):
        done = run("generate", self.run_folder, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_seeds_decide(self):
        a = self.generate("--prompt", "the ", "--max-tokens", "40", "--seed", "1")
        self.assertEqual(a, self.generate("--prompt", "the ", "--max-tokens", "40", "--seed", "1"))
        self.assertNotEqual(a, self.generate("--prompt", "the ", "--max-tokens", "40", "--seed", "2"))
        self.assertIn("the ", a)

    def test_greedy_needs_no_seed(self):
        a = self.generate("--prompt", "the ", "--max-tokens", "20", "--greedy", "--seed", "1")
        self.assertEqual(a, self.generate("--prompt", "the ", "--max-tokens", "20", "--greedy", "--seed", "2"))
        self.assertEqual(a, self.generate("--prompt", "the ", "--max-tokens", "20", "--top-k", "1"))

    def test_a_prompt_from_a_file(self):
        prompt = self.folder / "prompt.txt"
        prompt.write_text("they have ")
        self.assertEqual(self.generate("--prompt-file", prompt, "--max-tokens", "10", "--greedy"),
                         self.generate("--prompt", "they have ", "--max-tokens", "10", "--greedy"))

    def test_several_prompts_at_once(self):
        prompt = self.folder / "prompt.txt"
        prompt.write_text("and a rather longer prompt: ")
        together = self.generate("--prompt", "the ", "--prompt", "[they, have] ", "--prompt-file", prompt,
                                 "--max-tokens", "30", "--seed", "7")
        alone = [self.generate(option, text, "--max-tokens", "30", "--seed", seed) for option, text, seed in (
            ("--prompt", "the ", "7"), ("--prompt", "[they, have] ", "8"), ("--prompt-file", prompt, "9"))]
        self.assertEqual(together, "".join(f"--- {i + 1} of 3\n{text}" for i, text in enumerate(alone)))

    def test_beyond_the_length_of_training(self):
        text = self.generate("--prompt", "the ", "--max-tokens", "300", "--top-k", "5")  # trained on 32
        self.assertGreater(len(text), 250)

    def test_the_published_offset_generates_too(self):
        with_cache = self.generate("--prompt", "the ", "--max-tokens", "20", "--greedy")
        without = self.generate("--prompt", "the ", "--max-tokens", "20", "--greedy", "--set", "model.offset=minimax",
                                "--set", "model.clamp=60", "--set", "model.causal_offset=default",
                                "--set", "model.max_segments=default")
        self.assertEqual(without, with_cache)  # the same function while no clamp binds

    def test_an_earlier_step(self):
        done = run("generate", f"{self.run_folder}@40", "--prompt", "the ", "--max-tokens", "5", "--greedy")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.refused("generate", f"{self.run_folder}@7", "--prompt", "the ", says="these steps: 30, 40, 50")

    def test_options_out_of_range(self):
        self.refused("generate", self.run_folder, "--prompt", "x", "--temperature", "0", says="--temperature: '0' is given, but it must be a number above 0")
        self.refused("generate", self.run_folder, "--prompt", "x", "--top-p", "2", says="--top-p: '2' is given, but it must be a number above 0 to 1")
        self.refused("generate", self.run_folder, "--prompt", "x", "--top-k", "-1", says="--top-k: '-1' is given")
        self.refused("generate", self.run_folder, "--prompt", "x", "--max-tokens", "0", says="--max-tokens: '0' is given, but it must be a whole number from 1")
        self.refused("generate", self.run_folder, "--prompt", "", says="prompt is empty")

    def test_a_vocabulary_wider_than_the_tokenizers(self):
        """As 50,304 for GPT-2's 50,257: the further tokens have no text, and an untrained model finds them as likely as others."""
        self.train("wide", "--set", "model.vocab_size=2048", "--stop-after", "1 steps")
        for choice in (("--seed", "1"), ("--greedy",)):
            done = run("generate", self.folder / "wide", "--prompt", "the ", "--max-tokens", "50", *choice)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_overrides_change_the_stored_recipe(self):
        in_fp64 = run("evaluate", self.run_folder, "--set", "run.precision=fp64", "--set", "evaluation.tokens=320 tokens")
        self.assertEqual(in_fp64.returncode, 0, in_fp64.stderr)
        self.assertRegex(in_fp64.stdout, r"tokens scored +320 ")
        self.refused("evaluate", self.run_folder, "--set", "model.d_model=64", says="is of another model")
        self.refused("generate", self.run_folder, "--prompt", "x", "--set", "run.devise=cpu", says="device")

    def test_evaluation_agrees_with_the_run_and_over_ranks(self):
        last = [r for r in self.read_metrics() if r.get("event") == "evaluation"][-1]["loss"]
        for ranks in (None, 3):
            done = run("evaluate", self.run_folder, ranks=ranks)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(f"{last:.4f}", done.stdout)
            self.assertIn("bigram", done.stdout)

    def test_a_text_of_ones_own(self):
        """All of it is scored, nothing is written, and nothing is called held-out; the data of the run is not needed."""
        documents = text(20, seed=9)
        plain, lines, tokens = (self.folder / name for name in ("own.txt", "own.jsonl", "tokens"))
        plain.write_text(documents[0])
        lines.write_text("".join(json.dumps({"text": t}) + "\n" for t in documents))
        done = run("data", "prepare", lines, "--tokenizer", "bytes", "--output", tokens, "--validation", "0")
        self.assertEqual(done.returncode, 0, done.stderr)
        before = sorted(self.run_folder.rglob("*"))
        nothing = ("--set", "data.sources=[]")
        scored = {}
        for file, ranks in ((plain, None), (lines, None), (lines, 2), (tokens, None)):
            done = run("evaluate", self.run_folder, "--file", file, *nothing, ranks=ranks)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertNotIn("held-out", done.stdout)
            scored[file, ranks] = [line for line in done.stdout.splitlines() if re.search(r"nats|predicted|perplexity", line)]
        self.assertEqual(scored[lines, None], scored[lines, 2])
        numbers = [re.sub(r"\s+", " ", line) for line in scored[tokens, None]]
        self.assertEqual(numbers, [re.sub(r"\s+", " ", line) for line in scored[lines, None]])
        predicted = sum(len(t.encode()) + 1 for t in documents)  # a byte a token, and the end of each document
        self.assertIn(f"tokens predicted {predicted:,} ", numbers[0])
        self.assertRegex(" ".join(numbers), r"after 1 token .* after 16 to 31 tokens .* after 32 tokens")
        self.assertEqual(sorted(self.run_folder.rglob("*")), before)

    def test_a_text_of_ones_own_that_cannot_be_scored(self):
        bad = self.folder / "bad.jsonl"
        bad.write_text('{"text": "fine"}\n{"text": 5}\n')
        empty = self.folder / "empty.txt"
        empty.write_text("")
        self.refused("evaluate", self.run_folder, "--file", self.folder / "none.txt", says="none.txt does not exist")
        self.refused("evaluate", self.run_folder, "--file", bad, says="bad.jsonl, line 2, column ", ranks=2)
        self.refused("evaluate", self.run_folder, "--file", empty, says="empty.txt holds nothing to predict")
        self.refused("evaluate", self.run_folder, "--file", bad, "--monitors", says="Leave out --file")

    def test_monitors(self):
        done = run("evaluate", self.run_folder, "--monitors", ranks=2)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"layer 1 lambda +0\.3\d+  0\.3\d+")
        self.assertRegex(done.stdout, r"layer 0 half_life +\d+")
        self.assertRegex(done.stdout, r"layer 0 limited_share +0  0 ")

    def test_monitors_during_training(self):
        events = [r for r in self.read_metrics() if r.get("event") == "monitors"]
        self.assertEqual([r["step"] for r in events], [25, 50])
        for layer in events[-1]["layers"]:
            self.assertEqual({name: len(values) for name, values in layer.items()}, dict.fromkeys(
                ("lambda", "half_life", "decay_range", "limited_share", "state_share"), 2))
        self.assertEqual({r["limited_pairs"] for r in self.read_metrics() if "event" not in r}, {0})

    def test_decays_beyond_the_range_are_counted(self):
        # Every token decays by about 3 nats, so tokens 6 to 31 of each sequence are beyond 2 x 10.
        done = self.train("fast", "--stop-after", "1 steps", "--set", "model.alpha_bias=3", "--set", "model.causal_offset=10",
                          "--set", "model.max_segments=1", ranks=2)
        counted = next(r for r in self.metrics("fast") if "event" not in r)["limited_pairs"]
        self.assertAlmostEqual(counted, 12 * 2 * 2 * 26, delta=100)  # samples, layers, heads, tokens
        self.assertRegex(done.stdout, r"1\.\d+K pairs limited")

    def read_metrics(self):
        return [json.loads(line) for line in (self.run_folder / "metrics.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    unittest.main()
