"""A run that starts from the weights of another, or of a safetensors file."""
import math
import struct

from harness import *

try:
    import h5py
    import numpy as np
    import safetensors.numpy
except ImportError as error:
    missing = str(error)
else:
    missing = ""

TWENTY = ("--set", "train.max_tokens=7680 tokens")
# The first update has the learning rate 0, so that the evaluation after it is of the weights that the run began with.
ONE = ("--stop-after", "1 steps", "--set", "evaluation.every=1 steps", "--set", "run.seed=8")


def from_(reference):
    return "--set", f"run.init_from={reference}"


def write_raw(path, tensors, shapes={}):
    """A safetensors file of float32, made by hand; `shapes` are told instead of the true ones."""
    header, data = {}, b""
    for name, array in tensors.items():
        content = array.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": shapes.get(name, array.shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@slow
class InitFrom(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.base = cls.shared / "base"
        done = run("train", cls.recipe, "--output", cls.base, *TWENTY, *SAVED_WHEN_DUE, "--set", "evaluation.every=10 steps", ranks=2)
        assert done.returncode == 0, done.stdout + done.stderr
        records = map(json.loads, (cls.base / "metrics.jsonl").read_text().splitlines())
        cls.held_out = {r["step"]: r["loss"] for r in records if r.get("event") == "evaluation"}
        if not missing:
            with h5py.File(cls.base / "checkpoints" / "step-20" / "master.h5") as master:
                cls.weights = {name: dataset[...] for name, dataset in master["parameters"].items()}

    def events(self, output, kind):
        return [r for r in self.metrics(output) if r.get("event") == kind]

    def check_start(self, output, held_out, **keywords):
        """The run in `output` began at step 0 with weights of that held-out loss."""
        self.assertEqual(len(self.events(output, "init_from")), 1)
        record, = self.events(output, "evaluation")
        self.assertEqual(record["step"], 1)
        self.assertAlmostEqual(record["loss"], held_out, **keywords)

    def test_the_first_loss_is_that_of_the_weights(self):
        self.assertLess(self.held_out[20], self.held_out[10] - 0.1)  # they can be told apart
        done = self.train("newest", *from_(self.base), *ONE, ranks=2)
        self.assertIn("step-20", done.stdout)
        self.check_start("newest", self.held_out[20], delta=0)
        self.train("tenth", *from_(f"{self.base}@10"), *ONE, ranks=2)
        self.check_start("tenth", self.held_out[10], delta=0)
        self.train("replicated", *from_(f"{self.base}@10"), *ONE, "--set", "optimizer.sharded=false", ranks=3)
        self.check_start("replicated", self.held_out[10], delta=1e-5)
        self.train("exact", *from_(self.base), *ONE, "--set", "run.precision=fp64")
        self.check_start("exact", self.held_out[20], delta=1e-4)
        # All else begins anew.
        first = next(r for r in self.metrics("newest") if "event" not in r)
        self.assertEqual((first["samples"], first["tokens"], first["lr"]), (12, 384, 0))
        self.assertLess(abs(first["loss"] - self.held_out[20]), 0.5)

    def test_a_run_that_resumes_goes_by_its_own_checkpoint(self):
        self.train("whole", *TWENTY, *from_(self.base), ranks=2)
        moved = self.folder / "moved"
        shutil.copytree(self.base, moved)
        self.train("halves", *TWENTY, *from_(moved), "--stop-after", "10 steps", ranks=2)
        shutil.rmtree(moved)
        self.train("halves", *TWENTY, *from_(moved), ranks=2)
        self.assertEqual(self.losses("halves"), self.losses("whole"))
        self.assertEqual(len(self.events("halves", "init_from")), 1)

    @unittest.skipIf(missing, missing)
    def test_a_safetensors_file(self):
        file = self.folder / "a.safetensors"
        for kind, delta in (("float32", 0), ("float64", 0), ("float16", 1e-2)):
            safetensors.numpy.save_file({name: w.astype(kind) for name, w in self.weights.items()}, file, metadata={"format": "np"})
            self.train(kind, *from_(file), *ONE, ranks=2)
            self.check_start(kind, self.held_out[20], delta=delta)

    @unittest.skipIf(missing, missing)
    def test_a_tied_head_may_stand_there_twice(self):
        embed = self.weights["embed.weight"]
        file = write_raw(self.folder / "a.safetensors", {**self.weights, "lm_head.weight": embed})
        done = self.train("tied", *from_(file), *ONE, ranks=2)
        self.assertIn("its lm_head.weight equals embed.weight and is not needed", done.stdout)
        self.check_start("tied", self.held_out[20], delta=0)
        other = embed.copy()
        other[-1, -1] += 1
        write_raw(file, {**self.weights, "lm_head.weight": other})
        self.refuse(file, "holds embed.weight and another lm_head.weight, but this model's head is its embedding", ranks=None)
        write_raw(file, {**self.weights, "lm_head.weight": embed[:5]})
        self.refuse(file, r"lm_head.weight \(5, 32\) is there only")

    def refuse(self, reference, *says, ranks=2, status=2):
        """Nothing is trained, and every rank ends."""
        output = self.folder / "refused"
        self.refused("train", self.recipe, "--output", output, *from_(reference), says=says, ranks=ranks, status=status)
        self.assertEqual(list((output / "checkpoints").glob("*")), [])
        self.assertEqual(self.losses("refused"), [])

    @unittest.skipIf(missing, missing)
    def test_tensors_that_do_not_fit(self):
        file = self.folder / "a.safetensors"
        without = {n: w for n, w in self.weights.items() if n != "layers.1.W_Q.weight"}
        write_raw(file, without)
        self.refuse(file, r"of another model than this recipe's: it lacks layers\.1\.W_Q\.weight \(32, 32\)\. Write")
        write_raw(file, {**without, "layers.1.W_q.weight": self.weights["layers.1.W_Q.weight"]})
        self.refuse(file, r"it lacks layers\.1\.W_Q\.weight \(32, 32\), to which layers\.1\.W_q\.weight comes nearest; "
                          r"layers\.1\.W_q\.weight \(32, 32\) is there only\.")
        write_raw(file, {**self.weights, "bias": np.zeros(3)})
        self.refuse(file, r"recipe's: bias \(3\) is there only\.")
        write_raw(file, self.weights, {"embed.weight": [32, 257]})
        self.refuse(file, r"embed\.weight is \(32, 257\) there and \(257, 32\) here\.")

    @unittest.skipIf(missing, missing)
    def test_damaged_files(self):
        file = write_raw(self.folder / "a.safetensors", self.weights)
        content = file.read_bytes()
        file.write_bytes(content[:-1])
        self.refuse(file, r"a\.safetensors has [\d,]+ bytes of data, and layers\.1\.\S+ ends at byte [\d,]+ of them: it was cut off\.")
        file.write_bytes(content[:100])
        self.refuse(file, "only 92 follow: it was cut off")
        self.refuse(self.base / "checkpoints" / "step-20" / "rank-00000.h5", "is an HDF5 file, not a safetensors file")
        for bad in (math.nan, math.inf):
            weights = {**self.weights, "final_norm.weight": np.full(32, bad)}
            self.refuse(write_raw(file, weights), f"holds {bad} at element [0-9]+ of final_norm.weight; a finite number")

    def test_another_model(self):
        for name, value in (("d_model", "64"), ("num_layers", "3")):
            self.refused("train", self.recipe, "--output", self.folder / "o", *from_(f"{self.base}@20"), "--set",
                         f"model.{name}={value}", ranks=2, says="step-20 is of another model than this recipe's: ")

    def test_nothing_there(self):
        self.refuse("no/such.safetensors", "run.init_from is no/such.safetensors, and there is no such file or folder")
        self.refuse(f"{self.base}@7", r"no checkpoint of step 7 in .*Choose one of these steps: 10, 20\.")
        self.refuse(f"{self.base}@last", "does not name a step")
        self.refuse(self.data, "has no checkpoint yet")

    def test_a_damaged_checkpoint(self):
        damaged = self.folder / "damaged"
        shutil.copytree(self.base, damaged)
        file = damaged / "checkpoints" / "step-20" / "rank-00001.h5"
        content = bytearray(file.read_bytes())
        for i in range(0, len(content), 997):
            content[i] ^= 1
        file.write_bytes(content)
        self.refuse(f"{damaged}@20", "is damaged: parameters/.* has the checksum", status=1)
        done = self.train("older", *from_(damaged), *ONE, ranks=2)
        self.assertIn("step-20 is damaged", done.stderr)
        self.check_start("older", self.held_out[10], delta=0)


if __name__ == "__main__":
    unittest.main()
