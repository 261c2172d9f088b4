"""`sisa data prepare` as a user starts it: the same bytes from any number of ranks and threads, after any kill, from any kind of file."""
import fcntl
import gzip
import pty
import re
import resource
import sys
import time

from harness import *

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    pyarrow = None

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Prepare(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.documents = [f"{i}: {t}\n\"{t}\" zwölf 😀" for i, t in enumerate(text(3000, seed=5))]
        lines = [json.dumps({"id": i, "text": t, "meta": {"n": [i]}}, ensure_ascii=i % 2 == 0) + "\n" for i, t in enumerate(cls.documents)]
        cls.plain = cls.shared / "plain.jsonl"
        cls.plain.write_text("".join(lines * 8), encoding="utf-8")  # 10 MB: two blocks
        cls.small = cls.shared / "small.jsonl.gz"
        cls.small.write_bytes(gzip.compress("".join(lines[:500]).encode()))
        cls.whole = cls.shared / "whole"
        cls.inputs = (cls.small, cls.plain)
        done = run(*cls.arguments(cls.whole), "--threads", "1")
        assert done.returncode == 0, done.stderr

    @classmethod
    def arguments(cls, output, *more):
        return ("data", "prepare", *cls.inputs, "--tokenizer", "bytes", "--output", output, "--validation", "2%", *more)

    def files(self, folder):
        return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}

    def assert_same(self, output, whole=None):
        expected, found = self.files(whole or self.whole), self.files(output)
        self.assertEqual(sorted(found), sorted(expected))
        for name, content in expected.items():
            self.assertTrue(found[name] == content, name)

    def prepare(self, output, *more, **options):
        done = run(*self.arguments(self.folder / output, *more), **options)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def test_threads_and_ranks_give_the_same_bytes(self):
        for ranks, threads in ((None, 2), (None, 5), (2, 1), (3, 2)):
            done = self.prepare(f"{ranks}-{threads}", "--threads", threads, ranks=ranks)
            self.assert_same(self.folder / f"{ranks}-{threads}")
            self.assertNotIn("\r", done.stderr)  # no terminal

    def test_the_shell_lines_for_files_of_the_official_shape(self):
        lines = re.search(r"```sh\n(.*?)```", (ROOT / "docs" / "data.md").read_text(), re.DOTALL)[1]
        (self.folder / "data").mkdir()
        (self.folder / "data" / "slimpajama").symlink_to(self.whole)
        subprocess.run(["bash", "-euc", lines], cwd=self.folder, check=True)
        official = b"".join(p.read_bytes() for p in sorted((self.folder / "official").glob("shard_*.bin")))
        self.assertTrue(official == b"".join(p.read_bytes()[64:] for p in sorted(self.whole.glob("train-*.bin"))))
        done = run("data", "inspect", self.folder / "official")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("raw uint16 shards", done.stdout)
        self.assertIn(f"{len(official) // 2:,} tokens", done.stdout)

    def test_a_killed_run_goes_on(self):
        for moment, ranks in ((0.35, None), (0.5, None), (0.7, 2)):
            output = self.folder / f"{moment}"
            process = start(*self.arguments(output), ranks=ranks)
            time.sleep(moment)
            children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=TIMEOUT)
            for child in children:  # mpirun puts ranks into groups of their own
                try:
                    os.kill(int(child), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if (output / "unfinished.json").exists() or not output.exists():
                self.prepare(output)
            self.assert_same(output)

    def test_a_piece_of_work_is_not_done_twice(self):
        first = self.folder / "out"
        bad = self.folder / "bad.jsonl"
        bad.write_text("bad\n")
        inputs = self.inputs + (bad,)
        command = ("data", "prepare", *inputs, "--tokenizer", "bytes", "--output", first)
        for ranks in (None, 2):
            self.refused(*command, ranks=ranks, says=[r"bad\.jsonl, line 1, column 1: 'b' stands where an object should begin\. Each line must be"])
        done = run(*command, "--on-error", "skip", ranks=2)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"An earlier run was cut short: [0-9]+ pieces")
        self.assertRegex(done.stdout, r"skipped +1 documents that could not be read")
        self.assertRegex(done.stdout, r"bad\.jsonl, line 1, column 1: 'b' stands")
        self.refused(*command, says="already holds a dataset")

    def test_standard_input(self):
        command = ("data", "prepare", "-", "--tokenizer", "bytes", "--output")
        with open(self.plain, "rb") as lines:
            self.assertEqual(run(*command, self.folder / "one", stdin=lines).returncode, 0)
        with open(self.plain, "rb") as lines:
            self.assertEqual(run(*command, self.folder / "ranks", stdin=lines, ranks=3).returncode, 0)
        self.assert_same(self.folder / "ranks", self.folder / "one")
        self.assertEqual(run("data", "prepare", self.plain, *command[3:], self.folder / "file").returncode, 0)
        self.assertEqual(self.files(self.folder / "file")["train-00000.bin"], self.files(self.folder / "one")["train-00000.bin"])

    def test_deduplication(self):
        done = self.prepare("once", "--deduplicate", ranks=2)
        self.assertRegex(done.stdout, r"repeated +21,500 documents")
        manifest = json.loads((self.folder / "once" / "manifest.json").read_text())
        self.assertEqual(manifest["duplicate_documents"], 21_500)
        self.assertEqual([s["documents"] for s in manifest["sources"]], [500, 24_000])
        kept = sum(shard["documents"] for split in manifest["splits"].values() for shard in split)
        self.assertEqual(kept, 3000)
        self.assertRegex(done.stdout, r"held out +2% asked for: (1\.9|2\.0)[0-9]% of the tokens")

    def test_progress_on_a_terminal(self):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(command("data", "prepare", "-", "--tokenizer", "bytes", "--output", self.folder / "out"),
                                   stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        process.stdin.write(self.plain.read_bytes())  # one block and the start of another
        process.stdin.flush()
        shown = b""
        while not re.search(rb"\r[0-9,]{3,} documents, [0-9.]+ MiB, [0-9.]+M tokens, [0-9.]+ MB/s", shown):
            shown += os.read(ours, 4096)
        process.stdin.close()
        while process.poll() is None:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other end is closed
                process.wait(timeout=TIMEOUT)
        os.close(ours)
        self.assertEqual(process.returncode, 0)

    def test_a_full_disk(self):
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (12_000_000, resource.RLIM_INFINITY))

        done = run(*self.arguments(self.folder / "out"), preexec_fn=limit)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, r"cannot write .*unfinished.*File too large.*goes on where it stopped")
        self.prepare("out")
        self.assert_same(self.folder / "out")

    def test_two_at_once_are_refused(self):
        output = self.folder / "out"
        output.mkdir()
        with open(output / "unfinished.json", "w") as job:
            fcntl.flock(job, fcntl.LOCK_EX)
            self.refused(*self.arguments(output), says="Another process is preparing")

    def test_parquet(self):
        if pyarrow is None:
            self.skipTest("pyarrow is not installed (tests/requirements.txt)")
        table = pyarrow.table({"meta": list(range(3000)), "text": self.documents})
        file = self.folder / "a.parquet"
        pyarrow.parquet.write_table(table, file, row_group_size=700)
        script = [sys.executable, ROOT / "scripts" / "parquet_to_jsonl.py"]
        lines = subprocess.run([*script, file, file], capture_output=True, timeout=TIMEOUT, check=True,
                               env={**os.environ, "PYTHONIOENCODING": "latin-1"}).stdout
        first, *texts, last = [json.loads(line) for line in lines.splitlines()]
        self.assertEqual((first, last), ({"text": "", "sisa_stream": "begin"}, {"text": "", "sisa_stream": "end"}))
        self.assertEqual(texts, [{"text": t} for t in self.documents * 2])
        unpacked = self.folder / "a.jsonl"
        unpacked.write_bytes(lines)
        self.assertEqual(run("data", "prepare", unpacked, "--tokenizer", "bytes", "--output", self.folder / "out").returncode, 0)
        self.refused("data", "prepare", file, "--tokenizer", "bytes", "--output", self.folder / "none",
                     says=r"scripts/parquet_to_jsonl\.py .*a\.parquet \| sisa data prepare -")
        wrong = subprocess.run([*script, file, "--column", "content"], capture_output=True, text=True, timeout=TIMEOUT)
        self.assertEqual(wrong.returncode, 2)
        self.assertIn("no column 'content', but meta, text", wrong.stderr)

    def test_null_rows_of_parquet_are_passed_over(self):
        if pyarrow is None:
            self.skipTest("pyarrow is not installed (tests/requirements.txt)")
        file = self.folder / "a.parquet"
        pyarrow.parquet.write_table(pyarrow.table({"content": ["one", None, "two\n"]}), file)
        done = subprocess.run([sys.executable, ROOT / "scripts" / "parquet_to_jsonl.py", file, "--column", "content", "--no-marks"],
                              capture_output=True, text=True, timeout=TIMEOUT, check=True)
        self.assertEqual(done.stdout, '{"text": "one"}\n{"text": "two\\n"}\n')
        self.assertIn("1 rows without a text", done.stderr)

    def test_a_parquet_file_that_is_cut_off_stops_the_pipe(self):
        if pyarrow is None:
            self.skipTest("pyarrow is not installed (tests/requirements.txt)")
        whole, cut = self.folder / "a.parquet", self.folder / "b.parquet"
        pyarrow.parquet.write_table(pyarrow.table({"text": self.documents}), whole)
        cut.write_bytes(whole.read_bytes()[:-100])
        script = f"{sys.executable} {ROOT}/scripts/parquet_to_jsonl.py"
        prepare = f"{BINARY} data prepare - --tokenizer bytes --output {self.folder}/out"
        done = subprocess.run(f"{script} {whole} {cut} | {prepare}", shell=True, capture_output=True, text=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertRegex(done.stderr, r"b\.parquet cannot be read as parquet")
        self.assertRegex(done.stderr, r"the end is missing")
        self.assertFalse((self.folder / "out" / "manifest.json").exists())


if __name__ == "__main__":
    unittest.main()
