"""From a file of one's own to predictions and figures: `jaxnn train --data FILE`, `predict`, `evaluate`, `data`."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from command import read_json, run
from flowers import COLUMNS, IRIS, ORDER, QUICK, flowers, oracle, rows_of
from small_files import idx

import jaxnn


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch, home):
    """Work in an empty folder, and draw nothing: test_cli.py looks at the pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxnn.cli._train.draw", lambda *_: None)


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


# --- predict ----------------------------------------------------------------------------------------------


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


# --- evaluate ---------------------------------------------------------------------------------------


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
