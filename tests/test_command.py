"""The command as a program: help, misspellings, exit codes, what a terminal shows, pipes, full disks, Ctrl-C."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command import read_json, run
from flowers import rows_of

import jaxnn
from jaxnn._whole import write_whole
from jaxnn.cli._json import to_json


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch, home):
    """Work in an empty folder, and draw nothing: test_cli.py looks at the pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxnn.cli._train.draw", lambda *_: None)


# --- the command itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv, said",
    [
        (
            ["predct"],
            r"commands are train, sweep, predict, .*; got 'predct'; did you mean 'predict'\?, and",
        ),
        (["data", "fech"], r"commands of data are list, fetch, describe; got 'fech'; did you mean 'fetch'\?, and see"),
        (
            ["fly"],
            r"commands are .*; got 'fly'; choose one of data, evaluate, predict, show, sweep, train, and see jaxnn",
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
    assert code == 130 and "Fatal" not in err


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
        write_whole(target, fail)
    assert target.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["answers.csv"]
    write_whole(target, lambda path: path.write_text("new"))
    assert target.read_text() == "new" and [path.name for path in tmp_path.iterdir()] == ["answers.csv"]


def test_json_has_null_for_what_it_cannot_say():
    text = to_json({"a": [1.5, float("nan")], "b": (float("inf"),)})
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name)) == {"a": [1.5, None], "b": [None]}
