"""The tokenizer against the Python package whose files it reads: equal ids for every text.

SISA_TOKENIZER names the GPT-NeoX tokenizer.json, SISA_TEXT a folder of .jsonl.zst for the long comparison; without them, and
without the package, the tests that need them are skipped.
"""
import random
import unicodedata

from harness import *

try:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
except ImportError:
    Tokenizer = None

HERE = pathlib.Path(__file__).parent
NEOX = os.environ.get("SISA_TOKENIZER", "")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
POOLS = ["abcdefghijklmnopqrstuvwxyzABCDEFGHIJ", "0123456789", "     \t\n\r\u00a0\u2003\u3000\x85\u2028\x0b\x0c",
         "'’.,;:!?-_()[]{}<>|@#$%^&*+=/\\\"`~", "éèüñçøßÄ", "\u0300\u0301\u0323\u0327\u0308\u0345\u0334\u0591\u0651\u3099",
         "가각힣ᄀ까ᅢᆨᆩ", "日本語中文漢字かなカナ", "привет мир ЁЙ", "अआइकखगािी्ं", "😀👍🏽👨‍👩‍👧🇩🇪",
         "\u017f\u212a\u2126\u1e9b\u0344\u0340\u0958\ufb1d\u2adc\U0001d15e"]
WORDS = ["'s", "'S", "'ll", "'Ve", "'RE", "'ſ", "<|endoftext|>", "[A]", " [L]", "[R]  ", "cat", "cats", "  ", "   \n\n", "don't", "\r\n",
         "\n\n\n", " \n ", "1234567", " 12", "  12", "\t\tif", " " * 12]


def fuzz(count, seed):
    draw = random.Random(seed)
    for _ in range(count):
        text = ""
        for _ in range(draw.randint(1, 12)):
            kind = draw.random()
            if kind < 0.25:
                text += draw.choice(WORDS)
            elif kind < 0.85:
                pool = draw.choice(POOLS)
                text += "".join(draw.choice(pool) for _ in range(draw.randint(1, 6)))
            elif kind < 0.95:
                c = draw.randrange(0x110000)
                text += chr(c) if not 0xD800 <= c <= 0xDFFF else "A"
            else:
                text += draw.choice(" \n\u0301a") * draw.randint(1, 80)
        yield text


def code_points():
    """Every character alone, among letters and digits, and with marks."""
    for begin in range(0, 0x110000, 64):
        chars = [chr(c) for c in range(begin, begin + 64) if not 0xD800 <= c <= 0xDFFF]
        if chars:
            yield "\x02".join(f"a{c}b {c} {c}1{c}\u0301{c}{c}" for c in chars)


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
