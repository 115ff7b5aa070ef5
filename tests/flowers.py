"""Irises as files of a user's own, and a model trained on them by the command: shared by tests of the front door."""

import csv
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from command import read_json, run
from safetensors.numpy import load_file
from sklearn.datasets import load_iris

IRIS = load_iris()
COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
ORDER = np.random.default_rng(0).permutation(150)
QUICK = ["--hidden", "4", "--epochs", "40", "--learning-rate", "0.05"]  # one program serves every run on flowers


def flowers(rows, columns=COLUMNS, label="species", names=IRIS.target_names, **more):
    """Return the text of a CSV file of some of the irises, columns in the order asked for."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*more, *columns, *([label] if label else [])])
    for i in rows:
        cells = [repr(float(IRIS.data[i, COLUMNS.index(name)])) for name in columns]
        writer.writerow([*(value(i) for value in more.values()), *cells, *([names[IRIS.target[i]]] if label else [])])
    return out.getvalue()


def make_home(folder):
    """A folder with a training file, files to predict from, and the run folder of a model."""
    (folder / "flowers.csv").write_text(flowers(ORDER[:120]))
    (folder / "new.csv").write_text(flowers(ORDER[120:], COLUMNS[::-1], None, id=lambda i: f"f{i:03d}"))
    (folder / "test.csv").write_text(flowers(ORDER[120:], COLUMNS[::-1]))
    (folder / "moved.csv").write_text(
        "".join(",".join(line.split(",")[::-1]) + "\n" for line in flowers(ORDER[120:]).splitlines())
    )
    done = run("train", "--data", folder / "flowers.csv", "--label", "species", *QUICK, "--run-folder", folder / "run")
    assert (done.code, done.err) == (0, "")
    return SimpleNamespace(folder=folder, run=folder / "run", out=done.out)


def rows_of(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def oracle(home, rows):
    """Return the probabilities of the saved model for irises, in float64 NumPy from the files of the run folder."""
    saved = read_json(home.run / "config.json")
    params = _tensors(home.run / "params.safetensors")
    a = (IRIS.data[rows] - np.array(saved["schema"]["mean"])) / np.array(saved["schema"]["scale"])
    a = np.maximum(a @ params["0.kernel"] + params["0.bias"], 0)
    z = a @ params["1.kernel"] + params["1.bias"]
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def _tensors(path):
    return {name: tensor.astype(np.float64) for name, tensor in load_file(path).items()}
