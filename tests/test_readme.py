"""The README's Python and its commands run as written, and the guide's; what it lists exists."""

import csv
import pathlib
import re

import numpy as np
import optax
import pytest
import small
from command import run
from sklearn.datasets import load_iris

import jaxnn
from jaxnn.cli import _run_folder

README = pathlib.Path(__file__).parent.parent / "README.md"


GUIDE = README.parent / "docs" / "run_folder.md"


def blocks(kind: str = "python", page: pathlib.Path = README) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.fixture
def flowers(tmp_path, monkeypatch):
    """The two files of the README in the current folder: the irises in a fixed order."""
    monkeypatch.chdir(tmp_path)
    iris, names = load_iris(), ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    order = np.random.default_rng(0).permutation(150)
    with open("flowers.csv", "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow([*names, "species"])
        rows.writerows([*map(float, iris.data[i]), iris.target_names[iris.target[i]]] for i in order[:130])
    with open("new.csv", "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", *names[::-1]])
        rows.writerows([f"flower-{k}", *map(float, iris.data[i][::-1])] for k, i in enumerate(order[130:]))


def without_numbers(text: str) -> list[str]:
    """Return the lines that say something, with # for every number: those of another machine differ a little."""
    lines = (re.sub(r"-?\d+\.\d+(e-?\d+)?", "#", line) for line in text.splitlines())
    return [" ".join(line.replace("─", "").split()) for line in lines if line.strip(" ─")]


def test_the_commands_print_what_is_shown_and_the_run_comes_back_in_two_lines(flowers, capsys):
    (session,) = blocks("console")
    head, train, predict = re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]
    assert head == "head -3 flowers.csv\n" + "".join(
        pathlib.Path("flowers.csv").read_text().splitlines(keepends=True)[:3]
    )
    for shown in (train, predict):
        command, _, screen = shown.partition("\n")
        done = run(*command.split()[1:])
        assert done.code == 0 and done.err == ""
        printed, at = without_numbers(done.out), 0
        for line in without_numbers(screen):
            if line == "...":
                continue
            assert line in printed[at:], line
            at = printed.index(line, at) + 1
    names: dict = {}
    exec(compile(blocks()[0], str(README), "exec"), names)
    assert names["run"].schema.class_names == ("setosa", "versicolor", "virginica")
    assert capsys.readouterr().out.startswith("[[") and names["new"].unused == ("id",)


def test_the_scripts_run_as_written_and_learn_the_digits(capsys):
    names: dict = {}
    for block in blocks()[1:]:
        exec(compile(block, str(README), "exec"), names)
    printed = capsys.readouterr().out
    assert len(blocks()) == 7 and "returned epoch" in printed
    assert jaxnn.evaluate(names["objective"], names["result"].params, names["test"]).accuracy > 0.94
    assert "encoder" in printed and names["total"]["head"].shape == (64, 10)
    assert (names["train"].batch.y[names["found"].helpful[0]] == names["test"].batch.y[0]).mean() > 0.5
    assert names["ascended"].value > names["climbed"].value > names["climbed"].values[0]
    assert names["path"].value > -0.2 and names["figure"].axes
    assert names["top"].converged and 0 < names["top"].gap < 1e-9
    together = jaxnn.evaluate(names["together"], names["members"], names["test"])
    assert len(names["runs"]) == 64 and together.accuracy > 0.94 and "<- take this" in printed
    assert names["gradient"][0].kernel.shape == names["one"][0].kernel.shape == (64, 128)


def test_the_guide_to_run_folders_runs_as_written_and_names_every_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {
        "jaxnn": jaxnn, "optax": optax, "objective": small.OBJECTIVE, "params": small.PARAMS, "train": small.TRAIN,
        "hold_out": small.HOLD_OUT, "tree": small.PARAMS, "hold_out_log_likelihood": -1.0,
    }  # fmt: skip
    for block in blocks(page=GUIDE):
        exec(compile(block, str(GUIDE), "exec"), names)
    assert jaxnn.load_run("runs/mine").status == str(names["result"].status)
    assert names["content"].info == {"accuracy": 0.97} and names["info"] == {"step": 7}
    assert "state.best.params.0.kernel" in jaxnn.checkpoint.read(max(pathlib.Path("runs/mine").iterdir())).arrays
    text = GUIDE.read_text()
    assert [name for name in _run_folder.FILES if not name.endswith(".png") and name not in text] == []


def test_the_first_script_has_about_twenty_lines():
    code = [line for line in blocks()[1].splitlines() if line.strip()]
    assert 14 <= len(code) <= 20


def test_every_name_in_the_table_of_pieces_exists():
    table = README.read_text().split("## The pieces")[1].split("Conventions")[0]
    listed = set(re.findall(r"`([A-Za-z_.]+)[(`]", table))
    ours = {name for name in listed if not name.startswith(("model.", ".", "objective"))}
    assert len(ours) > 40
    for name in ours:
        place = jaxnn
        for part in name.split("."):
            assert hasattr(place, part), f"the README names {name}"
            place = getattr(place, part)
