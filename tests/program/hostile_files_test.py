"""Files from strangers: whatever they hold, the program ends soon, in little memory, with a sentence, and never by a signal."""
import ctypes
import ctypes.util
import gzip
import random
import re
import resource
import time

from harness import *

try:
    import h5py
    import numpy as np
except ImportError:
    h5py = None

XXHASH = ctypes.util.find_library("xxhash")
SECONDS = 60       # in which every command ends; HDF5 alone is given 10
MEGABYTES = 1500   # that no command exceeds; LibTorch takes about 400
NOISE = ("terminate called", "Internal error", "Exception raised from", "frame #", "json.exception", "stoull", "basic_string", "vector::",
         "double free", "INTERNAL ASSERT", "filesystem error", "std::")


def xxh3(data):
    library = ctypes.CDLL(XXHASH)
    library.XXH3_64bits.restype = ctypes.c_uint64
    library.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return library.XXH3_64bits(data, len(data))


def correct(master):
    """Makes the checksum in the first line right."""
    data = master.read_bytes()
    end = data.index(b"\n")
    master.write_bytes(data[:end - 16] + b"%016x" % xxh3(data[512:]) + data[end:])


class HostileTest(ProgramTest):
    def ends_well(self, *arguments, statuses=(0, 1, 2), says=None, **options):
        """Runs the program and checks how it ends. Returns what it printed."""
        def limit():
            resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            begin = time.time()
            process = subprocess.Popen(command(*arguments), stdout=output, stderr=output, preexec_fn=limit,
                                       stdin=options.pop("stdin", subprocess.DEVNULL), **options)
            pid = 0
            while pid == 0 and time.time() < begin + SECONDS:
                pid, status, used = os.wait4(process.pid, os.WNOHANG)
                time.sleep(0.01)
            if pid == 0:
                process.kill()
                os.wait4(process.pid, 0)
            process.returncode = 0  # it was waited for here
            output.seek(0)
            printed = output.read()
        what = f"{' '.join(map(str, arguments))}:\n{printed[-3000:]}"
        self.assertNotEqual(pid, 0, "did not end: " + what)
        self.assertTrue(os.WIFEXITED(status), f"ended by signal {os.WTERMSIG(status)}: {what}")
        self.assertIn(os.WEXITSTATUS(status), statuses, what)
        self.assertLess(used.ru_maxrss, MEGABYTES << 10, what)  # KiB
        for noise in NOISE:
            self.assertNotIn(noise, printed, what)
        if says:
            self.assertRegex(printed, says, what)
        return printed


@unittest.skipUnless(h5py and XXHASH, "h5py or libxxhash is not there")
@slow
class Checkpoints(HostileTest):
    """A sound checkpoint whose master file was edited and its checksum corrected."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_folder = cls.shared / "sound"
        done = run("train", cls.recipe, "--output", cls.run_folder, "--set", "train.max_tokens=3840 tokens")
        assert done.returncode == 0, done.stdout + done.stderr
        cls.sound = cls.run_folder / "checkpoints" / "step-10"

    def forged(self, change, step=10, run_folder=None):
        """A run whose checkpoint `step` is the sound one after change(h5py.File)."""
        run_folder = run_folder or pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        folder = run_folder / "checkpoints" / f"step-{step}"
        folder.mkdir(parents=True)
        for file in self.sound.iterdir():
            if file.name == "master.h5":
                shutil.copy(file, folder)
            else:
                os.link(file, folder / file.name)
        with h5py.File(folder / "master.h5", "r+") as master:
            master.attrs["step"] = np.int64(step)
            change(master)
        correct(folder / "master.h5")
        return run_folder

    @staticmethod
    def set_text(master, name, text):
        del master[name]
        master.create_dataset(name, data=np.bytes_(text))

    def edits(self):
        """Names of edits, what they do to a master, and what is said about the checkpoint."""
        def attribute(name, value):
            return lambda master: master.attrs.__setitem__(name, value)

        def without(name):
            return lambda master: master.attrs.__delitem__(name) if name in master.attrs else master.__delitem__(name)

        def index(change):
            def edit(master):
                content = json.loads(master["index"][()])
                content = change(content) or content
                self.set_text(master, "index", json.dumps(content))
            return edit

        def source(number, **values):
            return index(lambda content: content["sources"][number].update(values))

        def text(name, content):
            return lambda master: self.set_text(master, name, content)

        for name in ("sequence", "precision", "written", "world_size", "step", "recipe", "extra", "index", "code_version"):
            yield f"no {name}", without(name), f"{name} is nothing"
        for name in ("world_size", "samples", "step", "sequence", "tokens", "updates"):
            for value in (-1, 2**63 - 1):
                yield f"{name} {value}", attribute(name, np.int64(value)), f"{name} is {value}"
        yield "a billion ranks", attribute("world_size", np.int64(10**9)), "is missing"
        yield "a list as step", attribute("step", np.arange(1000)), "no single value"
        yield "a text as step", attribute("step", "ten"), "another type"
        yield "written inf", attribute("written", np.float64("inf")), "written is"
        yield "written 1e300", attribute("written", np.float64(1e300)), "written is"
        yield "precision", attribute("precision", "fp7"), "precision is"
        yield "index null", text("index", "null"), "index: is nothing"
        yield "index list", text("index", "[]"), "index: is \\[\\]"
        yield "index no JSON", text("index", "{"), "index is no JSON"
        yield "index nested", text("index", "[" * 100_000 + "]" * 100_000), "nested more than"
        yield "index empty", text("index", "{}"), "arrays is nothing"
        yield "overlap", index(lambda c: c["sources"].append({**c["sources"][0], "begin": 5})), "from element 8224 on is expected"
        yield "too short", source(0, end=7), "up to element 7, but"
        yield "backwards", source(0, begin=9, end=3), "end is 3"
        yield "past the end", source(0, offset=10**15), "bytes; at least"
        yield "offset", source(0, offset=2**63 - 1), "offset is"
        yield "other file", source(0, file="../../../recipe.yaml"), "as the file of slice 0"
        yield "checksum", source(0, checksum="no number"), "checksum is"
        yield "checksum number", source(0, checksum=5), "checksum is 5"
        yield "negative shape", index(lambda c: c["arrays"][0].update(shape=[-257, 32])), "shape\\[0\\] is -257"
        yield "huge shape", index(lambda c: c["arrays"][0].update(shape=[2**62, 2**62])), "shape\\[0\\] is"
        yield "large shape", index(lambda c: c["arrays"][0].update(shape=[2**30, 2**20])), "but its shape"
        yield "shape of texts", index(lambda c: c["arrays"][0].update(shape=["257", "32"])), "shape\\[0\\] is"
        yield "shape nested", index(lambda c: c["arrays"][0].update(shape=[[257, 32]])), "shape\\[0\\] is"
        yield "doubled", index(lambda c: c["arrays"].append(c["arrays"][0])), "twice"
        yield "no sources", index(lambda c: c.update(sources=[])), "no slice of"
        yield "extra list", text("extra", "[1, 2]"), "JSON object is expected"
        yield "extra nested", text("extra", "[" * 100_000), "nested more than"

    def test_every_edit_is_named_by_list(self):
        run_folder, says = self.folder / "run", {}
        for step, (name, change, expected) in enumerate(self.edits(), 100):
            self.forged(change, step, run_folder)
            says[step] = (name, expected)
        listed = self.ends_well("checkpoint", "list", run_folder)
        lines = {int(step): problem for step, problem in re.findall(r"^step +(\d+)  not usable: (.*)$", listed, re.MULTILINE)}
        for step, (name, expected) in says.items():
            self.assertRegex(lines.get(step, ""), expected, name)

    def test_a_few_with_every_command(self):
        self.every_command(self.edits(), lambda name: name == "a billion ranks")

    def every_command(self, edits, chosen):
        for name, change, _ in edits:
            if not chosen(name):
                continue
            with self.subTest(name):
                run_folder = self.forged(change)
                self.ends_well("checkpoint", "list", run_folder, statuses=(0,))
                self.ends_well("checkpoint", "verify", f"{run_folder}@10", statuses=(1, 2))
                self.ends_well("checkpoint", "inspect", f"{run_folder}@10")  # it reads the master alone, where not all is seen
                self.ends_well("evaluate", f"{run_folder}@10", statuses=(1, 2))
                self.ends_well("checkpoint", "export", f"{run_folder}@10", "--output", self.folder / "a.safetensors", statuses=(1, 2))
                self.ends_well("train", self.recipe, "--output", run_folder, "--set", "train.max_tokens=384 tokens", "--resume", "10",
                               statuses=(1, 2))

    def test_what_the_extra_state_says_is_checked(self):
        for extra, says in (('{"data": 5}', "data is 5"), ('{"lineage": [{"run": "a"}]}', "lineage\\[0\\].step is nothing"),
                            ('{"lineage": {"run": "a"}}', "lineage is"), ('{"lineage": [{"run": "a", "step": -1}]}', "step is -1")):
            run_folder = self.forged(lambda master: self.set_text(master, "extra", extra))
            self.ends_well("train", self.recipe, "--output", run_folder, "--set", "train.max_tokens=7680 tokens", statuses=(1, 2), says=says)

    def test_recipes_in_checkpoints(self):
        for recipe, says in (("", "map of sections|model"), ("[" * 100_000, "not valid YAML"), ("extends: /dev/zero\n", "/dev/zero is a device"),
                             ("model: 5\n", "section 'model'")):
            run_folder = self.forged(lambda master: self.set_text(master, "recipe", recipe or " "))
            self.ends_well("evaluate", run_folder, statuses=(1, 2), says=says)

    def test_largest_counts_are_trained_on(self):
        def change(master):
            for name in ("samples", "tokens"):
                master.attrs[name] = np.int64(2**50)
        run_folder = self.forged(change)
        self.ends_well("train", self.recipe, "--output", run_folder, "--set", "train.max_tokens=4224 tokens")

    def test_no_regular_files(self):
        for name in ("master.h5", "rank-00000.h5"):
            run_folder = self.forged(lambda master: None)
            file = run_folder / "checkpoints" / "step-10" / name
            file.unlink()
            os.mkfifo(file)
            for arguments in (("checkpoint", "list", run_folder), ("checkpoint", "verify", run_folder), ("evaluate", f"{run_folder}@10")):
                self.ends_well(*arguments)

    def test_edited_bytes(self):
        self.fuzz(seed=1, count=60, commands=1)

    def fuzz(self, seed, count, commands):
        """Overwrites bytes at random places of `count` masters, half of them where HDF5 has no checksums of its own."""
        draw = random.Random(seed)
        run_folder = self.folder / "run"
        for step in range(1, count + 1):
            self.forged(lambda master: None, step, run_folder)
            master = run_folder / "checkpoints" / f"step-{step}" / "master.h5"
            data = bytearray(master.read_bytes())
            heaps = [at for at in range(len(data)) if data.startswith(b"GCOL", at)]
            for _ in range(draw.randint(1, 4)):
                start = draw.choice(heaps) if heaps and draw.random() < 0.5 else 512
                at = min(len(data) - 1, start + draw.randrange(4096 if start > 512 else len(data) - 512))
                size = draw.choice((1, 1, 2, 4, 8))
                value = draw.choice((bytes(size), b"\xff" * size, draw.randbytes(size)))
                data[at:at + size] = value[:len(data) - at]
            master.write_bytes(data)
            correct(master)
        global SECONDS
        before, SECONDS = SECONDS, 60 + 15 * count
        try:
            self.ends_well("checkpoint", "list", run_folder, statuses=(0,))
        finally:
            SECONDS = before
        for step in draw.sample(range(1, count + 1), commands):
            for arguments in (("checkpoint", "inspect"), ("checkpoint", "verify"), ("evaluate",)):
                self.ends_well(*arguments, f"{run_folder}@{step}")


@slow
class CheckpointsFurther(Checkpoints):
    """All edits with all commands, and many more edited bytes: minutes."""

    def test_a_few_with_every_command(self):
        self.every_command(self.edits(), lambda name: True)

    def test_edited_bytes(self):
        self.fuzz(seed=int(os.environ.get("SISA_SEED", "2")), count=400, commands=60)


class Files(HostileTest):
    def test_recipes(self):
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        for path, says in ((pipe, "is a pipe"), ("/dev/zero", "is a device"), (self.folder, "is a folder")):
            self.ends_well("plan", path, statuses=(2,), says=says)
            recipe = self.folder / "extends.yaml"
            recipe.write_text(f"extends: {path}\n")
            self.ends_well("plan", recipe, statuses=(2,), says=says)
        (self.folder / "0.yaml").write_text("run: {seed: 1}\n")
        for i in range(1, 31):
            (self.folder / f"{i}.yaml").write_text(f"extends: [{i - 1}.yaml, {i - 1}.yaml]\n")
        self.ends_well("plan", self.folder / "30.yaml", statuses=(2,), says="more than 100 files")

    def test_tokenizers(self):
        nested = self.folder / "nested.json"
        nested.write_text('{"model":' + "[" * 100_000 + "]" * 100_000 + "}")
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        for path, says in ((nested, "nested more than"), (pipe, "is a pipe"), ("/dev/zero", "is a device")):
            self.ends_well("data", "decode", "--tokenizer", path, statuses=(2,), says=says)

    def test_lines_of_ids(self):
        lines = self.folder / "lines"
        for text, says in (("[" * 100_000 + "]" * 100_000, "line 1: .*nested"), ('{"a":' * 100_000, "line 1: .*nested"), ("[1, [2]]", "line 1: ")):
            lines.write_text(text + "\n")
            with open(lines) as stream:
                self.ends_well("data", "decode", "--tokenizer", "bytes", statuses=(2,), says=says, stdin=stream)
        with open("/dev/zero") as stream:
            self.ends_well("data", "decode", "--tokenizer", "bytes", statuses=(2,), says="a line of more than", stdin=stream)

    def test_manifests(self):
        for content, says in (("[" * 100_000, "nested more than"), ("null", "an object is expected"),
                              ('{"format": 2, "tokenizer": "bytes", "vocab_size": -5}', "vocab_size is -5")):
            folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
            (folder / "manifest.json").write_text(content)
            self.ends_well("data", "inspect", folder, statuses=(2,), says=says)
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        os.mkfifo(folder / "manifest.json")
        self.ends_well("data", "inspect", folder, statuses=(2,), says="is a pipe")

    def test_sources_that_are_no_files(self):
        pipe = self.folder / "pipe.txt"
        os.mkfifo(pipe)
        self.ends_well("train", self.recipe, "--output", self.folder / "out", "--set", f"data.sources=[{{path: {pipe}}}]", statuses=(2,),
                       says="is a pipe")
        folder = self.folder / "tokens"
        folder.mkdir()
        os.mkfifo(folder / "a.bin")
        self.ends_well("data", "inspect", folder, statuses=(2,), says="is a pipe")

    @slow
    def test_a_run_that_was_imported_without_sources(self):
        self.train("run", "--set", "train.max_tokens=3840 tokens")
        weights = self.folder / "a.safetensors"
        self.ends_well("checkpoint", "export", self.folder / "run", "--output", weights, statuses=(0,))
        recipe = self.folder / "none.yaml"
        recipe.write_text("".join(line + "\n" for line in self.recipe.read_text().splitlines() if "sources" not in line))
        self.ends_well("checkpoint", "import", weights, "--recipe", recipe, "--output", self.folder / "imported", statuses=(0,))
        self.ends_well("evaluate", self.folder / "imported", statuses=(2,), says="no data.sources.*--set")
        self.ends_well("evaluate", self.folder / "imported", "--set", f"data.sources=[{{path: {self.data}}}]", statuses=(0,))

    def test_a_dataset_that_is_cut_off_while_it_is_read(self):
        data = self.folder / "data"
        shutil.copytree(self.data, data)
        process = start("train", self.recipe, "--output", self.folder / "out", "--set", f"data.sources=[{{path: {data}}}]",
                        "--set", "train.max_tokens=100M tokens")
        wait_for_step(self.folder / "out" / "metrics.jsonl", 20)
        for file in data.glob("train-*.bin"):
            os.truncate(file, 100)
        _, printed = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 1, printed)
        self.assertIn("was cut off meanwhile", printed)
        self.assertNotIn("Internal error", printed)


@slow
class Further(HostileTest):
    def test_a_small_file_that_unpacks_to_gigabytes(self):
        for name, start_of_line in (("a.jsonl.gz", b'{"text": "'), ("a.txt.gz", b"")):
            packed = self.folder / name
            with gzip.open(packed, "wb", compresslevel=1) as stream:
                stream.write(start_of_line)
                for _ in range(1200):
                    stream.write(b"x" * (1 << 20))
            global MEGABYTES
            before, MEGABYTES = MEGABYTES, 5000
            try:
                self.ends_well("data", "prepare", packed, "--tokenizer", "bytes", "--output", self.folder / "out", statuses=(2,),
                               says="a document of more than 1,073,741,824 bytes")
            finally:
                MEGABYTES = before


if __name__ == "__main__":
    unittest.main()
