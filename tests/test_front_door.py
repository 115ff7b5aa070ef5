"""From a file of one's own to predictions: `jaxnn train --data FILE`, `predict`, `evaluate`, `show`, and `load_run`."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from command import read_json, run
from sklearn.datasets import load_iris
from small_files import idx

import jaxnn
from jaxnn.cli import _files

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


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a training file, files to predict from, and the run folder of a model."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "flowers.csv").write_text(flowers(ORDER[:120]))
    (folder / "new.csv").write_text(flowers(ORDER[120:], COLUMNS[::-1], None, id=lambda i: f"f{i:03d}"))
    (folder / "test.csv").write_text(flowers(ORDER[120:], COLUMNS[::-1]))
    (folder / "moved.csv").write_text(
        "".join(",".join(line.split(",")[::-1]) + "\n" for line in flowers(ORDER[120:]).splitlines())
    )
    done = run("train", "--data", folder / "flowers.csv", "--label", "species", *QUICK, "--run-folder", folder / "run")
    assert (done.code, done.err) == (0, "")
    return SimpleNamespace(folder=folder, run=folder / "run", out=done.out)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch, home):
    """Work in an empty folder, and draw nothing: test_cli.py looks at the pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxnn.cli._run_folder.draw", lambda *_: None)


def rows_of(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


# --- train ------------------------------------------------------------------------------------------------


def test_training_on_a_file_says_what_it_is_and_what_comes_next(home):
    assert "flowers: 120 examples, 4 features (standardised), 3 classes: setosa, versicolor, virginica" in home.out
    assert "84 to learn from, 18 hold-out, 18 test" in home.out
    assert f"next        jaxnn predict {home.run} NEW_FILE" in home.out
    saved = read_json(home.run / "config.json")
    assert saved["schema"]["label_name"] == "species" and saved["schema"]["feature_names"] == COLUMNS
    assert read_json(home.run / "metrics.json")["test"]["accuracy"] > 0.8


@pytest.mark.parametrize("given", ["hold_out", "test", "both"])
def test_hold_out_and_test_can_be_files_of_their_own(home, tmp_path, given):
    files = {"hold_out": ["--hold-out", home.folder / "test.csv"], "test": ["--test", home.folder / "test.csv"]}
    options = [option for name, pair in files.items() if given in (name, "both") for option in pair]
    done = run("train", "--data", home.folder / "flowers.csv", "--label", "-1", *QUICK[:2], "--epochs", "1", *options)
    assert done.code == 0, done.err
    config = read_json(tmp_path / "runs" / "flowers" / "config.json")
    rest = {"hold_out": (102, 30, 18), "test": (102, 18, 30), "both": (120, 30, 30)}[given]
    assert tuple(config["parts"].values()) == rest
    # Standardised by the training part, and the rows of the file in their own order.
    found = jaxnn.load_run(tmp_path / "runs" / "flowers")
    ds = jaxnn.data.read(home.folder / "test.csv", like=found.schema)
    figures = jaxnn.evaluate(found.objective, found.params, ds).to_dict()
    assert figures == found.figures["test" if given != "hold_out" else "hold_out"]


def test_classes_that_do_not_occur_are_counted_if_told(tmp_path):
    (tmp_path / "gap.csv").write_text("a,y\n" + "1,0\n2,2\n" * 20)
    done = run(
        "train", "--data", "gap.csv", "--label", "y", "--num-classes", "3", "--hidden", "--epochs", "0", "--quiet"
    )
    assert done.code == 0, done.err
    assert jaxnn.load_run("runs/gap").schema.num_classes == 3


def test_every_option_of_a_file_reaches_the_reader(tmp_path):
    text = flowers(ORDER[:60], label="kind", names=["1", "2", "3"]).replace(",", ";")
    (tmp_path / "semi.csv").write_text(text)
    done = run(
        "train",
        "--data",
        "semi.csv",
        "--label",
        "kind",
        "--labels",
        "names",
        "--delimiter",
        ";",
        "--features",
        "petal_length",
        "1",
        "--hidden",
        "--epochs",
        "1",
        "--json",
    )
    assert done.code == 0, done.err
    schema = read_json(tmp_path / "runs" / "semi" / "config.json")["schema"]
    assert schema["feature_names"] == ["petal_length", "sepal_width"] and schema["class_names"] == ["1", "2", "3"]
    assert json.loads(done.out)["status"] == "max_epochs" and json.loads(done.out)["run_folder"] == "runs/semi"
    headless = "\n".join(text.splitlines()[1:]).replace(";", "\t")
    (tmp_path / "headless.csv").write_text(headless)
    done = run(
        "train",
        "--data",
        "headless.csv",
        "--label",
        "4",
        "--labels",
        "names",
        "--header",
        "no",
        "--delimiter",
        r"\t",
        "--hidden",
        "--epochs",
        "1",
        "--quiet",
    )
    assert (done.code, done.out) == (0, "runs/headless\n"), done.err


def test_real_targets_of_a_file_are_learnt_predicted_and_evaluated(tmp_path):
    x = np.linspace(-1, 1, 80)
    np.savetxt(tmp_path / "line.csv", np.c_[x, 2 * x], "%.6f", ",", header="x,y", comments="")
    done = run("train", "--data", "line.csv", "--label", "y", "--regression", "--hidden", "--learning-rate", "0.05")
    assert done.code == 0 and "gaussian" in done.out and done.err == ""
    (tmp_path / "new.csv").write_text("x\n0.5\n-0.25\n")
    assert run("predict", "runs/line", "new.csv").code == 0
    np.testing.assert_allclose([float(row["y"]) for row in rows_of("new-predictions.csv")], [1, -0.5], atol=0.02)
    done = run("evaluate", "runs/line", "line.csv", "--json")
    assert json.loads(done.out)["root_mean_squared_error"] < 0.02


def test_targets_far_from_the_unit_get_a_note(tmp_path):
    np.savetxt(tmp_path / "far.csv", np.c_[np.arange(40), 1e5 + np.arange(40)], "%g", ",", header="x,y", comments="")
    done = run("train", "--data", "far.csv", "--label", "y", "--regression", "--hidden", "--epochs", "1", "--quiet")
    assert done.code == 0
    assert re.fullmatch(
        r"jaxnn: note: train: real targets are near 0 .*; got mean 1e\+05, deviation [\d.]+; .*\n", done.err
    )


def test_arrays_tables_and_images_can_be_trained_on_and_predicted_from(tmp_path):
    x, y = IRIS.data[ORDER].astype(np.float32), IRIS.target[ORDER]
    np.savez(tmp_path / "a.npz", x=x, y=y)
    table = pa.table(
        {name: x[:, j] for j, name in enumerate(COLUMNS)}
        | {"size": pa.array(["s", "l"] * 75).dictionary_encode(), "y": y}
    )
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    pixels = (x[:, :, None] * 25).astype(np.uint8)
    (tmp_path / "i.idx").write_bytes(idx(pixels))
    (tmp_path / "l.idx").write_bytes(idx(y.astype(np.uint8)))
    for name, label in (("a.npz", []), ("t.parquet", ["--label", "y"]), ("i.idx", ["--label", "l.idx"])):
        assert run("train", "--data", name, *label, "--hidden", "--epochs", "1", "--quiet").err == ""
        stem = name[0]
        done = run("predict", f"runs/{stem}", name, "--output", f"out-{stem}.parquet")
        assert done.code == 0, done.err
        answers = pa.parquet.read_table(f"out-{stem}.parquet")
        label = "y" if stem == "t" else "label"
        assert answers.column_names == [label, "P(0)", "P(1)", "P(2)"] and answers.num_rows == 150
        assert answers.schema.field("P(0)").type == pa.float32()
        p = np.stack([answers.column(f"P({k})").to_numpy() for k in range(3)], axis=1)
        np.testing.assert_array_equal(answers.column(label).to_numpy(), p.argmax(axis=1))
    assert json.loads(run("evaluate", "runs/i", "i.idx", "--label", "l.idx", "--json").out)["num_examples"] == 150


TRAIN_FAULTS = [  # options after --data, what is said
    (["flower.csv"], r"train: data is a file or one of .*; got data='flower.csv'; did you mean 'flowers.csv'\?"),
    (["flowers.csv"], r"data.read: label is the column to learn; got label=None; .*'petal_width', 'species'"),
    (["flowers.csv", "--label", "specie"], r".*got label='specie'; did you mean 'species'\?"),
    (["flowers.csv", "--label", "9"], r".*got label=9; columns are numbered 0 to 4"),
    (
        ["flowers.csv", "--label", "species", "--features", "petal_lenght"],
        r".*'petal_lenght'; did you mean 'petal_length'",
    ),
    (["flowers.csv", "--label", "species", "--delimiter", "ab"], r".*one character; got delimiter='ab'"),
    (
        ["flowers.csv", "--label", "petal_width", "--features", "0"],
        r"data.read: labels are whole numbers 0..K-1; .* pass --regression;",
    ),
    (["flowers.csv", "--label", "species", "--test", "nowhere.csv"], r".*got source='nowhere.csv': No such file"),
    (
        ["flowers.csv", "--label", "species", "--hold-out", "other.csv"],
        r".*every feature of 'flowers'; got no 'sepal_wi",
    ),
    (["broken.csv", "--label", "species"], r"data.read: every line has one cell a column; .*on line 3 of broken.csv"),
    (["tiny.csv", "--label", "species"], r"data.split: every part has an example; got 2 examples"),
    (["digits", "--label", "species"], r"train: --label goes with a file; got --label species with data='digits'"),
    (["digits", "--hold-out", "flowers.csv"], r"train: --hold-out goes with a file"),
    (
        ["flowers.csv", "--label", "species", "--folder", "."],
        r"train: only mnist and fashion_mnist are read from a folder",
    ),
]


@pytest.mark.parametrize(
    "text, options, advice",
    [
        ("a,y\n1,1\n2,2\n", [], "for labels 1..2 pass --labels names, which"),
        ("a,y\n1,1\n2,-1\n", [], "for -1 and +1 pass --labels pm1"),
        ("a,y\n1,0\n2,2\n", [], "pass --num-classes K if some"),
        ("a,y\n1,0.5\n2,2\n", [], "for real targets pass --regression; if every value"),
        ("a;y\n1;0\n", [], "if cells are separated by ';', pass --delimiter ';'"),
        ("1,0\n2,1\n", [], "pass --header no if they are the first example, --header yes if they are names"),
        ("a,b,y\n1,x,0\n2,z,1\n", [], "repair it, or choose the columns with --features COLUMNS"),
        ("a,y\n1,0\n1\n", [], "repair the line, or pass --delimiter"),
    ],
)
def test_advice_speaks_of_the_options_of_the_command(tmp_path, text, options, advice):
    (tmp_path / "t.csv").write_text(text)
    done = run("train", "--data", "t.csv", "--label", "y", *options)
    assert done.code == 2 and advice in done.err, done.err


@pytest.mark.parametrize("options, text", TRAIN_FAULTS, ids=[" ".join(options) for options, _ in TRAIN_FAULTS])
def test_a_mistake_about_a_file_is_one_line_and_nothing_is_written(home, tmp_path, options, text):
    shutil.copy(home.folder / "flowers.csv", tmp_path)
    (tmp_path / "other.csv").write_text("sepal_length,species\n1,setosa\n")
    (tmp_path / "broken.csv").write_text("a,species\n1,u\n1,v,w\n")
    (tmp_path / "tiny.csv").write_text("a,species\n1,u\n2,v\n")
    done = run("train", "--data", *options)
    assert (done.code, done.out) == (2, "")
    assert re.match(f"jaxnn: {text}", done.err) and done.err.count("\n") == 1, done.err
    assert not (tmp_path / "runs").exists()


# --- predict ----------------------------------------------------------------------------------------------


def oracle(home, rows):
    """Return the probabilities of the saved model for irises, in float64 NumPy from the files of the run folder."""
    saved = read_json(home.run / "config.json")
    params = pa_free_load(home.run / "params.safetensors")
    a = (IRIS.data[rows] - np.array(saved["schema"]["mean"])) / np.array(saved["schema"]["scale"])
    a = np.maximum(a @ params["0.kernel"] + params["0.bias"], 0)
    z = a @ params["1.kernel"] + params["1.bias"]
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def pa_free_load(path):
    from safetensors.numpy import load_file

    return {name: tensor.astype(np.float64) for name, tensor in load_file(path).items()}


def test_predictions_are_those_of_the_model_row_by_row(home):
    done = run("predict", home.run, home.folder / "new.csv")
    assert (done.code, done.err) == (0, "")
    answers = rows_of("new-predictions.csv")
    names = list(IRIS.target_names)
    assert list(answers[0]) == ["species", *(f"P({name})" for name in names)]
    p = np.array([[float(row[f"P({name})"]) for name in names] for row in answers])
    np.testing.assert_allclose(p, oracle(home, ORDER[120:]), atol=2e-6)
    assert [row["species"] for row in answers] == [names[k] for k in p.argmax(axis=1)]
    assert "not used    id\n" in done.out and "rows        30 of" in done.out
    assert "written     new-predictions.csv (25 more rows)" in done.out
    counts = {name: sum(row["species"] == name for row in answers) for name in names}
    assert all(f"{name} {count}" in done.out for name, count in counts.items())


def test_columns_are_kept_beside_the_answers_and_json_says_what_was_done(home):
    done = run("predict", home.run, home.folder / "new.csv", "--keep", "id", "--output", "out.csv", "--json")
    assert json.loads(done.out) == {
        "file": "out.csv",
        "rows": 30,
        "columns": ["id", "species", "P(setosa)", "P(versicolor)", "P(virginica)"],
        "unused": [],
    }
    assert [row["id"] for row in rows_of("out.csv")] == [f"f{i:03d}" for i in ORDER[120:]]
    done = run("predict", home.run, home.folder / "test.csv", "--keep", "species", "petal_width", "--output", "k.csv")
    assert done.code == 0
    kept = rows_of("k.csv")
    assert list(kept[0])[:3] == ["species", "petal_width", "predicted species"]
    assert [row["species"] for row in kept] == [IRIS.target_names[IRIS.target[i]] for i in ORDER[120:]]
    assert [float(row["petal_width"]) for row in kept] == [IRIS.data[i, 3] for i in ORDER[120:]]


def test_standard_output_gets_csv_and_nothing_else(home):
    done = run("predict", home.run, home.folder / "new.csv", "--output", "-")
    assert run("predict", home.run, home.folder / "new.csv").code == 0
    assert done.code == 0 and done.out == Path("new-predictions.csv").read_text()


def test_signs_are_predicted_as_signs(tmp_path):
    (tmp_path / "s.csv").write_text("a,y\n" + "".join(f"{i % 2 + 0.01 * i},{2 * (i % 2) - 1}\n" for i in range(40)))
    assert run("train", "--data", "s.csv", "--label", "y", "--labels", "pm1", "--hidden", "--quiet").err == ""
    assert run("predict", "runs/s", "s.csv").code == 0
    assert set(rows_of("s-predictions.csv")[0]) == {"y", "P(-1)", "P(1)"}
    assert {row["y"] for row in rows_of("s-predictions.csv")} == {"-1", "1"}
    assert json.loads(run("evaluate", "runs/s", "s.csv", "--json").out)["accuracy"] == 1.0


PREDICT_FAULTS = [  # file, its text, options, what is said
    (
        "new.csv",
        "petal_width\n1\n",
        [],
        r"data.read_inputs: a file has every feature of 'flowers'; got no 'sepal_length', 's",
    ),
    (
        "new.csv",
        flowers([0]).replace("sepal_width", "sepal_widht"),
        [],
        r".*got no 'sepal_width' .*mean 'sepal_widht'\?",
    ),
    (
        "new.csv",
        flowers([0], label=None).replace("5.1", "x"),
        [],
        r"data.read_inputs: the column holds numbers; got 'x'",
    ),
    (
        "new.csv",
        flowers([0], label=None).replace("5.1", ""),
        [],
        r"data.read_inputs: every cell has a value; got ''.*line 2",
    ),
    ("new.csv", flowers([0]), ["--keep", "idd"], r"data.read_inputs: keep is a column of .*; got keep='idd'"),
    ("new.csv", flowers([0]), ["--output", "out.txt"], r"predict: --output ends in .csv or .parquet; got out.txt"),
    (
        "new.csv",
        flowers([0]),
        ["--output", "no/out.csv"],
        r"predict: --output lies in a folder that exists; got no/out.csv",
    ),
    ("new.csv", flowers([0]), ["--output", "new.csv"], r"predict: --output is not the file that is read; got new.csv"),
    ("new.csv", flowers([0]), ["--output", "old.csv"], r"predict: --output is a new file; got old.csv; .*--overwrite"),
    (
        "new.csv",
        flowers([0]),
        ["--output", "-", "--json"],
        r"predict: --output - is CSV on standard output; got --json",
    ),
    ("new.txt", flowers([0]), [], r"data.read_inputs: files end in .csv, .npz"),
    ("new.csv", "", [], r"data.read_inputs: there is at least one line; got an empty file"),
]


@pytest.mark.parametrize("name, text, options, said", PREDICT_FAULTS, ids=[said[:40] for *_, said in PREDICT_FAULTS])
def test_a_file_that_does_not_fit_is_one_line_and_nothing_is_written(home, tmp_path, name, text, options, said):
    (tmp_path / name).write_text(text)
    (tmp_path / "old.csv").write_text("mine")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    done = run("predict", home.run, name, *options)
    assert (done.code, done.out) == (2, "")
    assert re.match(f"jaxnn: {said}", done.err) and done.err.count("\n") == 1, done.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_overwrite_replaces_the_answers(home, tmp_path):
    (tmp_path / "old.csv").write_text("mine")
    assert run("predict", home.run, home.folder / "new.csv", "--output", "old.csv", "--overwrite").code == 0
    assert len(rows_of("old.csv")) == 30


# --- evaluate, show ---------------------------------------------------------------------------------------


def test_evaluate_gives_the_figures_of_python(home):
    saved = jaxnn.load_run(home.run)
    want = jaxnn.evaluate(saved.objective, saved.params, jaxnn.data.read(home.folder / "test.csv", like=saved.schema))
    done = run("evaluate", home.run, home.folder / "test.csv", "--json")
    assert json.loads(done.out) == {"file": str(home.folder / "test.csv"), **want.to_dict()}
    done = run("evaluate", home.run, home.folder / "test.csv")
    assert done.code == 0 and re.search(rf"test +30 +{want.log_likelihood:.4f} +{want.accuracy:.4f}", done.out)
    assert re.search(r"test part of the run +18 ", done.out)


@pytest.mark.parametrize(
    "text, options, said",
    [
        (flowers([0], label=None), [], r"data.read: label is a column of .*; got label='species'; the columns are"),
        (flowers([0], label="kind"), [], r"data.read: label is a column of .*; got label='species'"),
        (flowers([0], names=["rose"] * 3), [], r"data.read: labels are among the 3 class_names; got 'rose'"),
        (flowers([0]), ["--label", "specie"], r"data.read: label is a column of .*'specie'; did you mean 'species'\?"),
    ],
)
def test_labels_that_do_not_fit_are_named(home, tmp_path, text, options, said):
    (tmp_path / "t.csv").write_text(text)
    done = run("evaluate", home.run, "t.csv", *options)
    assert (done.code, done.out) == (2, "") and re.match(f"jaxnn: {said}", done.err), done.err


def test_the_label_may_have_another_name(home, tmp_path):
    (tmp_path / "t.csv").write_text(flowers(ORDER[120:], label="kind"))
    done = run("evaluate", home.run, "t.csv", "--label", "kind", "--json")
    assert json.loads(done.out)["num_examples"] == 30


def test_show_says_what_how_why_and_how_good(home):
    done = run("show", home.run)
    metrics = read_json(home.run / "metrics.json")
    assert (done.code, done.err) == (0, "")
    for line in (
        f"run         {home.run}",
        "flowers.csv: 4 features (standardised), 3 classes: setosa, versicolor, virginica",
        "parts       84 train, 18 hold-out, 18 test",
        "Mlp(sizes=(4, 4, 3), activation=relu",
        "mini-batch, adam at 0.05, l2 0.0001, seed 0",
        metrics["message"],
        f"pictures    {home.run / 'learning_curves.png'}",
    ):
        assert line in done.out, line
    (best,) = re.findall(r" +(\d+) .*returned +\n", done.out)
    assert int(best) == metrics["best_epoch"]
    assert re.search(rf"test +18 +{metrics['test']['log_likelihood']:.4f}", done.out)
    everything = json.loads(run("show", home.run / "config.json", "--json").out)
    assert everything["figures"]["test"] == metrics["test"] and len(everything["history"]) == 41
    assert everything["config"]["config"]["label"] == "species" and "history.csv" in everything["files"]


@pytest.mark.parametrize("command", [["show"], ["predict", "x.csv"], ["evaluate", "x.csv"]])
def test_a_folder_without_a_run_names_the_near_one(tmp_path, command):
    (tmp_path / "runs" / "flowers").mkdir(parents=True)
    (tmp_path / "runs" / "flowers" / "config.json").write_text("{}")
    done = run(command[0], "runs/flower", *command[1:])
    assert done.code == 2 and done.out == ""
    assert done.err == (
        "jaxnn: load_run: a run folder holds config.json; got folder='runs/flower'; in 'runs': did you mean "
        "'flowers'?\n"
    )
    assert "pass the folder that `jaxnn train` printed" in run(command[0], "nowhere", *command[1:]).err


# --- load_run ---------------------------------------------------------------------------------------------


def test_two_lines_bring_a_run_back(home):
    saved = jaxnn.load_run(home.run)
    assert saved.objective.model == jaxnn.Mlp((4, 4, 3), jaxnn.relu) and saved.objective.likelihood == jaxnn.categorical
    assert float(saved.objective.l2) == pytest.approx(1e-4)
    x = jaxnn.data.read_inputs(home.folder / "new.csv", like=saved.schema).x
    p = jaxnn.predict_proba(saved.objective, saved.params, x)
    np.testing.assert_allclose(p, oracle(home, ORDER[120:]), atol=2e-6)
    assert saved.status == "max_epochs" and saved.message.startswith("ran all 40 epochs")
    assert saved.history.epoch.tolist() == list(range(41)) and saved.best_epoch in range(41)
    assert set(saved.figures) == {"train", "hold_out", "test"}
    figure = jaxnn.plotting.learning_curves(saved.history, saved.best_epoch)
    assert figure.axes


def test_a_run_comes_back_when_double_precision_is_on(home, x64):
    saved = jaxnn.load_run(home.run)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(saved.params)} == {"float32"}


def test_a_run_that_was_ended_before_its_metrics_can_be_used(home, tmp_path):
    shutil.copytree(home.run, tmp_path / "cut")
    (tmp_path / "cut" / "metrics.json").unlink()
    saved = jaxnn.load_run(tmp_path / "cut")
    assert (saved.status, saved.best_epoch, saved.figures) == ("", None, {})
    done = run("show", "cut")
    assert done.code == 0 and "no metrics.json: the run was ended before" in done.out


def edited(**changes):
    """Return an edit of config.json: keys with dots lead further in."""

    def edit(folder):
        config = read_json(folder / "config.json")
        for path, value in changes.items():
            *way, last = path.split("__")
            place = config
            for key in way:
                place = place[key]
            if value is ...:
                del place[last]
            else:
                place[last] = value
        (folder / "config.json").write_text(json.dumps(config))

    return edit


def put(name, content):
    return lambda folder: (folder / name).write_bytes(content)


DAMAGES = {
    "no config": (lambda folder: (folder / "config.json").unlink(), r"a run folder holds config.json; got folder="),
    "no JSON": (put("config.json", b"{"), r"config.json is a JSON object; got Expecting"),
    "not UTF-8": (put("config.json", b"\xff"), r"config.json is a JSON object; got"),
    "a list": (put("config.json", b"[]"), r"config.json is a JSON object; got a list"),
    "deep JSON": (put("config.json", b"[" * 100_000), r"config.json is a JSON object; got"),
    "an empty object": (put("config.json", b"{}"), r"is as jaxnn wrote it; got KeyError: 'format'"),
    "a newer format": (edited(format=2), r"reads run folders up to format 1; got 2 in .*; install jaxnn 0"),
    "a format of text": (edited(format="1"), r"is as jaxnn wrote it; got TypeError"),
    "no sizes": (edited(model__sizes=...), r"KeyError: 'sizes'"),
    "sizes of text": (edited(model__sizes="ab"), r"is as jaxnn wrote it; got \w+Error: "),
    "other sizes": (edited(model__sizes=[4, 5, 3]), r"holds the parameters of Mlp.*40|0.kernel is float32"),
    "other inputs": (edited(model__sizes=[5, 4, 3]), r"ValueError: 4 feature_names for a model of 5 features"),
    "other outputs": (edited(model__sizes=[4, 4, 2]), r"ValueError: 3 classes for Categorical\(\) of 2 outputs"),
    "huge sizes": (edited(model__sizes=[4, 10**9, 3]), r"holds the parameters of .*, 32,000,000,012 bytes; got"),
    "an unknown kind": (edited(model__kind="Cnn"), r"ValueError: a model of kind 'Cnn'"),
    "an unknown activation": (edited(model__activation="os.system"), r"KeyError: 'os.system'"),
    "an unknown likelihood": (edited(likelihood="poisson"), r"KeyError: 'poisson'"),
    "another dtype": (edited(model__dtype="float16"), r"0.kernel is float32.*, not float16"),
    "no dtype": (edited(model__dtype="int7"), r"TypeError: "),
    "a negative penalty": (edited(l2=-1), r"ConfigError: LogLikelihood: l2 is a finite number"),
    "an unknown field of the schema": (edited(schema__colour=3), r"ConfigError: Schema.from_dict: fields are known"),
    "a name too few": (edited(schema__class_names=["a", "b"]), r"ValueError: 2 class_names for 3 classes"),
    "a mean too few": (edited(schema__mean=[0.0]), r"ValueError: 1 mean for a model of 4 features"),
    "no parameters": (
        lambda folder: (folder / "params.safetensors").unlink(),
        r"a finished run has params.safetensors",
    ),
    "cut parameters": (
        lambda folder: (folder / "params.safetensors").write_bytes((folder / "params.safetensors").read_bytes()[:-1]),
        r"params.safetensors is as it was written, with the SHA-256 in metrics.json; got other bytes",
    ),
    "another likelihood": (
        edited(likelihood="bernoulli"),
        r"ConfigError: .*one logit|ValueError: 3 classes for Bernoulli",
    ),
    "double precision": (edited(model__dtype="float64"), r"double precision need jax_enable_x64; .*JAX_ENABLE_X64=1"),
    "no history": (lambda folder: (folder / "history.csv").unlink(), r"history.csv has a row an epoch.*FileNotFound"),
    "a history of text": (put("history.csv", b"epoch,log_likelihood\n0,x\n"), r"history.csv has a row an epoch"),
    "an empty history": (put("history.csv", b""), r"history.csv has a row an epoch"),
    "metrics of text": (put("metrics.json", b"no"), r"metrics.json is a JSON object"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_folder_is_refused_with_the_place(home, tmp_path, damage):
    edit, text = DAMAGES[damage]
    shutil.copytree(home.run, tmp_path / "bad")
    edit(tmp_path / "bad")
    with pytest.raises(jaxnn.CheckpointError) as caught:
        jaxnn.load_run(tmp_path / "bad")
    assert re.search(text, str(caught.value)), str(caught.value)
    assert re.match(r"(load_run|checkpoint.load): [^;]+; got .+; .+", str(caught.value), re.DOTALL), str(caught.value)
    done = run("show", "bad")
    assert done.code == 2 and done.out == "" and "Traceback" not in done.err and done.err.count("\n") == 1


def test_any_byte_changed_in_config_is_refused_or_harmless(home, tmp_path):
    shutil.copytree(home.run, tmp_path / "bad")
    content = (home.run / "config.json").read_bytes()
    start = content.index(b'"model"')
    rng = np.random.default_rng(0)
    for at in rng.integers(start, len(content), 300):
        changed = bytearray(content)
        changed[at] = rng.integers(0, 256)
        (tmp_path / "bad" / "config.json").write_bytes(changed)
        try:
            saved = jaxnn.load_run(tmp_path / "bad")
        except jaxnn.CheckpointError:
            continue
        assert saved.params[0].kernel.shape == (4, 4) and saved.schema.num_classes == 3


# --- the command itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv, said",
    [
        (["predct"], r"commands are train, predict, evaluate, show, data; got 'predct'; did you mean 'predict'\?, and"),
        (["data", "fech"], r"commands of data are list, fetch, describe; got 'fech'; did you mean 'fetch'\?, and see"),
        (
            ["fly"],
            r"commands are .*; got 'fly'; choose one of data, evaluate, predict, show, train, and see jaxnn --help",
        ),
    ],
)
def test_a_misspelt_command_suggests_the_right_one(argv, said):
    done = run(*argv)
    assert (done.code, done.out) == (2, "") and re.match(f"jaxnn: {said}", done.err)


@pytest.mark.parametrize(
    "argv, near", [(["predict", "a", "b", "--ouput", "x"], "--output"), (["show", "a", "--jsn"], "--json")]
)
def test_a_misspelt_option_suggests_the_right_one(argv, near):
    done = run(*argv)
    assert done.code == 2 and done.out == "" and near in done.err and "Traceback" not in done.err


@pytest.mark.parametrize(
    "argv",
    [
        ["train"],
        ["predict"],
        ["evaluate"],
        ["show"],
        ["data"],
        ["data", "list"],
        ["data", "fetch"],
        ["data", "describe"],
    ],
)
def test_every_command_shows_examples_that_parse(argv, monkeypatch):
    done = run(*argv, "--help")
    assert done.code == 0 and "examples:\n  jaxnn " in done.out and "exit codes: 0 done, 1 " in done.out
    lines = [line.split("  ")[1].strip() for line in done.out.splitlines() if line.startswith("  jaxnn ")]
    assert lines and all(line.startswith(f"jaxnn {argv[0]}") for line in lines)
    seen = []
    monkeypatch.setattr("jaxnn.cli._run", lambda command, config: seen.append(config) or 0)
    for line in lines:
        assert run(*line.partition(" |")[0].split()[1:]).code == 0, line
    assert len(seen) == len(lines)


# --- names from files of strangers, and what is printed to nobody -----------------------------------------


def two_classes(path, names=("u", "v"), label="k", feature="a", rows=40):
    """Write a CSV of one feature that tells two classes of these names apart."""
    with path.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow([feature, label])
        out.writerows([i % 2 + 0.01 * i, names[i % 2]] for i in range(rows))


def test_names_are_shown_as_they_are_and_a_terminal_obeys_none(tmp_path):
    names = ("[/b] [red]x", "a\x1b[31mRED")
    two_classes(tmp_path / "t.csv", names, label="[bold]k", feature="f\x07")
    done = run("train", "--data", "t.csv", "--label", "[bold]k", "--hidden", "--epochs", "2")
    assert done.code == 0 and "[/b] [red]x, a?[31mRED" in done.out
    done = run("predict", "runs/t", "t.csv")
    assert done.code == 0 and "P([/b] [red]x)" in done.out and "[bold]k" in done.out and "\x1b" not in done.out
    assert set(rows_of("t-predictions.csv")[0]) == {
        "[bold]k",
        *(f"P({name})" for name in names),
    }  # the file has them all
    for command in (["show", "runs/t"], ["evaluate", "runs/t", "t.csv"], ["evaluate", "runs/t", "\x1b[31m.csv"]):
        done = run(*command)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.out + done.err)


def test_pictures_take_any_name_and_never_end_a_run(tmp_path, monkeypatch):
    monkeypatch.undo()  # draw for real
    monkeypatch.chdir(tmp_path)
    two_classes(tmp_path / "t.csv", ("$0_to_$50", "日本"))
    done = run("train", "--data", "t.csv", "--label", "k", "--hidden", "--epochs", "2")
    assert (done.code, done.err) == (0, "") and (tmp_path / "runs/t/confusion.png").exists()

    def broken(*_):
        raise ValueError("no ink")

    monkeypatch.setattr("jaxnn.plotting.learning_curves", broken)
    done = run("train", "--data", "t.csv", "--label", "k", "--hidden", "--epochs", "2")
    assert done.code == 0 and "pictures    confusion.png, reliability.png" in done.out
    assert done.err == "jaxnn: note: train: no learning_curves.png: ValueError: no ink\n"


def test_an_id_for_a_label_is_asked_about_and_its_matrix_is_left_out(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i % 7},id{i // 2}\n" for i in range(400)))
    done = run("train", "--data", "t.csv", "--label", "b", "--hidden", "--epochs", "0")
    assert done.code == 0 and "200 classes in 280 training examples; is the label the right column?" in done.err
    assert "confusion" not in read_json(tmp_path / "runs/t/metrics.json")["test"]
    assert run("show", "runs/t").code == 0


def start(home, *args, **options):
    """Start the command in a process of its own, buffered as most are."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    root = str(Path(jaxnn.__file__).parents[1])
    env["PYTHONPATH"] = root
    command = [sys.executable, "-m", "jaxnn", *map(str, args)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, text=True, cwd=home.folder, env=env, **pipes)


def without_progress(text):
    return "".join(line for line in text.splitlines(keepends=True) if not line.endswith(" ...\n"))


@pytest.mark.parametrize("args", [["predict", "run", "new.csv", "--output", "-"], ["show", "run"], ["data", "list"]])
def test_nobody_reading_the_output_is_no_error(home, args):
    with start(home, *args) as child:
        child.stdout.close()
        assert (child.wait(timeout=120), without_progress(child.stderr.read())) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_a_full_disk_under_standard_output_is_one_line(home):
    with open("/dev/full", "w") as full, start(home, "show", "run", "--json", stdout=full) as child:
        assert child.wait(timeout=120) == 2
        assert child.stderr.read() == "jaxnn: [Errno 28] No space left on device\n"


def test_ctrl_c_while_evaluating_ends_at_once_with_130(home, tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 120, 400_000)
    lines = (home.folder / "flowers.csv").read_text().splitlines(keepends=True)
    (tmp_path / "big.csv").write_text(lines[0] + "".join(lines[1 + i] for i in rows))
    with start(home, "evaluate", "run", tmp_path / "big.csv") as child:
        time.sleep(2.5)
        child.send_signal(signal.SIGINT)
        code, err = child.wait(timeout=60), child.stderr.read()
    assert code in (130, 0) and "Fatal" not in err and (code == 0 or "jaxnn: interrupted\n" in err)


def test_a_fault_of_our_own_is_told_from_a_mistake(home, monkeypatch):
    def broken(*_):
        raise RuntimeError("the model fell over")

    monkeypatch.setattr("jaxnn.cli._show.load_run", broken)
    done = run("show", home.run)
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith("jaxnn: this is a fault of jaxnn, not yours: RuntimeError: the model fell over; please")
    assert "Traceback" in run("show", home.run, "--debug").err


def test_files_are_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "answers.csv"
    target.write_text("old")

    def fail(path):
        path.write_text("half")
        assert path != target and target.read_text() == "old"
        raise OSError("disk full")

    with pytest.raises(OSError):
        _files.write_whole(target, fail)
    assert target.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["answers.csv"]
    _files.write_whole(target, lambda path: path.write_text("new"))
    assert target.read_text() == "new" and [path.name for path in tmp_path.iterdir()] == ["answers.csv"]


def test_json_has_null_for_what_it_cannot_say():
    text = _files.to_json({"a": [1.5, float("nan")], "b": (float("inf"),)})
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name)) == {"a": [1.5, None], "b": [None]}


# --- columns and files ------------------------------------------------------------------------------------


def test_a_number_that_names_a_column_is_that_column(tmp_path):
    (tmp_path / "t.csv").write_text("id,0,1,2\n" + "".join(f"{i},{i % 3},{i % 2},{i % 2}\n" for i in range(40)))
    done = run(
        "train", "--data", "t.csv", "--label", "2", "--features", "0", "1", "--header", "yes", "--hidden", "--quiet"
    )
    assert done.code == 0, done.err
    schema = jaxnn.load_run("runs/t").schema
    assert schema.label_name == "2" and schema.feature_names == ("0", "1")


def test_the_label_by_position_is_found_by_name_in_the_other_files(home, tmp_path):
    done = run("train", "--data", home.folder / "flowers.csv", "--label", "-1", "--test", home.folder / "moved.csv",
               *QUICK[:2], "--epochs", "1", "--quiet")  # fmt: skip
    assert done.code == 0, done.err
    assert read_json(tmp_path / "runs/flowers/config.json")["parts"]["test"] == 30


def test_the_training_file_as_hold_out_gets_a_note(home):
    path = home.folder / "flowers.csv"
    done = run("train", "--data", path, "--label", "species", "--test", path, *QUICK[:2], "--epochs", "1", "--quiet")
    assert done.code == 0 and "jaxnn: note: hold-out and test files are others than --data; got" in done.err


def test_images_have_one_file_of_labels(tmp_path):
    pixels = np.zeros((40, 2, 2), np.uint8)
    (tmp_path / "i.idx").write_bytes(idx(pixels))
    (tmp_path / "l.idx").write_bytes(idx((np.arange(40) % 2).astype(np.uint8)))
    done = run("train", "--data", "i.idx", "--label", "l.idx", "--test", "i.idx")
    assert done.code == 2 and done.err.startswith("jaxnn: train: for IDX images hold-out and test are parts of --data")


def test_arrays_of_any_name_go_all_the_way(tmp_path):
    x, t = IRIS.data.astype(np.float32), IRIS.target
    np.savez(tmp_path / "a.npz", X=x[ORDER[:120]], t=t[ORDER[:120]])
    np.savez(tmp_path / "b.npz", X=x[ORDER[120:]], t=t[ORDER[120:]])
    done = run("train", "--data", "a.npz", "--features", "X", "--label", "t", "--test", "b.npz", "--hidden", "--quiet")
    assert done.code == 0, done.err
    done = run("evaluate", "runs/a", "b.npz", "--features", "X", "--label", "t", "--json")
    assert json.loads(done.out)["accuracy"] == jaxnn.load_run("runs/a").figures["test"]["accuracy"]
    assert run("predict", "runs/a", "b.npz", "--features", "X").code == 0
    done = run("data", "describe", "a.npz", "--features", "X", "--label", "t")
    assert done.code == 0 and "120 examples, 4 features, 3 classes" in done.out


def test_predictions_never_replace_a_column_that_is_kept(home, tmp_path):
    text = "species,P(setosa)," + flowers([0], label=None).replace("\n", "\nx,0.5,", 1)
    (tmp_path / "again.csv").write_text(text)
    done = run("predict", home.run, "again.csv", "--keep", "P(setosa)")
    assert done.code == 2 and done.err.startswith("jaxnn: predict: columns that are kept have other names than")
    assert run("predict", home.run, "again.csv", "--keep", "species").code == 0


@pytest.mark.parametrize(
    "options, said",
    [
        (["--features", "u"], "predict: --features names an array of an .npz file; got --features u with new.csv"),
        (["--output", "folder.csv"], "predict: --output is a file; got the folder folder.csv; name a file in it"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(home, tmp_path, options, said):
    (tmp_path / "folder.csv").mkdir()
    shutil.copy(home.folder / "new.csv", tmp_path)
    done = run("predict", home.run, "new.csv", *options)
    assert done.code == 2 and done.err.startswith(f"jaxnn: {said}")


def test_a_missing_file_is_named_even_if_its_answers_exist(home, tmp_path):
    (tmp_path / "old.csv").write_text("mine")
    done = run("predict", home.run, "none.csv", "--output", "old.csv", "--overwrite")
    assert done.code == 2 and "got source='none.csv': No such file" in done.err


# --- the run folder ---------------------------------------------------------------------------------------


def test_overwrite_touches_no_config_of_another_program_and_no_run_before_the_new_one_is_there(
    home, tmp_path, monkeypatch
):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text('{"mine": 1}')
    done = run("train", "--data", "xor", "--run-folder", "mine", "--overwrite")
    assert done.code == 2 and "--overwrite replaces the files of an earlier run" in done.err
    assert (tmp_path / "mine" / "config.json").read_text() == '{"mine": 1}'
    shutil.copytree(home.run, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}

    def broken(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxnn.cli._build.Problem.learn", broken)
    assert run("train", "--data", "xor", "--run-folder", "run", "--overwrite").code == 130
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert run("train", "--data", "xor", "--run-folder", "new").code == 130 and not (tmp_path / "new").exists()


def test_a_flipped_bit_in_the_parameters_is_found(home, tmp_path):
    shutil.copytree(home.run, tmp_path / "bad")
    content = bytearray((home.run / "params.safetensors").read_bytes())
    content[-3] ^= 1
    (tmp_path / "bad" / "params.safetensors").write_bytes(content)
    with pytest.raises(jaxnn.CheckpointError, match=r"SHA-256 in metrics.json; got other bytes"):
        jaxnn.load_run(tmp_path / "bad")


@pytest.mark.parametrize("name", ["config", "parts", "versions", "device", "started"])
def test_what_is_only_shown_may_be_missing(home, tmp_path, name):
    shutil.copytree(home.run, tmp_path / "odd")
    edited(**{name: None})(tmp_path / "odd")
    assert run("show", "odd").code == 0
    metrics = read_json(tmp_path / "odd" / "metrics.json")
    (tmp_path / "odd" / "metrics.json").write_text(json.dumps(metrics | {"test": {}, "best_epoch": "x"}))
    assert run("show", "odd").code == 0


@pytest.mark.parametrize("folder", [None, 3, b"run"])
def test_a_run_is_named_by_a_path(folder):
    with pytest.raises(jaxnn.CheckpointError, match=r"^load_run: folder is a path; got folder="):
        jaxnn.load_run(folder)


# --- data -------------------------------------------------------------------------------------------------


def test_data_list_says_what_there_is_and_where(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXNN_MNIST", raising=False)
    monkeypatch.setenv("JAXNN_FASHION_MNIST", "mine")
    done = run("data", "list")
    assert (done.code, done.err) == (0, "")
    for name, about in jaxnn.data.names().items():
        assert re.search(rf"^{name} +{re.escape(about)}", done.out, re.MULTILINE)
    assert f"[to download: {tmp_path / 'cache' / 'mnist'}]" in done.out and "[nothing to download: mine]" in done.out
    found = json.loads(run("data", "list", "--json").out)
    assert set(found) == set(jaxnn.data.names()) and found["mnist"]["missing_bytes"] == 11_594_722
    assert found["iris"] == {
        "about": jaxnn.data.names()["iris"],
        "state": "nothing to download",
        "missing_bytes": 0,
        "folder": None,
    }


def test_data_fetch_downloads_and_says_where(tmp_path, monkeypatch):
    def fetch(name, folder):
        assert (name, folder) == ("mnist", tmp_path)
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(bytes(1_500_000))
        return tmp_path

    monkeypatch.setattr("jaxnn.data.fetch", fetch)
    done = run("data", "fetch", "mnist", "--folder", tmp_path)
    assert done.code == 0 and "mnist       1 files, 1.5 MB, checked" in done.out
    assert f"jaxnn train --data mnist --folder {tmp_path}" in done.out
    done = run("data", "fetch", "mnist", "--folder", tmp_path, "--json")
    assert json.loads(done.out) == {
        "name": "mnist",
        "folder": str(tmp_path),
        "files": {"train-images-idx3-ubyte.gz": 1_500_000},
    }


def test_a_download_that_fails_has_an_exit_code_of_its_own(monkeypatch):
    def refused(*_):
        raise jaxnn.DownloadError("data.fetch: a mirror gives it whole; got HTTP 403; try again later")

    monkeypatch.setattr("jaxnn.data.fetch", refused)
    done = run("data", "fetch", "mnist")
    assert (done.code, done.out) == (3, "") and done.err.startswith("jaxnn: data.fetch: a mirror gives it whole")


@pytest.mark.parametrize("name, near", [("mnits", "did you mean 'mnist'"), ("iris", "nothing to do")])
def test_only_sets_that_are_downloaded_are_fetched(name, near):
    done = run("data", "fetch", name)
    assert done.code == 2 and f"got name={name!r}" in done.err and near in done.err


def test_data_describe_prints_the_page_of_python(home, tmp_path):
    path = home.folder / "flowers.csv"
    done = run("data", "describe", path, "--label", "species")
    assert done.code == 0 and done.out == f"{jaxnn.data.describe(path, label='species')}\n"
    assert (
        json.loads(run("data", "describe", "iris", "--json").out)
        == jaxnn.data.describe(jaxnn.data.load("iris")).to_dict()
    )
    (tmp_path / "semi.csv").write_text("a;b\n1;?\n")
    done = run("data", "describe", "semi.csv", "--delimiter", ";")
    assert done.code == 0 and "1 with missing values" in done.out


@pytest.mark.parametrize(
    "options, said",
    [
        (["iriss"], r"data describe: data is a file or one of .*; got data='iriss'; did you mean 'iris'\?"),
        (["flowers.csv", "--label", "specie"], r"data.describe: label is a column .*; did you mean 'species'\?"),
        (["iris", "--label", "y"], r"data.describe: a Dataset takes no label; got label='y'"),
    ],
)
def test_describe_refuses_what_it_cannot_find(home, tmp_path, options, said):
    shutil.copy(home.folder / "flowers.csv", tmp_path)
    done = run("data", "describe", *options)
    assert (done.code, done.out) == (2, "") and re.match(f"jaxnn: {said}", done.err), done.err
