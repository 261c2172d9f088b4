"""Weights that leave and come back: safetensors files, folders for transformers, the published code's .pt.

`Safetensors` is quick, the others are not. SISA_TOKENIZER names the GPT-NeoX tokenizer.json,
SISA_PUBLISHED_CODE a checkout of the published code (tlstngud/sisa-experiment); without them those tests are skipped.
"""
import importlib.util
import math
import re
import sys

from harness import *

try:
    import h5py
    import numpy as np
    import safetensors
    import safetensors.numpy
    import safetensors.torch
    import torch
except ImportError as error:
    missing = str(error)
else:
    missing = ""

NEOX, PUBLISHED = os.environ.get("SISA_TOKENIZER", ""), os.environ.get("SISA_PUBLISHED_CODE", "")
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TEN = ("--set", "train.max_tokens=3840 tokens")
SYSTEMS = {  # by name: what is set in the recipe
    "transformer": ["model.system=transformer", "model.d_state=default"],
    "causal": [],
    "fast decay": ["model.alpha_bias=3"],  # 3 nats a token: far beyond what one offset holds
    "minimax": ["model.offset=minimax"],
    "clamped": ["model.offset=minimax", "model.clamp=2", "model.alpha_bias=0"],
    "no decay": ["model.decay=none"],
    "no rotation": ["model.rotation=none"],
    "bilinear": ["model.decay=none", "model.rotation=none", "model.lambda=fixed"],
    "no SwiGLU": ["model.d_ff=0"],
}


def sets(assignments):
    return [word for assignment in assignments for word in ("--set", assignment)]


def scores(run_folder, *arguments):
    """What `sisa evaluate` and `sisa generate` say of a run, without its name and the time."""
    evaluated = run("evaluate", run_folder, *arguments)
    generated = run("generate", run_folder, "--prompt", "the ", "--max-tokens", "30", "--seed", "3", *arguments)
    assert evaluated.returncode == 0 == generated.returncode, evaluated.stderr + generated.stderr
    rows = dict(re.findall(r"│ (\w.*?)  +(.*?) +│\n", evaluated.stdout))
    assert rows.pop("time") and "held-out loss" in rows, evaluated.stdout
    return rows, generated.stdout


class Interchange(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.base = cls.shared / "base"
        done = run("train", cls.recipe, "--output", cls.base, *SAVED_WHEN_DUE, ranks=2)
        assert done.returncode == 0, done.stdout + done.stderr

    def export(self, output, *arguments, source=None, ranks=None):
        done = run("checkpoint", "export", source or self.base, "--output", output, *arguments, ranks=ranks)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def import_(self, file, output, *arguments, ranks=None):
        done = run("checkpoint", "import", file, "--output", output, *arguments, ranks=ranks)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def refuse_export(self, says, *arguments, output=None, source=None, status=2):
        """Nothing is left behind."""
        before = sorted(self.folder.iterdir())
        self.refused("checkpoint", "export", source or self.base, "--output", output or self.folder / "new", *arguments, says=says,
                     status=status)
        self.assertEqual(sorted(self.folder.iterdir()), before)


@unittest.skipIf(missing, missing)
@slow
class Safetensors(Interchange):
    def test_values_names_and_shapes(self):
        with h5py.File(self.base / "checkpoints" / "step-50" / "master.h5") as master:
            weights = {name: torch.from_numpy(dataset[...]) for name, dataset in master["parameters"].items()}
            recipe = master["recipe"][()].decode()
        for name, dtype in (("fp64", torch.float64), ("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
            file = self.folder / f"{name}.safetensors"
            self.assertIn("step 50, 32 arrays of 28,488 elements", self.export(file, "--dtype", name))
            tensors = safetensors.torch.load_file(file)
            self.assertEqual(tensors.keys(), weights.keys())
            for tensor, weight in ((tensors[n], weights[n]) for n in weights):
                self.assertEqual((tensor.dtype, tensor.shape), (dtype, weight.shape))
                self.assertTrue(torch.equal(tensor, weight.to(dtype)))
        self.export(self.folder / "default")
        self.assertEqual((self.folder / "default").read_bytes(), (self.folder / "fp32.safetensors").read_bytes())
        with safetensors.safe_open(file, "pt") as opened:
            metadata = opened.metadata()
        self.assertEqual(metadata["recipe"], recipe)
        self.assertEqual([metadata[n] for n in ("format", "step", "updates", "samples", "tokens")], ["pt", "50", "50", "600", "19200"])

    def test_an_earlier_step_and_several_ranks(self):
        self.export(self.folder / "a", source=f"{self.base}@40", ranks=3)
        with safetensors.safe_open(self.folder / "a", "np") as opened:
            self.assertEqual(opened.metadata()["step"], "40")
        self.assertEqual([f.name for f in self.folder.iterdir()], ["a"])

    def test_back_again(self):
        file, back = self.folder / "a.safetensors", self.folder / "back"
        right = scores(self.base)
        self.export(file)
        self.assertIn("step-50: 28,488 elements of ", self.import_(file, back, ranks=2))
        self.assertEqual(scores(back), right)
        for line in run("checkpoint", "diff", self.base, back).stdout.splitlines():
            self.assertNotRegex(line, r"^parameters/|^step|^state (step|samples|tokens|updates)")
        verified = run("checkpoint", "verify", back)
        self.assertEqual(verified.returncode, 0, verified.stderr)

    def test_metadata_that_make_no_sense(self):
        file = self.folder / "a.safetensors"
        self.export(file)
        tensors = safetensors.numpy.load_file(file)
        safetensors.numpy.save_file(tensors, file, metadata={"step": "ten"})
        self.refused("checkpoint", "import", file, "--output", self.folder / "o", "--recipe", self.recipe,
                     says="has in its metadata the step 'ten'; a whole number from 0 on was expected")
        safetensors.numpy.save_file(tensors, file, metadata={"recipe": "model: {sistem: sisa}"})
        self.refused("checkpoint", "import", file, "--output", self.folder / "o", says=["a.safetensors", "sistem"])

    def test_what_the_type_cannot_hold(self):
        file, big = self.folder / "a.safetensors", self.folder / "big"
        self.export(file)
        tensors = safetensors.numpy.load_file(file)
        tensors["final_norm.weight"][3] = 1e5
        safetensors.numpy.save_file(tensors, file)
        self.import_(file, big, "--recipe", self.recipe)
        self.refuse_export(r"step-0 holds 100000 at element 3 of final_norm\.weight, which is no finite number in the type that was asked for\. "
                           "Choose another with --dtype", "--dtype", "fp16", source=big)
        self.export(self.folder / "bf16", "--dtype", "bf16", source=big)

    def test_what_is_not_there(self):
        self.refuse_export("There is no run .*nowhere: no such folder", source=self.folder / "nowhere")
        self.refuse_export("Choose one of these steps: 30, 40, 50", source=f"{self.base}@7")
        self.refuse_export("has no checkpoint yet", source=self.data)

    def test_a_damaged_checkpoint(self):
        damaged = self.folder / "damaged"
        shutil.copytree(self.base, damaged)
        file = damaged / "checkpoints" / "step-50" / "rank-00001.h5"
        with h5py.File(file) as opened:
            name = next(iter(opened["parameters"]))
            offset = opened["parameters"][name].id.get_offset()
        content = bytearray(file.read_bytes())
        content[offset + 5] ^= 1
        file.write_bytes(content)
        for form in ("safetensors", "hf"):
            self.refuse_export(rf"parameters/{re.escape(name)}, elements \d+ to \d+.* has the checksum", "--format", form, status=1,
                               source=f"{damaged}@50")
        done = run("checkpoint", "export", damaged, "--output", self.folder / "a")  # the newest sound one
        self.assertIn("step 40", done.stdout)
        self.assertIn("step-50 is damaged", done.stderr)

    def test_a_folder_for_transformers(self):
        """What stands in it; transformers itself: see HuggingFace."""
        folder = self.folder / "hf"
        self.export(f"{folder}/", "--format", "hf", "--dtype", "bf16")
        self.assertEqual(sorted(f.name for f in folder.iterdir()), ["config.json", "generation_config.json", "model.safetensors",
                                                                  "modeling_sisa.py", "tokenizer.json", "tokenizer_config.json"])
        self.assertEqual((folder / "modeling_sisa.py").read_bytes(), (ROOT / "scripts" / "hf" / "modeling_sisa.py").read_bytes())
        config, tokenizer = (json.loads((folder / f"{name}.json").read_text()) for name in ("config", "tokenizer_config"))
        for key, value in {"dtype": "bfloat16", "d_model": 32, "vocab_size": 257, "d_state": 8, "offset": "causal", "eos_token_id": 256,
                           "max_position_embeddings": 32}.items():
            self.assertEqual(config[key], value)
        self.assertEqual((tokenizer["eos_token"], tokenizer["model_max_length"]), ("<|endoftext|>", 32))
        self.export(self.folder / "a", "--dtype", "bf16")
        self.assertEqual((folder / "model.safetensors").read_bytes(), (self.folder / "a").read_bytes())


@unittest.skipIf(missing, missing)
@slow
class SafetensorsFurther(Interchange):
    def test_runs_start_from_it(self):
        file, back = self.folder / "a.safetensors", self.folder / "back"
        self.export(file)
        self.import_(file, back)
        one = ("--stop-after", "1 steps", "--set", "evaluation.every=1 steps")  # the first update has the learning rate 0
        held_out = [r["loss"] for r in map(json.loads, (self.base / "metrics.jsonl").read_text().splitlines())
                    if r.get("event") == "evaluation"][-1]
        for recipe, output, arguments in ((self.recipe, "from_run", ("--set", f"run.init_from={back}")),
                                          (self.recipe, "from_file", ("--set", f"run.init_from={file}")),
                                          (back / "recipe.yaml", "back", ())):  # training where it was imported
            done = self.train(output, *one, *arguments, recipe=recipe)
            self.assertIn("Starting from the weights of ", done.stdout)
            loss, = (r["loss"] for r in self.metrics(output) if r.get("event") == "evaluation")
            self.assertAlmostEqual(loss, held_out, delta=1e-6)
        self.refused("train", self.recipe, "--output", self.folder / "o", "--from", f"{back}@50",
                     says="holds weights only, without the optimizer's moments")

    def test_a_file_of_another_program(self):
        file = self.folder / "a.safetensors"
        self.export(file)
        safetensors.numpy.save_file(safetensors.numpy.load_file(file), file)  # without metadata
        new = self.folder / "new"
        self.refused("checkpoint", "import", file, "--output", new, says="tells no recipe, as exports of sisa do. Name the model's with --recipe")
        self.assertFalse(new.exists())
        self.import_(file, new, "--recipe", self.recipe, "--set", "evaluation.tokens=320 tokens")
        self.assertEqual(scores(new, "--set", "evaluation.tokens=default"), scores(self.base))
        self.assertRegex(run("evaluate", new).stdout, "tokens scored +320 ")
        self.refused("checkpoint", "import", file, "--output", new, "--recipe", self.recipe, says="holds a run already. Choose another --output")
        self.refused("checkpoint", "import", file, "--output", self.folder / "o", "--recipe", self.recipe, "--set", "model.d_ff=40",
                     says=r"of another model than this recipe's: layers\.0\.ffn\.w_gate\.weight is \(48, 32\) there and \(40, 32\) here", ranks=2)
        self.refused("checkpoint", "import", self.folder / "none", "--output", self.folder / "o", says="none is no file; a safetensors file")
        self.refused("checkpoint", "import", self.recipe, "--output", self.folder / "o", says="it was cut off or is no safetensors file")

    def test_what_is_there_already(self):
        for output in ("file", "folder"):
            for form in ("safetensors", "hf"):
                path = self.folder / output
                path.write_text("mine") if output == "file" else path.mkdir(exist_ok=True)
                self.refuse_export(f"{output} is there already. Remove it, or choose another --output", "--format", form, output=path)
        self.assertEqual((self.folder / "file").read_text(), "mine")
        self.refused("checkpoint", "export", self.base, "--output", "", says="--output: it is given without a value")
        link = self.folder / "link"
        link.symlink_to("nowhere")
        self.refuse_export("link is there already", output=link)
        self.refuse_export("folder is there already", "--format", "hf", output=f"{self.folder / 'folder'}/")
        self.export(self.folder / "deep" / "er" / "a.safetensors")  # folders above it are made

    def test_weights_of_every_precision(self):
        file, back = self.folder / "a", self.folder / "back"
        for precision, dtype in (("fp64", "fp64"), ("bf16", "fp32"), ("bf16_pure", "fp32")):
            with self.subTest(precision):
                output = f"run-{precision}"
                self.train(output, *TEN, "--set", f"run.precision={precision}")
                self.export(file, "--dtype", dtype, source=self.folder / output)
                self.import_(file, back)
                self.assertEqual(scores(back), scores(self.folder / output))
                file.unlink()
                shutil.rmtree(back)

    def test_tokenizers(self):
        self.refuse_export("--tokenizer goes with --format hf", "--tokenizer", "bytes")
        self.refuse_export("absent.json", "--format", "hf", "--tokenizer", self.folder / "absent.json")
        tasks = self.folder / "tasks.yaml"
        tasks.write_text(RECIPE.replace("tokenizer: bytes", "").replace("path: DATA", "task: mqar, num_pairs: 3").replace("257", "64"))
        self.train("tasks", *TEN, recipe=tasks)
        source = self.folder / "tasks"
        self.assertIn("Without a tokenizer: the recipe names none", self.export(self.folder / "hf", "--format", "hf", source=source))
        self.assertFalse((self.folder / "hf" / "tokenizer.json").exists())
        self.refuse_export("The tokenizer bytes has 257 tokens, and the model has 64. Name the one that the run was trained with",
                           "--format", "hf", "--tokenizer", "bytes", source=source)


@unittest.skipIf(missing or not importlib.util.find_spec("transformers"), missing or "needs the Python package transformers")
@slow
class HuggingFace(Interchange):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        os.environ.update(HF_HUB_OFFLINE="1", HF_HOME=str(cls.shared / "hugging_face"), TRANSFORMERS_VERBOSITY="error",
                          HF_HUB_DISABLE_PROGRESS_BARS="1")
        import transformers
        transformers.utils.logging.disable_progress_bar()
        cls.transformers = transformers
        torch.set_num_threads(1)

    def load(self, source, *arguments):
        """Exports the run and loads it: model and tokenizer."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder)) / "hf"
        self.export(folder, "--format", "hf", *arguments, source=source)
        model, report = self.transformers.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            self.assertFalse(report[kind], report)
        return model, self.transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=True)

    def held_out(self, data, T):
        """All windows of the held-out tokens, (N, T + 1), as `sisa evaluate` scores them."""
        tokens = np.fromfile(data / "validation-00000.bin", "<u2", offset=64).astype(np.int64)
        return torch.stack([torch.from_numpy(tokens[i * T:i * T + T + 1]) for i in range((len(tokens) - 1) // T)])

    def check_likelihood(self, model, output, data, **tolerance):
        """The mean over the held-out tokens is the run's own, which is `sisa evaluate`'s with more digits."""
        windows = self.held_out(data, 32)
        with torch.no_grad():
            logits = model(windows[:, :-1]).logits.double()
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).item()
        right = [r["loss"] for r in self.metrics(output) if r.get("event") == "evaluation"][-1]
        self.assertAlmostEqual(loss, right, **({"delta": 1e-5 * right} | tolerance))
        self.assertIn(f"{right:.4f} nats a token", run("evaluate", self.folder / output).stdout)

    def test_likelihoods_of_every_system(self):
        for name, assignments in SYSTEMS.items():
            with self.subTest(name):
                self.train(name, *TEN, *sets(assignments))
                model, _ = self.load(self.folder / name)
                self.check_likelihood(model, name, self.data)

    def test_other_types_of_numbers(self):
        self.train("run", *TEN)
        for name, dtype, relative in (("fp64", torch.float64, 1e-5), ("bf16", torch.bfloat16, 1e-2), ("fp16", torch.float16, 1e-3)):
            model, _ = self.load(self.folder / "run", "--dtype", name)
            self.assertEqual(model.dtype, dtype)
            self.check_likelihood(model, "run", self.data, delta=relative * math.log(257))

    def test_greedy_text(self):
        model, tokenizer = self.load(self.base)
        prompts = ["the ", "they have one, ", "of"]
        ours = [run("generate", self.base, "--prompt", p, "--greedy", "--max-tokens", "40").stdout.removesuffix("\n") for p in prompts]

        def theirs(texts, **options):
            ids = tokenizer(texts, return_tensors="pt", padding=len(texts) > 1, padding_side="left")
            done = model.generate(**ids, max_new_tokens=40, do_sample=False, pad_token_id=tokenizer.eos_token_id, **options)
            return tokenizer.batch_decode(done, skip_special_tokens=True)

        for prompt, right in zip(prompts, ours):
            self.assertEqual(theirs([prompt]), [right])
        self.assertEqual(theirs([prompts[0]], use_cache=True), ours[:1])
        tokenizer.pad_token = tokenizer.eos_token
        self.assertEqual(theirs(prompts), ours)  # padded on the left

    def test_padding_changes_nothing(self):
        for name in ("clamped", "causal"):
            self.train(name, *TEN, *sets(SYSTEMS[name]))
            model, tokenizer = self.load(self.folder / name)
            texts = ["the one they had, ", "of it"]
            alone = [model(**tokenizer(t, return_tensors="pt")).logits[0] for t in texts]
            tokenizer.pad_token = tokenizer.eos_token
            for side in ("left", "right"):
                ids = tokenizer(texts, return_tensors="pt", padding=True, padding_side=side)
                logits = model(**ids).logits
                for one, many, seen in zip(alone, logits, ids["attention_mask"].bool()):
                    torch.testing.assert_close(many[seen], one, rtol=1e-5, atol=1e-6)

    def test_loss_and_long_texts(self):
        model, tokenizer = self.load(self.base)
        ids = tokenizer("the of and to " * 60, return_tensors="pt")["input_ids"]  # beyond one block of queries
        self.assertGreater(ids.shape[1], 512)
        whole = model(ids, labels=ids)
        self.assertAlmostEqual(whole.loss.item(), torch.nn.functional.cross_entropy(whole.logits[0, :-1], ids[0, 1:]).item(), places=6)
        torch.testing.assert_close(model(ids[:, :300]).logits, whole.logits[:, :300])
        torch.testing.assert_close(model(ids, logits_to_keep=2).logits, whole.logits[:, -2:])

    def check_tokenizer(self, tokenizer, name, texts):
        done = run("data", "encode", "--tokenizer", name, input="".join(json.dumps({"text": t}) + "\n" for t in texts))
        self.assertEqual(done.returncode, 0, done.stderr)
        for text, line in zip(texts, done.stdout.splitlines(), strict=True):
            self.assertEqual(tokenizer(text)["input_ids"], json.loads(line))
            self.assertEqual(tokenizer.decode(json.loads(line)), text)

    TEXTS = ["the of and", " a  b\n\tc ", "é 日本語 👍", "(don't) [stop], 1234567 !", "x" * 1000]

    def test_the_tokenizer_of_bytes(self):
        _, tokenizer = self.load(self.base)
        self.check_tokenizer(tokenizer, "bytes", self.TEXTS)
        self.assertEqual((tokenizer.eos_token_id, len(tokenizer), tokenizer.model_max_length), (256, 257, 32))

    def test_a_tokenizer_that_adds_tokens(self):
        """What its file adds to a text had no part in training."""
        from tokenizers import processors
        from tokenizer_test import trained
        file = self.folder / "tokenizer.json"

        def adds(tokenizer):
            tokenizer.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
            tokenizer.enable_truncation(5)
            tokenizer.enable_padding(length=9)

        trained(adds).save(str(file))
        self.train("run", "--stop-after", "1 steps", "--set", f"data.tokenizer={file}", "--set", "model.vocab_size=2000",
                   "--set", f"data.sources=[{{path: {self.shared / 'text.jsonl'}}}]")
        _, tokenizer = self.load(self.folder / "run")
        self.check_tokenizer(tokenizer, file, self.TEXTS)
        self.assertEqual(tokenizer.eos_token, "<|endoftext|>")

    @unittest.skipUnless(NEOX, "SISA_TOKENIZER names no tokenizer.json")
    def test_the_neox_tokenizer(self):
        data = self.folder / "data"
        done = run("data", "prepare", self.shared / "text.jsonl", "--tokenizer", NEOX, "--output", data, "--validation", "0.1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.train("run", *TEN, "--set", f"data.tokenizer={NEOX}", "--set", "model.vocab_size=50277",
                   "--set", f"data.sources=[{{path: {data}}}]")
        model, tokenizer = self.load(self.folder / "run")
        self.check_likelihood(model, "run", data)
        self.check_tokenizer(tokenizer, NEOX, self.TEXTS)
        self.assertEqual(tokenizer.eos_token, "<|endoftext|>")


def module(folder, body):
    """A file for --module whose class `Network` is the exported folder's network, with `body` in it."""
    file = folder / "network.py"
    file.write_text(f"import sys\nsys.path.insert(0, {str(ROOT / 'scripts' / 'hf')!r})\n"
                    "import torch\nfrom modeling_sisa import SisaConfig, SisaForCausalLM\n\n\n"
                    "class Network(SisaForCausalLM):\n    def __init__(self, config):\n        super().__init__(SisaConfig(**config))\n" + body)
    return f"{file}:Network"


def script(name, *arguments):
    return subprocess.run([sys.executable, ROOT / "scripts" / f"{name}.py", *map(str, arguments)], capture_output=True, text=True, timeout=TIMEOUT)


@unittest.skipIf(missing, missing)
@slow
class Scripts(Interchange):
    def parity(self, source, reference, *arguments, status=0, says=""):
        done = script("parity", source, "--module", reference, *arguments)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        self.assertRegex(done.stdout + done.stderr, says)
        return done.stdout

    @unittest.skipUnless(importlib.util.find_spec("transformers"), "needs the Python package transformers")
    def test_parity_with_the_modelling_file(self):
        for name in ("transformer", "causal", "clamped", "bilinear"):
            with self.subTest(name):
                self.train(name, *TEN, *sets(SYSTEMS[name]))
                file = self.folder / f"{name}.safetensors"
                self.export(file, source=self.folder / name)
                printed = self.parity(file, module(self.folder, ""), "--tolerance", "1e-11", says="; 0 of .* tensors are beyond 1e-11")
                for tensor in safetensors.numpy.load_file(file):
                    self.assertIn(f"gradients/{tensor} ", printed)
        self.parity(f"{self.base}@40", module(self.folder, ""), "--seed", "5", "--length", "30", "--sequences", "1", says="; 0 of ")

    @unittest.skipUnless(importlib.util.find_spec("transformers"), "needs the Python package transformers")
    def test_parity_fails_where_it_should(self):
        scaled = "    def forward(self, tokens):\n        return super().forward(tokens).logits * (1 + 1e-6)\n"
        self.parity(self.base, module(self.folder, scaled), status=1, says="34 of 34 tensors are beyond 1e-09")
        self.parity(self.base, module(self.folder, scaled), "--tolerance", "1e-4", says="0 of 34")
        detached = "        self.layers[1].W_Q.weight.register_hook(torch.zeros_like)\n"  # of one tensor, the gradient alone
        self.parity(self.base, module(self.folder, detached), status=1, says="; 1 of 34 tensors are beyond")
        nan = "    def forward(self, tokens):\n        return super().forward(tokens).logits * float('nan')\n"
        self.parity(self.base, module(self.folder, nan), status=1, says="34 of 34 tensors are beyond")
        without = "        self.layers[1].W_Q = torch.nn.Identity()\n"
        self.parity(self.base, module(self.folder, without), status=2, says=r"layers\.1\.W_Q\.weight \(32, 32\) is of the file only")
        narrow = "        self.final_norm.weight = torch.nn.Parameter(torch.ones(1))\n"
        self.parity(self.base, module(self.folder, narrow), status=2, says=r"final_norm\.weight is \(1,\) in the module and \(32,\) in the file")
        cut = "    def forward(self, tokens):\n        return super().forward(tokens).logits[..., :9]\n"
        self.parity(self.base, module(self.folder, cut), status=2, says=r"logits are \(2, 64, 9\); \(2, 64, 257\) was expected")
        self.parity(self.base, module(self.folder, "        raise ValueError('oops')\n"), status=2, says="ValueError: oops")
        self.parity(self.base, "absent.py:Network", status=2, says="FILE.py:CLASS with an existing file was expected")
        self.parity(self.base, module(self.folder, "") + "s", status=2, says="has no class Networks")
        self.parity(self.folder, module(self.folder, ""), status=2, says="has no checkpoint yet")

    def save_pt(self, content):
        torch.save(content, self.folder / "a.pt")
        return self.folder / "a.pt"

    def test_the_published_checkpoint(self):
        self.export(self.folder / "a")
        weights = safetensors.torch.load_file(self.folder / "a")
        published = {n: w if n.endswith("lambda_raw") else w.bfloat16() for n, w in weights.items()}
        new = self.folder / "a.safetensors"
        for number, content in enumerate((
                published, {"module." + n: w for n, w in published.items()},
                {"model": {"_orig_mod." + n: w for n, w in published.items()}, "optimizer": {"state": {}}, "step": 50, "tokens_seen": 19200,
                 "config": {"lr": 6e-4}, "scheduler": {"lr_lambdas": [None]}},
                {"model_state_dict": {**published, "lm_head.weight": published["embed.weight"]}})):
            done = script("pt_to_safetensors", self.save_pt(content), new)
            self.assertEqual(done.returncode, 0, done.stderr)
            written = safetensors.torch.load_file(new)
            self.assertEqual(written.keys(), weights.keys())
            self.assertTrue(all(torch.equal(written[n], w) and written[n].dtype == w.dtype for n, w in published.items()))
            told = self.import_(new, self.folder / f"run-{number}", "--recipe", self.recipe)
            self.assertIn("step-50" if number == 2 else "step-0", told)
        self.assertEqual(*(scores(self.folder / f"run-{n}") for n in (0, 3)))

    def test_other_checkpoints_are_refused(self):
        self.export(self.folder / "a")
        weights = safetensors.torch.load_file(self.folder / "a")
        new = self.folder / "a.safetensors"

        def refuse(says, content=None, path=None):
            done = script("pt_to_safetensors", path or self.save_pt(content), new)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertRegex(done.stderr, says)
            self.assertNotIn("Traceback", done.stderr)
            self.assertFalse(new.exists())

        refuse(r"holds what neither the published transformer nor sisa has: layers\.0\.A_log", {**weights, "layers.0.A_log": torch.ones(2)})
        refuse("lm_head.weight differs from embed.weight", {**weights, "lm_head.weight": weights["embed.weight"] + 1})
        refuse("holds final_norm.weight twice", {**weights, "module.final_norm.weight": torch.ones(32)})
        refuse("holds no state_dict", {"model": [1, 2]})
        refuse("holds no state_dict", torch.ones(3))
        refuse("cannot be read as a .pt of tensors and plain values alone", {"model": weights, "config": pathlib.PurePosixPath("x")})
        refuse("cannot be read as a .pt", path=self.recipe)
        refuse("cannot be read as a .pt", path=self.folder / "absent.pt")

    @unittest.skipUnless(PUBLISHED, "SISA_PUBLISHED_CODE names no checkout of the published code")
    def test_the_published_classes(self):
        body = ("import sys\n"
                f"sys.path.insert(0, {PUBLISHED!r})\n"
                "from models.sisa import SISAModel\nfrom models.transformer import TransformerModel\n\n\n"
                "def Network(config):\n"
                "    sizes = [config[name] for name in ('vocab_size', 'd_model', 'num_heads', 'num_layers', 'd_ff')]\n"
                "    return SISAModel(*sizes, config['d_state']) if config['system'] == 'sisa' else TransformerModel(*sizes)\n")
        file = self.folder / "published.py"
        file.write_text(body)
        for name in ("transformer", "minimax"):  # no clamp binds, where it would differentiate the offset
            self.train(name, *TEN, *sets(SYSTEMS[name]))
            self.parity(self.folder / name, f"{file}:Network", "--tolerance", "1e-4", says="; 0 of ")


if __name__ == "__main__":
    unittest.main()
