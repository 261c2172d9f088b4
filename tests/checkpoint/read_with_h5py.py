"""Runs the Python example of docs/checkpoint-format.md on checkpoints that the test program (argument 1) writes,
and compares every array, read whole through the master's virtual datasets, with what tests/checkpoint/toy_model.h
says. Exit status 77: h5py is not installed."""
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import h5py  # noqa: F401
    import numpy as np
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "checkpoint-format.md"
SHAPES = {
    "embedding.weight": (37, 10),
    "layers.0.W_Q.weight": (6, 10),
    "layers.0.W_K.weight": (9, 10),
    "layers.0.rotation": (3, 4, 5),
    "layers.0.norm.weight": (10,),
    "layers.0.lambda_raw": (3,),
    "final_norm.weight": (10,),
}


def expected(name, array):
    shape = SHAPES[name]
    return (np.arange(np.prod(shape)) / 3 + (len(name) + 100 * array) / 2).reshape(shape)


def example():
    """The first block of Python in the document."""
    return DOCUMENT.read_text().split("```python\n")[1].split("```")[0]


def check(folder, tolerance):
    names = {"folder": str(folder)}
    exec(example(), names)
    assert set(names["weights"]) == set(names["moments"]) == set(SHAPES)
    for name in SHAPES:
        for array, got in ((0, names["weights"][name]), (1, names["moments"][name])):
            right = expected(name, array)
            assert got.shape == right.shape, (name, got.shape)
            assert np.all(np.abs(got - right) <= tolerance * np.abs(right)), name
    assert "system: sisa" in names["recipe"]
    assert len(names["index"]["arrays"]) == len(SHAPES)
    assert {s["file"] for s in names["index"]["sources"]} == {p.name for p in folder.glob("rank-*.h5")}


with tempfile.TemporaryDirectory() as temporary:
    launcher = ["mpirun", "-n", "3"]
    subprocess.run([*launcher, sys.argv[1], "--gtest_filter=StoreTest.WritesWhatH5pyReads"], check=True,
                   env={**os.environ, "SISA_TEST_CHECKPOINTS": temporary}, stdout=subprocess.DEVNULL)
    os.chdir("/")  # names of files resolve beside the master, wherever the reader stands
    # Rounding: half a unit in the last of 24 bits, and of 8.
    check(pathlib.Path(temporary) / "step-500", 2**-24)
    check(pathlib.Path(temporary) / "step-501", 2**-8)
print("read by h5py", h5py.version.version, "with HDF5", h5py.version.hdf5_version)
