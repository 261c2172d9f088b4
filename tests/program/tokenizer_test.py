"""The tokenizer against the Python package whose files it reads: equal ids for every text.

SISA_TOKENIZER names the GPT-NeoX tokenizer.json, SISA_TEXT a folder of .jsonl.zst for the long comparison; without them, and
without the package, the tests that need them are skipped.
"""
import random
import sys

from harness import *

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "data"))
try:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    from tokenizer_families import FAMILIES, LLAMA3, POOLS, code_points, family, fuzz, splits
except ImportError:
    Tokenizer, FAMILIES = None, {}

HERE = pathlib.Path(__file__).parent
NEOX = os.environ.get("SISA_TOKENIZER", "")


def trained(configure=None, normalizer=None, cuts=None, **options):
    """A small byte-level tokenizer, trained on these tests' own sources."""
    tokenizer = Tokenizer(models.BPE(**options))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = cuts or pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=2000, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([p.read_text() for p in sorted(HERE.glob("*.py"))] + POOLS * 20, trainer)
    if configure:
        configure(tokenizer)
    return tokenizer


class Comparison(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sisa-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def ours(self, file, texts, command="encode"):
        lines = "".join(json.dumps(t) + "\n" for t in texts)
        done = run("data", command, "--tokenizer", file, input=lines, timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.split("\n")[:-1]]

    def compare(self, tokenizer, texts, file=None):
        if file is None:
            file = self.folder / "tokenizer.json"
            tokenizer.save(str(file))
        texts = list(texts)
        expected = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
        for text, ids, right in zip(texts, self.ours(file, [{"text": t} for t in texts]), expected, strict=True):
            if ids != right:
                self.fail(f"{text[:200]!r}: {ids[:40]}, not {right[:40]}")
        return texts, expected


@unittest.skipUnless(Tokenizer, "needs the Python package tokenizers (tests/requirements.txt)")
class AgainstThePackage(Comparison):
    def test_kinds_of_files(self):
        split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])

        def added(tokenizer):
            tokenizer.add_tokens([AddedToken("[A]"), AddedToken("[L]", lstrip=True), AddedToken("[R]", rstrip=True),
                                  AddedToken("cat", single_word=True), AddedToken("é", normalized=True), AddedToken("  ")])
            tokenizer.add_special_tokens([AddedToken("<s>", normalized=False)])

        kinds = {"gpt2": trained(), "neox": trained(added, normalizers.NFC()), "llama3": trained(cuts=split),
                 "ignore_merges": trained(cuts=split, ignore_merges=True),
                 "prefix": trained(cuts=pre_tokenizers.ByteLevel(add_prefix_space=True)),
                 "no_cuts": trained(added, cuts=pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))}
        for number, (name, tokenizer) in enumerate(kinds.items()):
            with self.subTest(name):
                self.compare(tokenizer, fuzz(1500, number))

    def test_long_words(self):
        draw = random.Random(3)
        self.compare(trained(normalizer=normalizers.NFC()),
                     ["a" * 1_000_000, "x" + " " * 200_000 + "y", "".join(draw.choice("abcdefgh") for _ in range(1_000_000)),
                      "".join(draw.choice("\u0301\u0323\u0334\u0345") for _ in range(100_000)), "1" * 100_000, "日本" * 50_000])

    def test_decoding_gives_the_text_back(self):
        tokenizer = trained(normalizer=normalizers.NFC())
        texts, ids = self.compare(tokenizer, [t.replace("<|endoftext|>", "") for t in fuzz(2000, 9)])
        back = self.ours(self.folder / "tokenizer.json", ids, "decode")
        for text, got in zip(texts, back, strict=True):
            self.assertEqual(got["text"], normalizers.NFC().normalize_str(text))

    @unittest.skipUnless(NEOX, "SISA_TOKENIZER names no tokenizer.json")
    def test_the_neox_tokenizer(self):
        golden = [json.loads(line) for line in (HERE.parent / "data" / "golden_neox.jsonl").read_text().splitlines()]
        self.assertEqual(self.ours(NEOX, [{"text": g["text"]} for g in golden]), [g["ids"] for g in golden])
        self.compare(Tokenizer.from_file(NEOX), fuzz(10_000, 5), NEOX)


@unittest.skipUnless(Tokenizer, "needs the Python package tokenizers (tests/requirements.txt)")
@slow
class EveryCodePoint(Comparison):
    def test_every_code_point(self):
        split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        self.compare(trained(normalizer=normalizers.NFC(), cuts=split), code_points())


@slow
@unittest.skipUnless(Tokenizer, "needs the Python package tokenizers (tests/requirements.txt)")
class Families(Comparison):
    """The sections of the families in use, on random text and an eighth of all code points each; and random patterns."""

    def test_families(self):
        for number, name in enumerate(FAMILIES):
            with self.subTest(name):
                file = self.folder / f"{name}.json"
                file.write_text(json.dumps(family(name)))
                self.compare(Tokenizer.from_file(str(file)), [*fuzz(1000, number), *list(code_points())[number % 8::8]], file)

    def test_patterns(self):
        file = self.folder / "splits.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in splits(6000, os.environ.get("SISA_SEED", 2))))
        done = subprocess.run([os.environ["SISA_TEST_DATA_PROGRAM"], "--gtest_filter=TokenizerGoldenTest.Cuts*"], capture_output=True, text=True,
                              env={**os.environ, "SISA_GOLDEN_SPLITS": str(file)})
        self.assertEqual(done.returncode, 0, done.stdout[-5000:])

    def test_an_export_gives_the_ids_of_training(self):
        """The folder's tokenizer.json, read by the package as its reader would, with what it adds of itself."""
        recipe = self.folder / "recipe.yaml"
        for name in ("llama2", "clip", "o200k"):
            with self.subTest(name):
                file, run_folder, output = (self.folder / f"{name}{end}" for end in (".json", "-run", "-hf"))
                content = family(name)
                content["post_processor"] = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                             {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                                             {"Sequence": {"id": "B", "type_id": 1}}],
                                             "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
                file.write_text(json.dumps(content))
                text = self.folder / "text.jsonl"
                text.write_text("".join(json.dumps({"text": "hello world " * 40}) + "\n" for _ in range(20)))
                recipe.write_text(RECIPE.replace("bytes", str(file)).replace("DATA", str(text)).replace("257", "720"))
                done = run("train", recipe, "--output", run_folder, "--stop-after", "1 steps")
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                done = run("checkpoint", "export", run_folder, "--format", "hf", "--output", output)
                self.assertEqual(done.returncode, 0, done.stderr)
                texts = list(fuzz(300, name))
                exported = Tokenizer.from_file(str(output / "tokenizer.json"))
                self.assertEqual([exported.encode(t).ids for t in texts], self.ours(file, [{"text": t} for t in texts]))


@unittest.skipUnless(Tokenizer and NEOX and os.environ.get("SISA_TEXT"), "SISA_TOKENIZER and SISA_TEXT name no tokenizer and text")
@slow
class LongText(Comparison):
    def test_fifty_megabytes(self):
        texts = []
        files = sorted(pathlib.Path(os.environ["SISA_TEXT"]).glob("*.jsonl.zst"))
        for file in files:
            left = 50_000_000 // len(files)
            with subprocess.Popen(["zstd", "-dc", file], stdout=subprocess.PIPE) as process:
                for line in process.stdout:
                    texts.append(json.loads(line)["text"])
                    left -= len(texts[-1].encode())
                    if left < 0:
                        break
                process.stdout.close()
                process.kill()
        self.compare(Tokenizer.from_file(NEOX), texts, NEOX)


if __name__ == "__main__":
    unittest.main()
