"""Tokens that other programs prepared: `sisa data inspect` shows them, `sisa train` learns from them as from our own."""
import array
import struct

from harness import *

END = 256  # of a document, of the tokenizer bytes
STEPS = ("--set", "train.max_tokens=2304 tokens")  # 6 steps


def read_ours(path):
    """The ids of one of our token files with two bytes a token."""
    return array.array("H", path.read_bytes()[64:])


def llmc(ids, code="H"):
    magic, version = {"H": (20240520, 1), "I": (20240801, 7)}[code]
    return struct.pack("<3i", magic, version, len(ids)) + bytes(1012) + array.array(code, ids).tobytes()


def megatron_index(lengths, size=2):
    """The .idx of documents of one sequence each."""
    count, starts = len(lengths), [0]
    for length in lengths:
        starts.append(starts[-1] + length * size)
    return (b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, {2: 8, 4: 4}[size], count, count + 1) + struct.pack(f"<{count}i", *lengths) +
            struct.pack(f"<{count}q", *starts[:-1]) + struct.pack(f"<{count + 1}q", *range(count + 1)))


def document_lengths(ids):
    ends = [i + 1 for i, token in enumerate(ids) if token == END]
    return [b - a for a, b in zip([0, *ends], ends)]


def meta(tokens, shards):
    return f"total_tokens={tokens}\nnum_shards={shards}\nvocab_size=250\neos_id={END}\ndtype=uint16\ndataset=some\ntokenizer=t\n"


class ForeignTest(ProgramTest):
    """`self.tokens` are the ids of our dataset's splits."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        shards = {name: sorted(cls.data.glob(f"{name}-*.bin")) for name in ("train", "validation")}
        cls.tokens = {name: sum(map(read_ours, files), array.array("H")) for name, files in shards.items()}

    def files(self, folder, **contents):
        """A folder of files; `x_bin` names x.bin."""
        path = self.folder / folder
        path.mkdir()
        for name, content in contents.items():
            name = ".".join(name.rsplit("_", 1))
            path.joinpath(name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def kinds(self):
        """Each kind, as a folder that holds what our dataset holds."""
        train, held_out = self.tokens["train"], self.tokens["validation"]
        half = len(train) // 2
        yield self.files("gpt2", x_train_0_bin=llmc(train[:half]), x_train_1_bin=llmc(train[half:]), x_val_bin=llmc(held_out))
        yield self.files("llama3", x_train_bin=llmc(train, "I"), x_val_bin=llmc(held_out, "I"))
        yield self.files("published", shard_0_bin=train[:half].tobytes(), shard_1_bin=train[half:].tobytes(),
                         shard_val_bin=held_out.tobytes(), meta_txt=meta(len(train) + len(held_out), 3))
        yield self.files("megatron", text_bin=train.tobytes(), text_idx=megatron_index(document_lengths(train)),
                         valid_bin=array.array("i", held_out).tobytes(), valid_idx=megatron_index(document_lengths(held_out), 4))

    def train_on(self, output, source, *arguments, ranks=None):
        """Losses of the steps, and the record of the evaluation at the end, if there is one."""
        self.train(output, "--set", f"data.sources=[{{path: {source}}}]", *STEPS, *arguments, ranks=ranks)
        evaluations = [r for r in self.metrics(output) if r.get("event") == "evaluation"]
        return self.losses(output), evaluations[-1] if evaluations else None

    def inspect(self, *arguments):
        done = run("data", "inspect", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout


@slow
class Training(ForeignTest):
    def test_every_kind_trains_as_our_own(self):
        losses, ours = self.train_on("ours", self.data)
        self.assertEqual(len(losses), 6)
        for source in self.kinds():
            with self.subTest(source.name):
                found, evaluation = self.train_on(f"run-{source.name}", source)
                self.assertEqual(found, losses)
                self.assertEqual(evaluation["loss"], ours["loss"])
                # How much text the tokens stand for is not known.
                self.assertIn("nats_per_byte", ours)
                self.assertNotIn("nats_per_byte", evaluation)
        evaluated = run("evaluate", self.folder / "run-gpt2")
        self.assertEqual(evaluated.returncode, 0, evaluated.stderr)
        self.assertIn("nats a token", evaluated.stdout)
        self.assertIn("bigram", evaluated.stdout)
        self.assertNotIn("nats a byte", evaluated.stdout)

    def test_one_file_holds_out_its_last_documents(self):
        every = self.tokens["train"] + self.tokens["validation"]
        cut = len(every) - round(0.2 * len(every))
        cut = every.index(END, cut - 1) + 1
        named = self.files("named", train_bin=llmc(every[:cut]), val_bin=llmc(every[cut:]))
        expected, evaluation = self.train_on("named-run", named)
        whole = self.files("whole", all_bin=every.tobytes(), all_idx=megatron_index(document_lengths(every)))
        for ranks in (None, 2):
            found, held_out = self.train_on(f"share-run-{ranks}", whole / "all", "--set", "data.validation=0.2", ranks=ranks)
            for a, b in zip([*found, held_out["loss"]], [*expected, evaluation["loss"]], strict=True):
                self.assertAlmostEqual(a, b, delta=0 if ranks is None else 1e-5)
            self.assertEqual(held_out["tokens"], evaluation["tokens"])

    def test_without_held_out_tokens(self):
        losses, _ = self.train_on("ours", self.data)
        alone = self.files("alone", only_bin=llmc(self.tokens["train"]))
        found, evaluation = self.train_on("all", alone / "only.bin", "--set", "data.validation=0")
        self.assertEqual(found, losses)
        self.assertIsNone(evaluation)

    def test_what_is_wrong_is_said_before_training(self):
        good = llmc(self.tokens["train"])
        wrong = array.array("H", self.tokens["train"])
        position = len(wrong) * 3 // 4  # of the second of two ranks
        wrong[position] = 257
        index = megatron_index(document_lengths(wrong))
        ours = shutil.copytree(self.data, self.folder / "ours")
        shard = next(ours.glob("train-*.bin"))
        damaged = bytearray(shard.read_bytes())
        damaged[64 + 2 * position + 1] = 7
        shard.write_bytes(damaged)
        cases = {
            "id": (self.files("id", a_bin=good, b_bin=llmc(wrong)), [rf"b\.bin holds the token 257 at offset {1024 + 2 * position},",
                                                                    "model.vocab_size"]),
            "ours": (ours, [rf"{shard.name} holds the token \d+ at offset {64 + 2 * position}, outside the vocabulary of 257"]),
            "short": (self.files("short", a_bin=good[:-1]), [r"a\.bin has .* bytes, but .*offset 8.*cut off"]),
            "counts": (self.files("counts", a_bin=b"1234", meta_txt=meta(3, 1)), [r"meta\.txt, line 1: total_tokens is 3"]),
            "lonely": (self.files("lonely", a_idx=index), [r"a\.bin is missing beside .*a\.idx"]),
            "index": (self.files("index", a_bin=wrong[:-1].tobytes(), a_idx=index), [r"a\.idx says .*\(offset \d+\).*cut off"]),
            "empty": (self.files("empty"), ["empty holds no tokens"]),
        }
        for name, (source, says) in cases.items():
            for ranks in (None, 2) if name in ("id", "ours", "lonely") else (None,):
                with self.subTest(name, ranks=ranks):
                    output = self.folder / f"out-{name}-{ranks}"
                    self.refused("train", self.recipe, "--output", output, "--set", f"data.sources=[{{path: {source}}}]",
                                 says=says, ranks=ranks)
                    self.assertEqual(list((output / "checkpoints").iterdir()), [])
                    self.assertNotIn("step", (output / "metrics.jsonl").read_text())


@slow
class Inspect(ForeignTest):
    def test_every_kind(self):
        train, held_out = self.tokens["train"], self.tokens["validation"]
        kinds = {"gpt2": "llm.c, GPT-2 (uint16)", "llama3": "llm.c, Llama-3 (uint32)", "megatron": "Megatron-LM (uint16)",
                 "published": "raw uint16 shards"}
        for source in self.kinds():
            with self.subTest(source.name):
                text = self.inspect(source)
                self.assertIn(kinds[source.name], text)
                self.assertIn(f"{len(train):,} tokens", text)
                self.assertIn(f"{len(held_out):,} tokens", text)
                self.assertIn(f"train: every id was read, the largest is {END}", text)
                self.assertIn(f"it begins {' '.join(map(str, train[:64]))}\n", text)
                # Megatron-LM's index and the published meta.txt tell of documents; in the others nothing is named 50256 or 128000.
                documents = 0 if source.name in ("gpt2", "llama3") else train.count(END)
                self.assertRegex(text, rf"\b{documents} documents")
        self.assertIn("dataset some, tokenizer t, vocab_size 250", self.inspect(self.folder / "published"))

    def test_ours(self):
        text = self.inspect(self.data, "--counts")
        self.assertIn("sisa data prepare", text)
        self.assertEqual(text.count("every checksum and token id is right; it begins \""), 2)
        times = self.tokens["train"].count(ord(" "))
        self.assertIn(f'most frequent: 32 " " {100 * times / len(self.tokens["train"]):.2f}%', text)
        unused = 257 - len(set(self.tokens["train"]))
        self.assertIn(f"{unused} of 257 ids never occur", text)
        self.refused("data", "inspect", self.data / "train-00000.bin", says="Name its folder")

    def test_windows(self):
        source = self.files("a", x_bin=llmc(self.tokens["train"]), x_val_bin=llmc(self.tokens["validation"]))
        expected = " ".join(map(str, self.tokens["validation"][100:105]))
        text = self.inspect(source, "--split", "validation", "--first", "100", "--count", "5", "--no-check")
        self.assertIn(f"validation: from token 100 on {expected}\n", text)
        self.assertNotIn("train: ", text)
        self.assertNotIn("every id", text)
        shown = bytes(list(self.tokens["train"][2:7])).decode()
        text = self.inspect(source, "--first", 2, "--count", 5, "--tokenizer", "bytes")
        self.assertIn(f'; {self.tokens["train"].count(END)} documents, as the id {END} says; from token 2 on "{shown}"', text)
        self.assertIn("there is no token 100,000,000", self.inspect(source, "--first", 100_000_000))
        for option in (["--split", "test"], ["--first", "-1"], ["--count", "0"]):
            self.refused("data", "inspect", source, *option, says=option[0])

    def test_a_tokenizer_bounds_the_ids(self):
        source = self.files("a", x_bin=llmc([50256, 72, 105]))
        self.assertIn("largest is 50,256; 1 documents", self.inspect(source))
        self.refused("data", "inspect", source, "--tokenizer", "bytes", says=r"x\.bin holds the token 50256 at offset 1024")
        damaged = shutil.copytree(self.data, self.folder / "damaged")
        manifest = damaged / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"tokenizer": "bytes"', '"tokenizer": "other"'))
        self.refused("data", "inspect", damaged, "--tokenizer", "bytes", says="made with the tokenizer other, not with bytes")
        self.assertIn(f"it begins {self.tokens['train'][0]} ", self.inspect(damaged))

    def test_damage(self):
        damaged = shutil.copytree(self.data, self.folder / "damaged")
        shard = damaged / "validation-00000.bin"
        content = bytearray(shard.read_bytes())
        content[64] ^= 1
        shard.write_bytes(content)
        self.refused("data", "inspect", damaged, says=r"validation-00000\.bin are damaged: their checksum \(offset 48\)")
        self.assertIn("it begins", self.inspect(damaged, "--no-check"))


if __name__ == "__main__":
    unittest.main()
