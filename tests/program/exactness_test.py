"""2N steps equal N steps, kill -9 and N more, bit for bit: losses, order of the data, parameters, moments and generated text, for every
system in every precision."""
import concurrent.futures

from harness import *

STEPS = ("--set", "train.max_tokens=7680 tokens", "--set", "evaluation.every=10 steps")  # 20, with a checkpoint every 10


@slow
class Exactness(ProgramTest):
    def check(self, system, precision):
        name = f"{system}-{precision}"
        recipe = self.folder / f"{name}.yaml"
        text = RECIPE.replace("DATA", str(self.data))
        recipe.write_text(text if system == "sisa" else text.replace("system: sisa", "system: transformer").replace(", d_state: 8", ""))
        options = (*STEPS, "--set", f"run.precision={precision}")
        self.train(f"{name}-whole", *options, recipe=recipe)

        killed = self.folder / f"{name}-killed"
        process = start("train", recipe, "--output", killed, *options)
        while not (killed / "checkpoints" / "step-10").exists():
            self.assertIsNone(process.poll(), "it ended before it was killed")
        process.kill()
        process.communicate(timeout=TIMEOUT)
        done = self.train(f"{name}-killed", *options, recipe=recipe)
        self.assertIn("at step 10, on 1 rank", done.stdout)

        def curve(output):  # of a repeated step the later record
            fields = ("samples", "tokens", "lr", "loss", "grad_norm")
            return {r["step"]: [r[field] for field in fields] for r in self.metrics(output) if "event" not in r}

        def held_out(output):
            return {r["step"]: r["loss"] for r in self.metrics(output) if r.get("event") == "evaluation"}

        runs = (f"{name}-whole", f"{name}-killed")
        self.assertEqual(*map(curve, runs))
        self.assertEqual(*map(held_out, runs))
        self.assertEqual(sorted(held_out(runs[0])), [10, 20])
        compared = run("checkpoint", "diff", *(self.folder / r for r in runs))
        self.assertEqual(compared.returncode, 0, compared.stdout + compared.stderr)
        for how in (("--greedy",), ("--seed", "3")):
            texts = [run("generate", self.folder / r, "--prompt", "they ", "--max-tokens", "60", *how) for r in runs]
            self.assertEqual([t.returncode for t in texts], [0, 0], texts[0].stderr + texts[1].stderr)
            self.assertEqual(texts[0].stdout, texts[1].stdout)
            self.assertGreater(len(texts[0].stdout), len("they "))

    def test_every_system_in_every_precision(self):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            cases = [(system, precision) for system in ("sisa", "transformer") for precision in ("fp32", "fp64", "bf16", "bf16_pure")]
            checks = {case: pool.submit(self.check, *case) for case in cases}
        for case, check in checks.items():
            with self.subTest(case=case):
                check.result()


if __name__ == "__main__":
    unittest.main()
