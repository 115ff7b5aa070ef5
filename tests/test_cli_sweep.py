"""`jaxnn sweep`, run in this process: what it writes, what it says, how it ends."""

import contextlib
import csv
import io
import re
import signal
from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import rich.console
from command import read_json, run

import jaxnn
from jaxnn._sweep._progress import SweepProgress
from jaxnn.cli import _sweep_screen, _sweep_task
from jaxnn.cli._learn_config import SweepConfig, TrainConfig
from jaxnn.cli._rates import rates_of
from jaxnn.cli._sweep_screen import SweepScreen

IRIS = ["sweep", "--data", "iris", "--hidden", "--optimizer", "sgd", "--epochs", "4"]  # one program serves most runs
RATES = ["--learning-rates", "0.01:1:3", "--seeds", "2", "--orders", "2"]
FILES = {"runs.csv", "sweep.json", "sweep.png", "sweep_curves.png"}


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "run"
    done = run(*IRIS, *RATES, "--run-folder", folder)
    assert (done.code, done.err) == (0, "")
    return SimpleNamespace(folder=folder, out=done.out, about=read_json(folder / "sweep.json"))


def table(folder):
    with (folder / "runs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# What is written


def test_the_folder_holds_a_table_a_summary_and_two_pictures(iris):
    assert {path.name for path in iris.folder.iterdir()} == FILES
    for name in ("sweep.png", "sweep_curves.png"):
        content = (iris.folder / name).read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) > 5000


def test_the_table_has_a_row_a_run_of_every_combination(iris):
    rows = table(iris.folder)
    order = iris.about["seeds"]["order"]
    found = [(float(row["learning_rate"]), int(row["seed"]), int(row["order"])) for row in rows]
    assert found == [(r, s, o) for r in (0.01, 0.1, 1.0) for s in (0, 1) for o in (order, order + 1)]
    assert {row["status"] for row in rows} == {"max_epochs"}


def test_verdict_table_and_screen_agree(iris):
    rows, chosen = table(iris.folder), iris.about["verdict"]
    values = {rate: [] for rate in ("0.01", "0.1", "1.0")}
    for row in rows:
        values[row["learning_rate"]].append(float(row["log_likelihood"]))
    means = {float(rate): np.mean(column) for rate, column in values.items()}
    assert chosen["recommended"] == max(means, key=means.get)
    for rate in chosen["rates"]:
        assert rate["mean"] == pytest.approx(means[rate["learning_rate"]], rel=1e-5)
        shown = f"{rate['learning_rate']:.3g} +4 +0 +{rate['mean']:.4f} +{rate['spread']:.4f}"
        assert re.search(rf"^ *{shown} .*{'take this' if rate['learning_rate'] == chosen['recommended'] else ''}",
                         iris.out, re.MULTILINE)  # fmt: skip
    assert chosen["why"] in iris.out
    best = max(rows, key=lambda row: float(row["log_likelihood"]))
    assert iris.about["best"]["log_likelihood"] == pytest.approx(float(best["log_likelihood"]), rel=1e-6)
    assert iris.about["best"]["settings"]["learning_rate"] == float(best["learning_rate"])


def test_the_summary_says_what_was_run_with_what(iris):
    about = iris.about
    assert set(about["config"]) == {field.name for field in fields(SweepConfig)}
    assert about["grid"]["learning_rate"] == [0.01, 0.1, 1.0] and about["grid"]["seed"] == [0, 1]
    assert (about["runs"], about["ended"], about["monitor"]) == (12, {"max_epochs": 12}, "log_likelihood")
    assert about["versions"]["jaxnn"] == jaxnn.__version__ and about["device"]["platform"] in ("cpu", "gpu", "tpu")
    assert about["parts"] == {"train": 105, "hold_out": 23, "test": 22}
    assert about["config"]["patience"] == 20 and about["config"]["epochs"] == 4  # what was left out is filled in


def test_the_screen_says_what_is_run_and_where_everything_is(iris):
    for line in (
        "105 to learn from, 23 hold-out, 22 test (untouched)",
        "MiniBatch(size=32, replacement=False): 4 an epoch, sgd, l2 0.0001",
        "rates       0.01 to 1",
        "runs        12: 3 rates x 2 seeds x 2 orders",
        "12/12 runs ended  best -",
        f"run folder  {iris.folder}",
        "files       runs.csv, sweep.json",
        "pictures    sweep.png, sweep_curves.png",
        f"next        jaxnn train --learning-rate {iris.about['verdict']['recommended']:g}",
    ):
        assert line in iris.out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", iris.out)  # plain text without a terminal


def test_a_run_is_the_one_that_train_makes(iris, tmp_path):
    done = run("train", *IRIS[1:], "--learning-rate", "0.1", "--run-folder", tmp_path / "run", "--quiet")
    assert done.code == 0
    (row,) = [r for r in table(iris.folder) if (r["learning_rate"], r["seed"], int(r["order"])) ==
              ("0.1", "0", iris.about["seeds"]["order"])]  # fmt: skip
    alone = read_json(tmp_path / "run" / "metrics.json")
    assert float(row["log_likelihood"]) == pytest.approx(alone["hold_out"]["log_likelihood"], abs=1e-5)
    assert int(row["best_epoch"]) == alone["best_epoch"]


def test_folds_and_penalties(tmp_path):
    done = run(*IRIS, "--learning-rates", "0.1", "0.03", "--seeds", "1", "--folds", "3", "--l2s", "0", "10", "--json",
               "--run-folder", tmp_path / "run")  # fmt: skip
    assert (done.code, done.err) == (0, "")
    rows = table(tmp_path / "run")
    assert [tuple(float(row[n]) for n in ("learning_rate", "l2", "fold")) for row in rows] == [
        (rate, l2, fold) for rate in (0.03, 0.1) for l2 in (0, 10) for fold in (0, 1, 2)
    ]
    about = jaxnn.cli._json.json.loads(done.out)
    assert about["run_folder"] == str(tmp_path / "run") and about["verdict"]["settings"] == {"l2": 0.0}
    assert [rate["runs"] for rate in about["verdict"]["rates"]] == [3, 3]


def test_folds_are_cut_from_training_part_and_hold_out_together():
    task = _sweep_task.build(SweepConfig(data="iris", folds=3, class_weights=(1.0, 2.0, 3.0)))
    assert task.folds.train.shape == (3, 128) and len(task.test) == 22
    np.testing.assert_array_equal(np.sort(np.unique(task.folds.hold_out)), [0, 1, 2, 3])  # weights of classes count
    x = np.asarray(_sweep_task.joined(task.train, task.hold_out).batch.x)
    np.testing.assert_array_equal(x[105:], task.hold_out.batch.x)


# How it ends


def test_where_all_runs_diverge_that_is_said_and_the_code_is_1(tmp_path):
    done = run(*IRIS, "--learning-rates", "1e37", "1e38", "--seeds", "1", "--run-folder", tmp_path / "run")
    assert done.code == 1
    assert done.err == "jaxnn: all 2 runs diverged; try smaller --learning-rates\n"
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES - {"sweep.png"}
    assert read_json(tmp_path / "run" / "sweep.json")["verdict"] is None


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_was_reached(number, code, tmp_path, monkeypatch):
    @contextlib.contextmanager
    def press(self):
        pressed = []

        def show(progress):
            if progress.status == "running" and progress.epoch > 5 and not pressed:
                pressed.append(signal.raise_signal(number))

        yield show

    monkeypatch.setattr(SweepScreen, "progress", press)
    long = [*IRIS[:-1], "30000", "--patience", "30000", "--learning-rates", "0.01", "--seeds", "2"]
    done = run(*long, "--run-folder", tmp_path / "run")
    assert done.code == code and done.err == ""
    assert "interrupted: 2 of 2 runs had not ended" in done.out and "next  " not in done.out
    rows = table(tmp_path / "run")
    assert [row["status"] for row in rows] == ["interrupted"] * 2
    assert all(float(row["log_likelihood"]) > -1.05 and int(row["epochs"]) > 5 for row in rows)
    assert read_json(tmp_path / "run" / "sweep.json")["ended"] == {"interrupted": 2}


def test_quiet_prints_the_folder_only_and_a_folder_in_use_is_refused(tmp_path):
    small = [*IRIS, "--learning-rates", "0.01", "--seeds", "2"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "sweep.png").write_text("of an earlier sweep")
    done = run(*small, "--quiet", "--run-folder", tmp_path / "run", "--overwrite")
    assert (done.code, done.out, done.err) == (0, f"{tmp_path / 'run'}\n", "")
    assert (tmp_path / "run" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    refused = run(*small, "--run-folder", tmp_path / "run")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("jaxnn: sweep: --run-folder is new or empty; got")
    (tmp_path / "run" / "config.json").write_text('{"format": 1}')
    refused = run(*small, "--run-folder", tmp_path / "run", "--overwrite")
    assert refused.err == (
        f"jaxnn: sweep: --overwrite replaces the files of an earlier sweep; got {tmp_path / 'run'} with a config.json "
        "that a sweep did not write; choose another folder\n"
    )


RULE = r"sweep: learning rates are numbers >= 0, or FIRST:LAST:COUNT with FIRST and LAST above 0; got --learning-rates "
ERRORS = [
    (["digit"], "sweep: data is a file or one of digits, .*; got data='digit'; did you mean 'digits'?"),
    *((["iris", "--learning-rates", "0.1", text], f"{RULE}{text}; write 0.001:1:16, say") for text in (
        "fast", "0.1:1", "0:1:3", "0.1:inf:3", "0.1:1:0", "0.1:1:2.5", "1:2:3:4", "nan", "inf", "1:", "0.1:1:99999999",
    )),
    (["iris", "--seeds", "0"], "sweep: seeds is a whole number >= 1; got seeds=0"),
    (["iris", "--orders", "0"], "sweep: orders is a whole number >= 1; got orders=0"),
    (["iris", "--folds", "1"], "sweep: folds is a whole number >= 2; got folds=1"),
    (["iris", "--folds", "500"], "data.k_fold: k is at most 128; got k=500"),
    (
        ["iris", "--folds", "5", "--hold-out", "valid.csv"],
        "sweep: each fold has a hold-out of its own; got --folds 5 and --hold-out valid.csv; leave one of them out",
    ),
    (["iris", "--l2s", "0.1", "-1"], "sweep: l2s is a finite number >= 0; got l2s=-1.0"),
    (["iris", "--label", "species"], "sweep: --label goes with a file; got --label species with data='iris'"),
    (["iris", "--plan", "full", "--replacement"], "sweep: a full batch reads every example once"),
    (["iris", "--optimizer", "adan"], "sweep: optimizer is one of .*; got optimizer='adan'; did you mean 'adam'?"),
    (["iris", "--aggregate", "clipped"], "sweep: clipped gradients have a largest norm"),
    (["iris", "--seeds", "2000000"], "sweep: a sweep has at most 1,048,576 runs; got 32,000,000"),
]  # fmt: skip


@pytest.mark.parametrize("options, text", ERRORS, ids=[" ".join(options) for options, _ in ERRORS])
def test_a_mistake_is_one_line_and_exit_code_2_before_anything_is_written(options, text, tmp_path):
    done = run("sweep", "--data", *options, "--run-folder", tmp_path / "run")
    assert done.code == 2
    assert re.match(f"jaxnn: {text}", done.err), done.err
    assert done.err.count("\n") == 1 and "Traceback" not in done.err
    assert not (tmp_path / "run").exists()


# Options


def test_rates_are_numbers_and_ranges_of_equal_factors():
    assert rates_of(["0.001:1:4"], 0.1) == [0.001, 0.01, 0.1, 1.0]
    assert rates_of(["1", "0.1:0.1:1", "0", "1e-3:0.1:3"], 0.1) == [0.0, 0.001, 0.01, 0.1, 1.0]
    usual = rates_of([], 0.1)
    assert len(usual) == 16 and (usual[0], usual[-1]) == (0.001, 10.0)
    np.testing.assert_allclose(np.diff(np.log(usual)), np.log(1e4) / 15, rtol=0.01)


def test_help_reads_like_documentation():
    done = run("sweep", "--help")
    words = " ".join(done.out.replace("│", " ").split())
    for field in fields(SweepConfig):
        assert field.name == "data" or re.search(
            rf"--{field.name.replace('_', '-')}\b.*?[a-z]{{3,}}.*?\(default:", words
        ), field.name
    assert "examples:\n  jaxnn sweep " in done.out and "exit codes: 0 done" in done.out
    assert "jaxnn sweep" in run("--help").out


def test_train_and_sweep_share_their_options():
    train, sweep = ({field.name for field in fields(config)} for config in (TrainConfig, SweepConfig))
    assert train - sweep == {"learning_rate", "watch_gradients", "save_every", "resume"}
    assert sweep - train == {"learning_rates", "seeds", "orders", "l2s", "folds"}


# The live table


def progress():
    ended, diverged, waiting, running = (
        int(jaxnn.Status[name]) for name in ("STOPPED_EARLY", "DIVERGED", "INTERRUPTED", "RUNNING")
    )
    settings = [{"learning_rate": rate, "seed": seed, "order": 7} for rate in (0.01, 0.1) for seed in (0, 1, 2)]
    return SweepProgress(
        epoch=12.5, max_epochs=60, running=1, ended=3, total=6, diverged=1, best=-0.2, best_settings=settings[3],
        seconds=3.0, status="running", settings=settings, values=np.array([-0.6, -0.4, -0.5, -0.2, -9.0, -np.inf]),
        statuses=np.array([ended, ended, running, running, diverged, waiting]),
    )  # fmt: skip


def test_the_table_counts_the_runs_of_each_rate_and_marks_the_best():
    found = _sweep_screen.rates_table(progress())
    rows = list(zip(*(column.cells for column in found.columns), strict=True))
    assert [column.header for column in found.columns] == [
        "learning rate", "runs", "running", "ended", "diverged", "best so far", "mean so far",
    ]  # fmt: skip
    assert rows == [
        ("0.01", "3", "1", "2", "0", "-0.4000", "-0.5000"),
        ("0.1", "3", "1", "1", "1", "-0.2000", "-0.2000"),
    ]
    assert [row.style for row in found.rows] == ["", "bold"]


def test_a_terminal_gets_a_live_table():
    screen, text = SweepScreen(quiet=False), io.StringIO()
    screen.console = rich.console.Console(file=text, force_terminal=True, width=100)
    with screen.progress() as show:
        show(progress())
    drawn = text.getvalue()
    assert "compiling" in drawn and "\x1b[" in drawn and "mean so far" in drawn
    assert "3/6 runs ended, 1 at epoch 12/60, 1 diverged  best -0.2000 (learning_rate=0.1 seed=0)  3.0 s" in drawn
